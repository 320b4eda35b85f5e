"""Attention and recurrent layers in the open: the same outputs, and dropout that is used."""

import copy
import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from skal.neural_network import NeuralNetClassifier
from skal.strategies import BALD, NoiseStability
from skal.views import NetView
from skal.views._dropout import dropout_log_probabilities
from skal.views._opened import opened

_rng = np.random.RandomState(0)
X = _rng.randn(40, 5, 4).astype(np.float32)
Y = np.arange(40) % 3


@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"batch_first": False, "dropout": 0.3},
        {"batch_first": True, "bias": False},
        {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True},
        {"batch_first": True, "kdim": 3, "vdim": 2},
    ],
)
def test_attention_is_torchs(options):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, **options).eval()
    other = opened(copy.deepcopy(layer))
    assert [name for name, _ in other.named_parameters()] == [
        n for n, _ in layer.named_parameters()
    ]
    query, key, value = torch.randn(3, 6, 4), torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    if "kdim" in options:
        key, value = key[..., :3], value[..., :2]
    if not options["batch_first"]:
        query, key, value = (part.transpose(0, 1) for part in (query, key, value))
    causal, padding = torch.ones(6, 7).triu(1) > 0, torch.arange(7) > torch.tensor([[4], [6], [5]])
    masks = [None, causal, torch.randn(6, 6 + 1), torch.randn(6, 6, 7)]
    for attn_mask, pad, need, average in itertools.product(
        masks, [None, padding], [True, False], [True, False]
    ):
        if pad is not None and attn_mask is not None and attn_mask.dtype != torch.bool:
            pad = torch.zeros(pad.shape).masked_fill(pad, -torch.inf)
        given = {"attn_mask": attn_mask, "key_padding_mask": pad, "need_weights": need}
        with torch.no_grad():
            expected = layer(query, key, value, average_attn_weights=average, **given)
            found = other(query, key, value, average_attn_weights=average, **given)
        assert_allclose(found[0], expected[0], atol=1e-6)
        if need:
            assert_allclose(found[1], expected[1], atol=1e-6)
    if options["batch_first"]:
        with torch.no_grad():
            assert_allclose(
                other(query[0], key[0], value[0])[0],
                layer(query[0], key[0], value[0])[0],
                atol=1e-6,
            )


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_recurrent_layers_are_torchs(kind, batch_first, bidirectional):
    torch.manual_seed(0)
    options = {"proj_size": 2} if kind is nn.LSTM else {}
    layer = kind(
        4, 5, 3, batch_first=batch_first, bidirectional=bidirectional, dropout=0.4, **options
    )
    layer.eval()
    other = opened(copy.deepcopy(layer))
    x = torch.randn(6, 7, 4)
    n_states, width = 3 * (1 + bidirectional), options.get("proj_size", 5)
    h = torch.randn(n_states, 6 if batch_first else 7, width)
    start = (h, torch.randn(n_states, h.shape[1], 5)) if kind is nn.LSTM else h
    with torch.no_grad():
        for args in [(x,), (x, start), (x[:, 0],)]:
            for one, two in zip(_flat(other(*args)), _flat(layer(*args)), strict=True):
                assert_allclose(one, two, atol=1e-6)


def _flat(found):
    for part in found:
        yield from part if isinstance(part, tuple) else [part]


class Recurrent(nn.Module):
    def __init__(self, n_outputs, packed=False):
        super().__init__()
        self.body = nn.LSTM(4, 5, num_layers=2, dropout=0.4, batch_first=True)
        self.head = nn.Linear(5, n_outputs)
        self.packed = packed

    def forward(self, X):
        if self.packed:
            X = pack_padded_sequence(X, torch.full((len(X),), 5), batch_first=True)
            return self.head(pad_packed_sequence(self.body(X)[0], batch_first=True)[0][:, -1])
        return self.head(self.body(X)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, n_outputs, n_layers=0):
        super().__init__()
        self.body = nn.MultiheadAttention(4, 2, dropout=0.4, batch_first=True)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, X):
        return self.head(self.body(X, X, X, need_weights=False)[0].mean(1))


class Transformer(nn.Module):
    """The encoder of torch, whose fast path jvp does not know; a mask makes it nest tensors."""

    def __init__(self, n_outputs):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, X, mask=None):
        mask = torch.zeros(X.shape[:2], dtype=torch.bool) if mask is None else mask
        return self.head(self.body(X, src_key_padding_mask=mask)[:, 0])


def _net(module, **params):
    return NeuralNetClassifier(module, max_epochs=2, random_state=0, **params).fit(X, Y)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("module", [Recurrent, Attention, Transformer])
def test_views_and_dropout_passes(module):
    net = _net(module)
    view = NetView(net)
    with torch.no_grad():
        assert_allclose(view.outputs(X), net.module_.eval()(torch.from_numpy(X)), atol=1e-6)
    passes = [log_P for _, log_P in dropout_log_probabilities(view, X, 400, 0)]
    P = torch.cat(passes, 1).exp()
    assert (P.std(0) > 0).all()
    # Alike to the net in training mode, whose masks differ from row to row.
    net.module_.train()
    with torch.no_grad():
        own = torch.stack([torch.softmax(net.module_(torch.from_numpy(X)), 1) for _ in range(400)])
    net.module_.eval()
    assert_allclose(P.mean(0), own.mean(0), atol=0.05)
    assert_allclose(P.std(0), own.std(0), atol=0.05)
    assert len(BALD(FrozenEstimator(net), random_state=0).fit(X[:5], Y[:5]).query(X, 3)) == 3


def test_dropout_that_cannot_be_used_is_named():
    with pytest.raises(ValueError, match="packed sequences"):
        BALD(FrozenEstimator(_net(Recurrent, module__packed=True))).fit(X[:5], Y[:5]).query(X, 3)


@pytest.mark.parametrize("module", [Attention, Transformer])
def test_transformers_are_differentiated_along_directions(module):
    frozen = FrozenEstimator(_net(module))
    exact = NoiseStability(frozen, method="jvp", n_perturbations=4, random_state=0)
    near = NoiseStability(frozen, n_perturbations=4, zeta=1e-2, random_state=0)
    Z, Z_near = exact.fit(X[:5], Y[:5]).transform(X), near.fit(X[:5], Y[:5]).transform(X)
    assert np.corrcoef(Z.ravel(), Z_near.ravel())[0, 1] > 0.99
