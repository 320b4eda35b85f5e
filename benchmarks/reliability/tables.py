"""Labels saved on tables: strategies x eighteen tables x models, next to random sampling.

    python benchmarks/reliability/tables.py run --repeats 10
    python benchmarks/reliability/tables.py run --models forest --batches large
    python benchmarks/reliability/tables.py report

Batches: "small" goes from 20 random labels to 200 in batches of 20, "large" from 100 to 1000 in
batches of 100, on tables that leave 2000 rows to choose from. ``run`` works off the cells that are
missing, repeat by repeat: a cell is one simulation, a file in ``--cells`` that is written whole or
not at all, so a kill loses the cells in flight alone. ``report`` pairs each strategy with random in
the repeats that both have, and writes the gain in area under the budget curve with its standard
error, Student's t with Holm's correction over the tables, and the labels saved.

The tables are those of ``$SKAL_SHARED_DATA/tables``.
"""

import argparse
import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.pipeline import make_pipeline

from skal import ActiveLearner
from skal.metrics import holm_correction, labels_saved, paired_test
from skal.model_selection import compare_strategies
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.preprocessing import TablePreprocessor
from skal.strategies import ForestVariance, MarginSampling, RandomSampling, TypiClust

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data")) / "tables"
REGRESSION = (
    "airfoil",
    "bikeshare",
    "concrete",
    "diamonds",
    "energy",
    "kin40k",
    "protein",
    "sml",
    "wage",
    "wine",
)
CLASSIFICATION = (
    "chess",
    "german",
    "magic",
    "penbased",
    "ring",
    "satimage",
    "texture",
    "vehicle",
)
MODELS = ("forest", "net")
BATCHES = {"small": (20, 20, 200), "large": (100, 100, 1000)}  # first labels, batch, budget
STRATEGIES = {
    "random": RandomSampling(),
    "forest-variance": ForestVariance(),
    "margin": MarginSampling(),
    "typiclust-inputs": TypiClust(space="inputs"),
    # Where ForestVariance should go over to margins; None never does.
    "forest-variance-never": ForestVariance(margin_from=None),
    **{f"forest-variance-{m}": ForestVariance(margin_from=m) for m in (100, 200, 400)},
}
DEFAULT = ("random", "forest-variance", "margin", "typiclust-inputs")
TRAINING = {"batch_size": 16, "module__dropout": 0.3, "max_epochs": 60}


def task_of(table):
    return "regression" if table in REGRESSION else "classification"


def score_of(table):
    return "neg_mean_absolute_error" if table in REGRESSION else "accuracy"


def load(table, folder):
    frame = pd.read_csv(folder / f"{table}.csv.gz")
    y = frame.pop("target")
    return frame, y.to_numpy(np.float64 if table in REGRESSION else None)


def make_model(table, model):
    predictors = {
        ("regression", "forest"): ExtraTreesRegressor(),
        ("classification", "forest"): RandomForestClassifier(),
        ("regression", "net"): NeuralNetRegressor(standardize_y=True, **TRAINING),
        ("classification", "net"): NeuralNetClassifier(**TRAINING),
    }
    return make_pipeline(TablePreprocessor(dtype="float32"), predictors[task_of(table), model])


# ---------------------------------------------------------------------------------- the cells


def all_cells(options):
    """(repeat, table, model, batches, strategy), repeat by repeat."""
    for cell in product(
        range(options.repeats), options.tables, options.models, options.batches, options.strategies
    ):
        _, table, _, batches, strategy = cell
        for_classes = strategy.startswith(("margin", "forest-variance-"))
        if for_classes and task_of(table) == "regression":
            continue
        if batches == "large" and table not in LARGE:
            continue
        yield cell


# Tables that leave 2000 rows to choose from, a quarter of the rows being held out.
LARGE = (
    "bikeshare",
    "diamonds",
    "kin40k",
    "protein",
    "sml",
    "wage",
    "chess",
    "magic",
    "penbased",
    "ring",
    "satimage",
    "texture",
)


def path_of(cell, folder):
    repeat, table, model, batches, strategy = cell
    return folder / f"{table}-{model}-{batches}" / f"{strategy}-{repeat}.json"


