"""Letter recognition: the experiment of the BADGE paper on OpenML's data set 6.

    python benchmarks/papers/letter.py --batch 100 --repeats 10
    python benchmarks/papers/letter.py --batch 1000 --repeats 6
    python benchmarks/papers/letter.py --batch 100 --repeats 5 --full
    python benchmarks/papers/letter.py --report

As in Ash et al. (2020): 20,000 letters with 16 raw integer features and 26 classes, a random tenth
of them for testing; a net with 1024 rectified units and an output layer without bias, trained from
scratch at every round by Adam (batches of 128) until it is right on 99 % of the labelled rows,
counted during the epoch as the authors' code does; 100 random labels, then batches of 100 or 1,000
chosen from all that is not labelled. A repeat has its own split, first labels and nets, the same
for all strategies.

What differs: the learning rate is 1e-3 instead of 1e-4, which takes a seventh of the epochs (on
1,000 random rows: 88 instead of 594, accuracy 0.762 and 0.759), and the labels end early; both are
as published with ``--full``, which goes on until less than a batch is left. In either case training
ends after 2,000 epochs at the latest, gradients are not clamped, and ALBL is left out.

Every finished run is a few lines in letter_<batch>.csv (a line per round); after an interruption
the same command goes on. ``--report`` alone reads both files and writes letter.txt and the figures.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from skal import ActiveLearner
from skal.metrics import area_under_budget_curve, paired_z, pairwise_penalty_matrix
from skal.neural_network import NeuralNetClassifier
from skal.strategies import (
    BADGE,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    RandomSampling,
)

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SKAL_SHARED_DATA", "../shared/data")) / "letter-recognition.csv"
N_CLASSES, N_INITIAL, MAX_EPOCHS = 26, 100, 2000
LAST_LABELS = {100: 1000, 1000: 4100}
STRATEGIES = {
    "random": RandomSampling(),
    "badge": BADGE(),
    "margin": MarginSampling(),
    "conf": LeastConfidence(),
    "entropy": EntropySampling(),
    "coreset": CoreSet(),
}


class WideNet(torch.nn.Module):
    """One hidden layer, and an output layer without bias."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(n_features, 1024), torch.nn.ReLU())
        self.head = torch.nn.Linear(1024, n_outputs, bias=False)

    def forward(self, X):
        return self.head(self.body(X))


class StopWhenRight(Callback):
    """End the training after an epoch with 99 % of the rows right, each seen as it was used."""

    def __init__(self, share=0.99):
        self.share = share

    def on_epoch_begin(self, net, **kwargs):
        self.right_, self.seen_ = 0, 0

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        if training:
            self.right_ += int((y_pred.argmax(1) == batch[1]).sum())
            self.seen_ += len(y_pred)

    def on_epoch_end(self, net, **kwargs):
        if self.right_ >= self.share * self.seen_:
            raise KeyboardInterrupt  # how callbacks of skorch end a training


def new_net(lr):
    """The paper's net and its training."""
    return NeuralNetClassifier(
        WideNet,
        classes=range(N_CLASSES),
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        lr=lr,
        batch_size=128,
        max_epochs=MAX_EPOCHS,
        callbacks=[StopWhenRight()],
    )


def load(path):
    """Raw features as float32, and the letters as 0, ..., 25."""
    frame = pd.read_csv(path)
    return frame.iloc[:, 1:].to_numpy(np.float32), pd.factorize(frame.iloc[:, 0], sort=True)[0]


def one_run(path, name, batch, repeat, lr, last):
    """One strategy from one split and initial sample: a record per round."""
    X, y = load(path)
    pool, test = train_test_split(np.arange(len(X)), test_size=0.1, random_state=repeat)
    left = np.random.RandomState(repeat).permutation(pool)
    rows, left = left[:N_INITIAL], left[N_INITIAL:]
    learner = ActiveLearner(new_net(lr), STRATEGIES[name], random_state=repeat)
    records, start = [], time.process_time()
    learner.fit(X[rows], y[rows])
    while True:
        records.append(
            {
                "strategy": name,
                "repeat": repeat,
                "n_labels": learner.n_labeled_,
                "accuracy": learner.score(X[test], y[test]),
                "n_epochs": len(learner.estimator_.history),
                "cpu_s": round(time.process_time() - start, 2),
            }
        )
        if learner.n_labeled_ + batch > last or len(left) < batch:
            return records
        chosen = learner.query(X[left], batch)
        rows, left = left[chosen], np.delete(left, chosen)
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
    """Area and last accuracy, with standard errors, and paired z: greater is better."""
    area, lines = areas(results), {}
    last = results[results["n_labels"] == results["n_labels"].max()].groupby("strategy")
    for name, values in area.items():
        z = {}
        for other in ("random", "badge"):
            both = values.index.intersection(area[other].index)
            z[other] = paired_z(values[both], area[other][both]) if name != other else np.nan
        lines[name] = {
            "runs": len(values),
            "area %": 100 * values.mean(),
            "+-": 100 * values.sem(),
            "z to random": z["random"],
            "z to badge": z["badge"],
            "last accuracy %": 100 * last["accuracy"].mean()[name],
            "+- ": 100 * last["accuracy"].sem()[name],
        }
    frame = pd.DataFrame(lines).T.astype({"runs": int})
    return frame.sort_values("area %", ascending=False)


