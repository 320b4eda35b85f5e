import numpy as np
import pytest
from numpy.testing import assert_allclose

from skal.selection import KernelHerding
from skal.utils._rows import Rows


def test_gains_are_the_coverage_of_each_row_alone(rng):
    Z = rng.standard_normal((30, 4))
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    K = np.exp(-((unit[:, None] - unit[None]) ** 2).sum(-1) / 0.7**2)
    weights = rng.uniform(size=30)
    selector = KernelHerding(bandwidth=0.7, weighted=True, random_state=0)
    positions, gains = selector.select(Z, 1, scores=weights, return_scores=True)
    assert_allclose(gains, weights @ K, rtol=1e-5)
    assert positions == [(weights @ K).argmax()]


def test_copies_of_labelled_rows_gain_nothing(rng):
    Z = rng.standard_normal((20, 3))
    positions, gains = KernelHerding(bandwidth=0.05, random_state=0).select(
        Z, 15, Z_labeled=Z[:5], return_scores=True
    )
    assert set(positions) == set(range(5, 20))
    assert gains[:5].max() < 1e-6 < gains[5:].min()


def test_rows_of_weight_zero_have_no_pull(rng):
    Z = np.vstack([rng.normal([5, 0], 0.1, (40, 2)), rng.normal([0, 5], 0.1, (3, 2))])
    weights = np.r_[np.zeros(40), np.ones(3)]
    selector = KernelHerding(weighted=True, bandwidth=0.5, random_state=0)
    assert selector.select(Z, 1, scores=weights)[0] >= 40
    assert KernelHerding(bandwidth=0.5, random_state=0).select(Z, 1)[0] < 40


@pytest.mark.parametrize("bandwidth, expected", [(1e-3, 1.0), (1e6, 20.0)])
def test_narrow_and_wide_kernels(bandwidth, expected, rng):
    """Narrow: every row covers itself. Wide: the first covers all, and then nothing is left."""
    Z = rng.standard_normal((20, 3))
    selector = KernelHerding(bandwidth=bandwidth, random_state=0)
    _, gains = selector.select(Z, 1, return_scores=True)
    assert_allclose(gains, expected)


def test_centring_tells_rows_apart_that_point_the_same_way(rng):
    Z = 100 + np.vstack([rng.normal([1, 0], 0.1, (50, 2)), rng.normal([-1, 0], 0.1, (50, 2))])
    picks = KernelHerding(center=True, random_state=0).select(Z, 2)
    assert sorted(picks >= 50) == [False, True]


def test_the_bandwidth_of_labelled_rows():
    angles = np.array([0.0, 0.4, 1.2])
    labeled = Rows(np.column_stack([np.cos(angles), np.sin(angles)]))
    selector = KernelHerding(bandwidth="labeled")
    near, far = 2 * np.sin(0.2), 2 * np.sin(0.4)
    assert_allclose(selector._width(labeled), np.quantile([near, near, far], 0.05), rtol=1e-6)
    assert selector._width(None) == 1.0
    assert selector._width(Rows(np.ones((3, 2)))) == 1e-3


def test_a_reference_of_all_rows_is_none(rng):
    Z = rng.standard_normal((40, 3))
    whole = KernelHerding(random_state=0).select(Z, 10)
    assert np.array_equal(KernelHerding(n_reference=40, random_state=0).select(Z, 10), whole)
    part = KernelHerding(n_reference=10, random_state=0).select(Z, 10)
    assert len(set(part)) == 10


def test_weights_that_cannot_be(rng):
    Z = rng.standard_normal((5, 2))
    selector = KernelHerding(weighted=True)
    with pytest.raises(ValueError, match="needs scores=, a weight for every row"):
        selector.select(Z, 1)
    with pytest.raises(ValueError, match="Got -2 in row 3 instead"):
        selector.select(Z, 1, scores=[1.0, 1.0, 1.0, -2.0, 1.0])
