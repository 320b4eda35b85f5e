"""LCMD against the textbook loop in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from skal.selection import LCMD
from skal.selection import _lcmd as lcmd
from skal.utils._random import CENTRE_RANKS, random_ranks
from skal.utils._rows import Rows


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def brute_force(Z, n, Z_labeled=None, *, rank=None, centre_rank=None, first=None):
    """One pass of float64 differences per pick; ties to the highest rank."""
    Z = np.asarray(Z, dtype=np.float64)
    rank = np.arange(len(Z)) if rank is None else rank
    fixed = [] if Z_labeled is None else list(np.asarray(Z_labeled, dtype=np.float64))
    value, nearest = np.full(len(Z), np.inf), np.zeros(len(Z), dtype=int)
    ranks = [] if centre_rank is None else list(centre_rank)
    if centre_rank is None:
        ranks = list(range(len(fixed)))
    for k, centre in enumerate(fixed):
        distance = ((Z - centre) ** 2).sum(1)
        nearest[distance < value] = k
        value = np.minimum(value, distance)
    picks, n_centres = [], len(fixed)
    while len(picks) < n:
        if n_centres == 0:
            pick = int(np.argmax((Z**2).sum(1))) if first is None else first
        else:
            sizes = np.bincount(nearest, weights=value, minlength=n_centres)
            largest = np.lexsort((ranks, sizes))[-1]
            if sizes[largest] == 0:
                left = np.setdiff1d(np.arange(len(Z)), picks)
                return picks + left[np.argsort(-rank[left])][: n - len(picks)].tolist()
            members = np.flatnonzero(nearest == largest)
            pick = int(members[np.lexsort((rank[members], value[members]))[-1]])
        distance = ((Z - Z[pick]) ** 2).sum(1)
        nearest[distance < value] = n_centres
        value = np.minimum(value, distance)
        nearest[pick], value[pick] = n_centres, 0.0
        ranks.append(rank[pick])
        picks.append(pick)
        n_centres += 1
    return picks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("n_labeled", [0, 1, 60])
def test_picks_of_the_textbook_loop(rng, dtype, offset, n_labeled):
    Z = (rng.standard_normal((1500, 12)) + offset).astype(dtype)
    Z_labeled = (rng.standard_normal((n_labeled, 12)) + offset).astype(dtype)
    expected = brute_force(Z, 300, Z_labeled)
    np.testing.assert_array_equal(LCMD().select(Z, 300, Z_labeled=Z_labeled), expected)


@pytest.mark.parametrize("n_labeled", [0, 40])
def test_picks_in_clusters(rng, n_labeled):
    """Groups of unequal size and spread: each pick takes over a good part of its cluster."""
    centres = 10 * rng.standard_normal((30, 8))
    group = rng.choice(30, 1500, p=rng.dirichlet(np.ones(30) / 2))
    Z = centres[group] + rng.standard_normal((1500, 8)) * rng.gamma(1.0, size=30)[group, None]
    expected = brute_force(Z[n_labeled:], 300, Z[:n_labeled])
    picks = LCMD().select(Z[n_labeled:], 300, Z_labeled=Z[:n_labeled])
    np.testing.assert_array_equal(picks, expected)


@pytest.mark.parametrize("n_labeled", [0, 30])
def test_picks_of_factored_rows(rng, n_labeled):
    features, factors = rng.standard_normal((1500, 10)), rng.dirichlet(np.ones(5), 1500)
    Z = (factors[:, :, None] * features[:, None, :]).reshape(1500, -1)
    pool = Rows(features[n_labeled:], factors[n_labeled:])
    labeled = Rows(features[:n_labeled], factors[:n_labeled]) if n_labeled else None
    expected = brute_force(Z[n_labeled:], 300, Z[:n_labeled])
    np.testing.assert_array_equal(LCMD().select(pool, 300, Z_labeled=labeled), expected)


@pytest.mark.parametrize("speculated", [0, 1, 3])
@pytest.mark.parametrize("n_labeled", [0, 17])
def test_picks_in_small_blocks(rng, monkeypatch, speculated, n_labeled):
    monkeypatch.setattr("skal.utils._rows._CHUNK_BYTES", 1)
    sizes = lcmd.Sizes(
        speculated=speculated,
        narrow=0 if speculated else 9,
        block=3,
        exact_numbers=40,
        pass_numbers=60,
        hits=0.0,
    )
    Z = rng.standard_normal((200, 3)).astype(np.float32)
    labeled = rng.standard_normal((n_labeled, 3)).astype(np.float32)
    picks = lcmd.largest_cluster_first(
        Rows(Z),
        200,
        0,
        fixed=Rows(labeled) if n_labeled else None,
        first=None if n_labeled else 7,
        sizes=sizes,
    )
    rank = random_ranks(0, 200)
    assert picks == brute_force(Z, 200, labeled, rank=rank, first=7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 3), st.integers(0, 4))
def test_lattices_with_many_ties_match_the_ranked_loop(seed, n, width, n_labeled):
    """Integer rows: distances are exact, ties of members and of clusters are many."""
    rng = np.random.RandomState(seed)
    Z = rng.randint(0, 3, (40, width)).astype(np.float32)
    labeled = rng.randint(0, 3, (n_labeled, width)).astype(np.float32)
    rank = random_ranks(seed, 40)
    centre_rank = random_ranks(seed, n_labeled, stream=CENTRE_RANKS)
    expected = brute_force(Z, n, labeled, rank=rank, centre_rank=centre_rank, first=3)
    for speculated in (0, 4, 48):
        sizes = replace(lcmd.SIZES, narrow=0 if speculated else 256, speculated=speculated)
        picks = lcmd.largest_cluster_first(
            Rows(Z),
            n,
            seed,
            fixed=Rows(labeled) if n_labeled else None,
            first=None if n_labeled else 3,
            sizes=sizes,
        )
        assert picks == expected


@pytest.mark.parametrize("kind", ["noise", "clusters"])
def test_few_passes_over_the_pool(rng, monkeypatch, kind):
    passes = []
    speculate = lcmd._Clusters.speculate
    monkeypatch.setattr(
        lcmd._Clusters,
        "speculate",
        lambda self, pick, totals: passes.append(pick) or speculate(self, pick, totals),
    )
    Z = rng.standard_normal((3000, 40))
    if kind == "clusters":
        Z += 3 * rng.standard_normal((50, 40))[rng.randint(50, size=3000)]
    sizes = replace(lcmd.SIZES, narrow=0)
    lcmd.largest_cluster_first(Rows(Z[200:]), 400, 0, fixed=Rows(Z[:200]), sizes=sizes)
    assert 0 < len(passes) < 80


def test_guesses_that_do_not_come_true_are_given_up(rng, monkeypatch):
    """The farthest rows of a cluster lie beside each other: the next pick is none of them."""
    passes = []
    speculate = lcmd._Clusters.speculate
    monkeypatch.setattr(
        lcmd._Clusters,
        "speculate",
        lambda self, pick, totals: passes.append(pick) or speculate(self, pick, totals),
    )
    distinct = rng.standard_normal((300, 6)) * rng.gamma(0.3, size=(300, 1))
    Z = distinct[rng.randint(300, size=2000)]
    sizes = replace(lcmd.SIZES, narrow=0)
    picks = lcmd.largest_cluster_first(Rows(Z), 200, 0, first=0, sizes=sizes)
    assert len(passes) < 60 and picks == brute_force(Z, 200, rank=random_ranks(0, 2000), first=0)


def test_first_pick_is_the_longest_row(rng):
    Z = rng.standard_normal((50, 3))
    assert LCMD().select(Z, 1)[0] == np.argmax((Z**2).sum(1))


def test_an_outlier_waits_for_large_clusters():
    """100 rows around 0, one labelled there; one lonely row far away, next to a label."""
    rng = np.random.RandomState(0)
    Z = np.concatenate([rng.standard_normal((100, 2)), [[50.0, 0.0]]])
    picks = LCMD().select(Z, 5, Z_labeled=[[0.0, 0.0], [44.0, 0.0]])
    assert 100 not in picks[:3]


@pytest.mark.parametrize("scale", [1e-100, 1e-18, 0.37, 1e18, 1e100, 1e150])
def test_scale_does_not_matter(rng, scale):
    Z = rng.standard_normal((500, 5))
    np.testing.assert_array_equal(LCMD().select(Z * scale, 150), LCMD().select(Z, 150))


def test_translation_and_rotation_do_not_matter_with_labels(rng):
    Z, Z_labeled = rng.standard_normal((500, 5)), rng.standard_normal((20, 5))
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    expected = LCMD().select(Z, 150, Z_labeled=Z_labeled)
    moved = LCMD().select(Z @ rotation + 50, 150, Z_labeled=Z_labeled @ rotation + 50)
    np.testing.assert_array_equal(moved, expected)


def test_rows_equal_to_centres_come_last(rng):
    distinct = rng.standard_normal((50, 8)).astype(np.float32) + 10
    group = rng.permutation(np.repeat(np.arange(50), 10))
    picks = LCMD().select(distinct[group], 60)
    assert sorted(group[picks[:50]]) == list(range(50))
    picks = LCMD().select(distinct[group], 500, Z_labeled=distinct[:20])
    assert (group[picks[:30]] >= 20).all() and len(set(picks)) == 500


def test_zeros_are_a_uniform_sample(draws):
    counts = np.zeros(10)
    for seed in range(draws(600)):
        counts[LCMD(random_state=seed).select(np.zeros((10, 3)), 3)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_ties_of_clusters_are_broken_uniformly(draws):
    """Four clusters of one row each, at the same distance from their centres."""
    labeled = 10.0 * np.eye(4)
    counts = np.zeros(4)
    for seed in range(draws(600)):
        counts[LCMD(random_state=seed).select(labeled + 1.0, 1, Z_labeled=labeled)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_memory_map_and_tensor_pick_the_same(tmp_path, rng, device):
    Z, Z_labeled = (rng.standard_normal((n, 20)).astype(np.float32) for n in (3000, 50))
    np.save(tmp_path / "pool.npy", Z)
    expected = LCMD().select(Z, 200, Z_labeled=Z_labeled)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    np.testing.assert_array_equal(LCMD().select(mapped, 200, Z_labeled=Z_labeled), expected)
    pool, labeled = (torch.from_numpy(array).to(device) for array in (Z, Z_labeled))
    np.testing.assert_array_equal(LCMD().select(pool, 200, Z_labeled=labeled), expected)


def test_scores_returned(rng):
    Z, Z_labeled = rng.standard_normal((50, 4)), rng.standard_normal((7, 4))
    np.testing.assert_allclose(LCMD().select(Z, 3, return_scores=True)[1], (Z**2).sum(1))
    given_labels = LCMD().select(Z, 3, Z_labeled=Z_labeled, return_scores=True)[1]
    np.testing.assert_allclose(given_labels, ((Z[:, None] - Z_labeled) ** 2).sum(2).min(1))
