"""The lazy greedy against the full one, and against the best set by enumeration."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skal.selection._engines.herding import Sizes, _Greedy, herd
from skal.utils._rows import Rows


def kernel(Z, centres, bandwidth):
    squares = ((Z[:, None] - centres[None]) ** 2).sum(-1)
    return np.exp(-squares / bandwidth**2)


def full_greedy(Z, n, weights, fixed, bandwidth):
    """Every gain anew after every pick, from the whole kernel matrix."""
    K = kernel(Z, Z, bandwidth)
    covered = np.zeros(len(Z)) if fixed is None else kernel(Z, fixed, bandwidth).max(1)
    picks, gains_of_picks = [], []
    for _ in range(n):
        gains = weights @ np.maximum(0.0, K - covered[:, None])
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        gains_of_picks.append(gains[picks[-1]])
        covered = np.maximum(covered, K[:, picks[-1]])
    return picks, gains_of_picks


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("bandwidth", [0.3, 1.0])
def test_lazy_greedy_picks_as_the_full_one(factored, with_labels, bandwidth, rng):
    H = rng.standard_normal((300, 6)).astype(np.float32)
    P = rng.standard_normal((300, 3)).astype(np.float32) if factored else None
    rows = Rows(H[20:], P[20:]) if factored else Rows(H[20:])
    fixed = Rows(H[:20], P[:20]) if factored else Rows(H[:20])
    rows, fixed = rows.normalized(), fixed.normalized() if with_labels else None
    Z = rows.gather(slice(None)).dense().double().numpy()
    F = None if fixed is None else fixed.gather(slice(None)).dense().double().numpy()
    weights = rng.uniform(size=len(Z))
    found, first = herd(
        rows, 60, rng, weights=weights, fixed=fixed, bandwidth=bandwidth, sizes=Sizes(8, 1000, 0)
    )
    expected, gains = full_greedy(Z, 60, weights, F, bandwidth)
    assert found == expected
    assert np.all(np.diff(gains) <= 1e-9)
    assert_allclose(first.max(), gains[0], rtol=1e-5)


def test_few_rows_are_looked_at_again(rng, monkeypatch):
    looked = []
    gains = _Greedy.gains

    def counted(self, positions):
        looked.append(len(positions))
        return gains(self, positions)

    monkeypatch.setattr(_Greedy, "gains", counted)
    Z = rng.standard_normal((20, 10))[rng.integers(20, size=2000)] + rng.standard_normal((2000, 10))
    herd(Rows(Z.astype(np.float32)).normalized(), 100, rng, sizes=Sizes(block=16))
    assert sum(looked) < 8 * len(Z)


def test_close_to_the_best_set(rng):
    Z = rng.standard_normal((9, 2))
    weights, K = rng.uniform(size=9), kernel(Z, Z, 1.0)
    picks, _ = herd(Rows(Z), 3, rng, weights=weights)
    best = max(weights @ K[:, list(chosen)].max(1) for chosen in combinations(range(9), 3))
    assert weights @ K[:, picks].max(1) >= (1 - 1 / np.e) * best


def test_the_chunks_change_nothing(rng):
    rows = Rows(rng.standard_normal((200, 4)).astype(np.float32)).normalized()
    whole = herd(rows, 50, np.random.RandomState(0))
    for sizes in (Sizes(1, 10, 0), Sizes(7, 300), Sizes(200, 10**6)):
        parts = herd(rows, 50, np.random.RandomState(0), sizes=sizes)
        assert parts[0] == whole[0]
        assert_allclose(parts[1], whole[1], rtol=1e-12)


def test_equal_rows_tie_and_the_rank_decides():
    rows = Rows(np.tile([[1.0, 0.0], [0.0, 1.0]], (50, 1)))
    firsts = {
        herd(rows, 1, np.random.RandomState(seed), sizes=Sizes(4))[0][0] for seed in range(30)
    }
    assert len(firsts) > 10
