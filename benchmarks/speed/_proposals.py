"""k-means++ by proposals: the engine that skal used before its clocks, kept as a reference.

Rows are proposed with probability proportional to older squared distances to the nearest centre,
which are never smaller, and kept with probability D^2 now / D^2 then: an exact draw from the
distances now. Bounds are brought up for many centres at once, in one GEMM.
"""

from functools import cached_property

import numpy as np
import torch

from skal.selection import BatchSelector
from skal.selection._engines.nearest import (
    as_slice,
    nearest_sq_distance,
    product_dtype,
    product_error,
    sq_distances,
    stack,
)

_FIRST_DRAWS, _MAX_DRAWS = 128, 256  # proposals of `sample_by_distance` between refreshes
_MET_BY_ALL = 128  # centres that all rows are compared with, whatever their group
_BLOCK = 512  # centres in one GEMM of a refresh
# Blocks of at most _FEW centres are the left factor of the product; larger ones are the right
# factor, padded to a multiple of _LANES.
_FEW, _LANES = 16, 16
_ALWAYS = np.iinfo(np.int64).max
_EXACT_ROWS = 1024  # rows, and centres, of one float64 product
# Wide rows: a block holds at most this many numbers, whatever the counts above say.
_BLOCK_NUMBERS = 2**20
_SUPERBLOCK_NUMBERS = 2**22  # centres in one pass over the pool

# Bounds below 64 times their own rounding error are replaced by exact distances.
_VAGUE = 64.0


