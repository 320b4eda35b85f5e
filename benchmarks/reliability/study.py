"""Reliability study: every strategy x data set x model x batch size, next to random sampling.

    python benchmarks/reliability/study.py run --repeats 10 --n-jobs 2
    python benchmarks/reliability/study.py run --data digits wine --models linear
    python benchmarks/reliability/study.py report

``run`` works off the cells that are missing; a cell is one simulation, a file in
``benchmarks/reliability/cells`` that is written whole or not at all. After a kill the same command
goes on and loses the cells in flight. All strategies of a repeat share split, initial labels and
seeds. ``report`` writes the matrix (ratio of the area under the budget curve to random's, with its
standard error over repeats), the rounds in which a strategy is worse than random, and the picture.

Data that are not bundled with scikit-learn are read from ``--folder``; those that are not there are
left out, and named.
"""

import argparse
import gzip
import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skal import ActiveLearner
from skal._cli import STRATEGIES, TRAINING, _preprocessing
from skal.datasets import fetch_ames_housing
from skal.metrics import average_rank, paired_z, ratio_to_baseline, rounds_below_baseline
from skal.model_selection import compare_strategies
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.selection import LCMD
from skal.strategies import (
    BAIT,
    RALIF,
    CoreSet,
    ExpectedGradientLength,
    GradientEmbedding,
    QueryByCommittee,
    TypiClust,
)

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data"))

# Name: task, initial labels, {name of the batch size: (batch size, labels at the end)}, rows used.
DATA = {
    "wine": ("classification", 6, {"small": (3, 36), "large": (10, 36)}, None),
    "breast_cancer": ("classification", 10, {"small": (5, 60), "large": (25, 60)}, None),
    "digits": ("classification", 40, {"small": (20, 200), "large": (80, 280)}, None),
    "letter": ("classification", 100, {"small": (50, 500), "large": (200, 700)}, 5000),
    "mnist": ("classification", 50, {"small": (50, 400), "large": (150, 500)}, 5000),
    "diabetes": ("regression", 20, {"small": (10, 110), "large": (40, 140)}, None),
    "house_prices": ("regression", 20, {"small": (20, 200), "large": (80, 260)}, None),
    "ames_full": ("regression", 20, {"small": (20, 200), "large": (80, 260)}, None),
}
MODELS = ("linear", "mlp", "cnn", "forest")
IMAGES = {"mnist": 28, "digits": 8}
MIN_RUNS = 5  # cells of fewer repeats are not shown
SCORING = {"classification": "accuracy", "regression": "neg_mean_absolute_error"}
ALL_STRATEGIES = {
    **STRATEGIES,
    "lcmd-gradients": GradientEmbedding(),
    "lcmd-features": CoreSet(selector=LCMD()),
    "typiclust-inputs": TypiClust(space="inputs"),
    "bait": BAIT(),
    "egl": ExpectedGradientLength(),
    "ralif-conditional": RALIF(aggregate="conditional"),
    "query-by-committee": QueryByCommittee(),
}
TASK_TYPES = {"classification": "classifier", "regression": "regressor"}
# What the linear model cannot give: dropout passes, an average of weights, more than one layer.
NEEDS_NET = {"noise-stability", "lcmd-gradients"}
# What a forest can be asked, which has neither features nor gradients.
OF_FORESTS = {
    "random",
    "least-confidence",
    "margin",
    "entropy",
    "query-by-committee",
    "coreset-inputs",
    "typiclust-inputs",
}
# Prohibitive where classes times features are many thousands.
TOO_WIDE = {("bait", "letter"), ("bait", "mnist")}
# BatchBALD is made for batches of tens. With 50 models, a hundred labels already identify the
# model, and no candidate can be skipped any more: one run takes minutes.
TOO_SLOW = {("batch-bald", "letter", "large"), ("batch-bald", "mnist", "large")}


# ---------------------------------------------------------------------------------- the task


_LOADED = {}


