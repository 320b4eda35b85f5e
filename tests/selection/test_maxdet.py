"""MaxDet against the textbook loop in float64, and what determinants promise."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from skal.selection import MaxDet
from skal.selection._engines import determinant as determinant
from skal.utils._rows import Rows


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def brute_force(Z, n, sigma, Z_labeled=None):
    """All posterior variances in float64, from the kernel of what is known, after every pick."""
    Z = np.asarray(Z, dtype=np.float64)
    known = [] if Z_labeled is None else list(np.asarray(Z_labeled, dtype=np.float64))
    picks = []
    while len(picks) < n:
        variance = posterior_variance(Z, sigma, np.array([*known, *Z[picks]]))
        variance[picks] = -1.0
        picks.append(int(np.argmax(variance)))
    return picks


def posterior_variance(Z, sigma, known):
    prior = (Z**2).sum(1)
    if len(known) == 0:
        return prior
    cross = Z @ known.T
    kernel = known @ known.T + sigma**2 * np.eye(len(known))
    return prior - (cross * np.linalg.solve(kernel, cross.T).T).sum(1)


def dense(features, factors):
    return (factors[:, :, None] * features[:, None, :]).reshape(len(features), -1)


@pytest.fixture(params=["weights", "directions", "rows"])
def space(request, monkeypatch):
    """What is kept of the posterior: a covariance, directions only, or coefficients of rows."""
    if request.param != "weights":
        monkeypatch.setattr(determinant, "_MAX_WIDTH", 0)
        monkeypatch.setattr(determinant, "_MAX_WIDTH_LABELED", 0)
    return request.param


def as_space(features, factors, space):
    """Factored rows, or the matrix they stand for."""
    return Rows(dense(features, factors)) if space == "directions" else Rows(features, factors)


@pytest.mark.parametrize("sigma", [1e-2, 0.3, 3.0])
@pytest.mark.parametrize("n_labeled", [0, 1, 70])
def test_picks_of_the_textbook_loop(rng, space, sigma, n_labeled):
    """Of 12 columns, so that both labelled rows and picks are more than these."""
    features = rng.standard_normal((800 + n_labeled, 4)).astype(np.float32)
    factors = rng.standard_normal((800 + n_labeled, 3)).astype(np.float32)
    Z = dense(features.astype(np.float64), factors.astype(np.float64))
    if space == "directions":
        features, factors = features.astype(np.float64), factors.astype(np.float64)
    pool = as_space(features[n_labeled:], factors[n_labeled:], space)
    labeled = as_space(features[:n_labeled], factors[:n_labeled], space) if n_labeled else None
    picks = MaxDet(sigma=sigma, relative=False).select(pool, 60, Z_labeled=labeled)
    expected = brute_force(Z[n_labeled:], 60, sigma, Z[:n_labeled])
    np.testing.assert_array_equal(picks, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_labeled", [0, 40])
def test_picks_of_dense_rows(rng, dtype, n_labeled):
    Z = rng.standard_normal((1500, 50)).astype(dtype)
    labeled = rng.standard_normal((n_labeled, 50)).astype(dtype)
    picks = MaxDet(sigma=0.3, relative=False).select(Z, 120, Z_labeled=labeled)
    np.testing.assert_array_equal(picks, brute_force(Z, 120, 0.3, labeled))


@pytest.mark.parametrize("candidates", [1, 7])
def test_picks_in_small_blocks(rng, monkeypatch, space, candidates):
    monkeypatch.setattr(determinant, "_FIXED", 3)
    monkeypatch.setattr(determinant, "_CHUNK_NUMBERS", 1)
    features, factors = rng.standard_normal((150, 3)), rng.standard_normal((150, 2))
    rows = as_space(features, factors, space)
    picks = determinant.greedy_variance(
        rows, 50, 0, sigma=0.5, fixed=rows.gather(np.arange(8)), candidates=candidates
    )
    Z = dense(features, factors)
    assert picks == brute_force(Z, 50, 0.5, Z[:8])


def test_bounds_are_bounds(rng, space):
    """Whatever the rows are like, and however often they are lowered."""
    features = rng.standard_normal((300, 20)) * np.logspace(0, -6, 300)[:, None]
    for sigma in (1e-4, 1.0):
        rows = as_space(features, rng.dirichlet(np.ones(3), 300), space)
        Z = dense(features, rows.parts()[1]) if rows.is_factored else np.asarray(rows.parts()[0])
        variances = determinant.PosteriorVariance(rows, sigma)
        known = []
        for start in range(0, 80, 8):
            fresh = np.arange(start, start + 8)
            variances.add(fresh, variances.gather(fresh))
            known += fresh.tolist()
            variances.refresh(np.arange(150) if start % 16 else np.arange(300))
            exact = posterior_variance(Z, sigma, Z[known]) / variances.scale**2
            others = np.arange(80, 300)
            slack = 1e-9 * variances.prior[others]
            assert (variances.upper[others] >= exact[others] - slack).all()
        variances.make_exact(others)
        np.testing.assert_allclose(variances.upper[others], exact[others], atol=1e-9)


def test_few_rows_are_looked_at_again(rng, monkeypatch):
    """A pass per pick would read 300 times as many rows as there are."""
    n_rows = []
    lower = determinant.PosteriorVariance._lower
    monkeypatch.setattr(
        determinant.PosteriorVariance,
        "_lower",
        lambda self, group, a, b: n_rows.append(len(group)) or lower(self, group, a, b),
    )
    MaxDet(sigma=0.3, relative=False).select(rng.standard_normal((4000, 60)), 300)
    assert sum(n_rows) < 100 * 4000


def test_determinant_near_that_of_every_exchange(rng):
    """What is greedy beats random batches by far."""
    Z = rng.standard_normal((200, 10))

    def log_det(batch):
        return np.linalg.slogdet(Z[batch] @ Z[batch].T + 0.01 * np.eye(len(batch)))[1]

    picks = MaxDet(sigma=0.1, relative=False).select(Z, 15)
    others = [log_det(rng.choice(200, 15, replace=False)) for _ in range(300)]
    assert log_det(picks) > max(others)


def test_labelled_rows_are_known(rng):
    """Given two of three axes, the third is picked; what they leave is small."""
    Z = np.eye(3)[rng.permutation(np.repeat(np.arange(3), 20))]
    picks = MaxDet().select(Z, 5, Z_labeled=10 * np.eye(3)[:2])
    assert Z[picks[0], 2] == 1.0


@pytest.mark.parametrize("scale", [1e-100, 1e-18, 0.37, 1e18, 1e100])
def test_scale_does_not_matter_where_sigma_is_relative(rng, scale):
    Z, labeled = rng.standard_normal((500, 5)), rng.standard_normal((20, 5))
    for sigma in (1e-3, 0.2):
        selector = MaxDet(sigma=sigma)
        np.testing.assert_array_equal(selector.select(Z * scale, 40), selector.select(Z, 40))
        np.testing.assert_array_equal(
            selector.select(Z * scale, 40, Z_labeled=labeled * scale),
            selector.select(Z, 40, Z_labeled=labeled),
        )


def test_relative_sigma_is_in_units_of_the_labelled_rows(rng):
    Z, labeled = rng.standard_normal((300, 5)), 7.0 * rng.standard_normal((20, 5))
    for known, unit in ((labeled, labeled), (None, Z)):
        sigma = 0.4 * np.sqrt((unit**2).sum(1).mean())
        np.testing.assert_array_equal(
            MaxDet(sigma=0.4).select(Z, 60, Z_labeled=known),
            MaxDet(sigma=sigma, relative=False).select(Z, 60, Z_labeled=known),
        )


def test_rotation_does_not_matter(rng):
    Z, rotation = rng.standard_normal((500, 8)), np.linalg.qr(rng.standard_normal((8, 8)))[0]
    np.testing.assert_array_equal(MaxDet().select(Z @ rotation, 40), MaxDet().select(Z, 40))


def test_more_noise_picks_longer_rows(rng):
    Z = rng.standard_normal((400, 6)) * rng.gamma(1.0, size=400)[:, None]
    norms = np.linalg.norm(Z, axis=1)
    low, high = (norms[MaxDet(sigma=s).select(Z, 40)].mean() for s in (1e-3, 100.0))
    assert high > low
    np.testing.assert_array_equal(
        np.sort(MaxDet(sigma=1e3).select(Z, 40)), np.sort(np.argsort(-norms)[:40])
    )


def test_ties_are_broken_uniformly(draws):
    counts = np.zeros(5)
    for seed in range(draws(600)):
        counts[MaxDet(random_state=seed).select(np.eye(5), 2)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_zeros_are_a_uniform_sample(draws):
    counts = np.zeros(8)
    for seed in range(draws(400)):
        counts[MaxDet(random_state=seed).select(np.zeros((8, 2)), 3)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_ties_of_more_rows_than_are_kept_exact():
    Z = np.eye(10, dtype=np.float32)[np.arange(1000) % 10]
    picks = determinant.greedy_variance(Rows(Z), 15, 0, sigma=0.1, candidates=20)
    assert sorted(np.array(picks[:10]) % 10) == list(range(10)) and len(set(picks)) == 15


def test_prefix(rng):
    Z = rng.randint(0, 3, (200, 3)).astype(float)
    whole = MaxDet(random_state=3).select(Z, 200)
    for n in (1, 2, 17, 100, 199):
        np.testing.assert_array_equal(MaxDet(random_state=3).select(Z, n), whole[:n])


def test_memory_map_and_tensor_pick_the_same(tmp_path, rng, device):
    Z, Z_labeled = (rng.standard_normal((n, 20)).astype(np.float32) for n in (3000, 50))
    np.save(tmp_path / "pool.npy", Z)
    expected = MaxDet().select(Z, 60, Z_labeled=Z_labeled)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    np.testing.assert_array_equal(MaxDet().select(mapped, 60, Z_labeled=Z_labeled), expected)
    pool, labeled = (torch.from_numpy(array).to(device) for array in (Z, Z_labeled))
    np.testing.assert_array_equal(MaxDet().select(pool, 60, Z_labeled=labeled), expected)


def test_scores_returned(rng):
    Z, Z_labeled = rng.standard_normal((50, 4)), rng.standard_normal((7, 4))
    selector = MaxDet(sigma=0.7, relative=False)
    np.testing.assert_allclose(selector.select(Z, 3, return_scores=True)[1], (Z**2).sum(1))
    given_labels = selector.select(Z, 3, Z_labeled=Z_labeled, return_scores=True)[1]
    np.testing.assert_allclose(given_labels, posterior_variance(Z, 0.7, Z_labeled), rtol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sigma": 0.0}, "The 'sigma' parameter of MaxDet must be a float in the range"),
        ({"relative": "yes"}, "The 'relative' parameter of MaxDet must be"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        MaxDet(**parameters).select(np.ones((3, 2)), 1)
