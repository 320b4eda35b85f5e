"""Random calls against simple models of what is right: no wrong answer, no unclear error.

A few hundred calls by default. ``SKAL_FUZZ=100 pytest tests/test_fuzz.py -s`` makes a hundred times
as many and prints their counts.
"""

import os
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner, metrics
from skal.strategies import (
    CoreSet,
    GreedySampling,
    MarginSampling,
    MaxHerding,
    QueryByCommittee,
    RandomSampling,
    TypiClust,
)
from tests._instances import SELECTORS

pytestmark = pytest.mark.fuzz
FACTOR = int(os.environ.get("SKAL_FUZZ", "1"))
CALLS = Counter()
FEW = settings(
    max_examples=25 * FACTOR,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=FACTOR == 1,
)


@pytest.fixture(scope="module", autouse=True)
def _counts():
    yield
    print("\ncalls:", dict(sorted(CALLS.items())))


def attempt(name, call):
    """The result, or the error where the call was refused in words."""
    CALLS[name] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return call()
        except (ValueError, TypeError, NotFittedError) as error:
            CALLS[f"{name}, refused"] += 1
            assert len(str(error)) > 15, f"{name}: an error without a sentence, {error!r}"
            return error


# ---------------------------------------------------------------------------------- a learner

CLASSIFIERS = [
    (LogisticRegression(), MarginSampling()),
    (make_pipeline(StandardScaler(), LogisticRegression()), CoreSet()),
    (GaussianNB(), TypiClust()),
    (RandomForestClassifier(3, random_state=0), QueryByCommittee()),
    (LogisticRegression(), MaxHerding()),
    (LogisticRegression(), None),
]
REGRESSORS = [(Ridge(), CoreSet()), (Ridge(), GreedySampling()), (Ridge(), RandomSampling())]
N, D = 30, 3
KINDS = ["numbers", "texts", "floats"]


def as_container(X, container):
    if container == "frame":
        return pd.DataFrame(X, columns=["a", "b", "c"][: X.shape[1]])
    return X.tolist() if container == "list" else X


class LearnerMachine(RuleBasedStateMachine):
    """A learner and what it should know: a dict of positions to labels."""

    @initialize(
        which=st.integers(0, len(CLASSIFIERS) + len(REGRESSORS) - 1),
        kind=st.sampled_from(KINDS),
        container=st.sampled_from(["array", "frame", "list"]),
        n=st.integers(4, 9),
        seed=st.integers(0, 10),
    )
    def start(self, which, kind, container, n, seed):
        self.rng = np.random.RandomState(seed)
        self.X = self.rng.standard_normal((N, D))
        self.regression = which >= len(CLASSIFIERS)
        model, strategy = (CLASSIFIERS + REGRESSORS)[which]
        if self.regression:
            self.truth = self.X @ [1.0, 2.0, 0.0]
        else:
            self.truth = (self.X[:, 0] > 0).astype(int)
            self.truth[:2] = 0, 1
            if kind != "numbers":
                self.truth = (
                    np.array(["no", "yes"])[self.truth] if kind == "texts" else self.truth * 1.0
                )
        self.container = container
        y = np.full(N, None, dtype=object)
        y[:n] = self.truth[:n]
        if self.regression:
            y = np.array([np.nan if v is None else v for v in y], dtype=float)
        self.learner = ActiveLearner(clone(model), strategy, random_state=seed)
        CALLS["fit"] += 1
        self.learner.fit(as_container(self.X, container), y)
        self.known = {i: self.truth[i] for i in range(n)}
        self.order = list(range(n))

    def unknown(self):
        return [i for i in range(N) if i not in self.known]

    def state(self):
        return self.learner.n_labeled_, list(map(str, self.learner.y_labeled_))

    @precondition(lambda self: len(self.known) < N)
    @rule(n=st.integers(-1, N + 2))
    def query(self, n):
        before = self.state()
        rows = attempt("query", lambda: self.learner.query(n_instances=n))
        if 1 <= n <= N - len(self.known):
            assert rows.dtype == np.int64 and rows.shape == (n,), rows
            assert len(set(rows)) == n and not set(rows) & self.known.keys()
            again = attempt("query", lambda: self.learner.query(n_instances=n))
            assert np.array_equal(rows, again)
        else:
            assert isinstance(rows, ValueError)
        assert self.state() == before

    @precondition(lambda self: len(self.known) < N - 1)
    @rule(n=st.integers(1, 3))
    def teach(self, n):
        rows = self.learner.query(n_instances=min(n, N - len(self.known)))
        done = attempt("teach", lambda: self.learner.teach(None, self.truth[rows], rows=rows))
        assert done is self.learner, done
        self.known |= {int(i): self.truth[i] for i in rows}
        self.order += rows.tolist()

    @precondition(lambda self: len(self.known) < N)
    @rule(
        fault=st.sampled_from(["kind", "count", "columns", "nan row", "infinite", "rows", "twice"])
    )
    def teach_badly(self, fault):
        row = self.unknown()[0]
        X, y, rows = self.X[[row]], self.truth[[row]], None
        if fault == "kind":
            y = np.array([3.5 if self.truth.dtype.kind == "U" else "maybe"], dtype=object)
        elif fault == "count":
            y = np.repeat(y, 2)
        elif fault == "columns":
            X = np.hstack([X, X])
        elif fault == "nan row":
            if isinstance(self.learner.estimator, RandomForestClassifier):
                return  # forests learn from rows with gaps
            X = np.full((1, D), np.nan)
        elif fault == "infinite":
            if self.truth.dtype.kind == "U":
                return
            y = np.array([np.inf])
        elif fault == "rows":
            X, rows = None, [N + 5]
        else:
            X, rows = None, [self.order[0]]
        given = X if X is None or fault == "columns" else as_container(X, self.container)
        before = self.state()
        done = attempt(f"bad teach: {fault}", lambda: self.learner.teach(given, y, rows=rows))
        if fault == "nan row" and done is self.learner:
            pytest.fail("a row of NaN was learnt from")
        assert isinstance(done, Exception), (fault, done)
        assert self.state() == before

    @precondition(lambda self: len(self.known) > 6)
    @rule(place=st.integers(4, 30))
    def forget(self, place):
        if len({str(self.known[i]) for i in self.order[:4]}) < 2 and not self.regression:
            return
        before = self.state()
        done = attempt("forget", lambda: self.learner.forget([place]))
        if place < len(self.order):
            assert done is self.learner, done
            del self.known[self.order.pop(place)]
        else:
            assert isinstance(done, Exception) and self.state() == before

    @rule(place=st.integers(0, 40), good=st.booleans())
    def relabel(self, place, good):
        before = self.state()
        value = self.truth[0] if good else np.inf if self.regression else "nobody knows" * 3
        done = attempt("relabel", lambda: self.learner.relabel([place], np.array([value])))
        if place >= len(self.order):
            assert isinstance(done, Exception) and self.state() == before
            return
        if isinstance(done, Exception):
            assert self.state() == before
        else:
            self.known[self.order[place]] = value

    @rule()
    def refit(self):
        CALLS["refit"] += 1
        before = self.state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.learner.refit()
            except ValueError as error:  # one class is left
                assert "class" in str(error)
        assert self.state() == before

    @invariant()
    def knows_what_it_was_taught(self):
        if not hasattr(self, "learner"):
            return
        assert self.learner.n_labeled_ == len(self.known) == len(self.order)
        found = list(np.asarray(self.learner.y_labeled_))
        expected = [self.known[i] for i in self.order]
        if self.regression:
            assert np.allclose(found, expected)
        else:
            assert [str(v) for v in found] == [str(v) for v in expected]

    @invariant()
    def can_predict(self):
        if hasattr(self, "learner"):
            CALLS["predict"] += 1
            assert len(self.learner.predict(as_container(self.X, self.container))) == N


