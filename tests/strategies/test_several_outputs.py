"""Multi-output and multi-label classifiers: the mean over outputs, or a refusal that says who."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skal import ActiveLearner
from skal.strategies import (
    BADGE,
    BALD,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    QueryByCommittee,
    TypiClust,
    VariationRatio,
)
from skal.strategies._measures import disagreement

X, Y_IRIS = load_iris(return_X_y=True)
OUTPUTS = np.column_stack([Y_IRIS, Y_IRIS > 0, np.zeros_like(Y_IRIS)])
LABELS = np.column_stack([Y_IRIS > 0, Y_IRIS == 1]).astype(int)
UNCERTAINTY = [LeastConfidence(), MarginSampling(), EntropySampling()]


def _frozen(strategy, model):
    return clone(strategy).set_params(estimator=FrozenEstimator(model)).fit(X)


def _score(strategy, P):
    return strategy._score(torch.as_tensor(P, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("strategy", UNCERTAINTY)
def test_several_outputs_count_by_their_mean(strategy):
    forest = RandomForestClassifier(5, random_state=0)
    for model in (MultiOutputClassifier(forest).fit(X, OUTPUTS), forest.fit(X, OUTPUTS)):
        first, second, _ = model.predict_proba(X)
        # The third output had one class and is sure.
        expected = _score(strategy, first) + _score(strategy, second) + _score(strategy, [[1, 0]])
        assert_allclose(_frozen(strategy, model).transform(X)[:, 0], expected / 3, atol=1e-6)
        assert len(set(_frozen(strategy, model).query(X, 5))) == 5


@pytest.mark.parametrize("strategy", UNCERTAINTY)
def test_labels_of_which_a_row_may_have_several(strategy):
    logistic = LogisticRegression(max_iter=1000)
    for model in (
        OneVsRestClassifier(logistic),
        ClassifierChain(logistic),
        make_pipeline(StandardScaler(), MLPClassifier((8,), solver="lbfgs", max_iter=9999)),
    ):
        P = model.fit(X, LABELS).predict_proba(X)
        expected = np.mean([_score(strategy, np.column_stack([1 - p, p])) for p in P.T], axis=0)
        assert_allclose(_frozen(strategy, model).transform(X)[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_a_committee_of_several_outputs():
    forest = RandomForestClassifier(7, random_state=0).fit(X, OUTPUTS)
    members = np.stack([np.stack(tree.predict_proba(X)[:1])[0] for tree in forest.estimators_])
    second = np.stack([tree.predict_proba(X)[1] for tree in forest.estimators_])
    for measure in ("kl", "vote_entropy"):
        scores = [disagreement(torch.as_tensor(P), measure).numpy() for P in (members, second)]
        strategy = _frozen(QueryByCommittee(measure=measure), forest)
        assert_allclose(strategy.transform(X)[:, 0], sum(scores) / 3, atol=1e-6)


@pytest.mark.parametrize("strategy", [*UNCERTAINTY, QueryByCommittee(), CoreSet(), TypiClust()])
@pytest.mark.parametrize("Y", [OUTPUTS, LABELS])
def test_the_loop(strategy, Y):
    learner = ActiveLearner(RandomForestClassifier(5), strategy, random_state=0)
    learner.fit(X[::10], Y[::10])
    rows = learner.query(X, 4)
    learner.teach(X[rows] + 1e-3, Y[rows])
    assert learner.n_labeled_ == 19 and learner.y_labeled_.shape == (19, Y.shape[1])
    assert learner.forget([-1]).relabel([0], Y[:1]).n_labeled_ == 18


@pytest.mark.parametrize("strategy", [BADGE(), BALD(), VariationRatio()])
def test_the_others_say_who_serves_several(strategy):
    models = [RandomForestClassifier(5), OneVsRestClassifier(LogisticRegression(max_iter=999))]
    for model in models[: 1 if isinstance(strategy, VariationRatio) else 2]:
        learner = ActiveLearner(model, strategy, random_state=0).fit(X[::10], LABELS[::10])
        with pytest.raises(
            (ValueError, TypeError), match=f"{type(strategy).__name__} (serves|need)"
        ):
            learner.query(X, 3)
    with pytest.raises(ValueError, match="serves one output.*QueryByCommittee"):
        _frozen(VariationRatio(), RandomForestClassifier(5).fit(X, LABELS)).query(X, 3)


def test_a_tree_with_one_output_is_as_before():
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, Y_IRIS)
    expected = _score(MarginSampling(), tree.predict_proba(X))
    assert_allclose(_frozen(MarginSampling(), tree).transform(X)[:, 0], expected, atol=1e-6)
