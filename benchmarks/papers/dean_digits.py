"""Noisy answers on handwritten digits: what DeAn and the denoising layer gain.

    python benchmarks/papers/dean_digits.py run                     # what is missing of 45 cells
    python benchmarks/papers/dean_digits.py run --noise 0 0.1 --repeats 1
    python benchmarks/papers/dean_digits.py run --full --noise 0 0.1 0.3    # days; on a GPU
    python benchmarks/papers/dean_digits.py summary

The MNIST experiment of Gupta, Sahu and Lin (2019), "Noisy batch active learning with deterministic
annealing". The first 40 labels are right and balanced; every label asked for goes through the
symmetric channel: with probability ``--noise`` it is another class, any of them. After each batch
of 200 the net is trained afresh, without a channel ("none"), or with one, by the default update of
NoisyChannelClassifier ("euclidean") or by the published one ("paper"); ``--channels identity``, a
channel that is not trained, tells the layer from its training. The net is the same in all:
two convolutions of 4 x 4, max-pooling, dropout of channels 0.25, a dense layer of 128, dropout 0.5;
50 epochs of Adam 1e-3 in batches of 128, weight decay 3.5 / m on the dense layer for m labels.

``--scale small`` is cut to what a share of a core does in an hour, ``paper`` is the published size:

========  ========  ======  ==========  ======  ========  ==========
scale     channels  rounds  candidates  passes  clusters  validation
========  ========  ======  ==========  ======  ========  ==========
small     8         3       2,000       20      500       500 rows
paper     32        5       all         100     2,500     500 rows
========  ========  ======  ==========  ======  ========  ==========

What differs from the paper in both: the images are the 10,000 test digits of MNIST (2,000 for
testing, 500 for DeAn's uncertainty, the rest is the pool; published: 40,000 rows of pool and 5,000
for validation); mini-batches are shuffled; candidates are drawn without replacement, so that no row
is bought twice; a pass of BALD and DeAn drops the same units in all rows. Splits, first labels and
the label that each row would get are the same for all strategies and nets of a repeat.

A finished cell (a strategy, a net, a noise, a repeat) is appended to the CSV file of results at
once, as one block; what an interruption leaves of a block is thrown away by the next run.
"""

import argparse
import itertools
import os
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from _digits import read_digits
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NoisyChannelClassifier, best_device
from skal.selection import TopK
from skal.strategies import CoreSet, DeAn, EntropySampling, RandomSampling

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data"))
N_CLASSES, N_INITIAL, N_INSTANCES = 10, 40, 200
N_TEST, N_VALIDATION = 2000, 500

SCALES = {
    "small": {"channels": 8, "rounds": 3, "candidates": 2000, "passes": 20, "clusters": 500},
    "paper": {"channels": 32, "rounds": 5, "candidates": 10_000, "passes": 100, "clusters": 2500},
}
STRATEGIES = {
    "random": lambda size, X_val: RandomSampling(),
    # The importance that DeAn gives to rows is BALD's score; the top of it is BALD.
    "bald": lambda size, X_val: DeAn(n_passes=size["passes"], selector=TopK()),
    "coreset": lambda size, X_val: CoreSet(),
    "entropy": lambda size, X_val: EntropySampling(),
    "dean": lambda size, X_val: DeAn(
        n_passes=size["passes"], n_clusters=size["clusters"], validation=X_val
    ),
}
CHANNELS = {
    "none": (NeuralNetClassifier, {}),
    "euclidean": (NoisyChannelClassifier, {}),
    "paper": (NoisyChannelClassifier, {"update": "paper"}),
    "identity": (NoisyChannelClassifier, {"trainable": False}),
}
COLUMNS = [
    "scale",
    "epochs",
    "noise",
    "strategy",
    "channel",
    "repeat",
    "n_acquired",
    "accuracy",
    "labels_right",
    "diagonal",
    "cpu_seconds",
]
CELL = COLUMNS[:6]

