"""A model that has seen one class tells no rows apart: one warning, and rows at random."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

import skal.strategies as strategies
from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["a", "b", "c"])[Y]
BLIND = [
    "ALFAMix",
    "BADGE",
    "BAIT",
    "BALD",
    "BatchBALD",
    "ClusterMargin",
    "DeAn",
    "DropQuery",
    "ExpectedGradientLength",
    "GradNorm",
    "ISAL",
    "LHD",
    "MeanStd",
    "NoiseStability",
    "RALIF",
    "UHerding",
    "VariationRatio",
]


def _learner(strategy, **net):
    net = NeuralNetClassifier(module__dropout=0.3, max_epochs=2, random_state=0, **net)
    return ActiveLearner(net, strategy, random_state=0).fit(X[:6], NAMES[:6])


@pytest.mark.parametrize("name", BLIND)
def test_one_warning_and_rows_at_random(name):
    learner = _learner(getattr(strategies, name)())
    with pytest.warns(UserWarning, match=rf"one class \(a\).*{name}.*at random") as log:
        rows, scores = learner.query(X, 20, return_scores=True)
    assert len(log) == 1
    assert len(set(rows)) == 20 and rows.dtype == np.int64 and (scores == 0).all()


def test_a_committee_of_one_class():
    forest = RandomForestClassifier(5)
    learner = ActiveLearner(forest, strategies.QueryByCommittee(), random_state=0)
    with pytest.warns(UserWarning, match="QueryByCommittee cannot tell rows apart"):
        assert len(learner.fit(X[:6], Y[:6]).query(X, 3)) == 3


@pytest.mark.parametrize("name", ["MarginSampling", "EntropySampling", "LeastConfidence"])
def test_scores_of_probabilities_say_what_to_do(name):
    with pytest.raises(ValueError, match="at least two classes.*classes="):
        _learner(getattr(strategies, name)()).query(X, 3)


@pytest.mark.parametrize("name", ["CoreSet", "TypiClust", "RandomSampling"])
def test_others_need_no_classes(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(_learner(getattr(strategies, name)()).query(X, 3)) == 3


def test_a_net_that_knows_all_its_classes_is_read():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = _learner(strategies.BADGE(), classes=["a", "b", "c"])
        assert (learner.query(X, 3, return_scores=True)[1] > 0).any()
