"""skal.recommend: which strategy, when, and that "auto" takes it everywhere."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from skal import ActiveLearner, recommend
from skal.model_selection import BudgetedActiveLearner, compare_strategies
from skal.strategies import ForestVariance, MarginSampling, RandomSampling

TABLE = np.random.RandomState(0).randn(1500, 4)
CLASSES = np.arange(1500) % 3
SPARSE = sparse.csr_array(TABLE)
TEXTS = ["good word", "bad word"] * 20


def empty(n, d):
    """A table of any size that takes no memory."""
    return np.broadcast_to(np.float32(0), (n, d))


@pytest.mark.parametrize(
    ("estimator", "X", "y", "budget", "expected", "because"),
    [
        (Ridge(), TABLE, None, None, ForestVariance, "20 tables"),
        (Ridge(), TABLE, TABLE[:200, 0], 300, ForestVariance, "20 tables"),
        (Ridge(), TABLE, TABLE[:1000, 0], None, RandomSampling, "With 1000 labels"),
        (Ridge(), TABLE, None, 1500, RandomSampling, "labels all 1500 rows"),
        (LogisticRegression(), TABLE, None, None, ForestVariance, "16 tables"),
        (LogisticRegression(), TABLE, CLASSES[:199], None, ForestVariance, "16 tables"),
        (LogisticRegression(), TABLE, None, 500, ForestVariance, "At 200 of your 500 labels"),
        (LogisticRegression(), TABLE, CLASSES[:200], None, MarginSampling, "With 200 labels"),
        (LinearSVC(), TABLE, CLASSES[:200], None, ForestVariance, "16 tables"),
        (KMeans(), TABLE, None, None, RandomSampling, "neither"),
        (LogisticRegression(), SPARSE, CLASSES[:9], None, MarginSampling, "sparse"),
        (LinearSVC(), SPARSE, CLASSES[:9], None, RandomSampling, "sparse"),
        (LogisticRegression(), TEXTS, None, None, RandomSampling, "no table"),
        (LogisticRegression(), TEXTS, [0, 1], None, MarginSampling, "no table"),
        (Ridge(), empty(10, 5000), None, None, RandomSampling, "5000 numbers"),
        (Ridge(), np.zeros((9, 1, 64, 64)), None, None, RandomSampling, "4096 numbers"),
        (Ridge(), empty(10**6, 4), None, None, RandomSampling, "1000000 rows"),
        (Ridge(), [[1.0, 2.0]] * 5, None, None, ForestVariance, "20 tables"),
    ],
)
def test_rules(estimator, X, y, budget, expected, because):
    strategy, reason = recommend(estimator, X, y, budget)
    assert type(strategy) is expected
    assert because in reason


def test_missing_labels_do_not_count_and_several_outputs_have_no_margin():
    y = np.where(np.arange(1500) < 50, CLASSES, np.nan)
    assert isinstance(recommend(LogisticRegression(), TABLE, y).strategy, ForestVariance)
    both = np.column_stack([CLASSES, CLASSES])
    assert isinstance(recommend(ExtraTreesClassifier(), TABLE, both).strategy, ForestVariance)


@pytest.mark.parametrize("budget", ["10", 10.5, True])
def test_a_budget_is_a_number_of_labels(budget):
    with pytest.raises(TypeError, match="budget must be an int"):
        recommend(Ridge(), TABLE, budget=budget)


def test_a_budget_is_positive():
    with pytest.raises(ValueError, match="at least 1 label. Got 0 instead"):
        recommend(Ridge(), TABLE, budget=0)


def test_auto_asks_what_is_recommended_then():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500)
    auto = ActiveLearner(model, "auto", random_state=0)
    forest = ActiveLearner(model, ForestVariance(), random_state=0)
    first = auto.query(X, 6)
    assert first.tolist() == forest.query(X, 6).tolist()
    first = np.r_[first, [0, 60, 120]]
    rows = auto.fit(X[first], y[first]).query(X, 5)
    assert rows.tolist() == forest.fit(X[first], y[first]).query(X, 5).tolist()
    many = np.tile(np.arange(150), 2)
    by_margin = ActiveLearner(model, MarginSampling(), random_state=0).fit(X[many], y[many])
    assert auto.fit(X[many], y[many]).query(X, 5).tolist() == by_margin.query(X, 5).tolist()
    assert isinstance(auto.query_strategy_, MarginSampling)


def test_auto_starts_with_texts():
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    learner = ActiveLearner(model, "auto", random_state=0)
    assert len(learner.query(TEXTS, 4)) == 4
    assert len(learner.fit(TEXTS[:10], CLASSES[:10] % 2).query(TEXTS, 4)) == 4


def test_only_auto_is_a_name():
    with pytest.raises(ValueError, match="'query_strategy' parameter .*'auto'"):
        ActiveLearner(Ridge(), "best").fit(TABLE, TABLE[:, 0])


def test_auto_in_comparisons_and_budgets():
    X, y = load_iris(return_X_y=True)
    learner = ActiveLearner(LogisticRegression(max_iter=500))
    plan = {"n_initial": 6, "n_instances": 5, "budget": 16}
    results = compare_strategies(
        learner, {"a": "auto", "b": ForestVariance()}, X, y, **plan, n_repeats=1, random_state=0
    )
    scores = results.pivot(index="round", columns="strategy", values="score")
    assert scores["a"].tolist() == scores["b"].tolist()
    listed = compare_strategies(learner, ["auto"], X, y, **plan, n_repeats=1, random_state=0)
    assert set(listed["strategy"]) == {"auto"}
    with pytest.raises(TypeError, match="or 'auto'. Got 'best' instead"):
        compare_strategies(learner, ["best"], X, y, **plan)
    budgeted = BudgetedActiveLearner(
        ActiveLearner(LogisticRegression(max_iter=500), "auto"), **plan, random_state=0
    )
    assert budgeted.fit(X, y).n_labels_[-1] == 16
