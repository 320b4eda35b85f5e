"""The modules."""

import pytest
import torch
from torch import nn

from skal.neural_network import MLP


def test_mlp_by_hand():
    torch.manual_seed(0)
    module = MLP(3, 2, hidden=(4, 5))
    X = torch.randn(6, 3)
    first, _, second, _ = module.body
    hidden = (X @ first.weight.T + first.bias).clamp(min=0)
    hidden = (hidden @ second.weight.T + second.bias).clamp(min=0)
    expected = hidden @ module.head.weight.T + module.head.bias
    assert torch.allclose(module(X), expected, atol=1e-6)
    assert type(module.head) is nn.Linear


def test_mlp_layers_are_in_order():
    module = MLP(3, 2, hidden=[4], activation=nn.Tanh, dropout=0.3, batch_norm=True)
    kinds = [type(layer) for layer in module.body]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    assert module.body[-1].p == 0.3


def test_mlp_without_hidden_layers_is_linear():
    module = MLP(3, 2, hidden=())
    X = torch.randn(4, 3)
    assert torch.equal(module(X), module.head(X))


def test_mlp_flattens_images():
    assert MLP(12, 1, hidden=7)(torch.zeros(5, 3, 2, 2)).shape == (5, 1)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"hidden": (4, 0)}, r"'hidden' of MLP .* Got \(4, 0\) instead"),
        ({"hidden": "wide"}, "'hidden' of MLP"),
        ({"hidden": (4.0,)}, "'hidden' of MLP"),
        ({"dropout": 1.0}, r"'dropout' of MLP must be in \[0, 1\)"),
        ({"activation": "step"}, "'activation' of MLP .* Got 'step' instead"),
        ({"activation": nn.ReLU()}, "or a module class"),
    ],
)
def test_mlp_refuses(params, message):
    with pytest.raises(ValueError, match=message):
        MLP(3, 1, **params)
