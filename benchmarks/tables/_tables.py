"""The public tables, splits of them, and results that are kept cell by cell."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SKAL_SHARED_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).resolve().parent / "results"

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
# Gaps and many categories, which the other tables hardly have.
EXTRA = {"house_prices": ("house_prices.csv", "SalePrice")}
TEST_ROWS = 500


def load(name):
    """Rows as a frame, and the target: float64, or the labels of classes."""
    file, target = EXTRA.get(name, (f"tables/{name}.csv.gz", "target"))
    frame = pd.read_csv(SHARED / file)
    y = frame[target].to_numpy()
    X = frame.drop(columns=[target, *(c for c in frame if c == "Id")])
    return X, y.astype(float) if task_of(name) == "regression" else y


def task_of(name):
    return "classification" if name in CLASSIFICATION else "regression"


def split(n_rows, repeat):
    """A random order of the rows to label, and the rows to test on."""
    order = np.random.RandomState(repeat).permutation(n_rows)
    return order[:-TEST_ROWS], order[-TEST_ROWS:]


def error(model, X, y, task):
    """Mean absolute error, or the share of wrong classes."""
    return error_of(model.predict(X), y, task)


def error_of(answers, y, task):
    return float(np.abs(answers - y).mean() if task == "regression" else (answers != y).mean())


class Cells:
    """Rows of a CSV file, one per cell, written as soon as they are known.

    Parameters
    ----------
    path : Path
        The file.

    key : list of str
        The columns that name a cell.
    """

    def __init__(self, path, key):
        self.path, self.key = path, key
        self.done = set()
        if path.exists():
            known = pd.read_csv(path)
            self.done = set(known[key].astype(str).agg("|".join, axis=1))

    def missing(self, **cell):
        return "|".join(str(cell[name]) for name in self.key) not in self.done

    def add(self, records):
        """Append the records of finished cells."""
        frame = pd.DataFrame(records)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(self.path, mode="a", header=not self.path.exists(), index=False)
        self.done |= set(frame[self.key].astype(str).agg("|".join, axis=1))
