"""k-means++ by clocks: every row has one, and the next pick is the row that fires next.

The clock of row i is set to E_i, an exponential number that depends on the seed and the position i
alone. It runs at the rate D_i^2, the squared distance of the row to its nearest centre, and fires
when the integral of D_i^2 over time has reached E_i. At every moment row i is the next to fire with
probability D_i^2 / sum_j D_j^2: the law of k-means++, exactly, and batches depend on nothing but
the seed and the rows, however these are cut into blocks and partitions.

Distances only fall. A rate that was right once is a bound ever after, and bounds of the rates give
the earliest time at which a row can fire. So the engine sets a horizon a few picks ahead, and a row
that cannot fire before it is not looked at:

- a *partition* keeps, for each of its rows, bounds from float32 products plus all that these can be
  wrong by. Asked who may fire before the horizon (`advance`), it brings up the bounds of the rows
  in question, and hands over those that may;
- the *coordinator* (`Seeding`) keeps the rows handed over exact, in float64 from differences of
  rows, lets them fire in turn up to the horizon, and sets the next one.

Steps of a partition are functions of (rows, where they start, state, message). One partition in
this process is a pool in memory.
"""

from dataclasses import dataclass

import numpy as np
import torch

from skal.selection._engines.nearest import (
    as_slice,
    dtype_for,
    nearest_sq_distance,
    product_error,
    sq_differences,
    sq_distances,
    stack,
)
from skal.utils._random import CLOCKS, random_ranks, uniforms
from skal.utils._rows import Rows


@dataclass(frozen=True)
class Sizes:
    """What the work is cut into. No size changes a pick."""

    first_horizon: int = 128  # picks hoped for before the first horizon; doubled each time
    last_horizon: int = 256  # and before the last ones
    few: int = 256  # rows that all partitions hand over without a closer look
    together: int = 1024  # rows that fire between two horizons at most
    fixed: tuple = (16, 64, 256)  # centres in the first blocks of those there from the start
    block: int = 512  # and of all later ones
    group: int = 16  # centres that share one minimum over time
    block_numbers: int = 2**20  # in the centres of one block
    exact_numbers: int = 2**20  # in rows of one float64 product
    # Bounds below so many times their own rounding error are replaced by exact distances.
    vague: float = 16.0


SIZES = Sizes()


def sample_by_distance(rows, n, seed, *, fixed=None, first=None, tol=0.0, sizes=SIZES):
    """k-means++ seeding: `n` positions, each drawn with probability proportional to D^2.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    seed : int
        What the clocks are set by. The picks of a smaller `n` are the first of these.

    fixed : Rows of shape (m, D) or None, default=None
        Centres that are there before the first pick.

    first : int or None, default=None
        The first pick. Needed where `fixed` is None.

    tol : float, default=0.0
        A squared distance of at most `tol` times the squared norm of the row counts as 0.

    sizes : Sizes, default=SIZES
        What the work is cut into.

    Returns
    -------
    picks : list of n ints
        Distinct positions, in order of choice. Where all distances are 0, the rest is uniform.
    """
    rows = rows.centered()
    fixed = None if fixed is None else fixed.minus(rows.shift)
    return Seeding(LocalPool([rows]), seed, fixed, tol, sizes).run(n, first)


class LocalPool:
    """The rows of a pool in this process, in one partition or several.

    Parameters
    ----------
    parts : list of Rows
        The pool, in order.
    """

    def __init__(self, parts):
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self._states = [None] * len(parts)

    def __len__(self):
        return int(self._ends[-1])

    @property
    def n_parts(self):
        return len(self.parts)

    @property
    def widths(self):
        return self.parts[0].widths

    def map(self, step, message):
        """Take a step in every partition: list of what each answers."""
        answers = []
        for k, part in enumerate(self.parts):
            start = int(self._ends[k]) - len(part)
            self._states[k], answer = step(part, start, self._states[k], message)
            answers.append(answer)
        return answers

    def gather(self, position):
        """One row in float64."""
        k = int(np.searchsorted(self._ends, position, side="right"))
        local = position - (int(self._ends[k]) - len(self.parts[k]))
        return self.parts[k].gather(slice(local, local + 1))