def run_cell(cell, options):
    """One simulation, written whole or not at all."""
    import torch

    torch.set_num_threads(1)
    repeat, table, model, batches, strategy = cell
    X, y = load(table, options.folder)
    n_initial, n_instances, budget = BATCHES[batches]
    result = compare_strategies(
        ActiveLearner(make_model(table, model)),
        {strategy: STRATEGIES[strategy]},
        X,
        y,
        n_initial=n_initial,
        n_instances=n_instances,
        budget=budget,
        scoring=score_of(table),
        n_repeats=1,
        random_state=repeat,
    )
    path = path_of(cell, options.cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(result.round(7).to_dict("list")))
    draft.replace(path)


def run(options):
    """Work off the missing cells."""
    cells = [c for c in all_cells(options) if not path_of(c, options.cells).exists()]
    print(f"{len(cells)} cells to run")
    Parallel(n_jobs=options.n_jobs, verbose=1)(delayed(run_cell)(c, options) for c in cells)


# ---------------------------------------------------------------------------------- the report


def curves(options):
    """{(table, model, batches): {strategy: {repeat: scores by round}}} of the cells there are."""
    found = {}
    for cell in all_cells(options):
        path = path_of(cell, options.cells)
        if path.exists():
            record = json.loads(path.read_text())[score_of(cell[1])]
            found.setdefault(cell[1:4], {}).setdefault(cell[4], {})[cell[0]] = record
    return found


def area(values):
    """Mean of each curve by the trapezoid rule, which counts the first labels half."""
    return np.trapezoid(values, axis=1) / (values.shape[1] - 1)


def compare(found):
    """A record per setting and strategy: gain in per cent, standard error, p, labels saved."""
    records = []
    for (table, model, batches), by_strategy in found.items():
        first, step, budget = BATCHES[batches]
        n_labels = np.append(np.arange(first, budget, step), budget)
        for name in [name for name in by_strategy if name != "random"]:
            common = sorted(by_strategy[name].keys() & by_strategy.get("random", {}).keys())
            if not common:
                continue
            values, random = (
                np.array([by_strategy[which][repeat] for repeat in common])
                for which in (name, "random")
            )
            gains = 100 * (area(values) - area(random)) / np.abs(area(random))
            many = len(gains) > 1
            records.append(
                {
                    "task": task_of(table),
                    "batches": batches,
                    "model": model,
                    "strategy": name,
                    "table": table,
                    "repeats": len(gains),
                    "gain": gains.mean(),
                    "se": gains.std(ddof=1) / np.sqrt(len(gains)) if many else np.nan,
                    "p": paired_test(area(values), area(random)).pvalue if many else np.nan,
                    "saved": 100 * max(labels_saved(n_labels, values, random).share, -1.0),
                }
            )
    table = pd.DataFrame(records)
    by = ["task", "batches", "model", "strategy"]
    table["p_holm"] = table.groupby(by)["p"].transform(_holm)
    return table.sort_values([*by, "table"])


def _holm(p):
    """Corrected p-values, NaN where a table has a single repeat."""
    corrected = p.copy()
    if p.notna().any():
        corrected[p.notna()] = holm_correction(p[p.notna()].to_numpy())
    return corrected


def summarize(table):
    """A line per task, batches, model and strategy, over the tables."""
    significant = table["p_holm"] < 0.05
    marked = table.assign(
        better=significant & (table["gain"] > 0), worse=significant & (table["gain"] < 0)
    )
    return marked.groupby(["task", "batches", "model", "strategy"]).agg(
        tables=("gain", "size"),
        repeats=("repeats", "min"),
        gain=("gain", "mean"),
        se=("gain", "sem"),
        worst=("gain", "min"),
        better=("better", "sum"),
        worse=("worse", "sum"),
        saved=("saved", "median"),
    )


def report(options):
    """Write the cells' comparison and its summary from the cells there are."""
    options.output.mkdir(parents=True, exist_ok=True)
    table = compare(curves(options))
    table.round(4).to_csv(options.output / "tables.csv", index=False)
    lines = summarize(table).round(2)
    lines.to_csv(options.output / "tables_summary.csv")
    print(lines.to_string())


def main():
    """Run the missing cells, or report on those there are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=["run", "report"])
    parser.add_argument("--repeats", type=int, default=10)
    for name, known, default in [
        ("--tables", (*CLASSIFICATION, *REGRESSION), None),
        ("--models", MODELS, None),
        ("--batches", BATCHES, ["small"]),
        ("--strategies", STRATEGIES, DEFAULT),
    ]:
        parser.add_argument(name, nargs="+", choices=list(known), default=default or list(known))
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--cells", type=Path, default=HERE / "cells_tables")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    (run if options.task == "run" else report)(options)


if __name__ == "__main__":
    main()
