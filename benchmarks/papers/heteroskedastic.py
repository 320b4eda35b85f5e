"""Pools with noisy regions: how clean is what the strategies ask for, and what fine-tuning adds.

    python benchmarks/papers/heteroskedastic.py run --data digits                # half an hour
    python benchmarks/papers/heteroskedastic.py run --data mnist                 # hours
    python benchmarks/papers/heteroskedastic.py run --data cifar10.npz --full    # days; on a GPU
    python benchmarks/papers/heteroskedastic.py table --data digits

The three benchmarks of Khosla et al. (2022), "Understanding and improving neural active learning on
heteroskedastic distributions": to the clean rows are added four times as many noisy ones, all black
with random labels (blank), of one of a hundred colours with one of three labels each (diverse), or
copies of a hundred rows of one class (a fifth of the class, where that is less) with random labels
(class). Every strategy runs with and without fine-tuning on pseudo-labels; after ten rounds the
accuracy on clean test rows and the share of clean rows among those asked for (the first labels left
out) are reported.

By default the protocol is scaled down to a multi-layer perceptron with dropout on one core:

========  ==========  ==========  =======  ======  =======  =========================
data      clean rows  pool        initial  batch   rounds   fine-tuning
========  ==========  ==========  =======  ======  =======  =========================
digits    1,297       6,485       50       25      10       10 epochs, 1,000 rows
mnist     5,000       25,000      200      100     10       10 epochs, 2,000 rows
========  ==========  ==========  =======  ======  =======  =========================

The labels at the end are the published share of the clean rows (24 %). ``--full`` is the published
protocol: a residual net of widths 16-32-64-128, 2,000 labels and 1,000 per round, Adam 1e-4 in
batches of 64 for up to 500 epochs, until the training accuracy is 0.99 and that of the averaged net
0.80, gradients clamped to [-0.1, 0.1]; fine-tuning with Adam 1e-2 for up to 500 epochs. It differs
in what skal does by default: both nets are compared in evaluation mode, labels to be copied come
from the averaged net, nothing is carried over between rounds, and no training is restarted. BALD
needs dropout, which that net gets before its last layer, for BALD only.

``--data`` takes "digits" (scikit-learn's), "mnist" (the 10,000 test digits in ``../shared/data``)
or an npz file with the arrays X_train, y_train, X_test, y_test, images of shape (n, channels,
height, width) in 0 ... 255, CIFAR-10 or SVHN for instance.

Every finished run is written to the CSV file of results at once; after an interruption the same
command goes on where it stopped.
"""

import argparse
import itertools
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from _digits import read_digits
from skorch.callbacks import Callback
from torch import nn

from skal import ActiveLearner
from skal.datasets import make_noisy_blank, make_noisy_class, make_noisy_diverse
from skal.metrics import clean_fraction
from skal.neural_network import (
    MLP,
    EMACallback,
    ImageAugment,
    NeuralNetClassifier,
    PseudoLabelFineTuner,
    best_device,
)
from skal.neural_network._averaging import find_average
from skal.strategies import (
    BADGE,
    BALD,
    LHD,
    CoreSet,
    LeastConfidence,
    MarginSampling,
    RandomSampling,
)

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data"))

N_ROUNDS, N_CLASSES = 10, 10


