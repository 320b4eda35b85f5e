"""GradNorm: closed form and vectorised gradients against one backward pass per row."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier
from torch import nn

from skal.neural_network import NeuralNetClassifier
from skal.strategies import GradNorm
from skal.strategies._grad_norm import entropy_gradient

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NORMS = ["sum", "joint"]


class Convolutional(nn.Module):
    """A convolution, batch normalisation and a frozen layer: not only factors."""

    def __init__(self, n_features, n_outputs, softmax=False):
        super().__init__()
        self.first = nn.Conv1d(1, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Linear(3 * (n_features - 1), 4).requires_grad_(False)
        self.last = nn.Linear(4, n_outputs)
        self.softmax = softmax

    def forward(self, X):
        H = torch.tanh(self.norm(self.first(X[:, None]))).flatten(1)
        Z = self.last(self.frozen(H))
        return torch.softmax(Z, 1) if self.softmax else Z


def _net(module=None, **params):
    module = {} if module is None else {"module": module}
    return NeuralNetClassifier(**module, max_epochs=10, random_state=0, **params).fit(X, Y)


def _score(model, rows=X, **params):
    strategy = GradNorm(FrozenEstimator(model), **params).fit(rows[:3])
    return strategy.query(rows, 1, return_scores=True)[1]


def _by_backward(module, rows, norm, of_last=False, link=torch.softmax):
    """The entropy's gradient of every row on its own, in float64."""
    module = module.double().eval()
    last = [value for name, value in module.named_parameters()][-2:]
    own = last if of_last else [value for value in module.parameters() if value.requires_grad]
    scores = []
    for row in torch.tensor(rows, dtype=torch.float64):
        out = module(row[None])[0]
        p = out if link is None else link(out, 0)
        entropy = -(p * p.log()).sum()
        lengths = torch.stack([g.norm() for g in torch.autograd.grad(entropy, own)])
        scores.append(float(lengths.sum() if norm == "sum" else lengths.norm()))
    module.float()
    return np.array(scores)


@pytest.mark.parametrize("norm", NORMS)
def test_the_last_layer_in_closed_form_is_autograd(norm):
    net = _net(module__hidden=(7,))
    found = _score(net, X[::5], params="last", norm=norm)
    assert_allclose(found, _by_backward(net.module_, X[::5], norm, of_last=True), rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_all_parameters_are_explicit_backward_passes(norm):
    net = _net(module__hidden=(7, 5))
    found = _score(net, X[::5], norm=norm)
    assert_allclose(found, _by_backward(net.module_, X[::5], norm), rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("softmax", [False, True])
def test_convolutions_normalisation_and_frozen_layers(norm, softmax, monkeypatch):
    criterion = nn.NLLLoss if softmax else nn.CrossEntropyLoss
    net = _net(Convolutional, module__softmax=softmax, criterion=criterion)
    found = _score(net, X[::5], norm=norm)
    link = None if softmax else torch.softmax
    assert_allclose(found, _by_backward(net.module_, X[::5], norm, link=link), rtol=1e-3)
    monkeypatch.setattr("skal.views._jacobian._CHUNK_NUMBERS", 1)
    assert_allclose(_score(net, X[::5], norm=norm), found, rtol=1e-4)
    monkeypatch.setattr(
        "skal.views._jacobian.RowJacobians._can_vectorize", lambda self, chunk: False
    )
    assert_allclose(_score(net, X[::5], norm=norm), found, rtol=1e-4)


def test_a_row_is_scored_alone_and_the_net_left_as_it_was():
    net = _net(Convolutional)
    before = {name: value.clone() for name, value in net.module_.state_dict().items()}
    together = _score(net)
    alone = np.concatenate([_score(net, X[[i, i, i]])[:1] for i in range(0, 150, 30)])
    assert_allclose(alone, together[::30], rtol=1e-5)
    for name, value in net.module_.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_single_logit():
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    net = NeuralNetBinaryClassifier(module, max_epochs=3, train_split=None, verbose=0)
    rows = X.astype(np.float32)
    torch.manual_seed(0)
    net.fit(rows, (Y == 1).astype(np.float32))

    def two(z, dim):
        return torch.softmax(torch.cat([torch.zeros_like(z), z]), dim)

    for params in ["last", "all"]:
        expected = _by_backward(net.module_, X[::5], "sum", params == "last", two)
        assert_allclose(_score(net, rows[::5], params=params), expected, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("y", [Y, Y == 1])
def test_a_logistic_regression_is_its_last_layer(norm, intercept, y):
    model = make_pipeline(StandardScaler(), LogisticRegression(fit_intercept=intercept)).fit(X, y)
    linear = model[-1]
    head = nn.Linear(4, len(linear.coef_), bias=intercept).double()
    head.weight.data[:] = torch.tensor(linear.coef_)
    if intercept:
        head.bias.data[:] = torch.tensor(linear.intercept_)

    def link(z, dim):
        return torch.softmax(torch.cat([torch.zeros_like(z), z]) if len(z) == 1 else z, dim)

    expected = _by_backward(head, model[0].transform(X), norm, link=link)
    assert_allclose(_score(model, params="last", norm=norm), expected, rtol=1e-6)
    assert_allclose(_score(model, params="all", norm=norm), expected, rtol=1e-6)


def test_no_gradient_at_the_uniform_and_the_certain_prediction():
    logits = torch.tensor([[3.0, 3.0, 3.0], [2000.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).double()
    log_P = torch.log_softmax(logits, 1)
    A = entropy_gradient(log_P)
    assert_allclose(A[:2], np.zeros((2, 3)), atol=1e-15)
    assert A[2].norm() > 0.1
    assert not A.sum(1).abs().max() > 1e-15
    assert_allclose(entropy_gradient(torch.log(torch.eye(3).double())), np.zeros((3, 3)))


@pytest.mark.parametrize("params", ["last", "all"])
def test_certain_rows_of_nets_score_zero(params):
    for softmax in [False, True]:
        criterion = nn.NLLLoss if softmax else nn.CrossEntropyLoss
        net = _net(Convolutional, module__softmax=softmax, criterion=criterion)
        with torch.no_grad():
            net.module_.last.bias[:] = torch.tensor([0.0, 500.0, 0.0])
        assert_allclose(_score(net, params=params), np.zeros(150), atol=1e-30)
        with torch.no_grad():
            net.module_.last.bias[:] = 0.0
            net.module_.last.weight[:] = 0.0
        assert_allclose(_score(net, params=params), np.zeros(150), atol=1e-6)


@pytest.mark.parametrize("params", ["last", "all"])
def test_a_constant_added_to_all_logits_changes_nothing(params):
    net = _net(module__hidden=(7,))
    before = _score(net, params=params)
    with torch.no_grad():
        list(net.module_.parameters())[-1].add_(2.0)
    assert_allclose(_score(net, params=params), before, rtol=1e-4, atol=1e-6)


def test_the_longest_gradients_are_asked_first():
    strategy = GradNorm(LogisticRegression(), random_state=0).fit(X[::10], Y[::10])
    rows, scores = strategy.query(X, 5, return_scores=True)
    assert set(rows) == set(np.argsort(scores)[-5:])


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="GradNorm needs a classifier with a linear last layer"):
        GradNorm(GaussianNB()).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="GradNorm serves classification"):
        GradNorm(Ridge()).fit(X, Y).transform(X)