# ---------------------------------------------------------------- what partitions are told


@dataclass(frozen=True)
class Plan:
    """What all partitions must agree on."""

    seed: int
    tol: float
    unit: float  # squared distances are multiplied by it: a power of two, so that none overflows
    dtype: torch.dtype  # of products
    relative: float  # what a product may be off by, in |x| |c|
    absolute: float  # and what it may lose to underflow
    few: int  # rows that a partition hands over without a closer look
    sizes: Sizes

    def at_most(self, n_rows, numbers, widths):
        """`n_rows`, or as many rows as hold so many numbers, but eight at least."""
        return min(n_rows, max(8, numbers // sum(widths)))


@dataclass(frozen=True)
class Block:
    """Centres that came in one after the other.

    Attributes
    ----------
    centres : Rows of shape (m, D)
        In float64.

    sq_norms : ndarray of shape (m,)

    times : ndarray of shape (m,)
        When they came in.

    begin : float
        When the last centre before them came in.
    """

    centres: Rows
    sq_norms: np.ndarray
    times: np.ndarray
    begin: float


# ---------------------------------------------------------------- a partition


class Clocks:
    """What a partition knows of its rows' clocks: four numbers each, and the centres so far.

    Time starts at 0.

    Attributes
    ----------
    covered : ndarray of shape (n,), dtype int32
        How many blocks of centres `rate` and `earliest` take into account.

    clock : ndarray of shape (n,)
        What the clock was set to.

    rate : ndarray of shape (n,)
        Not below the rate since the last of these centres came in.

    earliest : ndarray of shape (n,)
        The row cannot fire before. Infinite where it never will, or was handed over.
    """

    def __init__(self, rows, start, plan, shortest):
        self.plan, self.blocks = plan, []
        # 1 - u is in (0, 1], so that all are finite.
        self.clock = -np.log(1.0 - uniforms(plan.seed, CLOCKS, start, start + len(rows)))
        self.rate = np.sqrt(rows.sq_norms())
        self.rate += np.sqrt(shortest)
        self.rate *= np.sqrt(plan.unit)
        np.square(self.rate, out=self.rate)
        self.rate *= 1.0 + 1e-12
        self.covered = np.zeros(len(rows), dtype=np.int32)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.earliest = np.where(self.rate > 0, self.clock / self.rate, np.inf)

    def bring_up(self, rows, horizon):
        """Positions of rows that may fire before the horizon, few of the others among them."""
        due = np.flatnonzero(self.earliest < horizon)
        if len(due) <= self.plan.few:
            return due
        for k in range(int(self.covered[due].min()), len(self.blocks)):
            at = due[self.covered[due] == k]
            if len(at):
                self._meet(rows, at, self.blocks[k])
                self.covered[at] = k + 1
                due = due[self.earliest[due] < horizon]
        return due

    def _meet(self, rows, positions, groups):
        """Let the clocks of some rows run while the centres of a block came in."""
        plan = self.plan
        for a, b in rows.chunks(len(positions)):
            at = as_slice(positions[a:b])
            sq_norms = rows.sq_norms()[at]
            table, lows = groups.products(rows.read(at, plan.dtype))
            # |x - c|^2 <= (1 + e) |x|^2 + [(1 + 3 e) |c|^2 - 2 <x, c>], products off by e |x| |c|.
            lows += (1.0 + plan.relative) * sq_norms + plan.absolute
            uncertain = plan.sizes.vague * (plan.relative * sq_norms + plan.absolute)
            vague = np.flatnonzero(lows.min(0) <= uncertain)
            if len(vague):
                lows[:, vague] = self._settled(
                    rows, positions[a:b][vague], table[:, vague], uncertain[vague], groups
                )
            if plan.tol:
                lows[lows <= plan.tol * sq_norms] = 0.0
            lows *= plan.unit
            self._run(at, np.maximum(lows, 0.0, out=lows), groups)

    def _settled(self, rows, positions, table, uncertain, groups):
        """Least distance to each group of a block, exact wherever products cannot tell."""
        plan, block, sq_norms = self.plan, groups.block, rows.sq_norms()[positions]
        table = table[: len(block.centres)].cpu().to(torch.float64).numpy()
        table += (1.0 + plan.relative) * sq_norms + plan.absolute
        j, i = np.nonzero(table <= uncertain)
        near = rows.gather(positions)
        if len(i) * 8 > table.size:
            found = sq_distances(near, sq_norms, block.centres, block.sq_norms)
            table[j, i] = found.numpy()[i, j]
        else:
            table[j, i] = sq_differences(near, i, block.centres, j)
        np.maximum(table, 0.0, out=table)
        return np.minimum.reduceat(table, np.arange(0, len(table), groups.size), axis=0)

    def _run(self, at, lows, groups):
        """Lower the rates of some rows step after step."""
        rate = self.rate[at].copy()
        left = (self.earliest[at] - groups.block.begin) * rate
        for low, step in zip(lows, groups.steps, strict=True):
            if step:
                left -= rate * (step * (1.0 + 1e-12))
            np.minimum(rate, low, out=rate)
        self.rate[at] = rate
        self.earliest[at] = firing_time(groups.block.times[-1], left, rate)


class _Groups:
    """A block of centres made ready for products, in groups that share a minimum over time.

    `steps` are the times that pass until the last of each group has come in.
    """

    def __init__(self, block, plan, device):
        self.block, n = block, len(block.centres)
        self.size = size = min(n, plan.sizes.group)
        centres, sq_norms = block.centres, block.sq_norms
        if n % size:  # the last centre again, up to whole groups
            again = np.minimum(np.arange(-(-n // size) * size), n - 1)
            centres, sq_norms = centres.gather(again), sq_norms[again]
        self.factor = centres.times(-2.0, plan.dtype, device)
        offset = torch.from_numpy((1.0 + 3.0 * plan.relative) * sq_norms)
        self.offset = offset.to(dtype=plan.dtype, device=device)[:, None]
        times = block.times[np.minimum(np.arange(size - 1, len(centres), size), n - 1)]
        self.steps = np.diff(times, prepend=block.begin).tolist()

    def products(self, chunk):
        """|c|^2 - 2 <x, c> for all centres and rows, and the least of each group, in float64."""
        table = self.factor.products(chunk, dtype=self.offset.dtype).add_(self.offset)
        if self.size == 1:
            return table, table.cpu().numpy().astype(np.float64)
        lows = table.view(len(self.steps), self.size, -1).amin(1)
        return table, lows.cpu().numpy().astype(np.float64)


def begin(rows, start, state, message):
    """Set the clocks of a partition. `message`: plan, squared norm of the shortest centre.

    Returns
    -------
    state : Clocks

    answer : float
        Sum of the rates.
    """
    plan, shortest = message
    state = Clocks(rows, start, plan, shortest)
    return state, float(state.rate.sum())


def advance(rows, start, state, message):
    """Hand over the rows that may fire before a horizon. `message`: new blocks, horizon.

    Returns
    -------
    state : Clocks
        The one given, changed. Who may have to repeat a step keeps a copy.

    answer : tuple
        Positions in the pool, what their clocks were set to, the rows in float64, their squared
        norms; and a time before which no other row fires.
    """
    blocks, horizon = message
    state.blocks += [_Groups(block, state.plan, rows.device) for block in blocks]
    due = state.bring_up(rows, horizon)
    state.earliest[due] = np.inf
    handed_over = start + due, state.clock[due], rows.gather(due), rows.sq_norms()[due]
    return state, (*handed_over, state.earliest.min(initial=np.inf))


def largest_norms(rows, start, state, message):
    """Answer with the largest squared norm, and with those of features (and factors)."""
    return state, (float(rows.sq_norms().max(initial=0.0)), rows.max_sq_norms())


# ---------------------------------------------------------------- the coordinator


class Seeding:
    """Fires the clocks of a pool, whatever partitions it lies in.

    Parameters
    ----------
    pool : LocalPool, or anything with its `map`, `gather`, `n_parts`, `widths` and length

    seed, fixed, tol, sizes :
        As for `sample_by_distance`.
    """

    def __init__(self, pool, seed, fixed=None, tol=0.0, sizes=SIZES):
        self.pool, self.seed, self.sizes = pool, seed, sizes
        answers = pool.map(largest_norms, None)
        if fixed is not None:
            answers.append(largest_norms(fixed, 0, None, None)[1])
        largest = max(norm for norm, _ in answers)
        of_parts = zip(*(norms for _, norms in answers), strict=True)
        dtype = dtype_for([max(norms) for norms in of_parts])
        self.widths = pool.widths
        self.plan = Plan(
            seed=seed,
            tol=tol,
            unit=np.ldexp(1.0, -int(np.frexp(largest)[1])) if largest > 0 else 1.0,
            dtype=dtype,
            relative=product_error(self.widths, dtype),
            absolute=1e-24 * largest,
            few=sizes.few // pool.n_parts,
            sizes=sizes,
        )
        self.fixed, self.picks, self.time = fixed, [], 0.0
        self.near = _Near(self.plan, fixed)

    def run(self, n, first=None):
        """`n` positions, the first of them `first`."""
        blocks = self._first_blocks(n, first)
        shortest = min(block.sq_norms.min() for block in blocks)
        rate = sum(self.pool.map(begin, (self.plan, shortest))) / 6  # nearer to the truth
        hoped, awake = self.sizes.first_horizon, 0.0
        while len(self.picks) < n:
            wanted = min(hoped, 4 + 1.25 * (n - len(self.picks)))
            began = max(self.time, awake)
            horizon = max(began + wanted / rate, 1.001 * began) if rate > 0 else np.inf
            answers = self.pool.map(advance, (blocks, horizon))
            for *handed_over, _ in answers:
                self.near.add(*handed_over)
            blocks, fired, horizon = self._fire(n, horizon)
            awake = min(self.near.earliest(), *(answer[-1] for answer in answers))
            if len(self.picks) < n and awake == np.inf:
                return self.picks + self._rest(n - len(self.picks))
            # What fired in the second half tells best how many will.
            late = sum(time > (began + horizon) / 2 for time in fired)
            rate = 2 * max(late, 0.5) / (horizon - began)
            hoped = min(2 * hoped, self.sizes.last_horizon)
        return self.picks

    def _first_blocks(self, n, first):
        """Blocks of the centres that are there at time 0; makes room for those to come."""
        room = [torch.empty((n, width), dtype=torch.float64) for width in self.widths]
        self.centres, self.sq_norms, self.times = Rows(*room), np.empty(n), np.empty(n)
        blocks, a, sizes = [], 0, list(self.sizes.fixed)
        while self.fixed is not None and a < len(self.fixed):
            size = sizes.pop(0) if sizes else self.sizes.block
            b = min(a + self._at_most(size), len(self.fixed))
            sq_norms = self.fixed.sq_norms()[a:b]
            blocks.append(Block(self.fixed.gather(slice(a, b)), sq_norms, np.zeros(b - a), 0.0))
            a = b
        if first is not None:
            row = self.pool.gather(first)
            blocks.append(self._note([first], row, row.sq_norms(), [0.0]))
        return blocks

    def _at_most(self, n_rows):
        return self.plan.at_most(n_rows, self.sizes.block_numbers, self.widths)

    def _note(self, picks, rows, sq_norms, times):
        """Write down new centres: the block of them."""
        a, b = len(self.picks), len(self.picks) + len(picks)
        self.picks += [int(pick) for pick in picks]
        for own, new in zip(self.centres.parts(), rows.parts(), strict=True):
            own[a:b] = new
        self.sq_norms[a:b], self.times[a:b] = sq_norms, times
        return self._block(a, b)

    def _block(self, a, b):
        begin = self.times[a - 1] if a else 0.0
        centres = self.centres.gather(slice(a, b))
        return Block(centres, self.sq_norms[a:b], self.times[a:b], begin)

    def _fire(self, n, horizon):
        """Let rows fire: blocks of them, the times, and the horizon, if it had to be nearer."""
        near, before = self.near, len(self.picks)
        due = near.bring_up(self._block(0, before), horizon)
        if len(due) > self.sizes.together:
            horizon = np.partition(near.fires[due], self.sizes.together)[self.sizes.together]
            due = due[near.fires[due] < horizon]
        if len(due) == 0:
            return [], [], horizon
        rows, sq_norms = near.rows.gather(due), near.sq_norms[due]
        apart = np.ascontiguousarray(near.distances(due, rows, rows, sq_norms).T)
        rate, left = near.rate[due], near.left[due]
        fired, times = self._fire_in_turn(n, horizon, apart, rate, left)
        near.put_back(due, rate, left, self.time, before + len(fired))
        if not fired:
            return [], [], horizon
        picks = near.positions[due[fired]]
        if before + len(fired) == n:
            self.picks += picks.tolist()
            return [], times, horizon
        block = self._note(picks, rows.gather(np.array(fired)), sq_norms[fired], times)
        size = self._at_most(self.sizes.block)
        if len(fired) <= size:
            return [block], times, horizon
        n_picks = len(self.picks)
        cuts = [*range(before, n_picks, size), n_picks]
        blocks = [self._block(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
        return blocks, times, horizon

    def _fire_in_turn(self, n, horizon, apart, rate, left):
        """Which rows fire before the horizon, and when.

        `apart[k]` is what a pick of row k leaves of the rates. `rate` and `left` are changed to
        those at the last pick.
        """
        fired, times, used, wait = [], [], np.empty_like(rate), np.empty_like(rate)
        left[rate == 0] = np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            while len(self.picks) + len(fired) < n:
                np.divide(left, rate, out=wait)
                k = wait.argmin()
                pause = wait.item(k)
                if not pause > 0:  # by rounding: it should have fired with the last pick
                    pause = 0.0
                    if not rate.item(k):  # which is equal to it
                        left[k] = np.inf
                        continue
                if not self.time + pause < horizon:
                    break
                np.multiply(rate, pause, out=used)
                np.subtract(left, used, out=left)
                np.minimum(rate, apart[k], out=rate)
                left[k] = np.inf
                self.time += pause
                fired.append(k)
                times.append(self.time)
        return fired, times

    def _rest(self, n):
        """Positions at random among those that no clock is left for."""
        ranks = random_ranks(self.seed, len(self.pool))
        ranks[self.picks] = -1
        return np.argsort(-ranks)[:n].tolist()


class _Near:
    """Rows that came near to firing, exact in float64.

    `rate` and `left` are those when the first `covered` picks had come in. Picked rows, and rows
    equal to a centre, never fire.
    """

    def __init__(self, plan, fixed):
        self.plan, self.fixed = plan, fixed
        self.positions, self.rows = np.zeros(0, dtype=np.int64), None
        self.covered = np.zeros(0, dtype=np.int64)
        self.sq_norms, self.rate, self.left, self.fires = np.zeros((4, 0))

    def earliest(self):
        """When the first of them fires, or may fire."""
        return self.fires.min(initial=np.inf)

    def add(self, positions, clocks, rows, sq_norms):
        """Take over rows, at time 0, and drop those that never fire."""
        if len(positions) == 0:
            return
        n, alive = len(positions), np.flatnonzero(self.fires < np.inf)
        rate = self._rate_among_fixed(rows, sq_norms)
        fires = np.where(rate == np.inf, 0.0, firing_time(0.0, clocks, rate))
        new = {"positions": positions, "covered": np.zeros(n, dtype=np.int64), "fires": fires}
        new |= {"sq_norms": sq_norms, "rate": rate, "left": clocks.copy()}
        for name, values in new.items():
            setattr(self, name, np.concatenate([getattr(self, name)[alive], values]))
        self.rows = rows if self.rows is None else stack(self.rows.gather(alive), rows)

    def _rate_among_fixed(self, rows, sq_norms):
        """Rate of some rows where only the fixed centres are there; infinite if there are none."""
        nearest, fixed = np.full(len(rows), np.inf), self.fixed
        step = self._step(rows.widths)
        for a in range(0, 0 if fixed is None else len(fixed), step):
            centres, norms = fixed.gather(slice(a, a + step)), fixed.sq_norms()[a : a + step]
            np.minimum(nearest, nearest_sq_distance(rows, sq_norms, centres, norms), out=nearest)
        return np.where(nearest <= self.plan.tol * sq_norms, 0.0, nearest) * self.plan.unit

    def _step(self, widths):
        return self.plan.at_most(1024, self.plan.sizes.exact_numbers, widths)

    def bring_up(self, picks, horizon):
        """Rows that fire before the horizon if nothing fires before them: ndarray of ints."""
        n_picks = len(picks.centres)
        stale = np.flatnonzero((self.fires < horizon) & (self.covered < n_picks))
        new = self.covered[stale] == 0
        for group in (stale[new], stale[~new]):
            step = self._step(picks.centres.widths)
            for a in range(0, len(group), step):
                self._catch_up(group[a : a + step], picks)
        return np.flatnonzero(self.fires < horizon)

    def _catch_up(self, index, picks):
        """Let the clocks of some rows run while picks came in that they have not met."""
        covered, n_picks = self.covered[index], len(picks.centres)
        start = int(covered.min())
        since = np.where(covered > 0, picks.times[covered - 1], 0.0)
        centres, times = picks.centres.gather(slice(start, n_picks)), picks.times[start:]
        met = self.distances(index, self.rows.gather(index), centres, picks.sq_norms[start:])
        rates = np.concatenate([self.rate[index][:, None], met], axis=1)
        np.minimum.accumulate(rates, axis=1, out=rates)
        # Between two centres, but not before `since`: those a row has met already take no time.
        steps = np.diff(np.maximum(times, since[:, None]), axis=1, prepend=since[:, None])
        # At time 0, before the first centre, the rate may be infinite.
        used = np.where(steps > 0, rates[:, :-1], 0.0)
        used *= steps
        self.put_back(index, rates[:, -1], self.left[index] - used.sum(1), times[-1], n_picks)

    def distances(self, index, rows, centres, sq_norms):
        """Rates that centres would leave some rows at: ndarray (len(index), len(centres))."""
        own = self.sq_norms[index]
        table = sq_distances(rows, own, centres, sq_norms).numpy()
        table[table <= self.plan.tol * own[:, None]] = 0.0
        table *= self.plan.unit
        return table

    def put_back(self, index, rate, left, now, covered):
        """Note how far some rows have come."""
        self.rate[index], self.left[index], self.covered[index] = rate, left, covered
        self.fires[index] = firing_time(now, left, rate)


def firing_time(now, left, rate):
    """When clocks fire that have so much left to run at this rate; never at rate 0."""
    wait = np.full(len(rate), np.inf)
    np.divide(np.maximum(left, 0.0), rate, out=wait, where=rate > 0)
    wait += now
    return wait
