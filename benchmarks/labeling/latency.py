"""How long people wait: for a label to be stored, also while a model trains, and for a large store.

    python benchmarks/labeling/latency.py

Seconds of the wall clock are what people feel, and depend on the disk and on what else runs; CPU
seconds are given beside them. Labels are stored one by one through a session with 17,000 rows of
16 columns, while a learner in another thread trains on 2,000 of them and queries all.
"""

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skal import ActiveLearner
from skal.labeling import LabelingSession, LabelStore
from skal.labeling._log import new_batch, new_event
from skal.labeling._schema import Ask
from skal.neural_network import NeuralNetClassifier
from skal.strategies import BADGE, MarginSampling

N_ROWS, N_LABELS, BATCH = 17_000, 60, 400


def learners():
    net = NeuralNetClassifier(max_epochs=100, classes=np.arange(26))
    return {
        "nothing trains": None,
        "logistic regression, margin": ActiveLearner(LogisticRegression(), MarginSampling()),
        "random forest, margin": ActiveLearner(RandomForestClassifier(300), MarginSampling()),
        "net, BADGE": ActiveLearner(net, BADGE()),
    }


def pool():
    """17,000 rows with 26 classes."""
    rng = np.random.RandomState(0)
    X = rng.randn(N_ROWS, 16)
    return X, (X[:, 0] * 4).astype(int) % 26


class TrainsForever(threading.Thread):
    """Trains and queries, again and again, as a session's worker does."""

    def __init__(self, learner, X, y):
        super().__init__(daemon=True)
        self.learner, self.X, self.y = learner, X, y
        self.stop, self.n_done = threading.Event(), 0

    def run(self):
        while not self.stop.is_set():
            self.learner.fit(self.X[:2000], self.y[:2000]).query(self.X, 10)
            self.n_done += 1


def label_times(learner, X, y, folder):
    """Return the seconds that each of many labels took to be stored, and trainings meanwhile."""
    asks = ActiveLearner(LogisticRegression(), random_state=0)
    path = os.path.join(folder, "labels.skal")
    with LabelingSession(asks, X, store=path, n_initial=BATCH, audit=0) as session:
        rows = session.query()
        trainer = None
        if learner is not None:
            trainer = TrainsForever(learner, X, y)
            trainer.start()
            time.sleep(0.5)
        times = []
        for place in rows[:N_LABELS]:
            started = time.perf_counter()
            session.teach([place], [y[place]])
            times.append(time.perf_counter() - started)
            time.sleep(0.05)
        if trainer is not None:
            trainer.stop.set()
            trainer.join()
    os.unlink(path)
    return np.array(times), 0 if trainer is None else trainer.n_done


def large_store(path, n):
    """A store of n answers to n asked rows."""
    with LabelStore(path) as store:
        asks = [Ask(None, i, str(i), "query", b"0123456789abcdef", None) for i in range(n)]
        store.log.add_batch(new_batch(0, "random", 0, 0, None), asks, 0)
        events = [
            new_event("label", str(i), "ann", value='"a"', seconds=1.5, batch=1) for i in range(n)
        ]
        store.log.append_events(events, "The labels")


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="on the disk to be tried (default: temporary)")
    parser.add_argument("--n-events", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"SQLite {sqlite3.sqlite_version}, load {os.getloadavg()[0]:.1f}")
    X, y = pool()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        # Interleaved, so that what else runs meets all of them.
        times = {name: [] for name in learners()}
        for _ in range(options.repeats):
            for name, learner in learners().items():
                found, n_trained = label_times(learner, X, y, folder)
                times[name].append(found)
        for name, found in times.items():
            found = 1000 * np.concatenate(found)
            print(
                f"one label stored, {name}: median {np.median(found):.0f} ms, "
                f"95 %: {np.percentile(found, 95):.0f} ms ({len(found)} labels)"
            )
        path = os.path.join(folder, "large.skal")
        large_store(path, options.n_events)
        print(f"{options.n_events} events, {os.path.getsize(path) / 1e6:.1f} MB")
        for what, function in {
            "open and check": lambda: LabelStore(path).close(),
            "open, and the state of the session": lambda: _fold(path),
        }.items():
            walls, cpus = zip(*(timed(function) for _ in range(options.repeats)), strict=True)
            print(f"{what}: {min(walls):.2f} s, CPU {min(cpus):.2f} s (best of {len(walls)})")


def _fold(path):
    with LabelStore(path) as store:
        store.fold()


if __name__ == "__main__":
    main()
