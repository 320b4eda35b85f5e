"""Expected gradient length: closed forms against autograd, row by row and label by label."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.strategies import BADGE, ExpectedGradientLength
from skal.strategies._expected_gradient import sq_residuals
from skal.views import NetView

X, Y = load_iris(return_X_y=True)


class Probabilities(nn.Module):
    """Ends in a softmax, has a convolution, a layer that is frozen and one without a bias."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Conv1d(1, 3, 2)
        self.frozen = nn.Linear(3 * (n_features - 1), 4).requires_grad_(False)
        self.last = nn.Linear(4, n_outputs, bias=False)

    def forward(self, X):
        H = torch.tanh(self.first(X[:, None])).flatten(1)
        return torch.softmax(self.last(self.frozen(H)), 1)


def _net(**params):
    return NeuralNetClassifier(max_epochs=10, random_state=0, **params).fit(X, Y)


def _score(model, rows=X, **params):
    strategy = ExpectedGradientLength(FrozenEstimator(model), **params).fit(rows[:3])
    return strategy.query(rows, 1, return_scores=True)[1]


def _by_backward(net, rows, names, squared=False, top_k=None):
    """One backward pass per row and label, in float64."""
    module = net.module_.double().eval()
    scores = []
    for row in torch.tensor(rows):
        p, lengths = None, []
        for y in range(3):
            module.zero_grad()
            out = module(row[None])[0]
            p = out if isinstance(net.criterion_, nn.NLLLoss) else torch.softmax(out, 0)
            (-p[y].log()).backward()
            grads = [g.grad for name, g in module.named_parameters() if name in names]
            sq_length = sum((g**2).sum() for g in grads if g is not None)
            lengths.append(float(sq_length if squared else sq_length.sqrt()))
        p = p.detach().numpy().copy()
        if top_k is not None:
            p[np.argsort(p)[: len(p) - top_k]] = 0
            p /= p.sum()
        scores.append(p @ lengths)
    module.zero_grad(set_to_none=True)
    module.float()
    return np.array(scores)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_the_last_layer_in_closed_form_is_autograd(bias, squared, top_k):
    net = _net(module__hidden=(7,))
    last = [name for name, _ in net.module_.named_parameters()][-2:]
    found = _score(net, X[::5], bias=bias, squared=squared, top_k=top_k)
    expected = _by_backward(net, X[::5], last if bias else last[:1], squared, top_k)
    assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("squared", [True, False])
def test_all_parameters_are_explicit_backward_passes(squared, monkeypatch):
    net = _net(module__hidden=(7, 5))
    names = [name for name, _ in net.module_.named_parameters()]
    found = _score(net, X[::5], scope="all", squared=squared)
    assert_allclose(found, _by_backward(net, X[::5], names, squared), rtol=1e-4)
    monkeypatch.setattr("skal.strategies._expected_gradient._JACOBIAN_NUMBERS", 1)
    assert_allclose(_score(net, X[::5], scope="all", squared=squared), found, rtol=1e-5)


def test_frozen_parameters_and_other_layers():
    net = NeuralNetClassifier(
        Probabilities, criterion=nn.NLLLoss, max_epochs=5, lr=0.01, random_state=0
    ).fit(X, Y)
    trainable = [name for name, p in net.module_.named_parameters() if p.requires_grad]
    assert len(trainable) == 3
    found = _score(net, X[::5], scope="all", top_k=2)
    assert_allclose(found, _by_backward(net, X[::5], trainable, top_k=2), rtol=1e-4)


def test_a_logistic_regression_is_its_last_layer():
    model = LogisticRegression(max_iter=1000).fit(X, Y)
    P = model.predict_proba(X)
    lengths = np.linalg.norm(P[:, None, :] - np.eye(3), axis=2)
    expected = (P * lengths).sum(1) * np.sqrt((X**2).sum(1) + 1)
    assert_allclose(_score(model), expected, rtol=1e-6)
    assert_allclose(_score(model, scope="all"), expected, rtol=1e-6)


