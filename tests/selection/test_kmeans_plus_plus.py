"""k-means++ seeding against enumeration of its law, and on rows that go wrong easily."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from skal.selection import KMeansPlusPlus
from skal.selection._engines.clocks import SIZES, sample_by_distance
from skal.utils._rows import Rows


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def dense(features, factors):
    return (factors[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def law(Z, n, first=None, Z_labeled=None):
    """Probability of every ordered batch, by enumeration of the definition."""
    table = {}
    for batch in permutations(range(len(Z)), n):
        probability, centres = 1.0, [] if Z_labeled is None else list(Z_labeled)
        for k, pick in enumerate(batch):
            if k == 0 and first is not None:
                probability *= pick == first
            else:
                D2 = np.min([((Z - centre) ** 2).sum(1) for centre in centres], axis=0)
                probability *= D2[pick] / D2.sum()
            centres.append(Z[pick])
        if probability > 0:
            table[batch] = probability
    assert np.isclose(sum(table.values()), 1)
    return table


def assert_follows(draw, table, n_draws):
    """Chi-square of `draw(seed)` against a table of probabilities, rare batches together."""
    counts = dict.fromkeys(table, 0)
    for seed in range(n_draws):
        counts[tuple(draw(seed))] += 1
    expected = np.array([table[batch] * n_draws for batch in counts])
    observed = np.array(list(counts.values()), dtype=float)
    rare = expected < 8
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("together", [1, 1024])
@pytest.mark.parametrize("kind", ["dense", "factored"])
def test_ordered_triples_follow_the_law(kind, together, rng, draws):
    """Whether rows fire one at a time or all before one horizon."""
    features, factors = rng.standard_normal((6, 2)), rng.standard_normal((6, 2))
    Z = features if kind == "dense" else dense(features, factors)
    rows = Rows(features) if kind == "dense" else Rows(features, factors)
    sizes = replace(SIZES, few=0, together=together)
    assert_follows(
        lambda seed: sample_by_distance(rows, 3, seed, first=0, sizes=sizes),
        law(Z, 3, first=0),
        draws(2500),
    )


def test_law_with_labelled_rows(rng, draws):
    Z, Z_labeled = rng.standard_normal((6, 2)), rng.standard_normal((3, 2))
    assert_follows(
        lambda seed: KMeansPlusPlus(random_state=seed).select(Z, 2, Z_labeled=Z_labeled),
        law(Z, 2, Z_labeled=Z_labeled),
        draws(2500),
    )


def test_law_where_float32_sees_nothing(rng, draws):
    """Rows that differ by 1e-5 of their norm: bounds are vague, acceptance has to decide."""
    offsets = rng.standard_normal((6, 2))
    Z = np.array([1.0, -1.0]) * np.repeat([[1.0], [-1.0]], 3, axis=0) + 1e-5 * offsets
    pairs = law(Z, 3, first=0)
    assert_follows(lambda seed: sample_by_distance(Rows(Z), 3, seed, first=0), pairs, draws(2500))


def test_law_of_heavy_tails(rng, draws):
    """Norms over six decades."""
    Z = rng.standard_normal((6, 3)) * np.logspace(0, -6, 6)[:, None]
    assert_follows(
        lambda seed: sample_by_distance(Rows(Z), 3, seed, first=5), law(Z, 3, first=5), draws(2500)
    )


def test_first_pick(rng, draws):
    Z = rng.standard_normal((30, 3))
    largest = np.argmax((Z**2).sum(1))
    assert all(KMeansPlusPlus(random_state=s).select(Z, 2)[0] == largest for s in range(10))
    firsts = [
        KMeansPlusPlus(init="random", random_state=s).select(Z, 1)[0] for s in range(draws(3000))
    ]
    assert chisquare(np.bincount(firsts, minlength=30)).pvalue > 1e-3


def test_duplicates_come_after_all_distinct_rows(rng):
    """2000 rows, 25 distinct: plain float32 distances would keep duplicates alive."""
    distinct = (rng.standard_normal((25, 40)) + 5).astype(np.float32)
    group = rng.permutation(np.repeat(np.arange(25), 80))
    for seed in range(5):
        picks = KMeansPlusPlus(random_state=seed).select(distinct[group], 100)
        assert sorted(group[picks[:25]]) == list(range(25))
        assert len(set(picks)) == 100


def test_duplicates_of_factored_rows(rng):
    features = rng.standard_normal((200, 30)).astype(np.float32)
    factors = rng.dirichlet(np.ones(8) / 4, 200).astype(np.float32)
    group = rng.permutation(np.repeat(np.arange(200), 10))
    rows = Rows(features[group], factors[group])
    picks = KMeansPlusPlus(random_state=0).select(rows, 250)
    assert len(set(group[picks[:200]])) == 200
    assert len(set(picks)) == 250


def test_what_is_left_of_duplicates_is_uniform(draws):
    Z = np.array([[0.0], [0], [0], [0], [3]])
    counts = np.zeros(4)
    for seed in range(draws(1200)):
        picks = KMeansPlusPlus(random_state=seed).select(Z, 4)
        assert picks[0] == 4
        counts[np.setdiff1d(range(4), picks)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_rows_equal_to_labelled_ones_come_last(rng):
    Z = rng.standard_normal((100, 8)).astype(np.float32)
    picks = KMeansPlusPlus(random_state=0).select(Z, 100, Z_labeled=Z[:40])
    assert set(picks[:60]) == set(range(40, 100))


def test_zeros_are_a_uniform_sample(draws):
    counts = np.zeros(8)
    for seed in range(draws(800)):
        counts[KMeansPlusPlus(random_state=seed).select(np.zeros((8, 2)), 3)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_zero_rows_are_drawn_once(rng):
    """Rows at the origin are candidates: one of them, then the others have distance 0."""
    Z = np.concatenate([np.zeros((20, 3)), rng.standard_normal((5, 3))])
    picks = KMeansPlusPlus(random_state=0).select(Z, 10)
    assert (picks[:6] < 20).sum() == 1 and (picks[6:] < 20).all()


def test_tol_takes_near_copies_for_equal(rng):
    """As if equal rows had gone through a net in different mini-batches."""
    distinct = rng.standard_normal((20, 30)) * np.logspace(0, -3, 20)[:, None]
    group = np.repeat(np.arange(20), 30)
    Z = distinct[group] * (1 + 1e-7 * rng.standard_normal((600, 30)))
    for rows in (Z, Rows(Z, np.ones((600, 1)))):
        picks = KMeansPlusPlus(tol=1e-10, random_state=0).select(rows, 40)
        assert sorted(group[picks[:20]]) == list(range(20))
    # The threshold is relative to the row: small rows far from each other are not lost.
    assert law(distinct[-3:], 2, first=0).keys() == {(0, 1), (0, 2)}


def test_tol_one_row_after_another():
    Z = np.array([[1.0], [1.0 + 1e-6], [2.0]])
    assert sorted(KMeansPlusPlus(tol=1e-10, random_state=0).select(Z, 2)) in ([0, 2], [1, 2])
    picks = {tuple(KMeansPlusPlus(tol=1e-10, random_state=s).select(Z, 3)) for s in range(40)}
    assert picks == {(2, 0, 1), (2, 1, 0)}


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 8.0, 1e20, 1e100])
def test_scale_does_not_matter(rng, scale):
    Z = rng.standard_normal((300, 5))
    np.testing.assert_array_equal(
        KMeansPlusPlus(random_state=0).select(Z * scale, 100),
        KMeansPlusPlus(random_state=0).select(Z, 100),
    )


def test_factored_and_explicit_rows_draw_the_same(rng):
    rows = Rows(rng.standard_normal((150, 6)), rng.dirichlet(np.ones(4), 150))
    explicit = dense(*(part.astype(np.float64) for part in rows.parts()))
    for seed in range(5):
        np.testing.assert_array_equal(
            KMeansPlusPlus(random_state=seed).select(rows, 40),
            KMeansPlusPlus(random_state=seed).select(explicit, 40),
        )


def test_prefix(rng):
    Z = rng.standard_normal((400, 5))
    Z[200:] = Z[:200]
    whole = KMeansPlusPlus(random_state=3).select(Z, 400)
    for n in (1, 2, 9, 150, 201, 399):
        np.testing.assert_array_equal(KMeansPlusPlus(random_state=3).select(Z, n), whole[:n])


def test_memory_map_and_tensor_draw_the_same(tmp_path, rng):
    Z = rng.standard_normal((3000, 20)).astype(np.float32)
    np.save(tmp_path / "pool.npy", Z)
    expected = KMeansPlusPlus(random_state=0).select(Z, 300)
    for pool in (np.load(tmp_path / "pool.npy", mmap_mode="r"), torch.from_numpy(Z)):
        np.testing.assert_array_equal(KMeansPlusPlus(random_state=0).select(pool, 300), expected)


def test_same_law_on_every_device(device):
    Z = np.random.RandomState(0).standard_normal((500, 10)).astype(np.float32)
    picks = KMeansPlusPlus(random_state=0).select(torch.from_numpy(Z).to(device), 50)
    assert len(set(picks)) == 50


def test_scores_returned(rng):
    Z, Z_labeled = rng.standard_normal((50, 4)), rng.standard_normal((7, 4))
    selector = KMeansPlusPlus(random_state=0)
    alone = selector.select(Z, 3, return_scores=True)[1]
    np.testing.assert_allclose(alone, (Z**2).sum(1))
    given = selector.select(Z, 3, Z_labeled=Z_labeled, return_scores=True)[1]
    np.testing.assert_allclose(given, ((Z[:, None] - Z_labeled) ** 2).sum(2).min(1))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"init": "origin"}, "The 'init' parameter of KMeansPlusPlus must be a str among"),
        ({"tol": -0.1}, "The 'tol' parameter of KMeansPlusPlus must be a float in the range"),
        ({"tol": 1.0}, "The 'tol' parameter of KMeansPlusPlus must be a float in the range"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        KMeansPlusPlus(**parameters).select(np.ones((3, 2)), 1)
