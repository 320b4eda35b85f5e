"""The Gaussian processes of the models for tables, against formulas written out and brute force."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize_scalar
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from skal.models import _gaussian_process
from skal.models._gaussian_process import (
    NOISES,
    MaternProcess,
    RelevanceProcess,
    kernel_of,
    log_evidence,
    negative_log_posterior,
)


def problem(n=40, d=3, n_targets=2, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d))
    Y = np.column_stack([np.sin(2 * Z[:, 0]) + 0.1 * rng.normal(size=n) for _ in range(n_targets)])
    weight = rng.uniform(0.5, 2.0, n)
    return Z, Y - np.average(Y, axis=0, weights=weight), weight / weight.mean()


def fitted(process, Z, Y, weight):
    fold = np.arange(len(Z)) % 5
    return process.fit(Z, Y, weight, fold, np.random.RandomState(0))


def written_out(A, B, linear):
    r = np.sqrt(3) * cdist(A, B)
    return (1 + r) * np.exp(-r) + linear * A @ B.T


def test_the_kernel_is_matern_and_linear():
    Z, _, _ = problem()
    np.testing.assert_allclose(kernel_of(Z, Z[:7], 0.3), written_out(Z, Z[:7], 0.3), atol=1e-12)
    np.testing.assert_allclose(kernel_of(Z, Z), Matern(nu=1.5)(Z), atol=1e-7)


@pytest.mark.parametrize("noise", [0, 3, 6])
def test_the_evidence_is_the_density_at_the_best_variance_of_the_signal(noise):
    Z, Y, weight = problem()
    kernel = written_out(Z, Z, 0.0)
    covariance = kernel + np.diag(NOISES[noise] / weight)
    evidence = log_evidence(kernel, Y, weight)[noise]
    for target, value in zip(Y.T, evidence, strict=True):
        best = minimize_scalar(
            lambda v, t=target: -multivariate_normal(cov=np.exp(v) * covariance).logpdf(t),
            bounds=(-4, 6),
            method="bounded",
        )
        assert value == pytest.approx(-best.fun, abs=1e-6)


@pytest.mark.parametrize("n_targets", [1, 3])
def test_the_gradient_is_that_of_finite_differences(n_targets):
    Z, Y, weight = problem(n_targets=n_targets)
    rng = np.random.default_rng(1)
    middle = rng.normal(size=Z.shape[1] + 2)
    place = middle + 0.3 * rng.normal(size=len(middle))
    arguments = (middle, Z, Y, weight)
    numeric = approx_fprime(place, lambda p: negative_log_posterior(p, *arguments)[0], 1e-6)
    np.testing.assert_allclose(negative_log_posterior(place, *arguments)[1], numeric, rtol=1e-4)


def test_predictions_are_those_of_scikit_learn_with_the_same_hyperparameters():
    Z, Y, _ = problem(n_targets=1)
    process = fitted(MaternProcess(), Z, Y, np.ones(len(Z)))
    signal = process.signal_[0]
    kernel = signal * Matern(1 / process.scales_[0], nu=1.5) + WhiteKernel(signal * process.noise_)
    reference = GaussianProcessRegressor(kernel, optimizer=None).fit(Z, Y[:, 0])
    new = np.random.default_rng(2).normal(size=(9, Z.shape[1]))
    mean, std = process.predict(new)
    expected, expected_std = reference.predict(new, return_std=True)
    np.testing.assert_allclose(mean[:, 0], expected, atol=1e-8)
    np.testing.assert_allclose(std[:, 0], expected_std, rtol=1e-8)


def test_predictions_come_in_chunks(monkeypatch):
    Z, Y, weight = problem()
    process = fitted(RelevanceProcess(), Z, Y, weight)
    whole = process.predict(Z)
    monkeypatch.setattr(_gaussian_process, "_CHUNK_VALUES", 200)
    for part, expected in zip(process.predict(Z), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-10)


def by_brute_force(process, Z, Y, weight, row):
    """Mean of the label of a row given the others, with the hyperparameters of a process."""
    scaled = Z * process.scales_
    kernel = written_out(scaled, scaled, process.linear_)
    others = np.arange(len(Z)) != row
    covariance = kernel[np.ix_(others, others)] + np.diag(process.noise_ / weight[others])
    return kernel[row, others] @ np.linalg.solve(covariance, Y[others])


def test_leave_one_out_of_one_length_is_leaving_rows_out_one_by_one():
    Z, Y, weight = problem()
    process = fitted(MaternProcess(), Z, Y, weight)
    expected = [by_brute_force(process, Z, Y, weight, row) for row in range(len(Z))]
    np.testing.assert_allclose(process.held_out_, expected, atol=1e-8)


def test_held_out_rows_are_unknown_to_the_lengths_they_are_predicted_with():
    Z, Y, weight = problem(n=30)
    process = fitted(RelevanceProcess(), Z, Y, weight)
    changed = Y.copy()
    changed[7] += 5.0
    start = MaternProcess._start
    try:  # the common start, found on all rows, must not differ
        MaternProcess._start = lambda self, *_: start(self, Z, Y, weight, np.random.RandomState(0))
        other = fitted(RelevanceProcess(), Z, changed, weight)
    finally:
        MaternProcess._start = start
    np.testing.assert_allclose(other.held_out_[7], process.held_out_[7], atol=1e-6)
    assert np.abs(other.held_out_[6] - process.held_out_[6]).max() > 1e-3


def test_columns_that_do_not_matter_get_longer_lengths():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(80, 5))
    Y = np.sin(2 * Z[:, :1])
    scales = fitted(RelevanceProcess(), Z, Y - Y.mean(), np.ones(80)).scales_
    assert scales[0] > 3 * scales[1:].max()


@pytest.mark.parametrize("process", [MaternProcess, RelevanceProcess])
def test_of_many_rows_some_are_conditioned_on(process, monkeypatch):
    monkeypatch.setattr(_gaussian_process, "KERNEL_ROWS", 30)
    monkeypatch.setattr(_gaussian_process, "TUNING_ROWS", 20)
    Z, Y, weight = problem(n=50)
    model = fitted(process(), Z, Y, weight)
    assert len(model._rows) == 30
    others = np.setdiff1d(np.arange(50), model._rows)
    np.testing.assert_allclose(model.held_out_[others], model.predict(Z[others])[0])
    assert np.isfinite(model.held_out_).all()


@pytest.mark.parametrize("process", [MaternProcess, RelevanceProcess])
@pytest.mark.parametrize("kind", ["equal rows", "equal targets", "two rows"])
def test_degenerate_data(process, kind):
    Z, Y, weight = problem(n=2 if kind == "two rows" else 10)
    Z = np.zeros_like(Z) if kind == "equal rows" else Z
    Y = np.zeros_like(Y) if kind == "equal targets" else Y
    model = fitted(process(), Z, Y, weight)
    for values in (*model.predict(Z), model.held_out_, model.held_out_std_):
        assert np.isfinite(values).all()