def test_two_classes():
    model = LogisticRegression(max_iter=1000).fit(X, Y == 1)
    p = model.predict_proba(X)[:, 0]
    expected = 2 * np.sqrt(2) * p * (1 - p) * np.linalg.norm(X, axis=1)
    assert_allclose(_score(model, bias=False), expected, rtol=1e-6)


def test_squared_is_one_minus_the_sum_of_squares():
    model = LogisticRegression(max_iter=1000).fit(X, Y)
    P = model.predict_proba(X)
    expected = (1 - (P**2).sum(1)) * ((X**2).sum(1) + 1)
    assert_allclose(_score(model, squared=True), expected, rtol=1e-6)


def test_never_less_than_the_embedding_of_badge():
    model = LogisticRegression(max_iter=1000).fit(X, Y)
    badge = BADGE(FrozenEstimator(model), random_state=0).fit(X[:3]).transform(X)
    assert (_score(model, bias=False) >= np.linalg.norm(badge, axis=1) * (1 - 1e-6)).all()


def test_sure_rows():
    P = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1e-30, 0.0]], dtype=torch.float64)
    found = sq_residuals(P).numpy()
    assert_allclose(found[0], [2, 0, 2])
    assert_allclose(found[1], [2e-60, 2, 2], rtol=1e-12)


D, T = load_diabetes(return_X_y=True)
D, T = D[:120] * 20, T[:120] / T.std()


@pytest.mark.parametrize("squared", [True, False])
def test_regression_by_a_committee_of_linear_models(squared):
    bagging = BaggingRegressor(Ridge(), n_estimators=4, max_features=6, random_state=0)
    model = make_pipeline(StandardScaler(), bagging).fit(D, T)
    Z = model[0].transform(D)
    terms = []
    for member, columns in zip(bagging.estimators_, bagging.estimators_features_, strict=True):
        inputs = Z[:, columns]
        change = np.abs(model.predict(D) - member.predict(inputs))
        terms.append(change * np.sqrt((inputs**2).sum(1) + 1))
    expected = np.mean(np.square(terms) if squared else terms, axis=0)
    assert_allclose(_score(model, D, squared=squared), expected, rtol=1e-6)


def test_regression_by_voting_and_by_nets():
    voting = VotingRegressor([("a", LinearRegression()), ("b", Ridge(10.0))]).fit(D, T)
    f = np.abs(voting.estimators_[0].predict(D) - voting.estimators_[1].predict(D)) / 2
    assert_allclose(_score(voting, D, bias=False), f * np.linalg.norm(D, axis=1), rtol=1e-6)
    net = NeuralNetRegressor(module__hidden=(6,), max_epochs=2)
    bagging = BaggingRegressor(net, n_estimators=3, random_state=0).fit(D, T)
    terms = [
        np.abs(bagging.predict(D) - member.predict(D))
        * np.sqrt((NetView(member).features(D).double().numpy() ** 2).sum(1) + 1)
        for member in bagging.estimators_
    ]
    assert_allclose(_score(bagging, D), np.mean(terms, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        Ridge(),
        NeuralNetRegressor(max_epochs=1),
        RandomForestRegressor(2),
        GradientBoostingRegressor(n_estimators=2),
    ],
)
def test_regressors_that_are_no_committee_are_refused(model):
    with pytest.raises(TypeError, match="needs a committee .*Use for instance BaggingRegressor"):
        ExpectedGradientLength(model).fit(D, T).transform(D)


@pytest.mark.parametrize("params", [{"scope": "all"}, {"top_k": 2}])
def test_what_serves_classification_only(params):
    with pytest.raises(ValueError, match="serve classification. Got scope="):
        ExpectedGradientLength(BaggingRegressor(Ridge(), 2), **params).fit(D, T).transform(D)


def test_classifiers_without_a_last_layer_are_refused():
    with pytest.raises(TypeError, match="ExpectedGradientLength needs a classifier with a linear"):
        ExpectedGradientLength(RandomForestClassifier(2)).fit(X, Y).transform(X)
