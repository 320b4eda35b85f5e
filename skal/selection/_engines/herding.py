"""Greedy coverage of a pool in a kernel, lazily: the picks of the full greedy at a few passes.

    coverage(S) = sum_i u_i max_{s in S} k(z_i, z_s)
    gain(j)     = sum_i u_i max(0, k(z_i, z_j) - M_i),    M_i = max over S so far of k(z_i, z_s)

Coverage is monotone and submodular: a gain only falls as S grows, so that an old one is an upper
bound. Rows of large bound are brought up, a block at a time, until the best of all is up to date;
most rows are never looked at again. No kernel matrix is held, only blocks of its columns.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Sizes:
    """Sizes of blocks: tests set small ones."""

    block: int = 64  # rows whose gains are brought up at once
    numbers: int = 2**22  # kernel values in memory at a time
    kept: int = 2**24  # numbers of a pool that is kept in float64, scaled once


# Gains that agree to so many digits of the largest first gain tie: equal rows at different places
# of a product differ by rounding.
_DIGITS = 10


def herd(rows, n, rng, *, weights=None, fixed=None, bandwidth=1.0, reference=None, sizes=None):
    """Choose `n` rows that cover the pool, one after the other.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    rng : RandomState
        Ranks the rows once; of equal gains the highest rank comes first.

    weights : ndarray of shape (n_pool,), dtype float64, or None
        u, not negative. None is 1 for every row.

    fixed : Rows of shape (m, D) or None
        Centres from the start, the labelled rows.

    bandwidth : float
        h of the kernel exp(-|z - z'|^2 / h^2).

    reference : ndarray of ints, or None
        Positions of the rows that coverage is summed over. None is all of them.

    sizes : Sizes or None
        Sizes of blocks.

    Returns
    -------
    picks : list of int
        Positions in order of choice.

    gains : ndarray of shape (n_pool,), dtype float64
        Every gain before the first pick.
    """
    greedy = _Greedy(rows, weights, fixed, bandwidth, reference, sizes or Sizes())
    first = greedy.gains(np.arange(len(rows)))
    scale = float(first.max()) if first.max() > 0 else 1.0
    bounds, fresh = np.round(first / scale, _DIGITS), np.zeros(len(rows), dtype=np.int64)
    rank, picks = rng.permutation(len(rows)), []
    while len(picks) < n:
        best = _best(greedy, bounds, fresh, len(picks), rank, scale)
        picks.append(best)
        bounds[best] = -np.inf
        if len(picks) < n:
            greedy.add(best)
    return picks, first


def _best(greedy, bounds, fresh, now, rank, scale):
    """The row of largest gain; brings `bounds` up until that row's is up to date."""
    size = greedy.sizes.block
    while True:
        size = min(size, len(bounds))
        front = np.argpartition(-bounds, size - 1)[:size]
        front = front[np.isfinite(bounds[front])]
        front = front[np.lexsort((-rank[front], -bounds[front]))]
        # Rows beyond the front may tie with its last one and have a higher rank.
        if size < len(bounds) and bounds[front[0]] == bounds[front[-1]]:
            size *= 4
            continue
        stale = front[fresh[front] < now]
        if fresh[front[0]] == now:
            return int(front[0])
        gains = np.round(greedy.gains(stale) / scale, _DIGITS)
        bounds[stale] = np.minimum(bounds[stale], gains)
        fresh[stale] = now


class _Greedy:
    """Gains of rows, given what is covered so far."""

    def __init__(self, rows, weights, fixed, bandwidth, reference, sizes):
        self.rows, self.h2, self.sizes = rows, float(bandwidth) ** 2, sizes
        self.sq_norms = torch.from_numpy(np.asarray(rows.sq_norms()))
        self.seen = rows if reference is None else rows.gather(reference)
        if len(self.seen) * sum(self.seen.widths) <= sizes.kept:
            self.seen = self.seen.read(slice(None), torch.float64)
        self.seen_sq_norms = self._of_seen(self.sq_norms, reference)
        if weights is not None:
            weights = self._of_seen(torch.from_numpy(weights), reference)
        self.weights = weights
        self.covered = torch.zeros(len(self.seen), dtype=torch.float64, device=self.seen.device)
        for a in range(0, 0 if fixed is None else len(fixed), sizes.block):
            self._cover(fixed.gather(slice(a, a + sizes.block)))

    def _of_seen(self, values, reference):
        values = values if reference is None else values[torch.as_tensor(reference)]
        return values.to(self.seen.device)

    def add(self, position):
        """Count a row among the centres."""
        self._cover(self.rows.gather(np.array([position])))

    def gains(self, positions):
        """Gains of the rows at `positions`: ndarray, float64."""
        gains = np.empty(len(positions))
        for a in range(0, len(positions), self.sizes.block):
            part = positions[a : a + self.sizes.block]
            gains[a : a + self.sizes.block] = self._gains(self.rows.gather(part))
        return gains

    def _gains(self, centres):
        total = torch.zeros(len(centres), dtype=torch.float64, device=self.seen.device)
        for part, similarity in self._similarities(centres):
            rise = similarity.sub_(self.covered[part, None]).clamp_min_(0.0)
            weights = None if self.weights is None else self.weights[part]
            total += rise.sum(0) if weights is None else weights @ rise
        return total.cpu().numpy()

    def _cover(self, centres):
        for part, similarity in self._similarities(centres):
            self.covered[part] = torch.maximum(self.covered[part], similarity.amax(1))

    def _similarities(self, centres):
        """Yield slices of the pool and their kernel values with the centres, float64."""
        sq_norms = torch.from_numpy(centres.sq_norms()).to(self.seen.device)
        step = max(1, self.sizes.numbers // len(centres))
        for a in range(0, len(self.seen), step):
            part = slice(a, min(a + step, len(self.seen)))
            products = self.seen.products(centres, part.start, part.stop, torch.float64)
            distances = products.mul_(-2.0).add_(self.seen_sq_norms[part, None]).add_(sq_norms)
            yield part, distances.clamp_min_(0.0).div_(-self.h2).exp_()
