import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from skal.selection import ClusterRoundRobin, Rows, TopK
from skal.selection._cluster_round_robin import _round_robin


def test_clusters_take_turns_the_smallest_first():
    labels = np.repeat([0, 1, 2], [5, 2, 3])
    for seed in range(10):
        order = labels[_round_robin(labels, 10, np.random.RandomState(seed))]
        assert order[:3].tolist() == [1, 2, 0]
        for n in range(1, 11):
            taken = np.bincount(order[:n], minlength=3)
            for c in range(3):
                others = [k for k in range(3) if k != c and taken[k] < np.bincount(labels)[k]]
                assert all(taken[c] <= taken[k] + 1 for k in others)


def test_a_factor_of_one_is_the_largest_scores(rng):
    Z, scores = rng.standard_normal((60, 3)), rng.standard_normal(60)
    picks = ClusterRoundRobin(factor=1.0, random_state=0).select(Z, 12, scores=scores)
    assert set(picks) == set(TopK().select(Z, 12, scores=scores))


def test_only_candidates_are_chosen(rng):
    Z, scores = rng.standard_normal((100, 3)), rng.standard_normal(100)
    picks = ClusterRoundRobin(factor=3.0, random_state=0).select(Z, 10, scores=scores)
    assert set(picks) <= set(np.argsort(-scores)[:30])


def test_rotations_change_nothing(rng):
    Z, scores = rng.standard_normal((80, 3)), rng.standard_normal(80)
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    selector = ClusterRoundRobin(random_state=0)
    found = selector.select(Z @ Q, 10, scores=scores)
    assert np.array_equal(found, selector.select(Z, 10, scores=scores))


def test_large_pools_go_through_small_clusters(rng):
    Z, labels = make_blobs(600, centers=6, random_state=0, cluster_std=0.3)
    selector = ClusterRoundRobin(max_exact=100)
    found = selector._clusters(Rows(Z), 6, np.random.RandomState(0))
    exact = ClusterRoundRobin()._clusters(Rows(Z), 6, np.random.RandomState(0))
    assert adjusted_rand_score(exact, found) > 0.9


def test_scores_are_needed():
    with pytest.raises(ValueError, match="ClusterRoundRobin ranks scores"):
        ClusterRoundRobin().select(np.eye(3), 1)
