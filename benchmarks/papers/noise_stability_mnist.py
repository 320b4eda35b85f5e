"""MNIST with 20 to 200 labels: the small classification experiment of the NoiseStability paper.

    python benchmarks/papers/noise_stability_mnist.py --repeats 10
    python benchmarks/papers/noise_stability_mnist.py --report

As in Li et al. (2024) and their code: a small convolutional net, trained from scratch at every
round for 50 epochs by Adam (learning rate 1e-3, x 0.1 from epoch 20, batches of 96); 20 random
labels, drawn again until all ten digits are among them, then nine batches of 20, each chosen from
1,000 random rows of the pool. While the labelled rows fit in one batch, every digit has the same
weight in the loss. NoiseStability in its default form (noise over all weights) and as the authors'
code runs it ("official": noise per layer, in the weights only), 30 perturbations each.

What differs: there are the 10,000 test digits of MNIST here, 8,000 of them for the pool and 2,000
to test on, in a random split per repeat; the paper has 60,000 and 10,000. CoreSet knows all
labelled rows (theirs: those of the first rounds only), and BADGE leaves the pool as it is.

A repeat has its own split, first labels, candidates and nets, the same for all strategies. Every
finished run is written to noise_stability_mnist.csv (a line per round); after an interruption the
same command goes on. ``--report`` alone makes the table and the figure of what is there.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _digits import read_digits
from skorch.callbacks import LRScheduler
from torch import nn

from skal import ActiveLearner
from skal.metrics import area_under_budget_curve, paired_z
from skal.neural_network import NeuralNetClassifier
from skal.strategies import (
    BADGE,
    CoreSet,
    EntropySampling,
    MarginSampling,
    NoiseStability,
    RandomSampling,
)

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data"))
BATCH_SIZE, N_TEST, N_INITIAL, N_INSTANCES, N_ROUNDS, N_CANDIDATES = 96, 2000, 20, 20, 10, 1000
STRATEGIES = {
    "random": RandomSampling(),
    "noise-stability": NoiseStability(),
    "noise-stability, official": NoiseStability(preset="official"),
    "margin": MarginSampling(),
    "entropy": EntropySampling(),
    "coreset": CoreSet(),
    "badge": BADGE(),
}
PUBLISHED = {
    "random": "79.73 +- 1.00",
    "noise-stability, official": "83.00 +- 0.79",
    "margin": "82.50 +- 1.45",
    "entropy": "79.87 +- 2.61",
    "coreset": "79.83 +- 1.82",
    "badge": "82.22 +- 1.13",
}


class SmallCNN(nn.Sequential):
    """Two convolutions and two linear layers without an activation between them."""

    def __init__(self, n_outputs):
        super().__init__(
            nn.Conv2d(1, 32, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1024, 128),
            nn.Linear(128, n_outputs),
        )
        self.to(memory_format=torch.channels_last)


class DigitLoss(nn.CrossEntropyLoss):
    """Cross-entropy; `balanced` gives every digit in the batch the same weight."""

    def __init__(self, balanced):
        super().__init__()
        self.balanced = balanced

    def forward(self, logits, digits):
        if not self.balanced:
            return super().forward(logits, digits)
        losses = nn.functional.cross_entropy(logits, digits, reduction="none")
        weight = 1.0 / digits.bincount(minlength=10)[digits]
        return (losses * weight).sum()


def load(folder):
    """Standardised images (n, 1, 28, 28) as float32, and digits."""
    images, digits = read_digits(folder)
    return (images[:, None] / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081), digits


def split(y, seed):
    """Positions of the first labels, of the rest of the pool and of the test set."""
    rng = np.random.RandomState(seed)
    rows = rng.permutation(len(y))
    test, pool = rows[:N_TEST], rows[N_TEST:]
    while len(np.unique(y[pool[:N_INITIAL]])) < 10:
        pool = rng.permutation(pool)
    return pool[:N_INITIAL], pool[N_INITIAL:], test


def one_run(folder, name, repeat):
    """One strategy from one initial sample: a record per round."""
    X, y = load(folder)
    rows, left, test = split(y, repeat)
    schedule = LRScheduler("MultiStepLR", milestones=[20], gamma=0.1)
    net = NeuralNetClassifier(
        SmallCNN,
        classes=range(10),
        criterion=DigitLoss,
        criterion__balanced=True,
        lr=1e-3,
        optimizer=torch.optim.Adam,
        batch_size=BATCH_SIZE,
        max_epochs=50,
        callbacks=[schedule],
    )
    learner = ActiveLearner(net, STRATEGIES[name], random_state=repeat)
    rng, start = np.random.RandomState([repeat, 1]), time.process_time()
    learner.fit(X[rows], y[rows])
    records = []
    for round_ in range(N_ROUNDS):
        records.append(
            {
                "strategy": name,
                "repeat": repeat,
                "n_labels": learner.n_labeled_,
                "accuracy": learner.score(X[test], y[test]),
                "cpu_s": round(time.process_time() - start, 2),
            }
        )
        if round_ == N_ROUNDS - 1:
            return records
        candidates = left[rng.permutation(len(left))[:N_CANDIDATES]]
        rows = candidates[learner.query(X[candidates], N_INSTANCES)]
        left = left[~np.isin(left, rows)]
        fits = learner.n_labeled_ + N_INSTANCES <= BATCH_SIZE
        learner.set_params(estimator__criterion__balanced=fits)
        learner.teach(X[rows], y[rows])


def areas(results):
    """Area under the budget curve by strategy: a series over the repeats."""
    found = {}
    for name, runs in results.groupby("strategy", sort=False):
        curves = runs.pivot(index="repeat", columns="n_labels", values="accuracy")
        found[name] = pd.Series(
            area_under_budget_curve(curves.columns, curves.to_numpy()), curves.index
        )
    return found


def table(results):
    """Area with standard error and paired z against random, next to the paper's."""
    area, lines = areas(results), {}
    for name, values in area.items():
        both = values.index.intersection(area["random"].index)
        paired = len(both) > 1 and name != "random"
        lines[name] = {
            "runs": len(values),
            "area %": f"{100 * values.mean():.2f}",
            "sd": f"{100 * values.std():.2f}",
            "s.e.": f"{100 * values.sem():.2f}",
            "z to random": f"{paired_z(values[both], area['random'][both]):.2f}" if paired else "",
            "published, mean +- sd": PUBLISHED.get(name, ""),
        }
    return pd.DataFrame(lines).T.sort_values("area %", ascending=False)


