from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import make_blobs

from skal.selection import BallCover
from skal.selection import _ball_cover as module


def unit(Z):
    return Z / np.linalg.norm(Z, axis=1, keepdims=True)


def balls(Z, delta):
    squares = ((unit(Z)[:, None] - unit(Z)[None]) ** 2).sum(-1)
    return (squares < delta**2) | np.eye(len(Z), dtype=bool)


@pytest.mark.parametrize("n_labeled", [0, 4])
def test_picks_as_the_plain_greedy(n_labeled, rng, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    everything = rng.standard_normal((60, 3))
    Z, labeled = everything[n_labeled:], everything[:n_labeled]
    near, selector = balls(Z, 0.6), BallCover(delta=0.6, random_state=0)
    uncovered = np.ones(len(Z), dtype=bool)
    if n_labeled:
        uncovered = ~(balls(everything, 0.6)[n_labeled:, :n_labeled].any(1))
    picks, gains = selector.select(Z, 8, Z_labeled=labeled, return_scores=True)
    assert_allclose(gains, (near & uncovered).sum(1))
    for pick in picks:
        count = (near & uncovered).sum(1)
        assert count[pick] == count.max()
        uncovered &= ~near[pick]


def test_close_to_the_best_set(rng):
    Z = rng.standard_normal((10, 2))
    near = balls(Z, 0.5)
    picks = BallCover(delta=0.5, random_state=0).select(Z, 2)
    best = max(near[list(chosen)].any(0).sum() for chosen in combinations(range(10), 2))
    assert near[picks].any(0).sum() >= (1 - 1 / np.e) * best


def test_after_everything_is_covered_picks_go_on(rng):
    Z = rng.standard_normal((30, 3))
    assert sorted(BallCover(delta=3.0, random_state=0).select(Z, 30)) == list(range(30))
    # One ball covers all; what follows is herding, not the first positions.
    firsts = [BallCover(delta=3.0, random_state=seed).select(Z, 5)[1:] for seed in range(2)]
    assert any(picks.tolist() != [0, 1, 2, 3] for picks in firsts)


def test_a_radius_of_zero_covers_copies_only():
    Z = np.repeat([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [3, 2, 1], axis=0)
    _, gains = BallCover(delta=0.0).select(Z, 1, return_scores=True)
    assert_allclose(gains, 1)
    _, gains = BallCover(delta=1e-5).select(Z, 1, return_scores=True)
    assert_allclose(gains, [3, 3, 3, 2, 2, 1])


def test_the_automatic_radius_keeps_95_per_cent_of_the_balls_pure():
    Z, labels = make_blobs(400, centers=4, n_features=5, cluster_std=1.0, random_state=1)
    selector = BallCover(n_clusters=4, random_state=0)
    rows = module.Rows(unit(Z))
    delta = selector._auto(rows, np.random.RandomState(0))
    near = balls(Z, delta)
    # k-means finds the blobs, so that they stand for its clusters.
    pure = [len(set(labels[row])) == 1 for row in near]
    assert 0.93 <= np.mean(pure) <= 0.97


def test_too_many_pairs_are_refused(rng, monkeypatch):
    monkeypatch.setattr(module, "_MAX_EDGES", 50)
    with pytest.raises(ValueError, match="more than 50 pairs among 20 rows. Use a smaller delta"):
        BallCover(delta=1.9).select(rng.standard_normal((20, 3)), 1)
