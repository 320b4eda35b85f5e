"""Distances where rows are no numbers: encoded, or by a transformer of one's own."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skal import ActiveLearner
from skal.preprocessing import TablePreprocessor
from skal.strategies import CoreSet, MaxHerding, ProbCover, TypiClust

RNG = np.random.RandomState(0)
FRAME = pd.DataFrame(
    {
        "size": RNG.randn(80),
        "kind": pd.Categorical(RNG.choice(["a", "b", "c"], 80)),
        "sold": pd.date_range("2026-01-01", periods=80, freq="D"),
    }
)
FRAME.loc[RNG.choice(80, 10, replace=False), "size"] = np.nan
PRICE = RNG.randn(80)
BOOSTED = HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=5)


class TakesAnything(RegressorMixin, BaseEstimator):
    """Does its own encoding, as gradient boosting of other packages does."""

    def fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize("strategy", [CoreSet(), TypiClust(), MaxHerding(), ProbCover()])
@pytest.mark.parametrize("estimator", [BOOSTED, TakesAnything()])
def test_mixed_inputs_are_encoded(strategy, estimator):
    frame = FRAME[["size", "kind"]] if estimator is BOOSTED else FRAME
    learner = ActiveLearner(estimator, strategy, random_state=0)
    assert len(set(learner.query(frame, 5))) == 5
    learner.fit(frame[:30], PRICE[:30])
    rows = learner.query(frame, 5)
    by_hand = TablePreprocessor().fit(frame[:30])
    explicit = strategy.__class__(space=FrozenEstimator(by_hand))
    learner.set_params(query_strategy=explicit).fit(frame[:30], PRICE[:30])
    assert_array_equal(learner.query(frame, 5), rows)


@pytest.mark.parametrize("kind", ["array", "polars", "object frame"])
def test_mixed_inputs_in_other_containers(kind):
    table = FRAME[["size", "kind"]].astype(object)
    X = {
        "array": table.to_numpy(),
        "object frame": table,
        "polars": pl.DataFrame({"size": FRAME["size"].to_numpy(), "kind": list(FRAME["kind"])}),
    }[kind]
    strategy = CoreSet(random_state=0).fit(X[:30])
    expected = CoreSet(random_state=0).fit(FRAME[["size", "kind"]][:30])
    assert_array_equal(strategy.query(X, 6), expected.query(FRAME[["size", "kind"]], 6))


def test_numbers_stay_what_they_are():
    X = RNG.randn(50, 3) * [1, 10, 100]
    assert_allclose(CoreSet().fit(X[:5]).transform(X), X, rtol=1e-6)
    assert_allclose(CoreSet().fit(pd.DataFrame(X)[:5]).transform(pd.DataFrame(X)), X, rtol=1e-6)


def test_gaps_are_filled():
    X = RNG.randn(50, 3)
    X[3, 1] = np.nan
    rows = CoreSet(random_state=0).fit(X[:10]).query(X, 5)
    assert len(set(rows)) == 5


def test_a_transformer_gets_the_rows_as_they_are():
    texts = np.array(["red dog", "blue cat", "red sun", "green tree", "red dog", "far away home"])
    vectors = TfidfVectorizer().fit(texts)
    learner = ActiveLearner(
        make_pipeline(TfidfVectorizer(), Ridge()),
        CoreSet(space=FrozenEstimator(vectors)),
        random_state=0,
    )
    learner.fit(texts[:1], [1.0])
    Z = vectors.transform(texts).toarray()
    distances = np.linalg.norm(Z - Z[0], axis=1)
    rows, scores = learner.query(texts, 1, return_scores=True)
    assert_allclose(scores, distances, atol=1e-6)
    assert scores[4] == 0


def test_an_unfitted_transformer_is_cloned_and_fitted_on_the_labelled_rows():
    encoder = TablePreprocessor()
    strategy = CoreSet(space=encoder, random_state=0).fit(FRAME[:30])
    assert not hasattr(encoder, "kinds_")
    by_hand = TablePreprocessor().fit(FRAME[:30]).transform(FRAME)
    assert_allclose(strategy.transform(FRAME), by_hand, rtol=1e-6, atol=1e-6)
    assert len(ActiveLearner(TakesAnything(), CoreSet(space=encoder)).query(FRAME, 3)) == 3


def test_the_parameters_of_the_transformer_can_be_searched():
    strategy = CoreSet(space=TablePreprocessor())
    assert strategy.set_params(space__clip=2.0).space.clip == 2.0
    with pytest.raises(ValueError, match="'space' parameter of CoreSet"):
        CoreSet(space="elsewhere").fit(RNG.randn(5, 2))


class Objects(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[len(row), sum(row)] for row in X], dtype=float)


def test_signals_of_unequal_length():
    signals = [RNG.randn(RNG.randint(3, 9)) for _ in range(40)]
    learner = ActiveLearner(make_pipeline(Objects(), Ridge()), CoreSet(), random_state=0)
    learner.fit(signals[:10], np.arange(10.0))
    rows = learner.query(signals, 5)
    learner.teach([signals[i] for i in rows], np.arange(5.0))
    assert learner.n_labeled_ == 15 and len(learner.X_labeled_) == 15
