"""Greedy k-center without a pass over the pool per pick, and distances to the nearest centre.

The squared distance of a row to its nearest centre only falls, so that an old one is an upper
bound. `farthest_first` keeps the few rows of largest bound exact, and goes on while the best of
them beats the bound of all others. Rows whose bound is lower need not be looked at, however many
centres there are.

Bounds are brought up for many centres at once, in one GEMM (`NearestCentre.refresh`). They come
from float32 products plus all those can be wrong by; whatever decides is computed in float64 from
differences of rows, so equal rows are at distance 0 exactly and equal distances tie. A bound stays
one whatever centres it leaves out.
"""

import numpy as np
import torch

from skal.utils._random import random_ranks
from skal.utils._rows import Rows

_CANDIDATES = 512  # rows that `farthest_first` keeps exact
_BLOCK = 512  # centres in one GEMM of a refresh
# Blocks of at most _FEW centres are the left factor of the product; larger ones are the right
# factor, padded to a multiple of _LANES, the width for which the product and the minimum are fast.
_FEW, _LANES = 16, 16
_ALWAYS = np.iinfo(np.int64).max
_EXACT_ROWS = 1024  # rows, and centres, of one float64 product
# Wide rows: a block holds at most this many numbers, whatever the counts above say.
_BLOCK_NUMBERS = 2**20
_SUPERBLOCK_NUMBERS = 2**22  # centres in one pass over the pool
_PAIR_NUMBERS = 2**19  # differences of rows in one batch

# Where float64 products have lost so many digits to cancellation, differences are taken instead.
_CANCELLED = 1e-6


