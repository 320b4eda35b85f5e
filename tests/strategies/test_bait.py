"""BAIT around estimators: what it reads of them, against explicit Fisher matrices and autograd."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.strategies import BAIT
from skal.views import NetView

X, Y = load_iris(return_X_y=True)
LABELED, POOL = np.arange(0, 150, 15), np.arange(1, 150, 4)


def _best_single(info, info_labeled, lam):
    """Trace before minus trace after adding each row alone, from explicit matrices."""
    m = len(info_labeled)
    F = np.concatenate([info, info_labeled]).mean(0)
    M = lam * np.eye(len(F)) + info_labeled.sum(0) / (m + 1)
    before = np.trace(np.linalg.solve(M, F))
    return np.array([before - np.trace(np.linalg.solve(M + i / (m + 1), F)) for i in info])


def _autograd_information(log_P, parameters):
    """Expectation over the labels of the outer product of the gradients of log p."""
    total = 0.0
    for log_p in log_P:
        grads = torch.autograd.grad(log_p, parameters, retain_graph=True)
        g = torch.cat([grad.ravel() for grad in grads])
        total = total + log_p.exp().item() * torch.outer(g, g)
    return total.double().numpy()


@pytest.mark.parametrize("bias", [False, True])
def test_gains_are_those_of_the_fisher_information_by_autograd(bias):
    net = NeuralNetClassifier(module__hidden=(5,), max_epochs=20, random_state=0).fit(X, Y)
    strategy = BAIT(FrozenEstimator(net), regularization=0.1, bias=bias).fit(X[LABELED])
    head = NetView(net).head
    H = NetView(net).features(X).double()
    weight = head.weight.detach().double().requires_grad_()
    offset = head.bias.detach().double().requires_grad_()
    parameters = [weight, offset] if bias else [weight]
    log_P = torch.log_softmax(H @ weight.T + offset, 1)
    info = np.array([_autograd_information(log_p, parameters) for log_p in log_P])
    rows, scores = strategy.query(X[POOL], 1, return_scores=True)
    expected = _best_single(info[POOL], info[LABELED], 0.1)
    assert_allclose(scores, expected, rtol=1e-5, atol=1e-7 * expected.max())
    if not bias:
        diagonal = np.einsum("nii->ni", info)
        assert_allclose(strategy.transform(X) ** 2, diagonal, rtol=1e-4, atol=1e-7)


def test_logistic_regression_is_its_own_last_layer():
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[LABELED], Y[LABELED])
    strategy = BAIT(FrozenEstimator(model), regularization=0.1, oversample=1).fit(X[LABELED])
    H, P = model[0].transform(X), model.predict_proba(X)
    info = [np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h)) for p, h in zip(P, H, strict=True)]
    info = np.array(info)
    expected = _best_single(info[POOL], info[LABELED], 0.1)
    rows, scores = strategy.query(X[POOL], 1, return_scores=True)
    assert_allclose(scores, expected, rtol=1e-4)
    assert rows.tolist() == [expected.argmax()]


@pytest.mark.parametrize("net", [False, True])
def test_regression(net):
    model = NeuralNetRegressor(module__hidden=(6,), max_epochs=3) if net else Ridge()
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), model)).fit(X, X[:, 0])
    strategy = BAIT(FrozenEstimator(model)).fit(X[LABELED])
    H = NetView(model).features(X).double().numpy() if net else model.regressor_[0].transform(X)
    info = np.einsum("ni,nj->nij", H, H)
    _, scores = strategy.query(X[POOL], 1, return_scores=True)
    assert_allclose(scores, _best_single(info[POOL], info[LABELED], 1.0), rtol=1e-5)
    assert_allclose(strategy.transform(X), H, rtol=1e-6, atol=1e-7)


def test_several_outputs_choose_as_one():
    one = BAIT(Ridge()).fit(X[LABELED], X[LABELED, 0]).query(X, 6)
    assert_array_equal(BAIT(Ridge()).fit(X[LABELED], X[LABELED, :2]).query(X, 6), one)


def test_oversampling_and_regularization_count():
    def rows(**params):
        return BAIT(LogisticRegression(max_iter=500), **params).fit(X[::5], Y[::5]).query(X, 10)

    default = rows()
    assert not np.array_equal(default, rows(oversample=1))
    assert not np.array_equal(default, rows(regularization=1e-3))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RandomForestClassifier(2), "BAIT needs a classifier with a linear last layer"),
        (RandomForestRegressor(2), "BAIT needs a regressor with a linear last layer"),
    ],
)
def test_models_without_a_last_layer_are_refused(model, message):
    with pytest.raises(TypeError, match=message):
        BAIT(model).fit(X, Y)


def test_what_is_too_large_is_refused_with_sizes_and_remedy():
    rng = np.random.RandomState(0)
    wide, labels = rng.standard_normal((60, 900)), np.arange(60) % 7
    with pytest.raises(ValueError, match=r"at most 5000. Got 6 x 900 = 5400 instead. Use BADGE"):
        BAIT(LogisticRegression()).fit(wide, labels)
    with pytest.raises(ValueError, match="three 70 x 70 matrices for each of the 60000 rows"):
        BAIT()._check_size(60_000, 70, 50)
