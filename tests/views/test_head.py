"""Gradients in the last layer: exact where something follows it, or refused."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skal.inspection import influence
from skal.neural_network import NeuralNetClassifier
from skal.strategies import (
    BADGE,
    BAIT,
    ISAL,
    RALIF,
    CoreSet,
    ExpectedGradientLength,
    GradNorm,
    NoiseStability,
)
from skal.views import NetView, has_net

_rng = np.random.RandomState(0)
X = _rng.randn(60, 4).astype(np.float32)
Y = np.arange(60) % 3


class Ends(nn.Module):
    """A linear layer, and something after it."""

    def __init__(self, end=None, bias=True, shared=False):
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3, bias=bias)
        self.end = end or nn.Identity()
        self.shared = shared

    def forward(self, X):
        H = torch.tanh(self.body(X))
        return self.end(self.head(H) + (self.head(2 * H) if self.shared else 0))


class Scaled(nn.Module):
    def forward(self, Z):
        return 0.3 * Z


def _net(end=None, **params):
    return NeuralNetClassifier(
        Ends, module__end=end, max_epochs=15, lr=0.02, random_state=0, **params
    ).fit(X, Y)


_FOLLOWED = [nn.LayerNorm(3), nn.ReLU(), Scaled()]


@pytest.mark.parametrize("end", _FOLLOWED, ids=lambda end: type(end).__name__)
def test_badge_is_the_gradient_whatever_follows(end):
    net = _net(end)
    Z = BADGE(FrozenEstimator(net)).fit(X[:5], Y[:5]).transform(X)
    for row, embedding in zip(torch.from_numpy(X), Z, strict=True):
        logits = net.module_(row[None])
        loss = nn.functional.cross_entropy(logits, logits.argmax(1))
        (gradient,) = torch.autograd.grad(loss, net.module_.head.weight)
        assert_allclose(embedding, gradient.flatten(), atol=1e-5)


@pytest.mark.parametrize("end", _FOLLOWED, ids=lambda end: type(end).__name__)
@pytest.mark.parametrize(
    "strategy", [BAIT(), RALIF(), ISAL(), GradNorm(params="last"), ExpectedGradientLength()]
)
def test_formulas_of_the_last_layer_are_refused(strategy, end):
    strategy.set_params(estimator=FrozenEstimator(_net(end)))
    if isinstance(strategy, ExpectedGradientLength):
        strategy.set_params(scope="last_layer") if "scope" in strategy.get_params() else None
    with pytest.raises(ValueError, match="something changes what its last nn.Linear, 'head'"):
        strategy.fit(X[:9], Y[:9]).query(X, 2)
    with pytest.raises(ValueError, match="influence takes gradients in the last layer"):
        influence(_net(end), X[:9], Y[:9], X, Y)
    # Distances of features need no gradient.
    assert len(CoreSet(FrozenEstimator(_net(end))).fit(X[:9], Y[:9]).query(X, 2)) == 2


def test_layers_that_see_a_row_twice():
    with pytest.raises(ValueError, match="sees each row once, and 'head' of Ends does not"):
        BADGE(FrozenEstimator(_net(module__shared=True))).fit(X[:5], Y[:5]).transform(X)


def test_modules_that_return_probabilities_are_linked():
    net = _net(nn.Softmax(1), criterion=nn.NLLLoss)
    H, log_P = NetView(net).last_layer(X)
    H_hand = torch.tanh(net.module_.body(torch.from_numpy(X)))
    assert_allclose(H, H_hand.detach(), atol=1e-6)
    assert_allclose(log_P.exp(), net.predict_proba(X), atol=1e-6)


# ---------------------------------------------------------------------- biases


def _influence_by_hand(H, P, v, g, damping, decay):
    """-v' A^-1 g with the dense Hessian in the weights alone, class after class."""
    m, d = H.shape
    A = np.zeros((P.shape[1] * d,) * 2)
    for h, p in zip(H, P, strict=True):
        A += np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h)) / m
    A += (damping + decay) * np.eye(len(A))
    return np.linalg.solve(A, v.ravel()) @ g.ravel()


