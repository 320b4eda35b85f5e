"""How a strategy binds to its estimator and to its labelled rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chisquare
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.strategies import (
    CoreSet,
    MarginSampling,
    QueryStrategy,
    RandomSampling,
    SelectingStrategy,
)
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags

rng = np.random.RandomState(0)
X = rng.randn(60, 3)
Y = (X[:, 0] > 0).astype(int)


class Answer(SelectingStrategy):
    """Represents rows as whatever it is told to."""

    _query_tags = QueryStrategyTags(requires_fitted_estimator=False)

    def __init__(self, answer=None, estimator=None, *, selector=None, device=None, random_state=0):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.answer = answer

    def _represent(self, X):
        return self.answer(np.asarray(X))


def test_random_sampling_is_uniform_over_rows_and_orders():
    counts = np.zeros((4, 4))
    for seed in range(1200):
        first, second = RandomSampling(random_state=seed).fit(X[:1]).query(X[:4], 2)
        counts[first, second] += 1
    assert np.trace(counts) == 0
    assert chisquare(counts[~np.eye(4, dtype=bool)]).pvalue > 1e-4


def test_an_unfitted_estimator_is_cloned_and_fitted():
    model = LogisticRegression()
    strategy = MarginSampling(model).fit(X[:30], Y[:30])
    assert not hasattr(model, "coef_") and hasattr(strategy.estimator_, "coef_")


def test_a_frozen_estimator_is_used_as_it_is():
    model = LogisticRegression().fit(X[:30], Y[:30])
    strategy = MarginSampling(FrozenEstimator(model)).fit(X[:10])
    assert strategy.estimator_ is model


def test_a_strategy_is_a_pipeline_step():
    Z = make_pipeline(StandardScaler(), CoreSet(), PCA(2)).fit_transform(X)
    assert Z.shape == (60, 2)


def test_scores_and_embeddings_of_every_kind():
    for answer in (lambda X: X, lambda X: Rows(X), lambda X: X[:, 0]):
        strategy = Answer(answer, selector=CoreSet._default_selector).fit(X[:5])
        assert strategy.query(X, 3).shape == (3,)
        assert len(strategy.transform(X)) == 60


def test_nan_scores_are_named():
    strategy = Answer(lambda X: np.where(X[:, 0] > 2, np.nan, X[:, 0]), estimator=None)
    strategy.fit([[0.0, 0.0, 0.0]])
    pool = np.zeros((9, 3))
    pool[4] = 3
    with pytest.raises(ValueError, match=r"NaN or infinity for 1 of 9 rows \(first: \[4\]\)"):
        strategy.query(pool, 2)


def test_placeholders_of_nested_strategies_are_filled():
    class Nested(SelectingStrategy):
        def __init__(self, inner=None, estimator=None, *, random_state=None):
            super().__init__(estimator, random_state=random_state)
            self.inner = inner

        def fit(self, X, y=None):
            self.estimator_ = self.estimator.estimator
            self.inner_ = self.inner.fit(X, y)
            return self

        def query(self, X, n_instances=1):
            return self.inner_.query(X, n_instances)

    inner = MarginSampling()
    learner = ActiveLearner(LogisticRegression(), Nested(inner), random_state=0).fit(X, Y)
    expected = ActiveLearner(LogisticRegression(), inner, random_state=0).fit(X, Y).query(X, 5)
    assert_array_equal(learner.query(X, 5), expected)
    assert inner.estimator is None


def test_a_strategy_may_keep_a_model_of_its_own():
    own = FrozenEstimator(LogisticRegression().fit(X[:, :], 1 - Y))
    learner = ActiveLearner(Ridge(), MarginSampling(own), random_state=0).fit(X, X[:, 0])
    alone = MarginSampling(own, random_state=0).fit(X)
    assert_array_equal(learner.query(X, 5), alone.query(X, 5))


def test_users_may_bring_a_strategy_of_their_own():
    class Longest:
        def __init__(self, estimator=None):
            self.estimator = estimator

        def get_params(self, deep=True):
            return {"estimator": self.estimator}

        def set_params(self, **params):
            vars(self).update(params)
            return self

        def fit(self, X, y=None):
            return self

        def query(self, X, n_instances=1):
            return np.argsort(-np.linalg.norm(X, axis=1))[:n_instances]

    learner = ActiveLearner(Ridge(), Longest()).fit(X, Y)
    assert learner.query(X, 1)[0] == np.linalg.norm(X, axis=1).argmax()


def test_cold_start_that_needs_labels_says_so():
    from sklearn.feature_selection import SelectKBest

    learner = ActiveLearner(make_pipeline(SelectKBest(k=2), Ridge()), CoreSet())
    with pytest.raises(ValueError, match="fitted on the pool without labels, which failed"):
        learner.query(X, 2)


class OnlyRepresents(QueryStrategy):
    _query_tags = QueryStrategyTags(needs=("probabilities",), tasks=("classifier",))

    def _represent(self, X):
        return (1 - (self.view.probabilities(X) ** 2).sum(1)) * self.factor

    factor = 1.0


def test_one_method_is_a_strategy_without_a_selector_to_exchange():
    X, y = load_iris(return_X_y=True)
    strategy = OnlyRepresents(LogisticRegression(max_iter=500), random_state=0)
    rows, scores = strategy.fit(X[::10], y[::10]).query(X, 5, return_scores=True)
    assert np.array_equal(np.sort(scores[rows]), np.sort(scores)[-5:])
    assert "selector" not in strategy.get_params()


def test_what_strategies_of_others_read_before_still_works():
    class Old(OnlyRepresents):
        def _represent(self, X):
            return 1 - (self._probabilities(X) ** 2).sum(1)

    X, y = load_iris(return_X_y=True)
    new, old = (
        kind(LogisticRegression(max_iter=500), random_state=0).fit(X[::10], y[::10])
        for kind in (OnlyRepresents, Old)
    )
    with pytest.warns(DeprecationWarning, match="is self.view.probabilities"):
        assert np.array_equal(old.query(X, 5), new.query(X, 5))
    with pytest.warns(DeprecationWarning, match="is self.view.inputs"):
        assert old._inputs(X).shape == X.shape