def report(path):
    """Write the table and, from two repeats on, the learning curves."""
    results = pd.read_csv(path)
    text = (
        "MNIST, 20 to 200 labels: accuracy, area under the budget curve\n"
        f"{table(results).to_string()}\n"
    )
    print(text)
    path.with_suffix(".txt").write_text(text)

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from skal.inspection import LearningCurveDisplay

    runs = results.groupby("repeat")["strategy"].nunique()
    whole = runs.index[runs == results["strategy"].nunique()]
    if len(whole) < 2:
        return
    figure, axis = plt.subplots(figsize=(8, 4.5))
    LearningCurveDisplay.from_results(
        results[results["repeat"].isin(whole)], score="accuracy", baseline="random", ax=axis
    )
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=80)


def main():
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--strategies", default=";".join(STRATEGIES), help="split at semicolons")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.output / "noise_stability_mnist.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not options.report:
        done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["strategy", "repeat"])
        finished = set(zip(done["strategy"], done["repeat"], strict=True))
        for repeat in range(options.repeats):
            for name in options.strategies.split(";"):
                if (name, repeat) not in finished:
                    records = one_run(options.data, name, repeat)
                    new = not path.exists()
                    pd.DataFrame(records).to_csv(path, mode="a", header=new, index=False)
                    print(repeat, name, records[-1], flush=True)
    report(path)


if __name__ == "__main__":
    main()