@pytest.mark.parametrize("kind", ["net", "logistic"])
def test_layers_without_a_bias(kind):
    if kind == "net":
        model = _net(module__bias=False)
        H = torch.tanh(model.module_.body(torch.from_numpy(X))).detach().double().numpy()
        decay = 1e-4
    else:
        model = LogisticRegression(fit_intercept=False).fit(X, Y)
        H, decay = X.astype(np.float64), 1.0 / 20
    P = model.predict_proba(X).astype(np.float64)
    G = np.einsum("nk,nd->nkd", P - np.eye(3)[Y], H)
    labeled = slice(0, 20)
    expected = [
        _influence_by_hand(H[labeled], P[labeled], G[40:].mean(0), g, 0.01, decay) / 20
        for g in G[labeled]
    ]
    found = influence(model, X[labeled], Y[labeled], X[40:], Y[40:])
    assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    strategy = ISAL(FrozenEstimator(model), reference=(X[40:], Y[40:])).fit(X[labeled], Y[labeled])
    predicted = P.argmax(1)
    G = np.einsum("nk,nd->nkd", P - np.eye(3)[predicted], H)
    v = np.einsum("nk,nd->nkd", P - np.eye(3)[Y], H)[40:].mean(0)
    scores = [_influence_by_hand(H[labeled], P[labeled], v, g, 0.01, decay) for g in G]
    assert_allclose(np.abs(strategy.transform(X).ravel()), np.abs(scores), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("damping", [1e-12, 1e-9])
def test_too_little_damping_is_said_in_words(damping):
    twice = np.hstack([X, X])  # collinear
    model = LogisticRegression(C=1e9, max_iter=2000).fit(twice, Y)
    for strategy in (
        RALIF(damping=damping, weight_decay=0.0),
        ISAL(damping=damping, weight_decay=0.0),
    ):
        strategy.set_params(estimator=FrozenEstimator(model))
        try:
            rows = strategy.fit(twice[:20], Y[:20]).query(twice, 2)
        except ValueError as error:
            assert "Raise damping" in str(error)
        else:
            assert len(rows) == 2


# ---------------------------------------------------------------------- no linear layer at all


class Pixels(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.out = nn.Conv2d(4, n_outputs, 1)

    def forward(self, X):
        return self.out(torch.relu(self.body(X)))


IMAGES = _rng.rand(30, 1, 5, 5).astype(np.float32)
MASKS = (IMAGES[:, 0] > 0.5).astype(int)


@pytest.mark.parametrize("method", ["finite_difference", "jvp"])
@pytest.mark.parametrize("target", ["outputs", "probabilities"])
def test_noise_stability_of_outputs_needs_no_features(method, target):
    net = NeuralNetClassifier(Pixels, max_epochs=2, random_state=0).fit(IMAGES, MASKS)
    strategy = NoiseStability(
        FrozenEstimator(net), target=target, method=method, n_perturbations=3, random_state=0
    ).fit(IMAGES[:5], MASKS[:5])
    assert strategy.transform(IMAGES).shape == (30, 3 * 2 * 25)
    assert len(strategy.query(IMAGES, 4)) == 4
    with pytest.raises(ValueError, match="found no nn.Linear that runs in Pixels"):
        CoreSet(FrozenEstimator(net)).fit(IMAGES[:5], MASKS[:5]).query(IMAGES, 2)


def test_gaussian_processes_have_no_net_to_read():
    from skorch import NeuralNet

    class GPRegressor(NeuralNet):
        """Stands for skorch's, which needs gpytorch: its outputs are distributions."""

    process = GPRegressor(
        nn.Linear, criterion=nn.MSELoss, module__in_features=4, module__out_features=1
    ).initialize()
    assert not has_net(process)
    with pytest.raises(TypeError, match="a Gaussian process, whose outputs are distributions"):
        NetView(process, needed_by="NoiseStability")