# Test accuracy in % after 200, 400, ..., 1000 labels: mean of 20 runs. "paper" is +denoise, which
# the table has for DeAn only.
PUBLISHED = {
    (0.0, "random", "none"): [87.19, 91.51, 93.40, 94.39, 95.17],
    (0.0, "bald", "none"): [80.03, 89.84, 94.17, 96.23, 97.00],
    (0.0, "coreset", "none"): [87.87, 92.40, 94.53, 95.57, 96.02],
    (0.0, "entropy", "none"): [77.69, 89.53, 94.94, 96.67, 97.28],
    (0.0, "dean", "none"): [87.60, 94.11, 96.00, 96.96, 97.40],
    (0.1, "random", "none"): [81.87, 87.26, 89.55, 91.10, 91.94],
    (0.1, "bald", "none"): [76.13, 85.45, 90.75, 94.01, 94.96],
    (0.1, "coreset", "none"): [83.46, 88.42, 90.80, 91.37, 93.09],
    (0.1, "entropy", "none"): [74.28, 85.64, 91.59, 94.72, 95.73],
    (0.1, "dean", "none"): [83.45, 90.74, 93.63, 94.94, 95.81],
    (0.1, "dean", "paper"): [84.88, 92.68, 95.18, 96.29, 96.87],
    (0.3, "random", "none"): [73.10, 77.45, 79.88, 81.10, 82.66],
    (0.3, "bald", "none"): [69.54, 76.28, 82.25, 85.10, 87.97],
    (0.3, "coreset", "none"): [74.58, 78.14, 79.89, 82.17, 83.49],
    (0.3, "entropy", "none"): [68.11, 77.70, 83.91, 87.78, 89.37],
    (0.3, "dean", "none"): [73.18, 81.77, 85.85, 87.81, 89.46],
    (0.3, "dean", "paper"): [77.81, 85.96, 90.95, 93.33, 94.78],
}


class SmallCNN(nn.Sequential):
    """The net of the paper's MNIST experiment; logits."""

    def __init__(self, n_outputs, channels):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, channels, 4),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.dropout = nn.Dropout2d(0.25)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(channels * 11 * 11, 128)
        self.relu = nn.ReLU()
        self.dense_dropout = nn.Dropout(0.5)
        self.head = nn.Linear(128, n_outputs)


def load_digits(folder):
    """Images (10000, 1, 28, 28) in [0, 1] and labels."""
    images, labels = read_digits(folder)
    return (images[:, None] / 255).astype(np.float32), labels


def split(y, repeat, noise):
    """Rows of the first labels, the pool, validation and test, and the label each row gets."""
    rng = np.random.RandomState(repeat)
    rows = rng.permutation(len(y))
    test, validation, rest = np.split(rows, [N_TEST, N_TEST + N_VALIDATION])
    per_class = N_INITIAL // N_CLASSES
    initial = np.concatenate([rest[y[rest] == k][:per_class] for k in range(N_CLASSES)])
    wrong = rng.random_sample(len(y)) < noise
    answers = np.where(wrong, (y + rng.randint(1, N_CLASSES, len(y))) % N_CLASSES, y)
    answers[initial] = y[initial]
    return initial, np.setdiff1d(rest, initial), validation, test, answers


def new_net(channel, size, n_labels, options):
    """The net, with or without a channel; its weight decay depends on the number of labels."""
    cls, params = CHANNELS[channel]
    return cls(
        SmallCNN,
        module__channels=size["channels"],
        lr=1e-3,
        max_epochs=options.epochs,
        batch_size=128,
        classes=np.arange(N_CLASSES),
        device=best_device(),
        optimizer__param_groups=[("dense.*", {"weight_decay": 3.5 / n_labels})],
        **params,
    )


def one_cell(X, y, cell, options):
    """Records of one run, one per batch of labels."""
    _, _, noise, strategy, channel, repeat = cell
    size = SCALES[options.scale]
    labeled, pool, validation, test, answers = split(y, repeat, noise)
    draws = np.random.RandomState(repeat + 1000)
    query_strategy = STRATEGIES[strategy](size, X[validation])
    records = []
    start = process_time()
    for round_ in range(size["rounds"] + 1):
        # The first labels are right: the first net has no channel, as published.
        net = new_net(channel if round_ else "none", size, len(labeled), options)
        learner = ActiveLearner(net, query_strategy, random_state=100 * repeat + round_)
        learner.fit(X[labeled], answers[labeled])
        if round_:
            W = getattr(learner.estimator_, "noise_channel_", np.eye(N_CLASSES))
            bought = labeled[N_INITIAL:]
            records.append(
                {
                    **dict(zip(CELL, cell, strict=True)),
                    "n_acquired": len(bought),
                    "accuracy": np.mean(learner.predict(X[test]) == y[test]),
                    "labels_right": np.mean(answers[bought] == y[bought]),
                    "diagonal": W.diagonal().mean(),
                    "cpu_seconds": process_time() - start,
                }
            )
            start = process_time()
        if round_ < size["rounds"]:
            candidates = draws.permutation(pool)[: size["candidates"]]
            rows = candidates[learner.query(X[candidates], N_INSTANCES)]
            labeled, pool = np.concatenate([labeled, rows]), np.setdiff1d(pool, rows)
    return records


