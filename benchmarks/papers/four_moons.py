"""Four-Moons: four classes, one of them with random labels, which makes up 70 % of the pool.

    python benchmarks/papers/four_moons.py --repeats 10
    python benchmarks/papers/four_moons.py --repeats 10 --strategies "random,lhd (gap)" --out FOLDER

The toy experiment of the LHD paper (Khosla et al., 2022, Figure 1; single runs there: least
confidence 53.67 % accuracy, LHD 84.68 %): a multilayer perceptron with two hidden layers of 128,
trained afresh with Adam (1e-3) for 100 epochs of batches of 16 on 20 random labels, then on 200
more in each of six rounds; a seventh batch is chosen and not trained on. BALD compares predictions
under dropout: its net, and only its, has dropout of 0.2 after each hidden layer.

The noisy moon cannot be learnt: a perfect net gets 0.75 + 0.25 x 0.25 = 0.81 on average, more by
luck only. Reported are therefore also the accuracy on the three clean moons, and the noisy share of
the 1400 rows that were asked (0.70 in the pool).

A repeat has its own data, first labels and nets, the same for all strategies. Every finished run is
written to four_moons.csv (a line per round); after an interruption the same command goes on. The
table goes to four_moons.txt, and four_moons.png shows the first repeat of every strategy.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from skal import ActiveLearner
from skal.datasets import make_four_moons
from skal.metrics import clean_fraction
from skal.neural_network import NeuralNetClassifier
from skal.strategies import (
    BADGE,
    BALD,
    LHD,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    RandomSampling,
)

N_INITIAL, N_INSTANCES, N_ROUNDS = 20, 200, 7
DROPOUT_OF_BALD = 0.2
STRATEGIES = {
    "random": RandomSampling(),
    "least confidence": LeastConfidence(),
    "margin": MarginSampling(),
    "entropy": EntropySampling(),
    "coreset": CoreSet(),
    "badge": BADGE(),
    "bald": BALD(),
    "lhd (gap)": LHD(),
    "lhd (end)": LHD(snapshot="end"),
}
NOISY_CLASS = 0
# Corners of the picture.
LEFT, RIGHT, BOTTOM, TOP = -1.5, 6.5, -1.0, 1.5


def one_run(name, repeat):
    """One strategy from one initial sample: a record per round, and what the picture needs."""
    # Not shuffled here: the first sample is drawn at random.
    moons = make_four_moons(shuffle=False, random_state=repeat)
    X, y, X_test, y_test = moons.data, moons.target, moons.data_test, moons.target_test
    net = NeuralNetClassifier(
        module__hidden=(128, 128), classes=range(4), batch_size=16, lr=1e-3, max_epochs=100
    )
    if name == "bald":
        net.set_params(module__dropout=DROPOUT_OF_BALD)
    learner = ActiveLearner(net, STRATEGIES[name], random_state=repeat)
    start = time.process_time()
    left = np.random.RandomState(repeat).permutation(len(X))
    rows, left = left[:N_INITIAL], left[N_INITIAL:]
    learner.fit(X[rows], y[rows])
    records, asked = [], []
    clean = y_test != NOISY_CLASS
    for round_ in range(N_ROUNDS):
        right = learner.predict(X_test) == y_test
        chosen = learner.query(X[left], N_INSTANCES)
        rows, left = left[chosen], np.delete(left, chosen)
        asked.append(rows)
        records.append(
            {
                "strategy": name,
                "repeat": repeat,
                "n_labels": learner.n_labeled_,
                "accuracy": right.mean(),
                "clean_accuracy": right[clean].mean(),
                "noisy_share": 1 - clean_fraction(asked, moons.is_noisy),
                "cpu_s": time.process_time() - start,
            }
        )
        if round_ < N_ROUNDS - 1:
            learner.teach(X[rows], y[rows])
    asked = np.concatenate(asked)
    picture = {
        "X": X[asked].astype(np.float32),
        "is_noisy": moons.is_noisy[asked],
        "regions": learner.predict(_grid()).astype(np.uint8),
        "accuracy": records[-1]["accuracy"],
    }
    return records, picture


def _grid(n=160):
    x, y = np.meshgrid(np.linspace(LEFT, RIGHT, 2 * n), np.linspace(BOTTOM, TOP, n))
    return np.column_stack([x.ravel(), y.ravel()])


def table(results):
    """After the last training: means with standard errors, and the noisy share of all asked."""
    last = results[results["n_labels"] == results["n_labels"].max()]
    groups = last.groupby("strategy")
    columns = {"runs": groups.size()}
    for metric in ("accuracy", "clean_accuracy", "noisy_share"):
        columns[metric] = groups[metric].mean()
        columns[f"+- {metric}"] = groups[metric].sem()
    columns["cpu_s"] = groups["cpu_s"].mean()
    order = [name for name in STRATEGIES if name in groups.groups]
    return pd.DataFrame(columns).loc[order]


def draw(folder):
    """The paper's figure: where each strategy asked, and what the net made of it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = [name for name in STRATEGIES if (folder / _picture_file(name)).exists()]
    n_rows = -(-len(found) // 2)
    figure, axes = plt.subplots(n_rows, 2, figsize=(11, 2.3 * n_rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, found, strict=False):
        picture = np.load(folder / _picture_file(name))
        regions = picture["regions"].reshape(-1, int(np.sqrt(2 * len(picture["regions"]))))
        axis.imshow(
            regions,
            extent=(LEFT, RIGHT, BOTTOM, TOP),
            origin="lower",
            cmap="Pastel1",
            vmax=8,
            vmin=0,
            aspect="auto",
        )
        for noisy, color, label in ((True, "crimson", "random"), (False, "black", "clean")):
            chosen = picture["X"][picture["is_noisy"] == noisy]
            axis.scatter(*chosen.T, s=3, c=color, label=f"{len(chosen)} with {label} labels")
        axis.set(title=f"{name}: accuracy {picture['accuracy']:.2f}", xticks=[], yticks=[])
        axis.legend(loc="upper right", fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / "four_moons.png", dpi=80)
    plt.close(figure)


def _picture_file(name):
    return f"four_moons_{name.replace(' ', '_').replace('(', '').replace(')', '')}.npz"


def main():
    """Run what is missing, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="separated by commas")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    options = parser.parse_args()
    names = [name.strip() for name in options.strategies.split(",")]
    unknown = set(names) - set(STRATEGIES)
    if unknown:
        parser.error(f"unknown strategies {sorted(unknown)}; choose from {list(STRATEGIES)}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "four_moons.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["strategy", "repeat"])
    finished = set(zip(done["strategy"], done["repeat"], strict=True))
    for repeat in range(options.repeats):
        for name in names:
            if (name, repeat) in finished:
                continue
            records, picture = one_run(name, repeat)
            if repeat == 0:
                np.savez_compressed(options.out / _picture_file(name), **picture)
            pd.DataFrame(records).to_csv(path, mode="a", header=not path.exists(), index=False)
            last = {key: round(value, 3) for key, value in list(records[-1].items())[2:]}
            print(name, repeat, last, flush=True)
    text = table(pd.read_csv(path)).round(3).to_string() + "\n"
    print(text)
    (options.out / "four_moons.txt").write_text(text)
    draw(options.out)


if __name__ == "__main__":
    main()