def farthest_first(rows, n, seed, *, fixed=None, ceiling=None, first=None, candidates=_CANDIDATES):
    """Greedy k-center: `n` positions, each the row farthest from all centres before it.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    seed : int
        Ranks the rows; of rows at equal distance the highest rank comes first.

    fixed : Rows of shape (m, D) or None, default=None
        Centres that are there before the first pick.

    ceiling : ndarray of shape (n_pool,) or None, default=None
        Squared distance to one more centre (the origin). None means there is none.

    first : int or None, default=None
        The first pick. Needed where `fixed` and `ceiling` are None.

    candidates : int, default=512
        How many rows are kept exact.

    Returns
    -------
    picks : list of n ints
        Distinct positions, in order of choice.
    """
    near = NearestCentre(rows, fixed, ceiling=ceiling)
    candidates = near.at_most(candidates)
    rank = random_ranks(seed, len(rows))
    if first is not None:
        near.add(first, -np.inf)
    near.refresh(upto=max(near.at_most(_BLOCK), near.n_fixed // 8))  # far rows see the rest later
    while len(near.chosen) < n:
        front, rest = _exact_front(near, rank, candidates)
        _pick_from_front(near, n, front, rank, rest)
    return near.chosen


def _pick_from_front(near, n, front, rank, rest):
    """Pick from the exact rows `front` while the best beats `rest`, the best bound elsewhere."""
    rows, sq_norms, value = near.rows.gather(front), near.sq_norms[front], near.upper[front].copy()
    products = rows.products(rows, dtype=torch.float64).numpy()
    while len(near.chosen) < n:
        best = first_of(value, rank[front])
        if value[best] == -np.inf or (value[best], rank[front[best]]) < rest:
            break
        near.add(int(front[best]), -np.inf)
        value[best] = -np.inf
        # The product tells which rows may have come nearer; the difference, by how much.
        estimate = sq_norms + sq_norms[best]
        error = 1e-12 * estimate
        estimate -= 2.0 * products[best]
        nearer = np.flatnonzero(estimate <= value * (1.0 + 1e-9) + error)
        if len(nearer):
            centre = rows.gather(slice(best, best + 1))
            exact = sq_differences(rows, nearer, centre, np.zeros(len(nearer), dtype=np.int64))
            value[nearer] = np.minimum(value[nearer], exact)
    alive = value > -np.inf
    near.upper[front[alive]] = value[alive]
    near.seen[front[alive]] = near.covered[front[alive]] = near.n_centres


def _exact_front(near, rank, size):
    """The `size` rows of largest bound, made exact, and the largest (bound, rank) of the others.

    Bounds and ranks compare as pairs. The first of the front beats all others, so that at least
    one row can be picked from it.
    """
    width = size
    while True:
        # Bring up what may belong to the front: bounds below its middle can wait.
        likely, _ = largest(near.upper, rank, size)
        near.refresh(likely)
        level = max(np.median(near.upper[likely]), 0.0)  # those picked are at -inf
        stale = np.flatnonzero((near.upper >= level) & (near.covered < near.n_centres))
        near.refresh(stale)
        front, rest = largest(near.upper, rank, width)
        near.exact(front)
        best = front[first_of(near.upper[front], rank[front])]
        if (near.upper[best], rank[best]) >= rest:
            break
        # Rounding alone hides which row is farthest: make bounds sharper, or twice as many exact.
        if len(stale) == 0 and not near.sharpen():
            width *= 2
    if width > size:
        front, rest = largest(near.upper, rank, size)
        near.exact(front)
    return front[near.upper[front] > -np.inf], rest


def largest(values, rank, size):
    """Positions of the `size` largest (value, rank) pairs, and the largest pair of the others."""
    if size >= len(values):
        return np.arange(len(values)), (-np.inf, -1)
    cut = np.partition(values, len(values) - size)[len(values) - size]
    above, ties = np.flatnonzero(values > cut), np.flatnonzero(values == cut)
    ties = ties[np.argsort(-rank[ties])]
    n_ties = size - len(above)
    chosen = np.concatenate([above, ties[:n_ties]])
    if n_ties < len(ties):
        return chosen, (cut, rank[ties[n_ties]])
    below = np.flatnonzero(values < cut)
    if len(below) == 0:
        return chosen, (-np.inf, -1)
    best = below[first_of(values[below], rank[below])]
    return chosen, (values[best], rank[best])


def first_of(values, rank):
    """Position of the largest (value, rank) pair."""
    ties = np.flatnonzero(values == values.max())
    return ties[np.argmax(rank[ties])]


class NearestCentre:
    """Squared distance of every row to its nearest centre: bounds for all, exact on demand.

    Centres are the rows of `fixed`, then the rows of the pool that were added. `upper[i]` is never
    below the distance to the first `covered[i]` centres, hence to all; where ``seen[i] = s > 0``
    it is exactly the distance to the first s of them.

    Memory: 6 numbers per row, and blocks of a few MiB.
    """

    def __init__(self, rows, fixed=None, *, ceiling=None):
        self.rows = rows.centered()
        self.fixed = None if fixed is None else fixed.minus(self.rows.shift)
        self.sq_norms = self.rows.sq_norms()
        self.ceiling = ceiling
        self.chosen = []
        self._n_failed = 0  # times that rounding hid which row is farthest
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

    def sharpen(self):
        """Have bounds made anew from float64 products, where float32 has failed a few times."""
        self._n_failed += 1
        if self._dtype == torch.float64 or self._n_failed < 3 or self.rows.device.type == "mps":
            return False
        self._dtype = torch.float64
        self._relative = product_error(self.rows.widths, self._dtype)
        self.covered[self.seen == 0] = 0
        return True

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
        self._lower(group, blocks)
        self.covered[group] = np.maximum(self.covered[group], b)

    def _lower(self, group, blocks):
        """Lower some bounds by blocks of centres: products of them with chunks."""
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


def product_dtype(rows, fixed):
    """float32, unless squares would leave its range."""
    parts = (rows,) if fixed is None else (rows, fixed)
    return dtype_for([sq_norm for part in parts for sq_norm in part.max_sq_norms()])


def dtype_for(sq_norms):
    """float32, unless squares of rows that are as long as this at most would leave its range."""
    fits = all(1e-10 <= sq_norm <= 1e24 for sq_norm in sq_norms)
    return torch.float32 if fits else torch.float64


def product_error(widths, dtype):
    """What <x, c> / (|x| |c|) may be off by, rounding of x, c and of the sums included.

    A sum of d products is off by at most d units of rounding, and by more than 8 sqrt(d) of them
    with a probability below 1e-12 (N. J. Higham and T. Mary, 2019, SIAM J. Sci. Comput. 41(5),
    Theorem 2.4).
    """
    unit = torch.finfo(dtype).eps / 2
    return unit * (16 + sum(min(width, 8 * np.sqrt(width)) for width in widths))


def as_slice(positions):
    """Sorted positions as a slice where they have no gap: reading that makes no copy."""
    if positions[-1] - positions[0] + 1 == len(positions):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def stack(top, bottom):
    """Rows in float64 on the CPU, one below the other."""
    return Rows(*(torch.cat(pair) for pair in zip(top.parts(), bottom.parts(), strict=True)))


# ---------------------------------------------------------------- distances in float64


def nearest_sq_distance(rows, sq_norms, centres, centre_sq_norms):
    """Squared distance of each row to the nearest of some centres: ndarray (len(rows),).

    The product finds the nearest centre; the distance to it is taken from the difference.
    """
    table, cancelled = _expanded(rows, sq_norms, centres, centre_sq_norms)
    every = np.arange(len(rows))
    value = sq_differences(rows, every, centres, table.argmin(1).numpy())
    i, j = (part.numpy() for part in torch.nonzero(cancelled, as_tuple=True))
    if len(i):
        np.minimum.at(value, i, sq_differences(rows, i, centres, j))
    return value


def sq_distances(rows, sq_norms, centres, centre_sq_norms):
    """All squared distances: float64 tensor (len(rows), len(centres)); 0 between equal rows."""
    table, cancelled = _expanded(rows, sq_norms, centres, centre_sq_norms)
    i, j = torch.nonzero(cancelled, as_tuple=True)
    if len(i):
        table[i, j] = torch.from_numpy(sq_differences(rows, i.numpy(), centres, j.numpy()))
    return table


def _expanded(rows, sq_norms, centres, centre_sq_norms):
    """|x|^2 + |c|^2 - 2 <x, c>, and where cancellation has spoiled it."""
    scale = torch.from_numpy(sq_norms)[:, None] + torch.from_numpy(centre_sq_norms)
    table = rows.products(centres, dtype=torch.float64).mul_(-2.0).add_(scale)
    return table, table <= scale.mul_(_CANCELLED)


def sq_differences(rows, i, centres, j):
    """|rows[i] - centres[j]|^2 pair by pair, exactly 0 where they are equal: ndarray (len(i),)."""
    x, c = rows.parts(), centres.parts()
    result = np.empty(len(i))
    step = max(1, _PAIR_NUMBERS // sum(rows.widths))
    for k in range(0, len(i), step):
        left = [part[torch.from_numpy(i[k : k + step])] for part in x]
        right = [part[torch.from_numpy(j[k : k + step])] for part in c]
        result[k : k + step] = sq_difference(left, right).numpy()
    return result


def sq_difference(left, right):
    """|x - c|^2 of dense rows or of Kronecker products, row by row.

    kron(a, h) - kron(a', h') = kron(a - a', (h + h') / 2) + kron((a + a') / 2, h - h'): neither
    the products are built nor digits lost where the rows are nearly equal.
    """
    differences = [x - c for x, c in zip(left, right, strict=True)]
    if len(left) == 1:
        return torch.linalg.vecdot(differences[0], differences[0])
    means = [(x + c) / 2 for x, c in zip(left, right, strict=True)]
    (dh, da), (mh, ma) = differences, means
    squares = (da**2).sum(1) * (mh**2).sum(1) + (ma**2).sum(1) * (dh**2).sum(1)
    return (squares + 2 * (da * ma).sum(1) * (dh * mh).sum(1)).clamp_(min=0.0)
