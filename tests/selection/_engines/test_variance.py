"""Greedy reduction of variance, against dense posteriors and plain loops in float64."""

import numpy as np
import pytest
import torch

from skal.selection._engines import variance
from skal.selection._engines.variance import (
    Posterior,
    TreeRows,
    distances,
    fit_matern,
    kernel_product,
    matern,
    median_scales,
    medoid,
    variance_greedy,
)

T, LEAVES = 7, 5
NOISE = 0.1


def tree_rows(n, seed, inputs=True):
    """Random leaves of T trees, and random inputs."""
    rng = np.random.RandomState(seed)
    leaves = rng.randint(LEAVES, size=(n, T)) + LEAVES * np.arange(T)
    Z = torch.from_numpy(rng.randn(n, 3).astype(np.float32)) if inputs else None
    return TreeRows(torch.from_numpy(leaves.astype(np.int32)), Z, T * LEAVES)


def kernel(rows, others):
    """The kernel matrix by its definition, float64."""
    a, b = rows.leaves.numpy(), others.leaves.numpy()
    K = (a[:, None, :] == b[None, :, :]).mean(2)
    if rows.inputs is None:
        return K
    x, y = rows.inputs.double().numpy(), others.inputs.double().numpy()
    d = np.sqrt(((x[:, None] - y[None]) ** 2).sum(2))
    return 0.5 * K + 0.5 * (1 + np.sqrt(3) * d) * np.exp(-np.sqrt(3) * d)


def posterior_covariance(rows, others, labeled):
    """C by dense linear algebra, float64."""
    C = kernel(rows, others)
    if labeled is None or len(labeled) == 0:
        return C
    M = np.linalg.inv(kernel(labeled, labeled) + NOISE * np.eye(len(labeled)))
    return C - kernel(rows, labeled) @ M @ kernel(labeled, others)


def summed_variance(pool, targets, weights, labeled):
    C = posterior_covariance(pool[targets], pool[targets], labeled)
    return weights @ np.diag(C)


def plain_greedy(pool, targets, weights, labeled, n_instances):
    """Each time the row whose label, put among the labelled rows, leaves least variance."""
    picks = []
    for _ in range(n_instances):
        left = [i for i in range(len(pool)) if i not in picks]
        after = []
        for i in left:
            rows = pool[[*picks, i]]
            after.append(summed_variance(pool, targets, weights, labeled.then(rows)))
        picks.append(left[int(np.argmin(after))])
    return picks


@pytest.fixture(params=[True, False], ids=["forest and Matern", "forest"])
def rows(request):
    return tree_rows(40, 0, request.param), tree_rows(9, 1, request.param)


@pytest.fixture(params=[2**18, 100])
def small_chunks(request, monkeypatch):
    monkeypatch.setattr(variance, "_CHUNK_NUMBERS", request.param)


def test_products_are_those_of_the_kernel_matrix(rows, small_chunks, monkeypatch):
    pool, labeled = rows
    B = torch.randn(len(labeled), 6, dtype=torch.float64)
    expected = kernel(pool, labeled) @ B.numpy()
    np.testing.assert_allclose(kernel_product(pool, labeled, B), expected, atol=1e-5)
    one = kernel_product(pool, labeled, B[:, :1])
    np.testing.assert_allclose(one, expected[:, :1], atol=1e-5)
    monkeypatch.setattr(variance, "_TABLE_NUMBERS", 2 * T * LEAVES)
    np.testing.assert_allclose(kernel_product(pool, labeled, B), expected, atol=1e-5)


def test_covariances_and_variances_are_those_of_the_dense_posterior(rows, small_chunks):
    pool, labeled = rows
    posterior = Posterior(labeled, NOISE)
    dense = posterior_covariance(pool, pool, labeled)
    np.testing.assert_allclose(posterior.covariance(pool, pool[3:8]), dense[:, 3:8], atol=1e-5)
    np.testing.assert_allclose(posterior.variance(pool), np.diag(dense), atol=1e-5)
    V = posterior.known(pool).double().numpy()
    np.testing.assert_allclose(kernel(pool, pool) - V @ V.T, dense, atol=1e-5)


def test_without_labels_the_posterior_is_the_prior(rows):
    pool, _ = rows
    posterior = Posterior(None, NOISE)
    np.testing.assert_allclose(posterior.covariance(pool, pool), kernel(pool, pool), atol=1e-5)
    assert posterior.variance(pool).tolist() == [1.0] * len(pool)
    given = posterior.given(pool[:5])
    expected = posterior_covariance(pool, pool, pool[:5])
    np.testing.assert_allclose(given.covariance(pool, pool), expected, atol=1e-5)


def test_the_gain_of_a_row_is_what_its_label_takes_off_the_variance(rows):
    pool, labeled = rows
    targets = np.arange(0, 40, 3)
    weights = np.random.RandomState(2).rand(len(targets))
    _, gains = variance_greedy(
        Posterior(labeled, NOISE),
        pool,
        targets,
        torch.from_numpy(weights),
        1,
        np.random.RandomState(0),
    )
    before = summed_variance(pool, targets, weights, labeled)
    after = [
        summed_variance(pool, targets, weights, labeled.then(pool[[i]])) for i in range(len(pool))
    ]
    np.testing.assert_allclose(gains, (before - np.array(after)) / weights.sum(), atol=1e-5)