def report(folder):
    """Write tables and figures of all runs that every strategy has finished."""
    settings, text = {}, []
    for path in sorted(folder.glob("letter_*.csv"), key=lambda path: int(path.stem.split("_")[1])):
        results = _complete(pd.read_csv(path))
        if results["repeat"].nunique() > 1:
            batch = path.stem.split("_")[1]
            budgets = results["n_labels"]
            settings[f"batches of {batch}"] = results
            text.append(
                f"Batches of {batch}, {budgets.min()} to {budgets.max()} labels: accuracy, area "
                f"under the budget curve\n{table(results).round(2).to_string()}\n"
            )
    if not settings:
        print("Nothing to report before every strategy has two runs.")
        return
    for rule in ("doubling", "all"):
        matrix = pairwise_penalty_matrix(settings, score="accuracy", label_budgets=rule, test="z")
        matrix.loc["column average"] = matrix.mean()
        text.append(
            f"Pairwise penalties over {len(settings)} settings, label budgets: {rule} "
            f"(row beats column)\n{matrix.round(2).to_string()}\n"
        )
    print("\n".join(text))
    (folder / "letter.txt").write_text("\n".join(text))
    draw(settings, folder)


def _complete(results):
    """The repeats that every strategy has finished."""
    strategies = results.groupby("repeat")["strategy"].nunique()
    whole = strategies.index[strategies == results["strategy"].nunique()]
    return results[results["repeat"].isin(whole)].sort_values(["strategy", "repeat", "n_labels"])


def draw(settings, folder):
    """Learning curves less random's, the penalty matrix and the CDF of normalised errors."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from skal.inspection import ErrorCDFDisplay, LearningCurveDisplay, PenaltyMatrixDisplay

    figure, axes = plt.subplots(1, len(settings), figsize=(6 * len(settings), 4), squeeze=False)
    for axis, (name, results) in zip(axes.flat, settings.items(), strict=True):
        LearningCurveDisplay.from_results(
            results, score="accuracy", relative_to="random", ax=axis, score_name="accuracy"
        )
        axis.set_title(name)
    _save(figure, folder / "letter_curves.png")
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
    PenaltyMatrixDisplay.from_results(
        settings,
        score="accuracy",
        label_budgets="all",
        test="z",
        order="average",
        colorbar=False,
        ax=axes[0],
    )
    ErrorCDFDisplay.from_results(
        settings, score="accuracy", label_budgets="all", legend=None, ax=axes[1]
    )
    axes[1].legend(loc="lower right")
    _save(figure, folder / "letter_penalty_and_cdf.png")


def _save(figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main():
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, choices=sorted(LAST_LABELS), default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="separated by commas")
    parser.add_argument("--full", action="store_true", help="until less than a batch is left")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.full:
        options.output = options.output / "full"
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.report:
        path = options.output / f"letter_{options.batch}.csv"
        done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["strategy", "repeat"])
        finished = set(zip(done["strategy"], done["repeat"], strict=True))
        lr, last = (1e-4, np.inf) if options.full else (1e-3, LAST_LABELS[options.batch])
        for repeat in range(options.repeats):
            for name in options.strategies.split(","):
                if (name, repeat) not in finished:
                    records = one_run(options.data, name, options.batch, repeat, lr, last)
                    new = not path.exists()
                    pd.DataFrame(records).to_csv(path, mode="a", header=new, index=False)
                    print(repeat, name, records[-1], flush=True)
    report(options.output)


if __name__ == "__main__":
    main()
