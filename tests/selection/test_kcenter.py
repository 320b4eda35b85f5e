"""Greedy k-center against the textbook loop in float64, and its guarantees."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from skal.selection import KCenterGreedy
from skal.selection._engines import nearest as engine
from skal.utils._random import random_ranks
from skal.utils._rows import Rows


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@pytest.fixture
def small_blocks(monkeypatch):
    """Sizes at which 200 rows need many blocks, chunks and refreshes."""
    monkeypatch.setattr(engine, "_CANDIDATES", 5)
    monkeypatch.setattr(engine, "_BLOCK", 3)
    monkeypatch.setattr(engine, "_EXACT_ROWS", 4)
    monkeypatch.setattr(engine, "_PAIR_NUMBERS", 40)
    monkeypatch.setattr(engine, "_SUPERBLOCK_NUMBERS", 1)
    monkeypatch.setattr("skal.utils._rows._CHUNK_BYTES", 1)
    monkeypatch.setattr(
        engine.farthest_first,
        "__kwdefaults__",
        {**engine.farthest_first.__kwdefaults__, "candidates": 5},
    )


def brute_force(Z, n, Z_labeled=None, *, first=None, origin=False, rank=None):
    """One pass of float64 differences per pick; ties to the highest rank."""
    Z = np.asarray(Z, dtype=np.float64)
    rank = np.arange(len(Z))[::-1] if rank is None else rank
    distance = (Z**2).sum(1) if origin else np.full(len(Z), np.inf)
    for centre in [] if Z_labeled is None else np.asarray(Z_labeled, dtype=np.float64):
        distance = np.minimum(distance, ((Z - centre) ** 2).sum(1))
    picks = []
    while len(picks) < n:
        if not picks and first is not None:
            pick = first
        else:
            pick = np.lexsort((rank, distance))[-1]
        picks.append(int(pick))
        distance = np.minimum(distance, ((Z - Z[pick]) ** 2).sum(1))
        distance[picks] = -np.inf
    return picks


def largest(Z):
    return int(np.argmax((np.asarray(Z, dtype=np.float64) ** 2).sum(1)))


# ---------------------------------------------------------------- the same picks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("n_labeled", [0, 1, 60])
def test_picks_of_the_textbook_loop(rng, dtype, offset, n_labeled):
    Z = (rng.standard_normal((2000, 12)) + offset).astype(dtype)
    Z_labeled = (rng.standard_normal((n_labeled, 12)) + offset).astype(dtype)
    expected = brute_force(Z, 400, Z_labeled, first=None if n_labeled else largest(Z))
    np.testing.assert_array_equal(KCenterGreedy().select(Z, 400, Z_labeled=Z_labeled), expected)


@pytest.mark.parametrize("n_labeled", [0, 30])
def test_picks_of_factored_rows(rng, n_labeled):
    features, factors = rng.standard_normal((1500, 10)), rng.dirichlet(np.ones(5), 1500)
    Z = (factors[:, :, None] * features[:, None, :]).reshape(1500, -1)
    pool, labeled = Rows(features[n_labeled:], factors[n_labeled:]), None
    if n_labeled:
        labeled = Rows(features[:n_labeled], factors[:n_labeled])
    first = None if n_labeled else largest(Z)
    expected = brute_force(Z[n_labeled:], 300, Z[:n_labeled], first=first)
    np.testing.assert_array_equal(KCenterGreedy().select(pool, 300, Z_labeled=labeled), expected)


@pytest.mark.parametrize("n_labeled", [0, 17])
def test_picks_in_small_blocks(rng, small_blocks, n_labeled):
    Z = rng.standard_normal((200, 3)).astype(np.float32)
    Z_labeled = rng.standard_normal((n_labeled, 3)).astype(np.float32)
    expected = brute_force(Z, 200, Z_labeled, first=None if n_labeled else largest(Z))
    np.testing.assert_array_equal(KCenterGreedy().select(Z, 200, Z_labeled=Z_labeled), expected)


@pytest.fixture
def pairs(monkeypatch):
    """Number of (row, centre) pairs in each call of the blocked products."""
    calls = []
    cover = engine.NearestCentre._cover

    def counting(self, group, a, b):
        calls.append(len(group) * (b - a))
        return cover(self, group, a, b)

    monkeypatch.setattr(engine.NearestCentre, "_cover", counting)
    return calls


@pytest.mark.parametrize("n_labeled", [0, 1500])
def test_less_than_one_product_per_row_and_centre(rng, pairs, n_labeled):
    Z, Z_labeled = rng.standard_normal((4000, 40)), rng.standard_normal((n_labeled, 40))
    KCenterGreedy().select(Z, 400, Z_labeled=Z_labeled)
    assert sum(pairs) < 0.8 * 4000 * (400 + n_labeled)
    assert len(pairs) < 80


def test_rows_to_refresh_may_come_in_any_order(rng):
    Z = rng.standard_normal((30, 3))
    near = engine.NearestCentre(Rows(Z))
    near.add(0, -np.inf)
    positions = np.array([2, 9, 7, 5])  # as many as a gapless range from 2 to 5
    near.refresh(positions)
    expected = ((Z[positions] - Z[0]) ** 2).sum(1)
    np.testing.assert_allclose(near.upper[positions], expected, rtol=1e-4)
    assert np.isinf(near.upper[[3, 4]]).all()


def test_vague_bounds_of_factored_rows(rng):
    """A large common part that factored rows cannot subtract: float32 tells nothing."""
    features, factors = 100 + rng.standard_normal((1500, 4)), 10 + rng.standard_normal((1500, 3))
    features, factors = 1 + features / 1e4, 1 + factors / 1e4
    Z = (factors[:, :, None] * features[:, None, :]).reshape(1500, -1)
    picks = KCenterGreedy().select(Rows(features, factors), 700)
    np.testing.assert_array_equal(picks, brute_force(Z, 700, first=largest(Z)))


def test_origin_is_a_centre(rng):
    Z = rng.standard_normal((500, 4)) + 1.0
    Z_labeled = rng.standard_normal((5, 4))
    selector = KCenterGreedy(init="origin")
    np.testing.assert_array_equal(selector.select(Z, 200), brute_force(Z, 200, origin=True))
    np.testing.assert_array_equal(
        selector.select(Z, 200, Z_labeled=Z_labeled), brute_force(Z, 200, Z_labeled, origin=True)
    )
    assert not np.array_equal(selector.select(Z, 200), KCenterGreedy().select(Z, 200))


def test_random_first_pick(rng):
    Z = rng.standard_normal((40, 3))
    firsts = [KCenterGreedy(init="random", random_state=s).select(Z, 5) for s in range(60)]
    assert len({picks[0] for picks in firsts}) > 20
    for picks in firsts:
        np.testing.assert_array_equal(picks, brute_force(Z, 5, first=picks[0]))


@pytest.mark.parametrize("n_labeled", [0, 10])
def test_cosine_is_euclidean_on_unit_rows(rng, n_labeled):
    Z, Z_labeled = rng.standard_normal((600, 6)) + 0.5, rng.standard_normal((n_labeled, 6))
    unit, unit_labeled = (M / np.linalg.norm(M, axis=1)[:, None] for M in (Z, Z_labeled))
    picks = KCenterGreedy(metric="cosine").select(Z, 150, Z_labeled=Z_labeled)
    first = None if n_labeled else largest(Z)
    np.testing.assert_array_equal(picks, brute_force(unit, 150, unit_labeled, first=first))


def test_cosine_of_factored_rows(rng):
    rows = Rows(rng.standard_normal((300, 5)), rng.standard_normal((300, 3)))
    selector = KCenterGreedy(metric="cosine")
    np.testing.assert_array_equal(selector.select(rows, 80), selector.select(rows.dense(), 80))


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_labeled", [0, 2])
def test_covering_radius_at_most_twice_the_best(seed, n_labeled):
    rng = np.random.RandomState(seed)
    Z, fixed = rng.standard_normal((11, 2)), rng.standard_normal((n_labeled, 2))

    def radius(centres):
        centres = np.concatenate([Z[list(centres)], fixed])
        return np.linalg.norm(Z[:, None] - centres, axis=2).min(1).max()

    best = min(radius(chosen) for chosen in combinations(range(11), 3))
    assert radius(KCenterGreedy().select(Z, 3, Z_labeled=fixed)) <= 2 * best + 1e-12


def test_distance_at_the_pick_never_rises(rng):
    Z = rng.standard_normal((300, 3))
    picks = KCenterGreedy().select(Z, 300)
    at_pick = [
        np.linalg.norm(Z[picks[k]] - Z[picks[:k]], axis=1).min() for k in range(1, len(picks))
    ]
    assert (np.diff(at_pick) <= 1e-12).all()


@pytest.mark.parametrize("scale", [1e-100, 1e-18, 0.37, 1e18, 1e100])
def test_scale_does_not_matter(rng, scale):
    Z = rng.standard_normal((800, 5))
    np.testing.assert_array_equal(
        KCenterGreedy().select(Z * scale, 200), KCenterGreedy().select(Z, 200)
    )


def test_translation_and_rotation_do_not_matter_with_labels(rng):
    Z, Z_labeled = rng.standard_normal((800, 5)), rng.standard_normal((20, 5))
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    expected = KCenterGreedy().select(Z, 200, Z_labeled=Z_labeled)
    moved = KCenterGreedy().select(Z @ rotation + 50, 200, Z_labeled=Z_labeled @ rotation + 50)
    np.testing.assert_array_equal(moved, expected)


def test_rows_equal_to_labelled_ones_come_last(rng):
    Z = rng.standard_normal((100, 8)).astype(np.float32)
    picks = KCenterGreedy().select(Z, 100, Z_labeled=Z[:40])
    assert set(picks[:60]) == set(range(40, 100))


@pytest.mark.parametrize("width", [3, 60])
def test_duplicates_come_after_all_distinct_rows(rng, width):
    distinct = rng.standard_normal((50, width)).astype(np.float32) + 10
    group = rng.permutation(np.repeat(np.arange(50), 40))
    picks = KCenterGreedy().select(distinct[group], 60)
    assert sorted(group[picks[:50]]) == list(range(50))
    assert len(set(picks)) == 60


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 3), st.integers(0, 4))
def test_lattices_with_many_ties_match_the_ranked_loop(seed, n, width, n_labeled):
    """Integer rows: distances are exact, ties are many, and the rank decides."""
    rng = np.random.RandomState(seed)
    Z = rng.randint(0, 3, (40, width)).astype(np.float32)
    labeled = rng.randint(0, 3, (n_labeled, width)).astype(np.float32)
    first = None if n_labeled else 3
    fixed = Rows(labeled) if n_labeled else None
    for candidates in (1, 2, 512):
        picks = engine.farthest_first(
            Rows(Z), n, seed, fixed=fixed, first=first, candidates=candidates
        )
        rank = random_ranks(seed, 40)
        assert picks == brute_force(Z, n, labeled, first=first, rank=rank)


def test_ties_of_thousands_of_rows_need_no_pass_per_pick(pairs):
    """One-hot rows: every distance is the same, float32 cannot tell them apart."""
    Z = np.eye(40, dtype=np.float32)[np.arange(4000) % 40]
    picks = KCenterGreedy(random_state=0).select(Z, 60)
    assert sorted(picks[:40] % 40) == list(range(40)) and len(set(picks)) == 60
    assert len(pairs) < 20


@pytest.mark.parametrize("candidates", [1, 2, 512])
def test_ties_are_broken_uniformly(candidates, draws):
    """Corners of a simplex, every order equally likely."""
    rows = Rows(np.eye(4))
    orders = {}
    for seed in range(draws(1200)):
        first = int(np.random.RandomState(seed).randint(4))
        order = tuple(engine.farthest_first(rows, 4, seed, first=first, candidates=candidates))
        orders[order] = orders.get(order, 0) + 1
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 1e-3


def test_ties_of_the_first_pick_are_broken_uniformly(draws):
    Z = np.array([[1.0, 0], [0, -1], [0.5, 0.5], [-1, 0], [0, 1]])
    counts = np.bincount(
        [KCenterGreedy(random_state=seed).select(Z, 1)[0] for seed in range(draws(600))],
        minlength=5,
    )
    assert counts[2] == 0
    assert chisquare(counts[[0, 1, 3, 4]]).pvalue > 1e-3


def test_zeros_are_a_uniform_sample(draws):
    Z = np.zeros((10, 3))
    counts = np.zeros(10)
    for seed in range(draws(600)):
        counts[KCenterGreedy(random_state=seed).select(Z, 3)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_prefix(rng):
    Z = rng.randint(0, 4, (300, 3))
    whole = KCenterGreedy(init="random", random_state=3).select(Z, 300)
    for n in (1, 2, 17, 100, 299):
        part = KCenterGreedy(init="random", random_state=3).select(Z, n)
        np.testing.assert_array_equal(part, whole[:n])


# ---------------------------------------------------------------- inputs


def test_memory_map_and_tensor_pick_the_same(tmp_path, rng, device):
    Z, Z_labeled = (rng.standard_normal((n, 20)).astype(np.float32) for n in (3000, 50))
    np.save(tmp_path / "pool.npy", Z)
    expected = KCenterGreedy().select(Z, 300, Z_labeled=Z_labeled)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        KCenterGreedy().select(mapped, 300, Z_labeled=Z_labeled), expected
    )
    tensors = (torch.from_numpy(array).to(device) for array in (Z, Z_labeled))
    pool, labeled = tensors
    np.testing.assert_array_equal(KCenterGreedy().select(pool, 300, Z_labeled=labeled), expected)


def test_rows_too_wide_for_a_full_block(rng):
    Z = rng.standard_normal((60, 300_000)).astype(np.float32)
    np.testing.assert_array_equal(
        KCenterGreedy().select(Z, 12), brute_force(Z, 12, first=largest(Z))
    )


def test_reduced_precision_of_the_user_does_not_matter(rng):
    Z = rng.standard_normal((2000, 64)).astype(np.float32)
    expected = brute_force(Z, 100, first=largest(Z))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            picks = KCenterGreedy().select(torch.from_numpy(Z), 100)
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(picks, expected)


def test_scores_returned(rng):
    Z, Z_labeled = rng.standard_normal((50, 4)), rng.standard_normal((7, 4))
    distances = np.linalg.norm(Z[:, None] - Z_labeled, axis=2).min(1)
    norms = np.linalg.norm(Z, axis=1)

    def scores(selector, labeled=None):
        return selector.select(Z, 3, Z_labeled=labeled, return_scores=True)[1]

    np.testing.assert_allclose(scores(KCenterGreedy()), norms)
    np.testing.assert_allclose(scores(KCenterGreedy(), Z_labeled), distances)
    np.testing.assert_allclose(scores(KCenterGreedy(init="origin")), norms)
    np.testing.assert_allclose(
        scores(KCenterGreedy(init="origin"), Z_labeled), np.minimum(norms, distances)
    )
    cosines = Z @ Z_labeled.T / norms[:, None] / np.linalg.norm(Z_labeled, axis=1)
    cosine = KCenterGreedy(metric="cosine")
    np.testing.assert_allclose(scores(cosine, Z_labeled), 1 - cosines.max(1))
    np.testing.assert_allclose(scores(cosine), norms)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"init": "largest"}, "The 'init' parameter of KCenterGreedy must be a str among"),
        ({"metric": "manhattan"}, "The 'metric' parameter of KCenterGreedy must be a str among"),
        ({"random_state": "a"}, "The 'random_state' parameter of KCenterGreedy must be"),
        ({"init": "origin", "metric": "cosine"}, "the origin has no direction"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        KCenterGreedy(**parameters).select(np.ones((3, 2)), 1)
