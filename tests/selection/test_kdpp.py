"""k-DPP against enumeration of its law, and on rows without volume."""

import warnings
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from skal.selection import KDPP
from skal.selection import _kdpp as kdpp
from skal.utils._rows import Rows


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def dense(features, factors):
    return (factors[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def law(Z, n):
    """Probability of every batch, by enumeration of the definition."""
    table = {S: np.linalg.det(Z[list(S)] @ Z[list(S)].T) for S in combinations(range(len(Z)), n)}
    table = {S: value if value > 1e-12 else 0.0 for S, value in table.items()}
    return {S: value / sum(table.values()) for S, value in table.items()}


def assert_follows(draw, table, n_draws):
    """Chi-square of `draw(seed)` against a table of probabilities, rare batches together."""
    counts = dict.fromkeys(table, 0)
    for seed in range(n_draws):
        counts[tuple(sorted(int(k) for k in draw(np.random.RandomState(seed))))] += 1
    expected = np.array([table[S] * n_draws for S in counts])
    observed = np.array(list(counts.values()), dtype=float)
    assert observed[expected == 0].sum() == 0
    rare = expected < 8
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    possible = expected > 0
    assert possible.sum() > 5
    assert chisquare(observed[possible], expected[possible]).pvalue > 1e-3


CASES = {
    "dual": lambda rng: rng.standard_normal((7, 4)),
    "primal": lambda rng: rng.standard_normal((7, 12)),
    "dual, factored": lambda rng: Rows(rng.standard_normal((7, 2)), rng.standard_normal((7, 3))),
    "primal, factored": lambda rng: Rows(rng.standard_normal((7, 4)), rng.standard_normal((7, 3))),
    "with a duplicate": lambda rng: rng.standard_normal((6, 4))[[0, 1, 2, 3, 4, 5, 0]],
    "with a row in the span of two": lambda rng: _with_a_sum(rng.standard_normal((6, 4))),
    "all of the rank": lambda rng: rng.standard_normal((7, 3)),
}


def _with_a_sum(Z):
    return np.concatenate([Z, Z[:1] - 2 * Z[1:2]])


@pytest.mark.parametrize("case", CASES)
def test_exact_draws_follow_the_law(case, rng, draws):
    rows = CASES[case](rng)
    Z = rows if isinstance(rows, np.ndarray) else dense(*rows.parts())
    assert_follows(
        lambda rng: KDPP(method="exact", random_state=rng).select(rows, 3), law(Z, 3), draws(2000)
    )


@pytest.mark.parametrize("n", [2, 5])
def test_exact_batches_of_other_sizes(rng, n, draws):
    Z = rng.standard_normal((7, 5)) * np.logspace(0, -1, 7)[:, None]
    assert_follows(
        lambda rng: KDPP(method="exact", random_state=rng).select(Z, n), law(Z, n), draws(2000)
    )


@pytest.mark.parametrize("case", ["dual", "primal, factored", "with a duplicate"])
def test_long_chains_follow_the_law(case, rng, draws):
    rows = CASES[case](rng)
    Z = rows if isinstance(rows, np.ndarray) else dense(*rows.parts())
    assert_follows(
        lambda rng: KDPP(method="mcmc", n_steps=60, random_state=rng).select(rows, 3),
        law(Z, 3),
        n_draws=draws(1500),
    )


def test_chains_among_rows_of_very_different_norms(rng):
    """A start among short rows must neither lose the inverse nor stay there."""
    Z = rng.standard_normal((40, 6)) * np.where(np.arange(40) < 10, 1.0, 1e-100)[:, None]
    for seed in range(20):
        picks = KDPP(method="mcmc", n_steps=400, random_state=seed).select(Z, 4)
        assert picks.max() < 10


def test_a_chain_of_no_steps_is_uniform(rng, draws):
    Z = rng.standard_normal((6, 4))
    uniform = {S: 1 / 15 for S in combinations(range(6), 2)}
    assert_follows(
        lambda rng: KDPP(method="mcmc", n_steps=0, random_state=rng).select(Z, 2),
        uniform,
        draws(2000),
    )


def test_inverse_is_kept_up(rng, monkeypatch):
    """After many swaps, with and without a fresh start between."""
    for refactor in (7, 10**9):
        monkeypatch.setattr(kdpp, "_REFACTOR", refactor)
        rows = Rows(rng.standard_normal((60, 9)), rng.standard_normal((60, 2)))
        chain = kdpp._Chain(rows.normalized(), np.sqrt(rows.sq_norms()), np.arange(10))
        for _ in range(20):
            chain.advance(rng.randint(10, size=50), rng.randint(60, size=50), rng.random_sample(50))
        assert chain.n_swaps > 100
        Z = dense(*rows.parts())[chain.members]
        Z /= np.linalg.norm(Z, axis=1)[:, None]
        np.testing.assert_allclose(chain.inverse, np.linalg.inv(Z @ Z.T), rtol=1e-6, atol=1e-9)
        assert set(np.flatnonzero(chain.is_member)) == set(chain.members)


@pytest.mark.parametrize("method", ["exact", "mcmc"])
def test_one_row_is_drawn_by_its_squared_norm(rng, method, draws):
    Z = rng.standard_normal((6, 3))
    counts = np.bincount(
        [KDPP(method=method, random_state=s).select(Z, 1)[0] for s in range(draws(2000))],
        minlength=6,
    )
    expected = (Z**2).sum(1) / (Z**2).sum() * counts.sum()
    assert chisquare(counts, expected).pvalue > 1e-3


def test_greedy_is_the_textbook_loop(rng):
    Z = rng.standard_normal((300, 12)) * rng.gamma(1.0, size=300)[:, None]
    expected = []
    for _ in range(10):
        values = []
        for k in range(300):
            batch = [*expected, k]
            values.append(-np.inf if k in expected else np.linalg.det(Z[batch] @ Z[batch].T))
        expected.append(int(np.argmax(values)))
    np.testing.assert_array_equal(KDPP(method="greedy").select(Z, 10), expected)
    factored = Rows(Z, np.ones((300, 1)))
    np.testing.assert_array_equal(KDPP(method="greedy").select(factored, 10), expected)


def test_auto(rng, monkeypatch):
    Z = rng.standard_normal((40, 6))

    def picks(method):
        return KDPP(method=method, random_state=0).select(Z, 4).tolist()

    assert picks("auto") == picks("exact")
    monkeypatch.setattr(kdpp, "_MAX_EXACT", 5)
    assert picks("auto") == picks("mcmc") != picks("exact")


@pytest.mark.parametrize("method", ["exact", "mcmc", "greedy"])
def test_more_rows_than_the_rank(rng, method):
    Z = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 8))
    for rows in (Z, Rows(Z, np.ones((30, 1)))):
        with pytest.warns(UserWarning, match="have rank 3, less than n_instances=7. 4 rows were"):
            picks = KDPP(method=method, random_state=0).select(rows, 7)
        assert len(set(picks)) == 7
        assert np.linalg.matrix_rank(Z[picks[:3]]) == 3


