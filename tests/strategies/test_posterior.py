"""One stream of answers, from nets with dropout and from ensembles."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal.neural_network import NeuralNetClassifier
from skal.strategies import EntropySampling
from skal.views import NetView
from skal.views import _posterior as posterior
from skal.views._dropout import dropout_log_probabilities
from skal.views._posterior import posterior_log_probabilities

X, Y = load_iris(return_X_y=True)


def joined(stream):
    return torch.cat([log_P for _, log_P in stream], dim=1)


def asked(estimator, n_passes=5, seed=0):
    strategy = EntropySampling(estimator).fit(X, Y)
    return strategy, joined(posterior_log_probabilities(strategy.view, X, n_passes, seed))


def test_a_net_answers_with_dropout():
    net = NeuralNetClassifier(module__dropout=0.5, max_epochs=3, random_state=0)
    strategy, found = asked(make_pipeline(StandardScaler(), net))
    expected = joined(dropout_log_probabilities(NetView(strategy.estimator_), X, 5, 0))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "ensemble",
    [
        BaggingClassifier(LogisticRegression(), n_estimators=4, max_features=2, random_state=0),
        RandomForestClassifier(4, random_state=0),
        ExtraTreesClassifier(4, random_state=0),
        VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    ],
)
def test_an_ensemble_answers_by_its_members(ensemble, monkeypatch):
    strategy, found = asked(make_pipeline(StandardScaler(), ensemble))
    assert found.dtype == torch.float64
    assert len(found) == len(strategy.estimator_[-1].estimators_)
    assert_allclose(found.exp().mean(0), strategy.estimator_.predict_proba(X), atol=1e-12)
    monkeypatch.setattr(posterior, "_ROWS", 40)
    monkeypatch.setattr(posterior, "_NUMBERS", 40 * found.shape[0] * 3)
    slices = [rows for rows, _ in posterior_log_probabilities(strategy.view, X, 1, 0)]
    assert [rows.stop for rows in slices] == [40, 80, 120, 150]
    assert torch.equal(joined(posterior_log_probabilities(strategy.view, X, 1, 0)), found)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(max_iter=500), GradientBoostingClassifier()]
)
def test_other_estimators_are_refused(estimator):
    with pytest.raises(ValueError, match="EntropySampling needs an ensemble of independent member"):
        asked(estimator)


def test_a_bag_of_nets():
    net = NeuralNetClassifier(max_epochs=2, random_state=0)
    _, found = asked(BaggingClassifier(net, n_estimators=2, random_state=0))
    assert found.shape == (2, 150, 3)
    assert np.isfinite(found.numpy()).all()
