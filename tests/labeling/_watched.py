"""A real session whose rows come in order, and what it has stored, for tests of the front end."""

import threading

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from skal import ActiveLearner
from skal.labeling import LabelingSession
from skal.labeling._codec import decode
from skal.strategies import RandomSampling

# Trainings of `Gated` wait until it is set.
GATE = threading.Event()
GATE.set()


class InOrder(RandomSampling):
    """The rows as they stand: tests know what comes next."""

    def query(self, X, n_instances=1):
        return np.arange(n_instances)


class Gated(DummyClassifier):
    """A model that takes as long to train as the test wants."""

    def fit(self, X, y, sample_weight=None):
        assert GATE.wait(60)
        return super().fit(X, y, sample_weight)


class WatchedSession(LabelingSession):
    """A session with what was stored at hand."""

    proposal = None

    def next(self, annotator=None):
        task = super().next(annotator)
        return (
            task if task is None or self.proposal is None else task._replace(proposal=self.proposal)
        )

    @property
    def events(self):
        return self.store.events()

    @property
    def labels(self):
        fold = self.store.fold()
        found = {int(row): fold.resolve(row) for row in sorted(fold.answered_rows(), key=int)}
        return {row: decode(one.label) for row, one in found.items() if one is not None}

    @property
    def skipped(self):
        fold = self.store.fold()
        rows = [
            row
            for row in fold.asked_rows()
            for one in fold.current(row).values()
            if one.kind == "skip"
        ]
        return sorted(int(row) for row in rows)

    @property
    def seconds(self):
        events = self.events.query("kind == 'label'")
        return [None if s != s else s for s in events["seconds"].astype(float)]


def watched(X, classes, n_instances=10, *, proposal=None, model=None, **options):
    """Return a session over the first rows of `X`, all of them in one batch, which is asked."""
    if model is None:
        model = DummyRegressor() if classes is None else DummyClassifier()
    options = {"n_initial": n_instances, "audit": 0, "random_state": 0} | options
    X = X if "store" in options or "background" in options else X[:n_instances]
    session = WatchedSession(
        ActiveLearner(model, InOrder()), X, classes=classes, n_instances=n_instances, **options
    )
    session.query()
    session.proposal = proposal
    return session
