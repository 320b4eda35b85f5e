"""The engine of k-means++ against a textbook loop in float64: same clocks, no bounds, no blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skal.selection._engines import clocks
from skal.selection._engines.clocks import SIZES, LocalPool, Seeding, sample_by_distance
from skal.utils._random import CLOCKS, random_ranks, uniforms
from skal.utils._rows import Rows

SMALL = replace(
    SIZES,
    first_horizon=3,
    last_horizon=7,
    few=0,
    together=5,
    fixed=(2,),
    block=3,
    group=2,
    block_numbers=1,
    exact_numbers=1,
)


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def dense(features, factors):
    return (factors[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def textbook(Z, n, seed, *, fixed=(), first=None, tol=0.0):
    """All clocks run on at every pick, at rates that are float64 differences."""
    Z = np.asarray(Z, dtype=np.float64)
    left = -np.log(1.0 - uniforms(seed, CLOCKS, 0, len(Z)))
    rate, zero_below, picks = np.full(len(Z), np.inf), tol * (Z**2).sum(1), []

    def add(centre):
        sq_distance = ((Z - centre) ** 2).sum(1)
        sq_distance[sq_distance <= zero_below] = 0.0
        np.minimum(rate, sq_distance, out=rate)

    for centre in np.asarray(fixed, dtype=np.float64):
        add(centre)
    if first is not None:
        picks.append(first)
        add(Z[first])
    while len(picks) < n:
        alive = rate > 0
        if not alive.any():
            rank = random_ranks(seed, len(Z))
            rank[picks] = -1
            return picks + np.argsort(-rank)[: n - len(picks)].tolist()
        wait = np.where(alive, left / np.where(alive, rate, 1.0), np.inf)
        k = int(wait.argmin())
        left[alive] -= rate[alive] * wait[k]
        picks.append(k)
        add(Z[k])
    return picks


def clusters(rng, spread, n=1500, n_clusters=30, width=20):
    centres = rng.standard_normal((n_clusters, width))
    return centres[rng.randint(n_clusters, size=n)] + spread * rng.standard_normal((n, width))


DENSE = {
    "noise": lambda rng: rng.standard_normal((1500, 20)),
    "few columns": lambda rng: rng.standard_normal((1500, 2)),
    "shifted": lambda rng: rng.standard_normal((1500, 20)) + 100,
    "norms over eight decades": lambda rng: (
        rng.standard_normal((1500, 20)) * np.logspace(0, -8, 1500)[:, None]
    ),
    "outliers": lambda rng: (
        rng.standard_normal((1500, 20)) * (1 + 1e4 * (np.arange(1500) < 9))[:, None]
    ),
    "clusters": lambda rng: clusters(rng, 0.01),
    "tight clusters": lambda rng: clusters(rng, 1e-4),
    "clusters that float32 cannot see into": lambda rng: clusters(rng, 1e-7),
    "duplicates": lambda rng: rng.standard_normal((60, 20))[rng.randint(60, size=1500)],
    "rows of zeros": lambda rng: (
        rng.standard_normal((1500, 20)) * (np.arange(1500) % 3 > 0)[:, None]
    ),
    "nothing but zeros": lambda rng: np.zeros((100, 3)),
    "a constant": lambda rng: np.full((100, 3), 7.0),
}


@pytest.mark.parametrize("sizes", [SIZES, SMALL], ids=["default sizes", "small sizes"])
@pytest.mark.parametrize("what", DENSE)
def test_picks_of_the_textbook_loop(what, sizes, rng):
    Z = DENSE[what](rng)
    n = min(len(Z), 400 if sizes is SIZES else 120)
    expected = textbook(Z, n, 7, first=3)
    assert sample_by_distance(Rows(Z), n, 7, first=3, sizes=sizes) == expected


@pytest.mark.parametrize("sizes", [SIZES, SMALL], ids=["default sizes", "small sizes"])
@pytest.mark.parametrize("spread", [None, 1e-5, 0.0])
def test_picks_of_factored_rows(spread, sizes, rng):
    """Residuals times features; with a spread, of rows that are nearly equal in groups."""
    group = np.arange(1200) if spread is None else rng.randint(70, size=1200)
    features = np.abs(rng.standard_normal((1200, 12)))[group]
    factors = rng.dirichlet(np.full(6, 0.4), 1200)[group]
    factors[np.arange(1200), factors.argmax(1)] -= 1
    features = features * (1 + (spread or 0) * rng.standard_normal((1200, 12)))
    n = 300 if sizes is SIZES else 100
    expected = textbook(dense(features, factors), n, 11, first=0)
    assert sample_by_distance(Rows(features, factors), n, 11, first=0, sizes=sizes) == expected


@pytest.mark.parametrize("sizes", [SIZES, SMALL], ids=["default sizes", "small sizes"])
@pytest.mark.parametrize("n_fixed", [1, 40, 700])
@pytest.mark.parametrize("kind", ["dense", "copies", "factored"])
def test_picks_beside_labelled_rows(kind, n_fixed, sizes, rng):
    Z, fixed = rng.standard_normal((1200, 8)), rng.standard_normal((n_fixed, 8))
    factors = None
    if kind == "copies":
        fixed = Z[:n_fixed]
    rows, rows_fixed = Rows(Z), Rows(fixed)
    if kind == "factored":
        factors = rng.dirichlet(np.ones(3), 1200), rng.dirichlet(np.ones(3), n_fixed)
        rows, rows_fixed = Rows(Z, factors[0]), Rows(fixed, factors[1])
        Z, fixed = dense(Z, factors[0]), dense(fixed, factors[1])
    n = 200 if sizes is SIZES else 30
    for first in (None, 5):
        expected = textbook(Z, n, 3, fixed=fixed, first=first)
        found = sample_by_distance(rows, n, 3, fixed=rows_fixed, first=first, sizes=sizes)
        assert found == expected


@pytest.mark.parametrize("sizes", [SIZES, SMALL], ids=["default sizes", "small sizes"])
@pytest.mark.parametrize("tol", [1e-10, 1e-3, 0.3])
def test_picks_with_a_tolerance(tol, sizes, rng):
    Z = clusters(rng, 1e-6, n=800)
    Z[400:] = rng.standard_normal((400, 20))
    n = 600 if sizes is SIZES else 100
    expected = textbook(Z, n, 5, first=1, tol=tol)
    assert sample_by_distance(Rows(Z), n, 5, first=1, tol=tol, sizes=sizes) == expected


def parted(Z, cuts, factors=None):
    bounds = [0, *cuts, len(Z)]
    pairs = zip(bounds, bounds[1:], strict=False)
    return [Rows(Z[a:b], None if factors is None else factors[a:b]) for a, b in pairs]


@pytest.mark.parametrize("cuts", [[], [700], [1, 2, 600, 600, 1199], list(range(50, 1200, 50))])
@pytest.mark.parametrize("horizon", [5, 128, 2048])
def test_partitions_change_nothing(cuts, horizon, rng):
    """Empty ones and single rows among them, whatever the horizon."""
    features = rng.standard_normal((1200, 10)).astype(np.float32)
    factors = rng.dirichlet(np.ones(4), 1200).astype(np.float32)
    sizes = replace(SIZES, first_horizon=horizon, last_horizon=2 * horizon, few=20)
    for weights in (None, factors):
        whole = Rows(features, weights)
        expected = sample_by_distance(whole, 200, 2, first=9)
        pool = LocalPool(parted(features, cuts, weights))
        assert Seeding(pool, 2, sizes=sizes).run(200, 9) == expected
        fixed = Rows(features[::60] + 0.1, None if weights is None else weights[::60])
        expected = sample_by_distance(whole, 200, 2, fixed=fixed)
        pool = LocalPool(parted(features, cuts, weights))
        assert Seeding(pool, 2, fixed, sizes=sizes).run(200) == expected


def test_a_step_can_be_taken_again(rng):
    """From a copy of the state, with the same message: what heals a lost worker."""
    import copy

    rows = Rows(rng.standard_normal((2000, 6)))
    answers = []

    class Forgetful(LocalPool):
        def map(self, step, message):
            before = copy.deepcopy(self._states)
            first = super().map(step, message)
            self._states = before
            second = super().map(step, message)
            if step is clocks.advance:
                answers.append((first[0][0], second[0][0]))
            return second

    picks = Seeding(Forgetful([rows]), 4).run(300, 0)
    assert picks == sample_by_distance(rows, 300, 4, first=0)
    assert all(np.array_equal(first, second) for first, second in answers)


def test_few_rows_are_looked_at(rng, monkeypatch):
    """A pool of 60,000 rows: most cannot fire before the last of 300 picks."""
    looked_at, meet = [], clocks.Clocks._meet
    monkeypatch.setattr(
        clocks.Clocks,
        "_meet",
        lambda self, rows, positions, groups: (
            looked_at.append(len(positions) * len(groups.block.centres))
            or meet(self, rows, positions, groups)
        ),
    )
    Z = rng.standard_normal((60_000, 20)).astype(np.float32)
    handed_over, pool = [], LocalPool([Rows(Z)])
    map_, rounds = pool.map, []

    def counted(step, message):
        found = map_(step, message)
        if step is clocks.advance:
            rounds.append(1)
            handed_over.extend(found[0][0])
        return found

    pool.map = counted
    assert len(set(Seeding(pool, 0).run(300, 0))) == 300
    assert sum(looked_at) < 0.05 * 300 * 60_000
    assert len(handed_over) == len(set(handed_over)) < 900
    assert len(rounds) <= 6


def test_bounds_never_let_a_row_fire_late(rng, monkeypatch):
    """Whatever the rows, the earliest time is not later than the firing time if nothing came in."""
    features = np.abs(rng.standard_normal((600, 30))) * np.logspace(0, -4, 600)[:, None]
    pools = {
        "dense": Rows(features.astype(np.float32)),
        "factored": Rows(features, rng.dirichlet(np.ones(7) / 10, 600)),
        "copies": Rows(features[rng.randint(20, size=600)]),
    }
    for what, rows in pools.items():
        Z = np.asarray(rows.parts()[0], dtype=np.float64)
        Z = dense(Z, rows.parts()[1]) if rows.is_factored else Z
        seeding = Seeding(LocalPool([rows]), 0, sizes=replace(SIZES, few=0))
        state, _ = clocks.begin(rows, 0, None, (seeding.plan, rows.sq_norms()[0]))
        rate, left, now = np.full(600, np.inf), state.clock.copy(), 0.0
        for block_of in (range(1), range(1, 20), range(20, 53), range(53, 56)):
            times = now + np.cumsum(rng.exponential(size=len(block_of))) * (block_of.start > 0)
            centres = rows.gather(np.array(block_of))
            block = clocks.Block(centres, rows.sq_norms()[list(block_of)], times, now)
            state.blocks.append(clocks._Groups(block, seeding.plan, rows.device))
            for k, time in zip(block_of, times, strict=True):
                left -= np.where(time > now, rate, 0.0) * (time - now)
                rate = np.minimum(rate, ((Z - Z[k]) ** 2).sum(1) * seeding.plan.unit)
                now = time
            state.bring_up(rows, np.inf)
            with np.errstate(divide="ignore", invalid="ignore"):
                exact = np.where(rate > 0, now + np.maximum(left, 0) / rate, np.inf)
            assert (state.rate >= rate * (1 - 1e-9)).all(), what
            assert (state.earliest <= exact * (1 + 1e-9)).all(), what
            assert np.median(state.rate / np.maximum(rate, 1e-300)) < 1.3, what


def test_prefix_and_scale(rng):
    Z = rng.standard_normal((600, 5))
    Z[300:] = Z[:300]
    whole = sample_by_distance(Rows(Z), 600, 3, first=0)
    for n in (1, 2, 9, 150, 301, 599):
        assert sample_by_distance(Rows(Z), n, 3, first=0) == whole[:n]
    for scale in (1e-150, 1e-20, 8.0, 1e20, 1e150):
        assert sample_by_distance(Rows(Z * scale), 200, 3, first=0) == whole[:200]


def test_rates_that_fall_beyond_all_measure():
    """Pairs of rows at a relative distance of 1e-14: after the far rows come none for long."""
    far = np.array([[0.0], [1.0], [2.0], [5.0]])
    Z = np.concatenate([far, far * (1 + 1e-14)])
    picks = sample_by_distance(Rows(Z), 8, 0, first=0)
    assert picks == textbook(Z, 8, 0, first=0)


def test_pool_on_a_device(rng, device):
    Z = torch.from_numpy(rng.standard_normal((3000, 12)))
    expected = sample_by_distance(Rows(Z), 200, 1, first=0)
    assert sample_by_distance(Rows(Z.to(device)), 200, 1, first=0) == expected