def one_class(X, y, random_state):
    """Copies of 100 images of class 1 (a fifth of them, where that is less) with any label."""
    n_unique = min(100, np.count_nonzero(y == 1) // 5)
    return make_noisy_class(X, y, noisy_class=1, n_unique=n_unique, random_state=random_state)


BENCHMARKS = {"blank": make_noisy_blank, "diverse": make_noisy_diverse, "class": one_class}
STRATEGIES = {
    "random": RandomSampling,
    "confidence": LeastConfidence,
    "margin": MarginSampling,
    "bald": BALD,
    "coreset": CoreSet,
    "badge": BADGE,
    "lhd": LHD,
}

# Published: accuracy, accuracy with fine-tuning (blank, diverse, class), clean share without.
PUBLISHED = {
    "cifar10": {
        "random": [38.27, 32.70, 32.11, 45.45, 40.31, 43.12, 20.25, 20.53, 17.96],
        "confidence": [32.88, 39.53, 27.04, 58.66, 57.09, 49.78, 10.41, 46.99, 11.42],
        "margin": [39.16, 26.34, 30.40, 58.33, 52.94, 52.46, 21.98, 4.61, 10.83],
        "bald": [46.90, 35.64, 31.65, 65.31, 44.34, 53.00, 80.62, 18.62, 12.47],
        "coreset": [47.19, 47.33, 40.31, 61.13, 59.25, 53.01, 100.00, 100.00, 94.25],
        "badge": [47.84, 42.40, 39.33, 64.30, 61.36, 53.78, 99.90, 90.00, 80.70],
        "lhd": [46.28, 41.25, 40.43, 75.78, 70.50, 64.34, 99.90, 53.97, 82.55],
    },
    "svhn": {
        "random": [80.35, 71.49, 53.93, 85.90, 71.49, 53.93, 19.84, 20.16, 19.81],
        "confidence": [75.84, 76.41, 30.00, 89.85, 83.31, 57.28, 10.00, 37.59, 10.46],
        "margin": [79.84, 53.82, 38.45, 90.76, 84.74, 68.12, 17.26, 7.52, 8.01],
        "bald": [84.69, 69.10, 43.06, 90.90, 67.21, 63.73, 69.09, 25.58, 13.12],
        "coreset": [86.97, 86.61, 65.52, 89.21, 87.46, 70.92, 100.00, 100.00, 100.00],
        "badge": [86.90, 84.41, 59.98, 91.27, 88.76, 71.50, 99.90, 90.00, 90.00],
        "lhd": [86.97, 82.98, 66.01, 93.54, 90.92, 75.51, 99.90, 77.80, 76.71],
    },
}

# Scaled protocols: clean rows (None: all that are not tested on), labels, net, fine-tuning.
SCALED = {
    "digits": {
        "n_clean": None,
        "n_test": 500,
        "n_initial": 50,
        "n_instances": 25,
        "alpha": 0.99,
        "hidden": (64, 32),
        "max_epochs": 40,
        "batch_size": 16,
        "fine_tuning": {"epochs": 10, "lr": 1e-3, "max_samples": 1000},
    },
    "mnist": {
        "n_clean": 5000,
        "n_test": 5000,
        "n_initial": 200,
        "n_instances": 100,
        "alpha": 0.99,
        "hidden": (128, 64),
        "max_epochs": 40,
        "batch_size": 32,
        "fine_tuning": {"epochs": 10, "lr": 1e-3, "max_samples": 2000},
    },
}


class ResidualNet(nn.Module):
    """Four stages of two basic blocks, widths 16-32-64-128; 128 features."""

    def __init__(self, n_channels, dropout=0.0):
        super().__init__()
        layers, width = [_convolution(n_channels, 16, 1), nn.ReLU()], 16
        for n_channels, stride in ((16, 1), (32, 2), (64, 2), (128, 2)):
            layers += [_Block(width, n_channels, stride), _Block(n_channels, n_channels, 1)]
            width = n_channels
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.body = nn.Sequential(*layers, *pool, *([nn.Dropout(dropout)] if dropout else []))
        self.head = nn.Linear(128, N_CLASSES)

    def forward(self, X):
        """Map images to logits."""
        return self.head(self.body(X))


class _Block(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.first, self.second = _convolution(n_in, n_out, stride), _convolution(n_out, n_out, 1)
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(n_in, n_out, stride, size=1)

    def forward(self, X):
        return torch.relu(self.second(torch.relu(self.first(X))) + self.shortcut(X))


def _convolution(n_in, n_out, stride, size=3):
    convolution = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out))


class PublishedTraining(Callback):
    """Clamp the gradients; stop when the net and its average have learnt the labels."""

    def on_epoch_begin(self, net, **kwargs):
        self.right_ = self.n_ = 0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        nn.utils.clip_grad_value_([parameter for _, parameter in named_parameters], 0.1)

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        if training:
            self.right_ += int((y_pred.detach().argmax(1) == batch[1].to(y_pred.device)).sum())
            self.n_ += len(batch[1])

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        if self.right_ < 0.99 * self.n_:
            return
        averaged, right = find_average(net).averaged_, 0
        with torch.no_grad():
            for X, target in net.get_iterator(dataset_train):
                right += int((averaged(X).argmax(1) == target.to(X.device)).sum())
        if right >= 0.8 * len(dataset_train):
            raise KeyboardInterrupt