def sample_by_distance(
    rows,
    n,
    rng,
    *,
    fixed=None,
    first=None,
    tol=0.0,
    first_draws=_FIRST_DRAWS,
    max_draws=_MAX_DRAWS,
):
    """k-means++ seeding: `n` positions, each drawn with probability proportional to D^2.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    rng : RandomState
        What is drawn from it does not depend on `n`.

    fixed : Rows of shape (m, D) or None, default=None
        Centres that are there before the first pick.

    first : int or None, default=None
        The first pick. Needed where `fixed` is None.

    tol : float, default=0.0
        A squared distance of at most `tol` times the squared norm of the row counts as 0.

    first_draws, max_draws : int, default=128, 256
        Fewest and most proposals between two refreshes.

    Returns
    -------
    picks : list of n ints
        Distinct positions, in order of choice. Where all distances are 0, the rest is uniform.
    """
    near = NearestCentre(rows, fixed, zero_below=tol * rows.sq_norms(), settle=True)
    if first is not None:
        near.add(first, 0.0)
    first_draws, max_draws = near.at_most(first_draws), near.at_most(max_draws)
    n_draws, loose = first_draws, False
    while len(near.chosen) < n:
        if loose or len(near.chosen) < _MET_BY_ALL:
            near.refresh()
        else:
            near.refresh_within_groups()
        if not near.upper.any():
            left = np.setdiff1d(np.arange(len(rows)), near.chosen)
            return near.chosen + rng.permutation(left)[: n - len(near.chosen)].tolist()
        n_accepted = _draw_and_accept(near, n, rng, n_draws)
        loose = n_accepted < 0.3 * n_draws
        if n_accepted > 0.6 * n_draws:
            n_draws = min(2 * n_draws, max_draws)
        elif loose:
            n_draws = max(n_draws // 2, first_draws)
    return near.chosen


def _draw_and_accept(near, n, rng, n_draws):
    """Propose rows from the bounds and keep each with probability distance / bound."""
    share = np.cumsum(near.upper / near.upper.max())
    draws = np.searchsorted(share, rng.random_sample(n_draws) * share[-1], side="right")
    draws = np.minimum(draws, np.flatnonzero(near.upper)[-1])  # rounding at the very end
    bars = rng.random_sample(n_draws) * near.upper[draws]
    near.exact(draws)
    value, zero_below = near.upper[draws], near.zero_below[draws]
    drawn, sq_norms = near.rows.gather(draws), near.sq_norms[draws]
    between = sq_distances(drawn, sq_norms, drawn, sq_norms).numpy()
    between[between <= zero_below] = 0.0
    n_before = len(near.chosen)
    for k, position in enumerate(draws.tolist()):
        if bars[k] < value[k] and len(near.chosen) < n:
            near.add(position, 0.0)
            np.minimum(value, between[k], out=value)
    return len(near.chosen) - n_before


class NearestCentre:
    """Squared distance of every row to its nearest centre: bounds for all, exact on demand.

    Centres are the rows of `fixed`, then the rows of the pool that were added. `upper[i]` is never
    below the distance to the first `covered[i]` centres, hence to all; where ``seen[i] = s > 0``
    it is exactly the distance to the first s of them.

    Memory: 6 numbers per row, and blocks of a few MiB.
    """

    def __init__(self, rows, fixed=None, *, ceiling=None, zero_below=None, settle=False):
        self.rows = rows.centered()
        self.fixed = None if fixed is None else fixed.minus(self.rows.shift)
        self.sq_norms = self.rows.sq_norms()
        self.ceiling, self.zero_below, self.settle = ceiling, zero_below, settle
        self.chosen = []
        self.n_lowered = 0  # of the chosen, that some bounds have been lowered by
        self.n_fixed = 0 if fixed is None else len(fixed)
        self.upper = np.full(len(rows), np.inf) if ceiling is None else ceiling.copy()
        self.covered = np.zeros(len(rows), dtype=np.int64)
        self.seen = np.zeros(len(rows), dtype=np.int64)
        self._dtype = product_dtype(self.rows, self.fixed)
        self._relative = product_error(self.rows.widths, self._dtype)
        largest = max(self.sq_norms.max(), self.fixed.sq_norms().max() if self.n_fixed else 0.0)
        self._absolute = 1e-24 * largest  # more than products can lose to underflow

    @property
    def n_centres(self):
        return self.n_fixed + len(self.chosen)

    def add(self, position, value):
        """Make a row of the pool a centre. `value` is what its own bound becomes, for good."""
        self.chosen.append(int(position))
        self.upper[position] = value
        self.seen[position] = _ALWAYS

    def at_most(self, n_rows, numbers=_BLOCK_NUMBERS):
        """`n_rows`, or as many rows as hold so many numbers, but eight at least."""
        return min(n_rows, max(8, numbers // sum(self.rows.widths)))

    def refresh(self, positions=None, upto=None):
        """Bring the bounds of some rows (all) up to the last centre added, or the first `upto`."""
        n_centres = self.n_centres if upto is None else min(upto, self.n_centres)
        if positions is None:
            positions = np.flatnonzero(self.covered < n_centres)
        else:
            positions = np.sort(positions[self.covered[positions] < n_centres])
        covered = self.covered[positions]
        step = max(1, self.at_most(n_centres, _SUPERBLOCK_NUMBERS))
        while len(positions):
            start = covered.min()
            group = covered == start
            for a in range(start, n_centres, step):
                self._cover(positions[group], a, min(a + step, n_centres))
            positions, covered = positions[~group], covered[~group]

    def refresh_within_groups(self):
        """Lower the bounds by the centres added since the last refresh, each in its group only."""
        if self._group_of is None:
            self.refresh()
            return
        new = np.array(self.chosen[self.n_lowered :], dtype=np.int64)
        self.n_lowered = len(self.chosen)
        for group in np.unique(self._group_of[new]):
            members = np.flatnonzero(self._group_of == group)
            centres = new[self._group_of[new] == group]
            block = self._block(self.rows.gather(centres), self.sq_norms[centres])
            self._lower(members, [block], self.n_centres)

    @cached_property
    def _group_of(self):
        """The group of each row: the column where its factor is largest. None: no groups."""
        return self.rows.leading_factors()

    def exact(self, positions, n_centres=None):
        """Make the bounds of some rows the exact distances to the first `n_centres` (all) centres.

        Parameters
        ----------
        positions : ndarray of ints
            Rows of the pool.

        n_centres : int or None, default=None
            None means all centres added so far.
        """
        n_centres = self.n_centres if n_centres is None else n_centres
        positions = positions[self.seen[positions] < n_centres]
        known = self.seen[positions] > 0
        step = self.at_most(_EXACT_ROWS)
        for group in (positions[~known], positions[known]):
            for k in range(0, len(group), step):
                self._make_exact(group[k : k + step], n_centres)

    def _cover(self, group, a, b):
        """Lower some bounds by the centres a..b-1."""
        step = self.at_most(_BLOCK)
        blocks = [self._block(*self._centres(s, min(s + step, b))) for s in range(a, b, step)]
        self._lower(group, blocks, b)
        self.covered[group] = np.maximum(self.covered[group], b)
        self.n_lowered = max(self.n_lowered, b - self.n_fixed)

    def _lower(self, group, blocks, n_centres):
        """Lower some bounds by blocks of the first `n_centres`: products of them with chunks."""
        rows = self.rows
        nearest = torch.empty(len(group), dtype=self._dtype, device=rows.device)
        for low, high in rows.chunks(len(group)):
            chunk, part = rows.read(as_slice(group[low:high]), self._dtype), nearest[low:high]
            part.copy_(_lowest(chunk, *blocks[0]))
            for block, offset in blocks[1:]:
                torch.minimum(part, _lowest(chunk, block, offset), out=part)
        # |x - c|^2 <= (1 + e) |x|^2 + [(1 + 3 e) |c|^2 - 2 <x, c>], the products off by e |x| |c|.
        bound = nearest.cpu().numpy().astype(np.float64)
        at = as_slice(group)
        sq_norms = self.sq_norms[at]
        bound += (1.0 + self._relative) * sq_norms + self._absolute
        np.maximum(bound, 0.0, out=bound)
        lower = bound < self.upper[at]
        if self.settle:
            vague = bound <= _VAGUE * (self._relative * sq_norms + self._absolute)
            self.exact(group[lower & vague], n_centres)
            lower &= ~vague
        lowered = group[lower]
        self.upper[lowered] = bound[lower]
        self.seen[lowered] = 0

    def _make_exact(self, positions, n_centres):
        start = int(self.seen[positions].min())
        if start > 0:
            value = self.upper[positions]
        elif self.ceiling is not None:
            value = self.ceiling[positions]
        else:
            value = np.full(len(positions), np.inf)
        rows, sq_norms = self.rows.gather(positions), self.sq_norms[positions]
        step = self.at_most(_EXACT_ROWS)
        for a in range(start, n_centres, step):
            centres, centre_sq_norms = self._centres(a, min(a + step, n_centres))
            found = nearest_sq_distance(rows, sq_norms, centres, centre_sq_norms)
            value = np.minimum(value, found)
        if self.zero_below is not None:
            value[value <= self.zero_below[positions]] = 0.0
        self.upper[positions] = value
        self.seen[positions] = n_centres
        self.covered[positions] = np.maximum(self.covered[positions], n_centres)

    def _centres(self, a, b):
        """The centres a..b-1 in float64, and their squared norms."""
        if b <= self.n_fixed:
            return self.fixed.gather(slice(a, b)), self.fixed.sq_norms()[a:b]
        if a < self.n_fixed:
            parts = self._centres(a, self.n_fixed), self._centres(self.n_fixed, b)
            return stack(*(part[0] for part in parts)), np.concatenate([p[1] for p in parts])
        positions = np.array(self.chosen[a - self.n_fixed : b - self.n_fixed])
        return self.rows.gather(positions), self.sq_norms[positions]

    def _block(self, centres, sq_norms):
        """What a chunk is multiplied with and what is added: -2 c, and (1 + 3 e) |c|^2."""
        n = len(centres)
        if n > _FEW:
            # The last centre again, up to a width that products and minima are fast for.
            again = np.minimum(np.arange(-(-n // _LANES) * _LANES), n - 1)
            centres, sq_norms = centres.gather(again), sq_norms[again]
        offset = torch.from_numpy((1.0 + 3.0 * self._relative) * sq_norms)
        offset = offset.to(dtype=self._dtype, device=self.rows.device)
        return centres.times(-2.0, self._dtype, self.rows.device), offset


def _lowest(chunk, block, offset):
    """Least product of each row of a chunk with the rows of a block, plus their offsets: (n,)."""
    if len(block) > _FEW:
        return chunk.products(block, dtype=offset.dtype).add_(offset).amin(1)
    return block.products(chunk, dtype=offset.dtype).add_(offset[:, None]).amin(0)


class KMeansPlusPlusByProposals(BatchSelector):
    """What `KMeansPlusPlus` was: the row of largest norm, then draws."""

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        sq_norms = rows.sq_norms()
        first = int(rng.choice(np.flatnonzero(sq_norms == sq_norms.max())))
        return sample_by_distance(rows, n_instances, rng, fixed=rows_labeled, first=first)
