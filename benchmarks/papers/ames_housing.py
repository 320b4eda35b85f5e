"""Ames Housing: the published protocol of NoiseStability, and a sane one.

    python benchmarks/papers/ames_housing.py published --repeats 50
    python benchmarks/papers/ames_housing.py sane --half first --repeats 20     # to choose
    python benchmarks/papers/ames_housing.py sane --half second --repeats 40    # to report

Published (Li et al., 2024, as their code runs it): 215 raw inputs (columns without gaps, one-hot
encoded), prices in dollars, rows 1-730 are the pool and 731-1460 the test set; a net of 128-64-32
hidden units, Adam with learning rate 1e-3 (x 0.1 from epoch 160), 500 epochs of batches of 64,
trained afresh on 20, 40, ..., 200 labels; each batch of 20 is chosen from 200 random rows of the
pool. The metric of their table is the sum over test batches of 64 of the root of the batch's mean
squared error, divided by 730; mean absolute error and RMSE are reported beside it.

Sane: all columns, imputed, standardised and clipped, one-hot categories; the logarithm of the
price; dropout; batches of 20 from the whole pool, 20 to 200 labels; mean absolute error in dollars.
The preprocessing is fitted on the first half without labels. ``--half first`` holds out random
quarters of rows 1-730: what is chosen is chosen there. ``--half second`` trains on rows 1-730 and
tests on rows 731-1460: what is reported is reported there.

Every finished run is a line in the CSV file of results; after an interruption the same command goes
on. The tables go to ``benchmarks/papers/results``.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from skorch.callbacks import LRScheduler

from skal import ActiveLearner
from skal._cli import TRAINING, _preprocessing
from skal.datasets import fetch_ames_housing
from skal.metrics import area_under_budget_curve, paired_z
from skal.neural_network import NeuralNetRegressor
from skal.selection import LCMD, KMeansPlusPlus
from skal.strategies import (
    CoreSet,
    GradientEmbedding,
    NoiseStability,
    RandomSampling,
    TypiClust,
)

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data")) / "house_prices.csv"
N_INITIAL = N_INSTANCES = 20
N_ROUNDS = 10

STRATEGIES = {
    "random": RandomSampling(),
    "coreset": CoreSet(),
    "noise-stability": NoiseStability(),
    "noise-stability, official": NoiseStability(preset="official"),
    "noise-stability, paper": NoiseStability(preset="paper"),
    "lcmd, features": CoreSet(selector=LCMD()),
    "lcmd, inputs": CoreSet(space="inputs", selector=LCMD()),
    "k-means++, features": CoreSet(selector=KMeansPlusPlus()),
    "k-means++, inputs": CoreSet(space="inputs", selector=KMeansPlusPlus()),
    "coreset, inputs": CoreSet(space="inputs"),
    "typiclust, features": TypiClust(space="features"),
    "typiclust, inputs": TypiClust(space="inputs"),
    "typiclust, inputs, first batch too": TypiClust(space="inputs"),
    "lcmd, gradients": GradientEmbedding(),
    "typiclust, then lcmd, gradients": TypiClust(space="inputs"),
    "typiclust, then random": TypiClust(space="inputs"),
}
COLD_START = {"typiclust, inputs, first batch too"}
# Combinations over the budget: what asks from this number of labels on.
SWITCH_AT = 100
LATER = {
    "typiclust, then lcmd, gradients": GradientEmbedding(),
    "typiclust, then random": RandomSampling(),
}
DEFAULTS = {
    "published": [
        "random",
        "coreset",
        "noise-stability",
        "noise-stability, official",
        "noise-stability, paper",
    ],
    "sane": ["random", "coreset", "noise-stability", "lcmd, features", "typiclust, inputs"],
}
PUBLISHED = {
    "random": "849.45 +- 27.56",
    "coreset": "847.52 +- 18.83",
    "noise-stability, official": "828.78 +- 16.92",
}


class PublishedNet(torch.nn.Module):
    """Three hidden layers, the last of them linear, and the predictor."""

    def __init__(self, n_features):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(n_features, 128),
            torch.nn.ReLU(),
            torch.nn.Linear(128, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 32),
        )
        self.head = torch.nn.Linear(32, 1)

    def forward(self, X):
        return self.head(self.body(X))


def published_task(path):
    """Inputs, prices, and the net of the published protocol."""
    houses, price = fetch_ames_housing(path=path, return_X_y=True)
    houses = houses.loc[:, houses.notna().all()]
    numbers = houses.select_dtypes("number")
    categories = pd.get_dummies(houses.select_dtypes("category"))
    X = np.hstack([numbers, categories]).astype(np.float32)
    assert X.shape == (1460, 215), X.shape
    schedule = LRScheduler("MultiStepLR", milestones=[160], gamma=0.1)
    net = NeuralNetRegressor(
        PublishedNet, lr=1e-3, max_epochs=500, batch_size=64, callbacks=[schedule]
    )
    return X, price.to_numpy(), net


def sane_task(path):
    """Frame, prices, and the model of the sane protocol."""
    houses, price = fetch_ames_housing(path=path, return_X_y=True)
    preprocessing = FrozenEstimator(_preprocessing(houses).fit(houses[:730]))
    net = NeuralNetRegressor(standardize_y=True, max_epochs=60, **TRAINING)
    model = TransformedTargetRegressor(
        make_pipeline(preprocessing, net), func=np.log1p, inverse_func=np.expm1
    )
    return houses, price.to_numpy(), model


def errors(y, prediction):
    """The published metric, mean absolute error and RMSE."""
    squared = (prediction - y) ** 2
    batches = [squared[i : i + 64].mean() for i in range(0, len(squared), 64)]
    return {
        "published": np.sqrt(batches).sum() / len(y),
        "mae": np.abs(prediction - y).mean(),
        "rmse": np.sqrt(squared.mean()),
    }


def one_run(task, path, name, repeat, half, subset):
    """One strategy from one initial sample: a list with a record per round."""
    torch.set_num_threads(1)
    X, y, model = (published_task if task == "published" else sane_task)(path)
    take = X.iloc.__getitem__ if isinstance(X, pd.DataFrame) else X.__getitem__
    pool, test = np.arange(730), np.arange(730, 1460)
    if half == "first":
        pool, test = train_test_split(pool, test_size=0.25, random_state=repeat)
    rng = np.random.RandomState(repeat)
    learner = ActiveLearner(model, STRATEGIES[name], random_state=repeat)
    rows = rng.permutation(pool)[:N_INITIAL]
    if name in COLD_START:
        rows = pool[learner.query(take(pool), N_INITIAL)]
    learner.fit(take(rows), y[rows])
    records, left = [], np.setdiff1d(pool, rows)
    for round_ in range(N_ROUNDS):
        scores = errors(y[test], np.ravel(learner.predict(take(test))))
        records.append(
            {"strategy": name, "repeat": repeat, "n_labels": learner.n_labeled_, **scores}
        )
        if round_ == N_ROUNDS - 1:
            return records
        candidates = left if subset is None else rng.permutation(left)[:subset]
        rows = candidates[learner.query(take(candidates), N_INSTANCES)]
        if name in LATER and learner.n_labeled_ + N_INSTANCES >= SWITCH_AT:
            learner.set_params(query_strategy=LATER[name])  # from the next training on
        learner.teach(take(rows), y[rows])
        left = np.setdiff1d(left, rows)


def table(results, metric):
    """Area (mean over the rounds), standard error, ratio and paired z: greater z is better."""
    areas = {}
    for name, runs in results.groupby("strategy", sort=False):
        curves = runs.pivot(index="repeat", columns="n_labels", values=metric)
        areas[name] = pd.Series(
            area_under_budget_curve(curves.columns, curves.to_numpy(), rule="mean"), curves.index
        )
    lines = {}
    for name, area in areas.items():
        both = area.index.intersection(areas["random"].index)
        paired = area[both], areas["random"][both]
        lines[name] = {
            "runs": len(area),
            "area": area.mean(),
            "sd": area.std(),
            "s.e.": area.sem(),
            "ratio": (paired[1] / paired[0]).mean(),
            "z": _z(*paired) if name != "random" else np.nan,
        }
    return pd.DataFrame(lines).T.astype({"runs": int}).sort_values("area")


def _z(area, reference):
    return paired_z(area, reference, greater_is_better=False) if len(area) > 1 else np.nan


def main():
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=["published", "sane"])
    parser.add_argument("--half", choices=["first", "second"], default="second")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--strategies", help="names separated by semicolons")
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    names = options.strategies.split(";") if options.strategies else DEFAULTS[options.task]

    stem = f"ames_{options.task}" + ("_first_half" if options.half == "first" else "")
    path = options.output / f"{stem}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["strategy", "repeat"])
    finished = set(zip(done["strategy"], done["repeat"], strict=True))
    cells = [(n, r) for r in range(options.repeats) for n in names if (n, r) not in finished]
    subset = 200 if options.task == "published" else None
    runs = Parallel(n_jobs=options.n_jobs, return_as="generator_unordered")(
        delayed(one_run)(options.task, options.data, name, repeat, options.half, subset)
        for name, repeat in cells
    )
    for records in runs:
        pd.DataFrame(records).to_csv(path, mode="a", header=not path.exists(), index=False)

    results = pd.read_csv(path)
    text = []
    for metric in ("mae", "rmse", "published"):
        text.append(f"{metric}\n{table(results, metric).round(3).to_string()}\n")
    if options.task == "published":
        figures = "; ".join(f"{name} {value}" for name, value in PUBLISHED.items())
        text.append(f"Published (metric 'published', mean +- sd): {figures}\n")
    print("\n".join(text))
    (options.output / f"{stem}.txt").write_text("\n".join(text))


if __name__ == "__main__":
    main()
