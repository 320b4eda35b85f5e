"""GradientEmbedding against autograd, a row and an output at a time."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetRegressor
from skal.selection import LCMD, TopK
from skal.strategies import GradientEmbedding
from skal.views import NetView
from skal.views._jacobian import RowJacobians

X, Y = load_diabetes(return_X_y=True)
X, Y = X[:60], (Y[:60] - 150) / 70


class Convolutions(nn.Module):
    """Convolution, normalisation, and a linear layer that runs twice."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm1d(3)
        self.twice = nn.Linear(3 * n_features, 3 * n_features)
        self.head = nn.Linear(3 * n_features, n_outputs)

    def forward(self, X):
        H = self.norm(self.conv(X[:, None])).tanh().flatten(1)
        return self.head(self.twice(self.twice(H).tanh()))


class InPlace(nn.Module):
    """Writes over the output of its layer, and uses a weight where no hook sees it."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.encoder = nn.Linear(n_features, 5)
        self.tied = nn.Linear(5, 4)
        self.head = nn.Linear(5, n_outputs)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, X):
        H = nn.functional.leaky_relu(self.encoder(X), 0.1, inplace=True)
        H = torch.tanh(self.tied(H)) @ self.tied.weight
        return self.scale * self.head(H)


class Recurrent(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = nn.LSTM(1, 4, batch_first=True)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, X):
        return self.head(self.body(X[:, :, None])[0][:, -1])


class Frozen(nn.Module):
    """Only the head is trained."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = nn.Linear(n_features, 4).requires_grad_(False)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, X):
        return self.head(self.body(X).relu())


def _fitted(module=None, n_outputs=1):
    targets = Y if n_outputs == 1 else np.column_stack([Y, X[:, 2]])
    options = {"module": module} if module else {"module__hidden": (6, 5)}
    if module:
        options |= {"module__n_features": 10, "module__n_outputs": n_outputs}
    net = NeuralNetRegressor(**options, max_epochs=3, random_state=0)
    return make_pipeline(StandardScaler(), net).fit(X, targets)


def _strategy(model, **params):
    return GradientEmbedding(FrozenEstimator(model), random_state=0, **params).fit(X[:9])


def _autograd(model, X, layer=None):
    """Gradients of the outputs, a row at a time: parameter after parameter, output after output."""
    view, gradients = NetView(model), []
    parameters = {
        name: value
        for name, value in view.module.named_parameters()
        if value.requires_grad and (layer is None or name.startswith(f"{layer}."))
    }
    with view.evaluating(), torch.enable_grad():
        for row in torch.tensor(model[0].transform(X), dtype=torch.float32):
            outputs = view.module(row[None])[0]
            of_row = [
                torch.autograd.grad(output, list(parameters.values()), retain_graph=True)
                for output in outputs
            ]
            joined = [part.ravel() for parts in zip(*of_row, strict=True) for part in parts]
            gradients.append(torch.cat(joined))
    return torch.stack(gradients).numpy()