def idx(path):
    """Read an array in the IDX format of the MNIST files."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def is_there(name, folder):
    files = {
        "letter": "letter-recognition.csv",
        "mnist": "t10k-images-idx3-ubyte.gz",
        "house_prices": "house_prices.csv",
        "ames_full": "ames_housing.csv",
    }
    return name not in files or (folder / files[name]).exists()


def load(name, folder):
    """Rows and target of a data set, kept; large ones are cut to their first random rows."""
    if name not in _LOADED:
        _LOADED[name] = _load(name, folder)
    return _LOADED[name]


def _load(name, folder):
    if name == "letter":
        table = pd.read_csv(folder / "letter-recognition.csv")
        X, y = table.iloc[:, 1:].to_numpy(np.float32), table.iloc[:, 0].to_numpy()
    elif name == "mnist":
        X = idx(folder / "t10k-images-idx3-ubyte.gz").reshape(10_000, -1) / np.float32(255)
        y = idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    elif name in ("house_prices", "ames_full"):
        file = "house_prices.csv" if name == "house_prices" else "ames_housing.csv"
        X, y = fetch_ames_housing(path=folder / file, return_X_y=True)
        y = y.to_numpy(np.float64)
    else:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        X = X.astype(np.float32)
    size = DATA[name][3]
    if size is not None:
        rows = np.random.RandomState(0).permutation(len(X))[:size]
        X, y = X[rows], y[rows]
    return X, y


def to_images(X):
    """Rows of pixels as images of one channel."""
    side = int(np.sqrt(X.shape[1]))
    return np.asarray(X, dtype=np.float32).reshape(len(X), 1, side, side)


def small_cnn(n_features=None, n_outputs=10, side=28):
    """Two convolutions, two linear layers, dropout between these."""
    from torch import nn

    size = ((side // 2) // 2) ** 2
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * size, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, n_outputs),
    )


def estimator(name, model, X):
    """The model with its preprocessing; frames are imputed, scaled and encoded."""
    task = DATA[name][0]
    if model == "cnn":
        net = NeuralNetClassifier(
            small_cnn, module__side=IMAGES[name], max_epochs=30, batch_size=32
        )
        return make_pipeline(FunctionTransformer(to_images), net)
    if model == "forest":
        predictor = RandomForestRegressor() if task == "regression" else RandomForestClassifier()
    elif model == "linear":
        predictor = Ridge(alpha=10.0) if task == "regression" else LogisticRegression(max_iter=300)
    elif task == "regression":
        predictor = NeuralNetRegressor(standardize_y=True, max_epochs=60, **TRAINING)
    else:
        predictor = NeuralNetClassifier(max_epochs=60, **TRAINING)
    front = _preprocessing(X) if isinstance(X, pd.DataFrame) else StandardScaler()
    pipeline = make_pipeline(front, predictor)
    if isinstance(X, pd.DataFrame):
        return TransformedTargetRegressor(pipeline, func=np.log1p, inverse_func=np.expm1)
    return pipeline


def serves(strategy, name, model):
    """Whether a strategy can be asked about a model of a data set."""
    tags = ALL_STRATEGIES[strategy].__sklearn_tags__().query_strategy_tags
    if TASK_TYPES[DATA[name][0]] not in tags.tasks or (strategy, name) in TOO_WIDE:
        return False
    if strategy == "egl" and DATA[name][0] == "regression":
        return False  # needs an ensemble
    if model == "forest" or strategy == "query-by-committee":
        return model == "forest" and strategy in OF_FORESTS
    from_net = {"stochastic_passes", "weights_history"} & set(tags.needs)
    if model == "linear" and (from_net or strategy in NEEDS_NET or strategy.endswith("-inputs")):
        return False  # of a linear model the inputs are the features
    return model != "cnn" or strategy not in {"bait", "lcmd-gradients"}


def all_cells(options):
    """(repeat, data, model, batch, strategy), repeat by repeat."""
    names = [name for name in options.data if is_there(name, options.folder)]
    missing = sorted(set(options.data) - set(names))
    if missing:
        print(f"Left out, not in {options.folder}: {', '.join(missing)}")
    cells = product(
        range(options.repeats), names, options.models, options.batches, options.strategies
    )
    return [
        (repeat, name, model, batch, strategy)
        for repeat, name, model, batch, strategy in cells
        if (model != "cnn" or name in IMAGES)
        and serves(strategy, name, model)
        and (strategy, name, batch) not in TOO_SLOW
    ]


# ---------------------------------------------------------------------------------- the cells


def path_of(cell, folder):
    repeat, name, model, batch, strategy = cell
    return folder / f"{name}-{model}-{batch}" / f"{strategy}-{repeat}.json"


def run_cell(cell, folder, cells):
    """One simulation, written whole or not at all."""
    import torch

    torch.set_num_threads(1)
    repeat, name, model, batch, strategy = cell
    X, y = load(name, folder)
    task, n_initial, sizes, _ = DATA[name]
    n_instances, budget = sizes[batch]
    result = compare_strategies(
        ActiveLearner(estimator(name, model, X)),
        {strategy: ALL_STRATEGIES[strategy]},
        X,
        y,
        n_initial=n_initial,
        n_instances=n_instances,
        budget=budget,
        scoring=SCORING[task],
        n_repeats=1,
        random_state=repeat,
    )
    path = path_of(cell, cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(result.round(7).to_dict("list")))
    draft.replace(path)


def run(options):
    """Work off the missing cells."""
    cells = [c for c in all_cells(options) if not path_of(c, options.cells).exists()]
    print(f"{len(cells)} cells to run")
    Parallel(n_jobs=options.n_jobs, verbose=1)(
        delayed(run_cell)(cell, options.folder, options.cells) for cell in cells
    )


# ---------------------------------------------------------------------------------- the report


def read_cells(options):
    """{(data, model, batch): frame as from compare_strategies}, from the files there are."""
    settings = {}
    for cell in all_cells(options):
        path = path_of(cell, options.cells)
        if path.exists():
            frame = pd.DataFrame(json.loads(path.read_text()))
            frame["repeat"], frame["strategy"] = cell[0], cell[4]
            settings.setdefault(cell[1:4], []).append(frame)
    return {setting: pd.concat(frames, ignore_index=True) for setting, frames in settings.items()}


def complete(frame):
    """The strategies and repeats of a setting that make a full table: paired, nothing missing."""
    done = frame.groupby("strategy")["repeat"].unique().map(set)
    most = max(len(repeats) for repeats in done)
    full = done[done.map(len) >= max(MIN_RUNS, most // 2)]
    common = set.intersection(*full)
    return frame[frame["strategy"].isin(full.index) & frame["repeat"].isin(common)]


def areas(frame, score):
    """Mean score over the rounds after the first query: a column per strategy, a row per repeat."""
    after = frame[frame["round"] > 0]
    return after.pivot_table(index="repeat", columns="strategy", values=score, aggfunc="mean")


def compare(settings):
    """A record per setting and strategy: ratio to random, standard error, paired z, runs."""
    records = []
    for setting, frame in settings.items():
        score = SCORING[DATA[setting[0]][0]]
        area = areas(frame, score)
        for strategy in area.columns.drop("random"):
            both = area[["random", strategy]].dropna()
            if len(both) < MIN_RUNS:
                continue
            ratio = ratio_to_baseline(
                both[strategy].abs(), both["random"].abs(), greater_is_better=score == "accuracy"
            )
            z = paired_z(both[strategy], both["random"])
            records.append((*setting, strategy, ratio.ratio, ratio.standard_error, z, len(both)))
    columns = ["data", "model", "batch", "strategy", "ratio", "se", "z", "runs"]
    return pd.DataFrame(records, columns=columns)


def as_matrix(table):
    """Settings down, strategies across: gain over random and its standard error, in per cent."""
    mark = np.select([table["z"] > 2, table["z"] < -2], ["+", "-"], "")
    cell = [
        f"{100 * (row.ratio - 1):+.1f} ({100 * row.se:.1f}){sign}"
        for row, sign in zip(table.itertuples(), mark, strict=True)
    ]
    setting = table["data"] + " " + table["model"] + " " + table["batch"]
    shown = table.assign(cell=cell, setting=setting)
    order = shown["setting"].drop_duplicates()
    return shown.pivot(index="setting", columns="strategy", values="cell").loc[order].fillna("")


def summary(settings, task):
    """Per strategy over all settings of a task: wins, losses, rounds below random, ranks."""
    chosen = {s: f for s, f in settings.items() if DATA[s[0]][0] == task}
    table = compare(chosen)
    frames = [complete(f) for f in chosen.values() if f["repeat"].nunique() >= MIN_RUNS]
    below = rounds_below_baseline(frames, score=SCORING[task], test="z")
    models = dict.fromkeys(model for _, model, _ in chosen)
    ranks = {model: ranks_of(chosen, model, SCORING[task]) for model in models}
    lines = table.groupby("strategy").agg(
        settings=("z", "size"),
        mean_gain=("ratio", lambda r: 100 * (r.mean() - 1)),
        worst=("ratio", lambda r: 100 * (r.min() - 1)),
        better=("z", lambda z: int((z > 2).sum())),
        worse=("z", lambda z: int((z < -2).sum())),
    )
    return lines, below, pd.DataFrame(ranks).dropna(axis=1, how="all").sort_values("mlp")


def ranks_of(settings, model, score):
    """Average rank over the settings of a model, of the strategies that ran in all of them.

    Settings with fewer than half of the strategies are left out.
    """
    frames = [f for s, f in settings.items() if s[1] == model]
    frames = [complete(f) for f in frames if f["repeat"].nunique() >= MIN_RUNS]
    most = max((f["strategy"].nunique() for f in frames), default=0)
    frames = [f for f in frames if 2 * f["strategy"].nunique() > most]
    if not frames:
        return pd.Series(dtype=float)
    everywhere = set.intersection(*(set(f["strategy"]) for f in frames))
    return average_rank([f[f["strategy"].isin(everywhere)] for f in frames], score=score)


def which_when(table):
    """What the study says of each strategy, all settings of a task together."""
    task = table["data"].map(lambda name: DATA[name][0])
    lines = table.groupby([task.rename("task"), "strategy"]).agg(
        settings=("z", "size"),
        mean=("ratio", lambda r: round(100 * (r.mean() - 1), 1)),
        worst=("ratio", lambda r: round(100 * (r.min() - 1), 1)),
        better=("z", lambda z: int((z > 2).sum())),
        worse=("z", lambda z: int((z < -2).sum())),
    )
    lines = lines.reset_index().sort_values(["task", "mean"], ascending=[True, False])
    names = {"mean": "mean gain, %", "worst": "worst, %"}
    return lines.rename(columns=names)


def draw(table, path):
    """Heat map: gain over random in per cent, a dot where |z| > 2."""
    import matplotlib.pyplot as plt

    setting = table["data"] + ", " + table["model"] + ", " + table["batch"]
    shown = table.assign(setting=setting, gain=100 * (table["ratio"] - 1))
    gain = shown.pivot(index="setting", columns="strategy", values="gain").loc[setting.unique()]
    z = shown.pivot(index="setting", columns="strategy", values="z").loc[gain.index]
    gain = gain[gain.mean().sort_values(ascending=False).index]
    limit = np.nanquantile(np.abs(gain), 0.95)
    figure, axes = plt.subplots(
        figsize=(2.5 + 0.55 * gain.shape[1], 1.8 + 0.28 * len(gain)), layout="constrained"
    )
    image = axes.imshow(gain, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_facecolor("0.85")  # where nothing was run
    for i, j in zip(*np.nonzero(np.abs(z[gain.columns].to_numpy()) > 2), strict=True):
        axes.plot(j, i, ".", color="black", markersize=4)
    axes.set_xticks(range(gain.shape[1]), gain.columns, rotation=60, ha="right")
    axes.set_yticks(range(len(gain)), gain.index)
    axes.set_title("Gain over random (%), a dot where |z| > 2; grey: not run")
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(options):
    """Write the matrices, the summaries and the pictures from the cells there are."""
    settings = read_cells(options)
    options.output.mkdir(parents=True, exist_ok=True)
    pd.concat(
        frame.assign(data=s[0], model=s[1], batch=s[2]) for s, frame in settings.items()
    ).drop(columns=["fit_time", "query_time"]).to_csv(
        options.output / "rounds.csv.gz", index=False, compression={"method": "gzip", "mtime": 0}
    )
    table = compare(settings)
    table.round(5).to_csv(options.output / "table.csv", index=False)
    # Apart from the others: few strategies serve forests, and one serves nothing else.
    of_forests = table["model"] == "forest"
    if of_forests.any():
        which_when(table[of_forests]).to_csv(options.output / "which_when_forests.csv", index=False)
        as_matrix(table[of_forests]).to_csv(options.output / "forests.csv")
    table = table[~of_forests]
    settings = {s: frame for s, frame in settings.items() if s[1] != "forest"}
    which_when(table).to_csv(options.output / "which_when.csv", index=False)
    for task in SCORING:
        part = table[[DATA[name][0] == task for name in table["data"]]]
        if part.empty:
            continue
        as_matrix(part).to_csv(options.output / f"{task}.csv")
        lines, below, ranks = summary(settings, task)
        ranks = ranks.round(1).to_string(na_rep="")
        text = f"{lines.round(2).to_string()}\n\n{below.to_string()}\n\n{ranks}\n"
        (options.output / f"{task}.txt").write_text(text)
        print(f"{task}\n{text}")
        draw(part, options.output / f"{task}.png")


def main():
    """Run the missing cells, or report on those there are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=["run", "report"])
    parser.add_argument("--repeats", type=int, default=10)
    for name, known in [
        ("--data", DATA),
        ("--models", MODELS),
        ("--batches", ["small", "large"]),
        ("--strategies", ALL_STRATEGIES),
    ]:
        parser.add_argument(name, nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--cells", type=Path, default=HERE / "cells")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    (run if options.task == "run" else report)(options)


if __name__ == "__main__":
    main()