def test_the_warning_points_at_the_caller(rng):
    with pytest.warns(UserWarning) as caught:
        KDPP().select(np.ones((5, 2)), 3)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("method", ["exact", "mcmc", "greedy"])
def test_zeros_are_a_uniform_sample(method, draws):
    counts = np.zeros(8)
    for seed in range(draws(400)):
        with pytest.warns(UserWarning, match="rank 0"):
            counts[KDPP(method=method, random_state=seed).select(np.zeros((8, 2)), 3)] += 1
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("method", ["exact", "mcmc", "greedy"])
def test_equal_rows_are_never_together(rng, method):
    group = rng.permutation(np.repeat(np.arange(12), 15))
    Z = rng.standard_normal((12, 12))[group].astype(np.float32)
    for seed in range(10):
        picks = KDPP(method=method, random_state=seed).select(Z, 10)
        assert len(set(group[picks])) == 10


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 8.0, 1e20, 1e100])
@pytest.mark.parametrize("method", ["exact", "mcmc", "greedy"])
def test_scale_does_not_matter(rng, scale, method):
    Z = rng.standard_normal((200, 20))
    np.testing.assert_array_equal(
        KDPP(method=method, random_state=0).select(Z * scale, 15),
        KDPP(method=method, random_state=0).select(Z, 15),
    )


def test_large_batches_do_not_underflow(rng):
    """A determinant of 250 rows of norm 1e-3 is below the least float."""
    Z = 1e-4 * rng.standard_normal((2000, 300))
    for method in ("exact", "mcmc"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picks = KDPP(method=method, n_steps=50, random_state=0).select(Z, 250)
        assert len(set(picks)) == 250 and np.linalg.matrix_rank(Z[picks]) == 250


def test_batches_are_more_diverse_than_uniform_ones(rng):
    Z = rng.standard_normal((500, 20))

    def log_det(batch):
        return np.linalg.slogdet(Z[batch] @ Z[batch].T)[1]

    uniform = np.mean([log_det(rng.choice(500, 15, replace=False)) for _ in range(50)])
    means = {}
    for method in ("exact", "mcmc"):
        selectors = [KDPP(method=method, random_state=seed) for seed in range(30)]
        means[method] = np.mean([log_det(selector.select(Z, 15)) for selector in selectors])
    assert min(means.values()) > uniform + 1
    assert abs(means["exact"] - means["mcmc"]) < 2


def test_labelled_rows_and_scores_change_nothing(rng):
    Z = rng.standard_normal((50, 6))
    expected = KDPP(random_state=0).select(Z, 5)
    given_both = KDPP(random_state=0).select(Z, 5, Z_labeled=Z[:9], scores=np.arange(50.0))
    np.testing.assert_array_equal(given_both, expected)


def test_memory_map_and_tensor_draw_the_same(tmp_path, rng, device):
    Z = rng.standard_normal((3000, 20)).astype(np.float32)
    np.save(tmp_path / "pool.npy", Z)
    for method in ("exact", "mcmc"):
        expected = KDPP(method=method, random_state=0).select(Z, 15)
        for pool in (np.load(tmp_path / "pool.npy", mmap_mode="r"), torch.from_numpy(Z).to(device)):
            picks = KDPP(method=method, random_state=0).select(pool, 15)
            np.testing.assert_array_equal(picks, expected)


def test_scores_returned(rng):
    Z = rng.standard_normal((50, 4))
    np.testing.assert_allclose(KDPP().select(Z, 3, return_scores=True)[1], (Z**2).sum(1))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "dual"}, "The 'method' parameter of KDPP must be a str among"),
        ({"n_steps": -1}, "The 'n_steps' parameter of KDPP must be an int in the range"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        KDPP(**parameters).select(np.ones((3, 2)), 1)