LearnerMachine.TestCase.settings = FEW
TestLearner = LearnerMachine.TestCase


# ---------------------------------------------------------------------------------- selectors

SPECIAL = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e30, 1e-8, 3.0, np.nan, np.inf])


@FEW
@given(data=st.data())
def test_selectors(data):
    selector = clone(data.draw(st.sampled_from(SELECTORS)))
    n, d = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 4))
    rng = np.random.RandomState(data.draw(st.integers(0, 99)))
    Z = rng.standard_normal((n, d)) * 10.0 ** data.draw(st.integers(-12, 12))
    if n:
        for _ in range(data.draw(st.integers(0, 4))):
            Z[rng.randint(n), rng.randint(d)] = data.draw(SPECIAL)
        Z = Z[rng.randint(n, size=n)] if data.draw(st.booleans()) else Z  # with copies
    kind = data.draw(st.sampled_from([np.float64, np.float32, "tensor", "list"]))
    with np.errstate(over="ignore"):
        given_rows = {"tensor": torch.from_numpy, "list": np.ndarray.tolist}.get(
            kind, lambda z: z.astype(kind)
        )(Z)
    n_instances = data.draw(st.integers(-1, n + 1))
    scores = rng.standard_normal(n)
    labeled = rng.standard_normal((2, d)) if data.draw(st.booleans()) else None
    selector.set_params(random_state=data.draw(st.integers(0, 5)))

    def ask():
        return selector.select(given_rows, n_instances, scores=scores, Z_labeled=labeled)

    picks = attempt("select", ask)
    usual = np.isfinite(Z).all() and (np.abs(Z) < 1e15).all()
    if isinstance(picks, Exception):
        assert not (n and usual and 1 <= n_instances <= n), (selector, picks)
    else:
        assert 1 <= n_instances <= n and picks.dtype == np.int64
        assert len(set(picks)) == n_instances and 0 <= picks.min() and picks.max() < n
        assert np.array_equal(picks, attempt("select", ask))


# ---------------------------------------------------------------------------------- metrics


@FEW
@given(data=st.data())
def test_areas(data):
    n = data.draw(st.integers(0, 5))
    numbers = data.draw(st.lists(st.integers(0, 50), min_size=n, max_size=n))
    floats = st.one_of(st.floats(-10, 10), SPECIAL)
    scores = data.draw(st.lists(floats, min_size=n, max_size=n))
    area = attempt("area", lambda: metrics.area_under_budget_curve(numbers, scores))
    good = n >= 1 and all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    if isinstance(area, Exception):
        assert not (good and n >= 2 and np.isfinite(scores).all()), area
    elif n >= 2 and np.isfinite(scores).all():
        assert min(scores) - 1e-9 <= area <= max(scores) + 1e-9
