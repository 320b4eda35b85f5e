"""The simulation loop: schedules, initial samples, and who sees which row when."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge

from skal.learner import ActiveLearner
from skal.model_selection._simulation import (
    check_learner,
    initial_rows,
    label_schedule,
    seeded_learner,
    simulate,
    with_row_access,
)
from skal.strategies import RandomSampling, SelectingStrategy
from skal.utils._tags import extend_tags


class LargestFirst(SelectingStrategy):
    """Asks for the rows with the largest first column: an order anyone can work out."""

    def _represent(self, X):
        X = X.toarray() if sparse.issparse(X) else np.asarray(X)
        return X.reshape(len(X), -1)[:, 0].astype(np.float64)


def _data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    X[:, 0] = rng.permutation(n)
    return X, X @ [1.0, -2.0, 0.5]


def _run(learner, X, y, **plan):
    plan = {"n_initial": 5, "n_instances": 4, "budget": 20, "seed": 3} | plan
    return list(simulate(seeded_learner(learner, plan["seed"]), X, y, **plan))


def test_schedule_cuts_the_last_batch_to_the_budget():
    assert label_schedule(10, 8, 30).tolist() == [10, 18, 26, 30]
    assert label_schedule(10, 10, 30).tolist() == [10, 20, 30]
    assert label_schedule(10, 50, 30).tolist() == [10, 30]
    assert label_schedule(10, 1, 10).tolist() == [10]
    assert label_schedule(10, 1, 4).tolist() == [4]


def test_every_query_takes_the_largest_rows_left():
    X, y = _data()
    rounds = _run(ActiveLearner(Ridge(), LargestFirst()), X, y)
    assert [r.n_labels for r in rounds] == [5, 9, 13, 17, 20]
    left = set(range(40)) - set(rounds[0].queried.tolist())
    for done in rounds[1:]:
        expected = sorted(left, key=lambda row: -X[row, 0])[: len(done.queried)]
        assert done.queried.tolist() == expected
        left -= set(expected)


@pytest.mark.parametrize("kind", ["array", "3d", "csr", "coo", "pandas", "list"])
def test_containers_give_the_same_rows(kind):
    X, y = _data()
    rounds = _run(ActiveLearner(Ridge(), LargestFirst()), X, y)
    expected = np.concatenate([r.queried for r in rounds])
    estimator = Ridge()
    if kind == "3d":
        X, estimator = X[:, :, None], _Flat()
    elif kind == "csr":
        X = sparse.csr_matrix(X)
    elif kind == "pandas":
        # Shuffled labels of the index must not matter: positions count.
        index = np.random.default_rng(1).permutation(40)
        X = pd.DataFrame(X, columns=list("abc"), index=index)
        y = pd.Series(y, index=index[::-1])
    elif kind == "list":
        X, y = X.tolist(), y.tolist()
    elif kind == "coo":
        X = sparse.coo_array(X)
    X, y = with_row_access(X, y)
    rounds = _run(ActiveLearner(estimator, LargestFirst()), X, y)
    np.testing.assert_array_equal(np.concatenate([r.queried for r in rounds]), expected)


class _Flat(Ridge):
    def fit(self, X, y):
        return super().fit(np.asarray(X).reshape(len(X), -1), y)

    def predict(self, X):
        return super().predict(np.asarray(X).reshape(len(X), -1))


def test_rows_without_label_are_never_queried():
    X, y = _data()
    y[::2] = np.nan
    rounds = _run(ActiveLearner(Ridge(), LargestFirst()), X, y)
    rows = np.concatenate([r.queried for r in rounds])
    assert (rows % 2 == 1).all()
    assert len(np.unique(rows)) == 20


class _SeesAll(ClassifierMixin, BaseEstimator):
    """Counts the labelled and unlabelled rows each training was given."""

    seen: ClassVar[list] = []

    def fit(self, X, y):
        missing = np.array([label is None for label in np.asarray(y, dtype=object)])
        type(self).seen.append((int((~missing).sum()), int(missing.sum())))
        self.classes_ = np.unique(np.asarray(y, dtype=object)[~missing].astype(str))
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    def __sklearn_tags__(self):
        tags = extend_tags(super().__sklearn_tags__())
        tags.accepts_unlabeled = True
        return tags


def test_estimators_that_learn_from_unlabelled_rows_see_the_pool():
    X, _ = _data()
    y = np.array(["low", "high"], dtype=object)[(X[:, 0] > 20).astype(int)]
    y[0] = None
    _SeesAll.seen = []
    rounds = _run(ActiveLearner(_SeesAll(), LargestFirst()), X, y)
    assert _SeesAll.seen == [(5, 35), (9, 31), (13, 27), (17, 23), (20, 20)]
    rows = np.concatenate([r.queried for r in rounds])
    assert 0 not in rows and len(np.unique(rows)) == 20


def test_initial_sample_has_every_class_it_can_hold():
    y = np.repeat(["common", "rare", "rarest"], [60, 5, 1])
    rows = np.arange(len(y))
    for seed in range(20):
        assert set(y[initial_rows(y, rows, 4, seed, stratify=True)]) == set(y)
        # Too few rows for all classes: the most frequent ones.
        two = initial_rows(y, rows, 2, seed, stratify=True)
        assert set(y[two]) == {"common", "rare"}
        sample = initial_rows(y, rows, 30, seed, stratify=True)
        assert len(np.unique(sample)) == 30
    uniform = [set(y[initial_rows(y, rows, 4, seed, stratify=False)]) for seed in range(20)]
    assert {"common"} in uniform


def test_initial_sample_beyond_one_row_per_class_is_uniform():
    y = np.repeat([0, 1], [30, 10])
    counts = np.zeros(40)
    for seed in range(3000):
        counts[initial_rows(y, np.arange(40), 6, seed, stratify=True)] += 1
    rate = counts / 3000
    # One of 30 (or of 10) for sure, then 4 of the 38 others.
    for part, size in ((rate[:30], 30), (rate[30:], 10)):
        expected = 1 / size + (1 - 1 / size) * 4 / 38
        np.testing.assert_allclose(part, expected, atol=5 * np.sqrt(expected / 3000))


def test_initial_sample_of_several_outputs_and_numbers():
    Y = np.arange(24.0).reshape(12, 2)
    sample = initial_rows(Y, np.arange(12), 5, 0, stratify=True)
    assert len(np.unique(sample)) == 5


def test_learners_seed_depends_on_the_run_and_on_its_own():
    learner = ActiveLearner(Ridge(), random_state=1)
    seeds = {
        seeded_learner(learner, 0).random_state,
        seeded_learner(learner, 1).random_state,
        seeded_learner(ActiveLearner(Ridge(), random_state=2), 0).random_state,
        seeded_learner(ActiveLearner(Ridge()), 0).random_state,
    }
    assert len(seeds) == 4
    assert seeded_learner(learner, 0).random_state == seeded_learner(learner, 0).random_state
    assert learner.random_state == 1


def test_check_learner_names_the_remedy():
    with pytest.raises(TypeError, match=r"must be an ActiveLearner. Got Ridge\(\) instead. Wrap"):
        check_learner(Ridge(), "BudgetedActiveLearner")
    with pytest.raises(TypeError, match="Got the class ActiveLearner instead. Pass an instance"):
        check_learner(ActiveLearner, "compare_strategies")
    with pytest.raises(TypeError, match="'learner' parameter of f must be.*Got None"):
        check_learner(None, "f")
    check_learner(ActiveLearner(LogisticRegression(), RandomSampling()), "f")
