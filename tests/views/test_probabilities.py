"""Logarithms of the softmax."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax as scipy_log_softmax

from skal.neural_network._modules import log_softmax


@pytest.mark.parametrize("n_classes", [1, 2, 10, 100])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e300])
def test_against_scipy(n_classes, scale):
    Z = scale * np.random.default_rng(0).standard_normal((50, n_classes))
    np.testing.assert_allclose(
        log_softmax(torch.from_numpy(Z)).numpy(), scipy_log_softmax(Z, axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("n_classes", [2, 5, 10, 16])
def test_rows_come_out_alike_alone_and_among_others(n_classes):
    Z = torch.from_numpy(np.random.default_rng(0).standard_normal((203, n_classes)))
    whole = log_softmax(Z)
    for rows in (slice(0, 1), slice(5, 12), slice(3, 203, 7)):
        assert torch.equal(log_softmax(Z[rows]), whole[rows])


def test_impossible_classes_stay_impossible():
    Z = torch.tensor([[0.0, -torch.inf], [1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, -torch.inf], [-np.log(2)] * 2], dtype=torch.float64)
    torch.testing.assert_close(log_softmax(Z), expected)


def test_derivatives():
    Z = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3))).requires_grad_()
    assert torch.autograd.gradcheck(log_softmax, Z, check_forward_ad=True)
    expected = torch.func.jacfwd(lambda z: torch.log_softmax(z, 1))(Z.detach())
    torch.testing.assert_close(torch.func.jacfwd(log_softmax)(Z.detach()), expected)
