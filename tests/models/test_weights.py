"""Weights of a stack, against general solvers."""

import numpy as np
import pytest
from scipy.optimize import minimize

from skal.models._weights import least_squares_weights, log_loss_weights


def on_the_simplex(objective, n_parts):
    """The minimiser by sequential quadratic programming, from several starts."""
    starts = [np.full(n_parts, 1 / n_parts), *np.random.default_rng(0).dirichlet([1] * n_parts, 8)]
    results = [
        minimize(
            objective,
            start,
            method="SLSQP",
            bounds=[(1e-9, 1)] * n_parts,
            constraints={"type": "eq", "fun": lambda s: s.sum() - 1},
            options={"ftol": 1e-14},
        )
        for start in starts
    ]
    return min(results, key=lambda result: result.fun).x


@pytest.mark.parametrize("seed", range(5))
def test_least_squares(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=30)
    P = y[:, None] + rng.normal(size=(30, 4)) * [0.3, 0.5, 2.0, 0.4] + rng.normal(size=(30, 1)) / 2
    weight = rng.uniform(0.2, 2, 30)

    def objective(shares):
        return weight @ (y - P @ shares) ** 2 + ((shares - 0.25) ** 2).sum()

    shares = least_squares_weights(P, y, weight)
    assert shares.sum() == pytest.approx(1) and shares.min() >= 0
    np.testing.assert_allclose(shares, on_the_simplex(objective, 4), atol=2e-4)


@pytest.mark.parametrize("seed", range(5))
def test_log_loss(seed):
    rng = np.random.default_rng(seed)
    L = rng.uniform(0.02, 1, (40, 4)) ** [1, 2, 3, 1]
    weight = rng.uniform(0.2, 2, 40)

    def objective(shares):
        return -weight @ np.log(L @ shares) - np.log(shares).sum() / 4

    shares = log_loss_weights(L, weight)
    assert shares.sum() == pytest.approx(1) and shares.min() > 0
    np.testing.assert_allclose(shares, on_the_simplex(objective, 4), atol=2e-3)


def test_a_perfect_model_among_many_rows_gets_nearly_all():
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    P = np.column_stack([y, rng.normal(size=(500, 2))])
    assert least_squares_weights(P, y, np.ones(500))[0] > 0.98
    L = np.column_stack([np.full(500, 0.99), np.full(500, 0.3)])
    assert log_loss_weights(L, np.ones(500))[0] > 0.98


def test_models_that_agree_share_equally():
    y = np.arange(10.0)
    np.testing.assert_allclose(least_squares_weights(np.tile(y, (3, 1)).T, y, np.ones(10)), 1 / 3)
    np.testing.assert_allclose(log_loss_weights(np.full((10, 4), 0.5), np.ones(10)), 1 / 4)