def load(data):
    """Images in 0 ... 255 as float32 (n, channels, height, width), labels; train and test."""
    if data == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return (X.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.float32), y, None, None
    if data == "mnist":
        X, y = read_digits(SHARED)
        return X[:, None].astype(np.float32), y, None, None
    with np.load(data) as file:
        parts = [file[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    return parts[0].astype(np.float32), parts[1], parts[2].astype(np.float32), parts[3]


def make_task(data, benchmark, seed, full):
    """The noisy pool (rows, labels, which are noisy) and the clean test rows, standardised."""
    X, y, X_test, y_test = load(data)
    if X_test is None:
        order = np.random.RandomState(seed).permutation(len(X))
        n_test = SCALED[data]["n_test"] if not full else len(X) // 5
        test, train = order[:n_test], order[n_test:]
        X, y, X_test, y_test = X[train], y[train], X[test], y[test]
        if not full:
            X, y = X[: SCALED[data]["n_clean"]], y[: SCALED[data]["n_clean"]]
    mean, std = X.mean((0, 2, 3), keepdims=True), X.std((0, 2, 3), keepdims=True)
    X, y, noisy, _ = BENCHMARKS[benchmark](X, y, random_state=seed)
    return (X - mean) / std, y, noisy, (X_test - mean) / std, y_test


def make_learner(name, data, fine_tuned, shape, seed, full):
    """The strategy around the net, fine-tuned or not."""
    common = {"classes": np.arange(N_CLASSES)}
    alpha = 0.999 if full else SCALED[data]["alpha"]
    strategy = LHD(alpha=alpha) if name == "lhd" else STRATEGIES[name]()
    average = EMACallback(alpha, snapshot="gap" if name == "lhd" else "end")
    if full:
        net = NeuralNetClassifier(
            ResidualNet,
            module__n_channels=shape[0],
            module__dropout=0.5 if name == "bald" else 0.0,
            lr=1e-4,
            max_epochs=500,
            batch_size=64,
            device=best_device(),
            callbacks=[average, PublishedTraining()],
            **common,
        )
        tuning = {}
    else:
        scaled = SCALED[data]
        net = NeuralNetClassifier(
            MLP,
            module__hidden=scaled["hidden"],
            module__dropout=0.2,
            lr=2e-3,
            max_epochs=scaled["max_epochs"],
            batch_size=scaled["batch_size"],
            callbacks=[average] if fine_tuned or name == "lhd" else None,
            **common,
        )
        tuning = scaled["fine_tuning"]
    if fine_tuned:
        net = PseudoLabelFineTuner(net, augmentation=ImageAugment(image_shape=shape), **tuning)
    return ActiveLearner(net, strategy, random_state=seed)


def run_cell(data, benchmark, name, fine_tuned, seed, full):
    """One strategy on one benchmark: a list with a record per round."""
    torch.set_num_threads(torch.get_num_threads() if full else 1)
    X, y, noisy, X_test, y_test = make_task(data, benchmark, seed, full)
    settings = {"n_initial": 2000, "n_instances": 1000} if full else SCALED[data]
    learner = make_learner(name, data, fine_tuned, X.shape[1:], seed, full)
    rows = np.random.RandomState(seed).permutation(len(X))[: settings["n_initial"]]
    partly = np.full(len(X), np.nan)
    partly[rows] = y[rows]
    asked, records, started = np.zeros(0, dtype=int), [], perf_counter()
    with warnings.catch_warnings():
        # Early rounds may find too few confident rows; n_selected tells.
        warnings.filterwarnings("ignore", message=".*PseudoLabelFineTuner")
        learner.fit(X, partly)
        for round_ in range(N_ROUNDS + 1):
            records.append(
                {
                    "data": Path(data).stem,
                    "benchmark": benchmark,
                    "strategy": name,
                    "fine_tuned": fine_tuned,
                    "seed": seed,
                    "round": round_,
                    "n_labels": learner.n_labeled_,
                    "accuracy": learner.score(X_test, y_test),
                    "clean": clean_fraction(asked, noisy),
                    "n_selected": getattr(learner.estimator_, "n_selected_", 0),
                    "seconds": perf_counter() - started,
                }
            )
            if round_ == N_ROUNDS:
                return records
            rows = learner.query(n_instances=settings["n_instances"])
            asked = np.concatenate([asked, rows])
            learner.teach(None, y[rows], rows=rows)


def run(options):
    """Run what is missing, cell by cell."""
    options.output.mkdir(parents=True, exist_ok=True)
    path = results_path(options)
    done = set()
    if path.exists():
        before = pd.read_csv(path)
        done = set(before[CELL].drop_duplicates().itertuples(index=False, name=None))
    cells = itertools.product(
        range(options.repeats), options.benchmark, options.strategy, options.fine_tuning
    )
    for seed, benchmark, name, fine_tuned in cells:
        if (benchmark, name, fine_tuned, seed) in done:
            continue
        records = run_cell(options.data, benchmark, name, fine_tuned, seed, options.full)
        pd.DataFrame(records).to_csv(path, mode="a", header=not path.exists(), index=False)
        last = records[-1]
        print(
            f"{benchmark:8} {name:10} {'FT' if fine_tuned else '--'} seed {seed}: accuracy "
            f"{last['accuracy']:.3f}, clean {last['clean']:.3f}, {last['seconds']:.0f} s",
            flush=True,
        )


def table(options):
    """Print the last round of every cell, mean and standard error, and what was published."""
    results = pd.read_csv(results_path(options))
    results = results[results["round"] == N_ROUNDS]
    text = []
    for column, title in (("accuracy", "Accuracy"), ("clean", "Clean rows among those asked for")):
        runs = results.groupby(["strategy", "fine_tuned", "benchmark"])[column]
        mean, error = 100 * runs.mean(), 100 * runs.sem()
        shown = mean.map("{:.1f}".format) + error.map(" ± {:.1f}".format).mask(error.isna(), "")
        shown = shown.unstack(["fine_tuned", "benchmark"])
        shown = shown.reindex([name for name in STRATEGIES if name in shown.index])
        order = [(tuned, name) for tuned in (False, True) for name in BENCHMARKS]
        shown = shown[[pair for pair in order if pair in shown.columns]].fillna("")
        shown.columns = [f"{name}{'+FT' if tuned else ''}" for tuned, name in shown.columns]
        shown.index.name = shown.columns.name = None
        text.append(f"{title} after {N_ROUNDS} rounds, %: mean ± standard error of {_n_runs(runs)}")
        text.append(f"\n{shown.to_string()}\n\n")
    text.append("+FT: with fine-tuning on pseudo-labels.\n")
    for data, figures in PUBLISHED.items():
        columns = [f"{what}{name}{tuned}" for what, tuned in KINDS for name in BENCHMARKS]
        frame = pd.DataFrame(figures, index=columns).T.map("{:.1f}".format)
        text.append(
            f"\nPublished ({data}): accuracy, accuracy with fine-tuning, clean rows without\n"
        )
        text.append(f"{frame.to_string()}\n")
    print("".join(text))
    results_path(options).with_suffix(".txt").write_text("".join(text))


def _n_runs(runs):
    least, most = runs.count().min(), runs.count().max()
    return f"{least} runs" if least == most else f"{least} to {most} runs"


def results_path(options):
    """The CSV file of these results."""
    name = f"heteroskedastic_{Path(options.data).stem}{'_full' if options.full else ''}.csv"
    return options.output / name


CELL = ["benchmark", "strategy", "fine_tuned", "seed"]
KINDS = [("", ""), ("", "+FT"), ("clean:", "")]


def main():
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--data", default="digits", help="digits, mnist or an npz file")
    parser.add_argument("--benchmark", nargs="+", choices=list(BENCHMARKS), default=BENCHMARKS)
    parser.add_argument("--strategy", nargs="+", choices=list(STRATEGIES), default=STRATEGIES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-fine-tuning", action="store_true")
    parser.add_argument("--full", action="store_true", help="the published protocol")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if options.data not in SCALED and not options.full:
        parser.error("an npz file needs --full: the scaled protocols are for digits and mnist")
    options.fine_tuning = [False] if options.without_fine_tuning else [False, True]
    {"run": run, "table": table}[options.command](options)


if __name__ == "__main__":
    main()