MODULES = [None, Convolutions, InPlace, Recurrent, Frozen]


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("module", MODULES)
def test_without_a_sketch_it_is_the_gradient(module, n_outputs):
    model = _fitted(module, n_outputs)
    Z = _strategy(model, n_components=None).transform(X)
    expected = _autograd(model, X)
    assert_allclose(Z, expected, atol=2e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


def test_what_is_differentiated_row_by_row_and_what_as_a_product():
    found = {}
    for module in MODULES[1:]:
        jacobians = RowJacobians(NetView(_fitted(module)), X)
        found[module] = jacobians._layers, jacobians._vectorized
    assert found[Convolutions] == (["head"], True)
    assert found[InPlace] == (["encoder", "head"], True)
    assert found[Recurrent] == (["head"], False)
    assert found[Frozen] == (["head"], True)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_the_last_layer_alone(n_outputs):
    model = _fitted(n_outputs=n_outputs)
    Z = _strategy(model, scope="last_layer", n_components=None).transform(X)
    assert_allclose(Z, _autograd(model, X, "head"), atol=1e-5)
    if n_outputs == 1:
        assert_allclose(Z[:, :-1], NetView(model).features(X), atol=1e-6)
        assert_allclose(Z[:, -1], 1)


@pytest.mark.parametrize("module", [None, Convolutions, InPlace])
def test_sketches_keep_inner_products_in_expectation(module):
    model = _fitted(module, n_outputs=2)
    exact = _autograd(model, X[:8]).astype(np.float64)
    gram = exact @ exact.T
    estimates = []
    for seed in range(20):
        strategy = GradientEmbedding(FrozenEstimator(model), n_components=1000, random_state=seed)
        Z = strategy.fit(X[:9]).transform(X[:8]).astype(np.float64)
        estimates.append(Z @ Z.T)
    lengths = np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    # E (u^T G v)^4 <= 9 |G|^4: one inner product has a standard deviation below 3 p^(-1/2).
    assert_allclose(np.std(estimates, axis=0).max() / lengths.max(), 0, atol=3 / np.sqrt(1000))
    assert_allclose(np.mean(estimates, axis=0) / lengths, gram / lengths, atol=0.07)


def test_a_product_is_sketched_as_the_matrix_it_stands_for(monkeypatch):
    model = _fitted(n_outputs=2)
    by_factors = _strategy(model, n_components=40).transform(X)
    monkeypatch.setattr("skal.views._jacobian._agree", lambda *args: False)
    by_matrices = _strategy(model, n_components=40).transform(X)
    assert_allclose(by_factors, by_matrices, atol=1e-5 * np.abs(by_factors).max())


def test_a_single_number_is_sketched_without_error():
    model = make_pipeline(StandardScaler(), NeuralNetRegressor(module__hidden=(), max_epochs=2))
    model.fit(X, Y)
    Z = _strategy(model, n_components=20).transform(np.repeat(model[0].mean_[None], 3, axis=0))
    # At the mean the weights have no gradient: what is left is that of the bias, 1.
    assert_allclose(np.abs(Z), 20**-0.5, rtol=1e-5)


@pytest.mark.parametrize("module", [None, Convolutions])
def test_chunks_and_company_do_not_matter(module, monkeypatch):
    model = _fitted(module)
    strategy = _strategy(model, n_components=30)
    Z = strategy.transform(X)
    assert Z.dtype == np.float32
    scale = np.abs(Z).max()
    assert_allclose(strategy.transform(X[17:18]), Z[17:18], atol=1e-5 * scale)
    monkeypatch.setattr("skal.views._jacobian._CHUNK_NUMBERS", 5000)
    assert_allclose(strategy.transform(X), Z, atol=1e-5 * scale)
    assert_array_equal(_strategy(model, n_components=30).transform(X), strategy.transform(X))


def test_the_batch_is_lcmd_around_the_labelled_rows():
    model = _fitted()
    strategy = _strategy(model, n_components=None)
    exact = _autograd(model, X)
    expected = LCMD(random_state=0).select(exact[9:], 7, Z_labeled=exact[:9])
    assert_array_equal(strategy.query(X[9:], 7), expected)


def test_weights_flags_and_gradients_stay_as_they_were():
    model = _fitted(Convolutions)
    module = model[-1].module_.train()
    module.zero_grad()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    _strategy(model, n_components=8).query(X, 3)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.training and module.norm.training
    assert all(value.grad is None for value in module.parameters())
    assert not any(layer._forward_hooks for layer in module.modules())


def test_recurrent_layers_keep_their_weights():
    # torch.func leaves other tensors in the list that an LSTM computes with.
    model = _fitted(Recurrent)
    _strategy(model, n_components=8).query(X, 3)
    body = model[-1].module_.body
    own = dict(body.named_parameters())
    names = [name for names in body._all_weights for name in names]
    assert all(w is own[n] for n, w in zip(names, body._flat_weights, strict=True))


def test_in_a_learner_it_draws_afresh_in_each_round():
    net = NeuralNetRegressor(max_epochs=5, standardize_y=True, random_state=0)
    learner = ActiveLearner(
        make_pipeline(StandardScaler(), net), GradientEmbedding(), random_state=0
    )
    learner.fit(X[:20], Y[:20])
    rows = learner.query(X[20:], 5)
    assert_array_equal(rows, learner.query(X[20:], 5))
    assert len(set(rows.tolist())) == 5


def test_scores_of_other_selectors_are_those_of_the_embedding():
    strategy = _strategy(_fitted(), n_components=16, selector=TopK())
    with pytest.raises(ValueError, match="scores"):
        strategy.query(X, 2)


def test_what_is_refused():
    refusal = "GradientEmbedding serves regression. Got Logistic.* use for instance BADGE"
    with pytest.raises(ValueError, match=refusal):
        GradientEmbedding(LogisticRegression()).fit(X, Y > 0)
    with pytest.raises(TypeError, match="Ridge"):
        GradientEmbedding(Ridge()).fit(X, Y)
    with pytest.raises(ValueError, match="'n_components' parameter of GradientEmbedding"):
        GradientEmbedding(Ridge(), n_components=0).fit(X, Y)
    model = _fitted()
    model[-1].module_.requires_grad_(False)
    with pytest.raises(ValueError, match="has no parameter that is trained"):
        _strategy(model)


def test_gradients_too_large_to_keep_are_refused(monkeypatch):
    monkeypatch.setattr("skal.strategies._gradients._MAX_BYTES", 10_000)
    strategy = _strategy(_fitted(), n_components=None)
    with pytest.raises(ValueError, match="60 rows in 107 columns need 25680 bytes.*n_components"):
        strategy.transform(X)
