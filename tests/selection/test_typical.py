"""TypicalClusters against a slow loop over clusters, and on blobs whose clusters are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from skal.selection import TypicalClusters
from skal.selection import _typical as module
from skal.utils._rows import Rows


def _typicality(Z, inside, K):
    """1 / mean distance to the nearest others of `inside`, for each row of it."""
    answers = {}
    for i in inside:
        others = sorted(np.linalg.norm(Z[i] - Z[j]) for j in inside if j != i)[:K]
        answers[i] = 1.0 / np.mean(others) if others else 1.0
    return answers


def _slow(Z, n_pool, labels, n, K, min_size):
    """One pick at a time, everything looked up afresh."""
    asked = list(range(n_pool, len(Z)))
    picks = []
    for _ in range(n):
        best = None
        for k in np.unique(labels):
            inside = np.flatnonzero(labels == k)
            left = [i for i in inside if i < n_pool and i not in picks]
            if left:
                n_asked = sum(i in asked for i in inside)
                key = (len(inside) < min_size, n_asked, -len(inside))
                if best is None or key < best[0]:
                    best = key, inside, left
        _, inside, left = best
        typicality = _typicality(Z, inside, K)
        picks.append(max(left, key=typicality.get))
        asked.append(picks[-1])
    return picks


@pytest.mark.parametrize("n_labeled", [0, 12])
@pytest.mark.parametrize("n_instances", [3, 30, 60])
def test_picks_are_those_of_the_slow_loop(monkeypatch, n_labeled, n_instances):
    rng = np.random.RandomState(n_labeled + n_instances)
    Z = rng.standard_normal((60 + n_labeled, 3)).astype(np.float32)
    sizes = np.array([1, 2, 4, 7, 11, 15])  # no ties in size
    labels = np.repeat(np.arange(7), [*sizes, len(Z) - sizes.sum()])
    rng.shuffle(labels)
    monkeypatch.setattr(module, "_k_means", lambda *args: labels)
    selector = TypicalClusters(n_neighbors=5, random_state=0)
    picks = selector.select(Z[:60], n_instances, Z_labeled=Z[60:])
    assert picks.tolist() == _slow(Z.astype(np.float64), 60, labels, n_instances, 5, 5)


def test_one_pick_per_blob_the_largest_first_and_none_from_a_covered_one():
    Z, blob = make_blobs([60, 50, 40, 30], 5, cluster_std=0.1, random_state=0)
    labelled = np.flatnonzero(blob == 1)[:1]
    picks = TypicalClusters(random_state=0).select(Z, 3, Z_labeled=Z[labelled])
    assert blob[picks].tolist() == [0, 2, 3]
    for pick in picks:
        typicality = _typicality(Z, np.flatnonzero(blob == blob[pick]), 20)
        assert pick == max(typicality, key=typicality.get)


def test_clusters_are_those_of_k_means_on_pool_and_labelled_rows():
    Z = np.random.RandomState(0).standard_normal((90, 4)).astype(np.float32)
    seed = np.random.RandomState(3).randint(np.iinfo(np.int32).max)
    expected = KMeans(20, n_init=1, random_state=seed).fit(Z).labels_
    picks = TypicalClusters(random_state=3, min_cluster_size=1).select(Z[:80], 10, Z_labeled=Z[80:])
    assert len(set(expected[picks])) == 10
    assert not set(expected[picks]) & set(expected[80:])


def test_small_clusters_wait_until_others_are_used_up():
    Z = np.concatenate([np.linspace(0, 1, 10), np.linspace(50, 51, 10), [100.0, 100.1]])[:, None]
    options = {"max_clusters": 3, "random_state": 0}
    picks = TypicalClusters(**options).select(Z, 22)
    assert set(picks[-2:]) == {20, 21}
    assert 20 in TypicalClusters(min_cluster_size=1, **options).select(Z, 3) or (
        21 in TypicalClusters(min_cluster_size=1, **options).select(Z, 3)
    )


def test_at_most_max_clusters(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module, "_k_means", lambda Z, k, rng: asked.append(k) or np.zeros(len(Z), dtype=int)
    )
    Z = np.random.RandomState(0).standard_normal((30, 2))
    TypicalClusters(max_clusters=7, random_state=0).select(Z, 20)
    TypicalClusters(max_clusters=7, random_state=0).select(Z, 2, Z_labeled=Z[:3])
    assert asked == [7, 5]


def test_many_rows_use_mini_batches(monkeypatch):
    monkeypatch.setattr(module, "_MINI_BATCH_FROM", 100)
    Z, blob = make_blobs([60, 50, 40], 5, cluster_std=0.1, random_state=0)
    picks = TypicalClusters(random_state=0).select(Z, 3)
    assert blob[picks].tolist() == [0, 1, 2]


def test_cosine_looks_at_directions():
    rng = np.random.RandomState(0)
    angle = np.repeat([0.1, 1.4], [40, 30]) + 0.01 * rng.standard_normal(70)
    Z = rng.uniform(1, 1000, 70)[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    picks = TypicalClusters(metric="cosine", random_state=0).select(Z, 2)
    assert picks[0] < 40 <= picks[1]


def test_scores_are_minus_the_mean_distance_to_the_neighbours():
    Z = 1000 + np.random.RandomState(0).standard_normal((50, 3)).astype(np.float32)
    _, scores = TypicalClusters(n_neighbors=4, random_state=0).select(
        Z[:40], 2, Z_labeled=Z[40:], return_scores=True
    )
    nearest = np.sort(cdist(Z.astype(float), Z.astype(float)), axis=1)[:, 1:5]
    assert_allclose(scores, -nearest.mean(1)[:40], rtol=1e-9)


def test_equal_rows_are_drawn_uniformly():
    Z = np.full((12, 2), 0.3)
    counts = np.zeros(12)
    for seed in range(300):
        counts[TypicalClusters(random_state=seed).select(Z, 1)] += 1
    assert counts.min() > 5


def test_what_does_not_fit_into_memory_is_refused():
    zeros = np.broadcast_to(np.float32(0), (3, 30_000))
    rows = Rows(zeros, np.broadcast_to(np.float32(0), (3, 30_000)))
    with pytest.raises(ValueError, match="3 x 900000000 needs 10800000000 bytes"):
        TypicalClusters().select(rows, 1)
