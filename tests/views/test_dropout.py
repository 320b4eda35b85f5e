"""Stochastic passes against torch's dropout layers, enumeration, and passes of the whole net."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch import NeuralNetBinaryClassifier
from torch import nn

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.views import NetView
from skal.views import _dropout as dropout
from skal.views._dropout import dropout_log_probabilities, dropout_outputs

RNG = np.random.RandomState(0)
X = RNG.randn(50, 6).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)


class Small(nn.Module):
    """Two hidden layers; what `kind` says is between and after them."""

    def __init__(self, kind="chain", n_features=6, n_outputs=3):
        super().__init__()
        self.kind = kind
        self.first = nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.drop = nn.Dropout(0.4)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, n_outputs)
        self.alpha = nn.AlphaDropout(0.3)
        self.n_runs = 0

    def forward(self, X):
        H = self.first(X)
        if self.kind == "chain":
            return self.head(self.alpha(self.block(self.drop(H))))
        if self.kind == "skip":
            return self.head(self.block(self.drop(H)) + H)
        if self.kind == "twice":
            return self.head(self.drop(self.block(self.drop(H))))
        if self.kind == "behind the scenes":
            self.kept = H.sum(1, keepdim=True)
            return self.head(self.drop(H)) * self.kept
        if self.kind == "written over":
            return self.head(self.drop(H).mul_(H))
        if self.kind == "last":
            return self.head(self.drop(H))
        return self.head(H)


class Images(nn.Module):
    def __init__(self, n_features=None, n_outputs=3, layer=nn.Dropout2d):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            layer(0.5),
            nn.Conv2d(4, 4, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64, n_outputs),
        )

    def forward(self, X):
        return self.layers(X)


class Attention(nn.Module):
    def __init__(self, n_features=6, n_outputs=3, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.layer = nn.TransformerEncoderLayer(2, 1, 8, dropout=0.5, batch_first=batch_first)
        self.head = nn.Linear(6, n_outputs)

    def forward(self, X):
        X = X.view(len(X), 3, 2)
        Z = self.layer(X if self.batch_first else X.transpose(0, 1))
        return self.head((Z if self.batch_first else Z.transpose(0, 1)).flatten(1))


def fitted(module, X=X, y=Y, **parameters):
    net = NeuralNetClassifier(module, max_epochs=2, random_state=0, **parameters)
    return net.fit(X, y)


def joined(stream):
    slices, parts = zip(*stream, strict=True)
    assert [s.start for s in slices[1:]] == [s.stop for s in slices[:-1]]
    return torch.cat(parts, dim=1)


def whole_passes(monkeypatch, view, *arguments, **keywords):
    """The same passes, of the whole net."""

    def whole(view, masks, chunk):
        return dropout._Chain([view.module], whole=True), 3

    with monkeypatch.context() as patch:
        patch.setattr(dropout, "_find_chain", whole)
        return joined(dropout_log_probabilities(view, *arguments, **keywords))


def n_runs(layer):
    runs = []
    layer.register_forward_hook(lambda *_: runs.append(1) and None)
    return runs


@pytest.mark.parametrize(
    ("kind", "cached"),
    [
        ("chain", True),
        ("twice", True),
        ("last", True),
        ("skip", False),
        ("behind the scenes", False),
        ("written over", False),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_before_dropout_runs_once_and_answers_are_those_of_whole_passes(
    monkeypatch, kind, cached, shared
):
    view = NetView(fitted(Small, module__kind=kind))
    expected = whole_passes(monkeypatch, view, X, 20, 7, shared=shared)
    runs = n_runs(view.module.first)
    found = joined(dropout_log_probabilities(view, X, 20, 7, shared=shared))
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    if kind != "last":  # which is folded into the weights
        assert_array_equal(found, expected)
    # Once to find out, and once per row or pass.
    assert len(runs) == (2 if cached else 21)
    assert found.std(0).min() > 0
    assert_allclose(found.exp().sum(-1), 1)


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d, nn.FeatureAlphaDropout])
def test_images(monkeypatch, layer):
    images = RNG.randn(37, 1, 8, 8).astype(np.float32)
    view = NetView(fitted(Images, images, Y[:37], module__layer=layer), batch_size=10)
    found = joined(dropout_log_probabilities(view, images, 12, 3))
    assert_allclose(found, whole_passes(monkeypatch, view, images, 12, 3), atol=1e-6)
    some = [30, 2, 17]
    alone = joined(dropout_log_probabilities(view, images[some], 12, 3))
    assert_allclose(found[:, some], alone, atol=1e-6)


def test_attention_runs_its_dropout_layers(monkeypatch):
    view = NetView(fitted(Attention))
    found = joined(dropout_log_probabilities(view, X, 5, 1))
    assert found.std(0).min() > 0
    assert_allclose(found, whole_passes(monkeypatch, view, X, 5, 1), atol=1e-6)
    last = NetView(fitted(Attention, module__batch_first=False))
    with pytest.raises(ValueError, match=r"a tensor of shape \(3, 16, .*batch_first=True"):
        joined(dropout_log_probabilities(last, X, 5, 1))


def test_every_mask_is_drawn_as_often_as_its_probability():
    """Two hidden units, four masks: the passes are the four nets, in the right proportions."""
    net = NeuralNetClassifier(module__hidden=(2,), module__dropout=0.3, max_epochs=3)
    net.set_params(module__activation="tanh", random_state=0).fit(X, Y)
    view, row = NetView(net), X[:1]
    passes = joined(dropout_log_probabilities(view, row, 4000, 0))[:, 0]
    H = view.features(row)
    share = 0
    for a in (0, 1):
        for b in (0, 1):
            logits = view.head(H * torch.tensor([a, b]) / 0.7)
            answer = torch.log_softmax(logits.double(), 1)[0].detach()
            hits = (passes - answer).abs().max(1).values < 1e-5
            expected = 0.7 ** (a + b) * 0.3 ** (2 - a - b)
            assert abs(hits.double().mean() - expected) < 4 * np.sqrt(expected / 4000)
            share += hits.double().mean()
    assert share == 1


def test_alpha_dropout_is_torchs():
    torch.manual_seed(0)
    layer = nn.AlphaDropout(0.3)
    values = torch.unique(layer(torch.ones(1000)).round(decimals=4))
    view = NetView(fitted(Small))
    masks = dropout._Masks(view, 0, True)
    masks.begin(0, 1)
    ours = torch.unique(masks._drop(layer, (), torch.ones(1, 1000)).round(decimals=4))
    assert_allclose(ours, values, atol=2e-4)


def test_independent_masks_differ_between_rows():
    view, same = NetView(fitted(Small)), np.repeat(X[:1], 40, axis=0)
    shared = joined(dropout_log_probabilities(view, same, 6, 0))
    assert_allclose(shared, shared[:, :1].expand_as(shared), atol=1e-12)
    own = joined(dropout_log_probabilities(view, same, 6, 0, shared=False))
    assert own.std(1).min() > 0
    assert_array_equal(own, joined(dropout_log_probabilities(view, same, 6, 0, shared=False)))


@pytest.mark.parametrize("kind", ["chain", "last", "skip"])
def test_rows_are_answered_alike_in_any_company_and_in_small_slices(monkeypatch, kind):
    view = NetView(fitted(Small, module__kind=kind))
    whole = joined(dropout_log_probabilities(view, X, 9, 4))
    some = RNG.permutation(50)[:7]
    assert_allclose(
        joined(dropout_log_probabilities(view, X[some], 9, 4)), whole[:, some], rtol=1e-6
    )
    monkeypatch.setattr(dropout, "_NUMBERS", 16 * 9 * 3)
    monkeypatch.setattr(dropout, "_KEPT", 10)
    small = NetView(view.net, batch_size=20)
    slices = [rows for rows, _ in dropout_log_probabilities(small, X, 9, 4)]
    assert slices == [slice(0, 16), slice(16, 20), slice(20, 36), slice(36, 40), slice(40, 50)]
    assert_allclose(joined(dropout_log_probabilities(small, X, 9, 4)), whole, rtol=1e-5, atol=1e-6)


def test_seeds_differ():
    view = NetView(fitted(Small))
    one, same, other = (joined(dropout_log_probabilities(view, X, 4, s)) for s in (1, 1, 2))
    assert_array_equal(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("stop", ["end", "break", "error"])
def test_net_and_generators_are_left_alone(stop):
    net = fitted(Small)
    state = {name: value.clone() for name, value in net.module_.state_dict().items()}
    flags = [part.training for part in net.module_.modules()]
    hooks = sum(len(p._forward_hooks) + len(p._forward_pre_hooks) for p in net.module_.modules())
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    rows = X.copy()
    rows[30] = np.inf if stop == "error" else rows[30]
    view = NetView(net, batch_size=16)
    try:
        for _ in dropout_log_probabilities(view, rows, 5, 0):
            # Nothing is switched on or off while somebody else computes.
            assert [part.training for part in net.module_.modules()] == flags
            assert torch.is_grad_enabled()
            if stop == "break":
                break
    except ValueError:
        assert stop == "error"
    assert [part.training for part in net.module_.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in net.module_.state_dict().items())
    assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    after = sum(len(p._forward_hooks) + len(p._forward_pre_hooks) for p in net.module_.modules())
    assert after == hooks


def test_regression_gives_outputs():
    net = NeuralNetRegressor(module__dropout=0.5, max_epochs=2, random_state=0)
    view = NetView(net.fit(X, X[:, 0]))
    F = joined(dropout_outputs(view, X, 2000, 0))
    assert F.shape == (2000, 50, 1)
    assert F.dtype == torch.float64
    # Dropout before a linear layer leaves its mean alone.
    error = (F.mean(0) - view.outputs(X)).abs() / (F.std(0) / np.sqrt(2000))
    assert error.max() < 4.5
    with pytest.raises(ValueError, match="is a regressor"):
        next(dropout_log_probabilities(view, X, 2, 0))


class Sigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 1))

    def forward(self, X):
        return self.layers(X).squeeze(1)


def test_a_net_of_skorch_with_one_output():
    net = NeuralNetBinaryClassifier(Sigmoid, max_epochs=1, verbose=0, train_split=None)
    net.fit(X, (Y > 0).astype(np.float32))
    log_P = joined(dropout_log_probabilities(NetView(net), X, 6, 0))
    assert log_P.shape == (6, 50, 2)
    assert_allclose(log_P.exp().sum(-1), 1)


class Probabilities(Small):
    def forward(self, X):
        return torch.softmax(super().forward(X), 1)


def test_logits_of_nets_that_return_probabilities():
    net = fitted(Small, module__kind="last")
    from skorch import NeuralNetClassifier as Plain

    plain = Plain(Probabilities, module__kind="last", train_split=None, verbose=0)
    plain.initialize()
    plain.module_.load_state_dict(net.module_.state_dict())
    plain.classes_inferred_ = np.arange(3)
    found = joined(dropout_log_probabilities(NetView(plain), X, 5, 0))
    expected = joined(dropout_log_probabilities(NetView(net), X, 5, 0))
    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        fitted(Small, module__kind="none of it runs"),
        NeuralNetClassifier(max_epochs=1, random_state=0).fit(X, Y),
    ],
)
def test_no_dropout_is_an_error(net):
    with pytest.raises(ValueError, match="no dropout layer with p > 0 runs in .*module__dropout"):
        next(dropout_log_probabilities(NetView(net), X, 3, 0))


def test_infinite_outputs_name_the_rows():
    net = fitted(Small, module__kind="last")
    with torch.no_grad():
        net.module_.head.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="with dropout are NaN or infinite for 50 rows"):
        next(dropout_log_probabilities(NetView(net), X, 3, 0))