@pytest.mark.parametrize("kept", [2**24, 0], ids=["kept", "recomputed"])
@pytest.mark.parametrize("block", [64, 3])
def test_picks_are_those_of_recomputing_everything(rows, block, kept, monkeypatch):
    monkeypatch.setattr(variance, "_BLOCK", block)
    monkeypatch.setattr(variance, "_KEPT_NUMBERS", kept)
    pool, labeled = rows
    targets = np.arange(40)
    weights = np.random.RandomState(2).rand(40)
    picks, _ = variance_greedy(
        Posterior(labeled, NOISE),
        pool,
        targets,
        torch.from_numpy(weights),
        8,
        np.random.RandomState(0),
    )
    assert picks.tolist() == plain_greedy(pool, targets, weights, labeled, 8)


def test_the_first_row_may_be_given_and_the_whole_pool_chosen(rows):
    pool, labeled = rows
    ones = torch.ones(40)
    picks, _ = variance_greedy(
        Posterior(labeled, NOISE), pool, np.arange(40), ones, 40, np.random.RandomState(0), first=7
    )
    assert picks[0] == 7
    assert sorted(picks.tolist()) == list(range(40))


def test_duplicates_tie_and_ties_are_broken_at_random():
    one = tree_rows(1, 0)
    pool = one[[0] * 12]
    found = {
        tuple(
            variance_greedy(
                Posterior(None, NOISE),
                pool,
                np.arange(12),
                torch.ones(12),
                2,
                np.random.RandomState(seed),
            )[0].tolist()
        )
        for seed in range(20)
    }
    assert len(found) > 10
    assert all(a != b for a, b in found)


def test_a_copy_of_a_row_chosen_comes_after_rows_that_tell_more():
    rows = tree_rows(2, 3)
    pool = rows[[0, 0, 0, 1]]
    picks, _ = variance_greedy(
        Posterior(None, NOISE), pool, np.arange(4), torch.ones(4), 2, np.random.RandomState(0)
    )
    assert picks[0] in (0, 1, 2) and picks[1] == 3


def test_matern_and_distances():
    x, y = torch.randn(6, 4), torch.randn(5, 4)
    d = torch.cdist(x.double(), y.double())
    np.testing.assert_allclose(distances(x, y), d, atol=1e-5)
    s = np.sqrt(3) * d.numpy()
    np.testing.assert_allclose(matern(d.clone()), (1 + s) * np.exp(-s), atol=1e-12)
    np.testing.assert_allclose(matern(distances(x, x)).diagonal(), 1.0, atol=1e-5)


def test_scales_and_noise_are_those_of_largest_likelihood():
    """Against the density of the labels in full, maximised over the variance of the signal."""
    rng = np.random.RandomState(0)
    x = rng.randn(25, 3)
    y = np.sin(2 * x[:, 0]) + 0.1 * rng.randn(25)
    y = (y - y.mean()) / y.std()
    importances = np.array([0.9, 0.05, 0.05])
    scales, noise = fit_matern(
        torch.from_numpy(x), torch.from_numpy(y[:, None]), torch.from_numpy(importances)
    )

    def log_density(scales, noise):
        d = np.sqrt((((x[:, None] - x[None]) * scales) ** 2).sum(2))
        K = (1 + np.sqrt(3) * d) * np.exp(-np.sqrt(3) * d) + noise * np.eye(25)
        K = K * (y @ np.linalg.solve(K, y)) / 25
        return -0.5 * (y @ np.linalg.solve(K, y) + np.linalg.slogdet(K)[1])

    found = {}
    for g in (0.0, 1.0):
        weights = (3 * importances + 0.01) ** (g / 2)
        apart = np.sqrt((((x[:, None] - x[None]) * weights) ** 2).sum(2))
        # torch's median is the lower of the two in the middle.
        median = np.sort(apart[np.triu_indices(25, 1)])[(25 * 24 // 2 - 1) // 2]
        for length in variance._LENGTHS:
            for s2 in variance._NOISES:
                tried = weights / (length * median)
                found[log_density(tried, s2)] = tried, s2
    best = found[max(found)]
    np.testing.assert_allclose(scales, best[0])
    assert noise == best[1]


def test_scales_of_equal_rows_are_one():
    assert median_scales(torch.ones(5, 2)).tolist() == [1.0, 1.0]
    assert median_scales(torch.ones(1, 2)).tolist() == [1.0, 1.0]


def test_the_medoid_is_the_row_nearest_to_all():
    pool = tree_rows(30, 4)
    d = torch.cdist(pool.inputs, pool.inputs).mean(1)
    assert medoid(pool, np.arange(30), np.random.RandomState(0)) == int(d.argmin())