def read(path, options):
    """Finished cells of the file, and the file without what an interruption left of others."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    text = path.read_text()
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    lines = [line.split(",") for line in text.splitlines()[1:]]
    results = pd.DataFrame([line for line in lines if len(line) == len(COLUMNS)], columns=COLUMNS)
    types = dict.fromkeys(COLUMNS, float) | dict.fromkeys(["scale", "strategy", "channel"], str)
    results = results.astype(types | dict.fromkeys(["epochs", "repeat", "n_acquired"], int))
    n_rounds = results["scale"].map(lambda scale: SCALES[scale]["rounds"])
    whole = results.groupby(CELL)["n_acquired"].transform("size") == n_rounds
    return results[whole]


def append(path, records):
    """Add a block of lines in one write, and see it through to the disk."""
    text = pd.DataFrame(records, columns=COLUMNS).round(6).to_csv(index=False, header=False)
    with open(path, "a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def run(path, options):
    """Run what is missing: noise by noise, repeat by repeat."""
    torch.set_num_threads(1)
    X, y = load_digits(options.data)
    finished = read(path, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    finished.to_csv(temporary, index=False)
    os.replace(temporary, path)
    done = set(finished[CELL].itertuples(index=False, name=None))
    grid = itertools.product(
        options.noise, range(options.repeats), options.channels, options.strategies
    )
    for noise, repeat, channel, strategy in grid:
        cell = (options.scale, options.epochs, noise, strategy, channel, repeat)
        if cell in done:
            continue
        start = perf_counter()
        records = one_cell(X, y, cell, options)
        append(path, records)
        accuracy = " ".join(f"{100 * record['accuracy']:.2f}" for record in records)
        print(*cell, "accuracy", accuracy, f"{perf_counter() - start:.0f} s", flush=True)


def summary(path, options):
    """Mean accuracies with standard errors beside the published ones, and gains of the channel."""
    results = read(path, options)
    results = results[(results["scale"] == options.scale) & (results["epochs"] == options.epochs)]
    results["accuracy"] *= 100
    blocks = [f"Digits, scale {options.scale}, {options.epochs} epochs: test accuracy in %"]
    for noise, part in results.groupby("noise"):
        blocks.append(f"noise {noise:g}: mean +- standard error (runs) [published mean of 20 runs]")
        blocks.append(_accuracies(noise, part))
        if part["channel"].nunique() > 1:
            blocks.append("gain over no channel, in points, paired by repeat")
            blocks.append(_gains(part))
    return "\n\n".join(blocks) + "\n"


def _accuracies(noise, part):
    rows = []
    order = [(s, c) for s in STRATEGIES for c in CHANNELS]
    for strategy, channel in order:
        runs = part[(part["strategy"] == strategy) & (part["channel"] == channel)]
        if runs.empty:
            continue
        published = PUBLISHED.get((noise, strategy, channel), [])
        row = {"strategy": strategy, "channel": channel, "runs": runs["repeat"].nunique()}
        for i, (n, values) in enumerate(runs.groupby("n_acquired")["accuracy"]):
            beside = f" [{published[i]:.2f}]" if i < len(published) else ""
            row[f"{n} labels"] = _with_error(values) + beside
        last = runs[runs["n_acquired"] == runs["n_acquired"].max()]
        row["right"] = f"{last['labels_right'].mean():.2f}"
        row["W diagonal"] = f"{last['diagonal'].mean():.2f}" if channel != "none" else ""
        row["CPU s"] = f"{runs.groupby('repeat')['cpu_seconds'].sum().mean():.0f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("").to_string(index=False)


def _gains(part):
    curves = part.pivot(index=["strategy", "channel", "repeat"], columns="n_acquired")["accuracy"]
    rows = []
    for strategy, channel in [(s, c) for s in STRATEGIES for c in CHANNELS if c != "none"]:
        try:
            gain = (curves.loc[strategy, channel] - curves.loc[strategy, "none"]).dropna()
        except KeyError:
            continue
        if gain.empty:
            continue
        gain["all rounds"] = gain.mean(axis=1)
        row = {"strategy": strategy, "channel": channel, "runs": len(gain)}
        for name, values in gain.items():
            label = f"{name} labels" if name != "all rounds" else name
            row[label] = _with_error(values, "+")
        row["runs that gain"] = f"{(gain['all rounds'] > 0).sum()}"
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)


def _with_error(values, sign=""):
    """Mean and standard error."""
    error = f" +- {values.sem():.2f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.2f}{error}"


def main():
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["run", "summary"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.3])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=STRATEGIES)
    parser.add_argument("--channels", nargs="+", choices=list(CHANNELS), default=list(CHANNELS)[:3])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--scale", choices=list(SCALES), default="small")
    parser.add_argument("--full", action="store_true", help="--scale paper --repeats 20")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.scale = "paper" if options.full else options.scale
    options.repeats = options.repeats or (20 if options.full else 3)
    path = options.output / "dean_digits.csv"
    if options.command == "run":
        run(path, options)
    text = summary(path, options)
    print(text)
    stem = "dean_digits" if options.scale == "small" else "dean_digits_paper"
    (options.output / f"{stem}.txt").write_text(text)


if __name__ == "__main__":
    main()
