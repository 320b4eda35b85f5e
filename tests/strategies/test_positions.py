"""A class per pixel: strategies that need only outputs serve, the others refuse in words."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import (
    BADGE,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    NoiseStability,
    SelectingStrategy,
)
from skal.utils._tags import QueryStrategyTags

_rng = np.random.RandomState(0)
X = _rng.rand(30, 1, 5, 5).astype(np.float32)
Y = (X[:, 0] > 0.5).astype(int)


class Pixels(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.out = nn.Conv2d(4, n_outputs, 1)

    def forward(self, X):
        return self.out(torch.relu(self.body(X)))


@pytest.fixture(scope="module")
def net():
    return NeuralNetClassifier(Pixels, max_epochs=2, random_state=0).fit(X, Y)


def test_scores_are_means_over_pixels(net):
    P = net.predict_proba(X).astype(np.float64)
    expected = {
        LeastConfidence: 1 - P.max(1),
        EntropySampling: -(P * np.log(P)).sum(1),
    }
    for kind, scores in expected.items():
        Z = kind(FrozenEstimator(net)).fit(X[:5], Y[:5]).transform(X)
        assert_allclose(Z.ravel(), scores.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("strategy", [MarginSampling(), NoiseStability(target="outputs")])
def test_a_whole_round(strategy):
    net = NeuralNetClassifier(Pixels, max_epochs=2, random_state=0)
    learner = ActiveLearner(net, strategy, random_state=0).fit(X[:10], Y[:10])
    rows = learner.query(X[10:], 4)
    assert learner.teach(X[10:][rows], Y[10:][rows]).n_labeled_ == 14


def test_others_refuse_in_words(net):
    with pytest.raises(ValueError, match="found no nn.Linear that runs in Pixels"):
        BADGE(FrozenEstimator(net)).fit(X[:5], Y[:5]).query(X, 3)


# ---------------------------------------------------------------------- strategies of one's own


class Short(SelectingStrategy):
    _query_tags = QueryStrategyTags(needs=("probabilities",), tasks=("classifier",))

    def _represent(self, X):
        return np.zeros(5) if self.device is None else np.zeros((len(X) + 1, 2))


@pytest.mark.parametrize("device", [None, "cpu"])
def test_scores_of_another_length_are_noticed(net, device):
    strategy = Short(FrozenEstimator(net), device=device).fit(X, Y)
    with pytest.raises(ValueError, match="each of the 30 rows of X. Got (5|31) instead"):
        strategy.query(X, 3)


def test_unknown_tags_are_noticed():
    with pytest.raises(ValueError, match="'needs' of QueryStrategyTags must be among.*'probs'"):
        QueryStrategyTags(needs=("probs",))
    with pytest.raises(ValueError, match="'tasks' of QueryStrategyTags.*'regression'"):
        QueryStrategyTags(tasks=("regression",))
