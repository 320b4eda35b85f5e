"""Uncertainty scores against their definitions, written out in plain NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chisquare, entropy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier

from skal.strategies import EntropySampling, LeastConfidence, MarginSampling

STRATEGIES = [LeastConfidence, MarginSampling, EntropySampling]


class Given(ClassifierMixin, BaseEstimator):
    """Answers the probabilities it is given as X: the strategies then see exactly those."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[np.argmax(X, 1)]

    def predict_proba(self, X):
        return np.asarray(X)


def _given(strategy, P, **params):
    model = Given().fit(P, np.arange(len(P)) % P.shape[1])
    return strategy(FrozenEstimator(model), **params).fit(P)


def _definition(strategy, P):
    ordered = np.sort(P, axis=1)[:, ::-1]
    if strategy is LeastConfidence:
        return 1 - ordered[:, 0]
    if strategy is MarginSampling:
        return ordered[:, 1] - ordered[:, 0]
    return entropy(P, axis=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_scores_are_the_definitions(strategy, n_classes):
    P = np.random.RandomState(0).dirichlet(np.full(n_classes, 0.3), size=200)
    P[:3] = np.eye(n_classes)[[0, 1, 1]]
    P[3] = 1 / n_classes
    fitted = _given(strategy, P, random_state=0)
    rows, scores = fitted.query(P, 20, return_scores=True)
    assert_allclose(scores, _definition(strategy, P), atol=1e-12)
    assert rows[0] == 3
    assert_allclose(scores[rows], np.sort(scores)[::-1][:20])
    assert_allclose(fitted.transform(P).ravel(), scores, rtol=1e-6, atol=1e-7)
    assert fitted.get_feature_names_out().tolist() == [f"{strategy.__name__.lower()}0"]


def test_two_classes_rank_alike():
    P = np.random.RandomState(1).dirichlet([1, 1], size=50)
    orders = [_given(strategy, P).query(P, 50).tolist() for strategy in STRATEGIES]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scores_do_not_depend_on_the_order_of_classes(strategy):
    P = np.random.RandomState(2).dirichlet(np.ones(4), size=30)
    first = _given(strategy, P).query(P, 30)
    assert first.tolist() == _given(strategy, P[:, ::-1]).query(P[:, ::-1], 30).tolist()


def test_confident_rows_still_rank():
    tiny = 10.0 ** -np.arange(17, 40)
    P = np.column_stack([np.ones_like(tiny), tiny, tiny])
    assert _given(LeastConfidence, P).query(P, len(P)).tolist() == list(range(len(P)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ties_are_broken_at_random_not_by_position(strategy):
    P = np.full((6, 2), 0.5)
    counts = np.zeros(6)
    for seed in range(600):
        counts[_given(strategy, P, random_state=seed).query(P, 1)] += 1
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_bad_probabilities_are_named(strategy):
    good = np.full((5, 2), 0.5)
    for bad, match in [(np.nan, "first: .3"), (0.9, "sum to 1"), (-0.5, "not negative")]:
        P = good.copy()
        P[3, 0] = bad
        with pytest.raises(ValueError, match=match):
            _given(strategy, good).query(P, 2)
    with pytest.raises(ValueError, match="at least two classes"):
        _given(strategy, good[:, :1]).query(good[:, :1])


def test_what_has_no_probabilities_is_refused_with_a_remedy():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="RidgeClassifier has no predict_proba.*Calibrated"):
        MarginSampling(RidgeClassifier()).fit(X, y).transform(X)


def test_without_an_estimator_the_error_says_where_to_put_it():
    with pytest.raises(ValueError, match="MarginSampling.estimator is None: pass an estimator"):
        MarginSampling().fit([[1.0]], [1])
