"""LCMD: the farthest row of the largest cluster, again and again."""

import heapq

import numpy as np
import torch

from skal.selection._base import BatchSelector
from skal.selection._engines.nearest import (
    first_of,
    product_dtype,
    product_error,
    sq_difference,
    sq_distances,
)
from skal.selection._kcenter import first_row, nearest_sq_distances
from skal.utils._random import CENTRE_RANKS, draw_seed, random_ranks

_SPECULATED = 48  # farthest rows whose distances are computed together
_BLOCK = 512  # centres in one GEMM of the first pass
_EXACT_NUMBERS = 2**20  # of rows in one float64 batch


class LCMD(BatchSelector):
    r"""Choose rows that represent the pool: largest cluster, maximum distance.

    Every row belongs to its nearest centre, the centres being the labelled rows and the picks
    before. The next pick is the farthest row of the cluster that is largest,

    .. math:: c^* = \arg\max_c \sum_{i : c(i) = c} \lVert z_i - z_c \rVert_2^2 , \qquad
        i^* = \arg\max_{i : c(i) = c^*} \lVert z_i - z_{c^*} \rVert_2 ,

    and becomes a centre. A lonely outlier is a small cluster: dense regions come before it, other
    than with k-center. `scores` are not used.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Breaks ties: of clusters of equal size, and of members at equal distance, those of highest
        random rank come first.

    See Also
    --------
    KCenterGreedy : The farthest row of all.
    KMeansPlusPlus : A draw by squared distance.
    MaxDet : The row of largest posterior variance.

    Notes
    -----
    Where nothing is labelled, the first pick is the row of largest norm. A row as near to a new
    centre as to its own stays where it is. Picked rows and rows equal to a centre add nothing to a
    cluster; when no row has a distance left, the rest of the batch is uniform.

    The picks are those of the textbook loop in float64. Cluster sizes may rise and fall, so that no
    bound helps. Instead, the products with the 48 rows that look like the next picks are computed
    together, and for each of them only the rows that it might take over are kept: later picks often
    find theirs ready. These products are float32 plus all they can be wrong by; the distances
    themselves are computed in float64, from differences of rows. Sizes that agree to 10 digits
    count as equal.

    Cost: 2 n_pool D (n_labeled + about 3 n_instances) operations in matrix products, one pass over
    the pool for several picks, O(n_pool) per pick, 6 numbers per row and blocks of a few MiB.
    Factored rows cost (K + d) in place of D = K d.

    With ``return_scores=True``, `select` returns the squared distance of each row to its nearest
    labelled row in squared units of `Z`, or its squared norm where there is none.

    References
    ----------
    D. Holzmueller, V. Zaverkin, J. Kaestner and I. Steinwart (2023). A framework and benchmark for
    deep batch active learning for regression. Journal of Machine Learning Research 24(164),
    arXiv:2203.09410 (LCMD-TP).

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import LCMD
    >>> Z = np.array([[0.0], [1.0], [10.0], [11.0], [12.0], [40.0]])
    >>> LCMD().select(Z, 3)
    array([5, 0, 4])
    >>> LCMD().select(Z, 2, Z_labeled=[[0.0], [39.0]])
    array([4, 2])
    """

    _prefix_stable = True

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        seed = draw_seed(rng)
        first = first_row(rows, "max_norm", seed) if rows_labeled is None else None
        return largest_cluster_first(rows, n_instances, seed, fixed=rows_labeled, first=first)

    def _values(self, rows, rows_labeled, scores):
        if rows_labeled is None:
            return rows.sq_norms().copy()
        return nearest_sq_distances(rows, rows_labeled)


def largest_cluster_first(rows, n, seed, *, fixed=None, first=None, speculated=_SPECULATED):
    """`n` positions, each the farthest row of the largest cluster at that time.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    seed : int
        Ranks rows and centres.

    fixed : Rows of shape (m, D) or None, default=None
        Centres that are there before the first pick.

    first : int or None, default=None
        The first pick. Needed where `fixed` is None.

    speculated : int, default=48
        How many columns of distances are computed together.

    Returns
    -------
    picks : list of n ints
        Distinct positions, in order of choice.
    """
    rank = random_ranks(seed, len(rows))
    clusters = _Clusters(rows, fixed, speculated)
    fixed_rank = random_ranks(seed, clusters.n_fixed, stream=CENTRE_RANKS)
    centre_rank = np.concatenate([fixed_rank, rank])
    if first is not None:
        clusters.add(first)
    while len(clusters.chosen) < n:
        sizes = clusters.sizes()
        largest = first_of(sizes, centre_rank[clusters.centre_keys()])
        if sizes[largest] == 0:
            left = np.setdiff1d(np.arange(len(rows)), clusters.chosen)
            order = left[np.argsort(-rank[left])]
            return clusters.chosen + order[: n - len(clusters.chosen)].tolist()
        members = np.flatnonzero(clusters.nearest == largest)
        pick = int(members[first_of(clusters.value[members], rank[members])])
        if pick not in clusters.columns:
            clusters.speculate(pick, sizes)
        clusters.add(pick)
        clusters.learn(largest, sizes[largest])
    return clusters.chosen


class _Clusters:
    """Nearest centre of every row, and the squared distance to it: exact, in float64.

    Centres are the rows of `fixed`, then the rows of the pool that were added.
    """

    def __init__(self, rows, fixed, speculated):
        self.rows = rows.centered()
        self.fixed = None if fixed is None else fixed.minus(self.rows.shift)
        self.n_fixed = 0 if fixed is None else len(fixed)
        self.sq_norms = self.rows.sq_norms()
        self.chosen = []
        self._share_left = 0.5  # of a cluster, when its farthest row becomes a centre
        self.columns = {}  # candidate -> rows it might take, and |c|^2 - 2 <x, c> of them
        self.nearest = np.zeros(len(rows), dtype=np.int64)
        self.value = np.full(len(rows), np.inf)
        self.speculated = max(1, min(speculated, 2**20 // sum(rows.widths)))
        self._dtype = product_dtype(self.rows, self.fixed)
        self._relative = product_error(self.rows.widths, self._dtype)
        largest = max(self.sq_norms.max(), self.fixed.sq_norms().max() if self.n_fixed else 0.0)
        self._absolute = 1e-24 * largest  # more than products can lose to underflow
        # A power of two, so that sums of squared distances cannot overflow.
        self._unit = 2.0 ** -np.frexp(largest)[1] if largest > 1e200 else 1.0
        if self.n_fixed:
            self._assign_to_fixed()

    def centre_keys(self):
        """For every centre so far, its place among (fixed, pool)."""
        return np.concatenate(
            [np.arange(self.n_fixed), self.n_fixed + np.array(self.chosen, dtype=np.int64)]
        )

    def sizes(self):
        """Sum of squared distances per cluster, equal ones made equal to the last digit."""
        n_centres = self.n_fixed + len(self.chosen)
        sizes = np.bincount(self.nearest, weights=self.value * self._unit, minlength=n_centres)
        digits, exponent = np.frexp(sizes)
        return np.ldexp(np.round(digits * 2.0**36), exponent - 36)

    def add(self, position):
        """Make a row of the pool a centre, and give it the rows nearer to it than to others."""
        index, estimate = self.columns.pop(position, (None, None))
        if index is None:
            index = np.arange(len(self.rows))
        else:
            index = index[estimate <= self._bar(index)]
        for part in self._batches(index):
            found = self._sq_distances_to(part, self.rows, np.full(len(part), position))
            nearer = found < self.value[part]
            self.value[part[nearer]] = found[nearer]
            self.nearest[part[nearer]] = self.n_fixed + len(self.chosen)
        self.value[position] = 0.0
        self.nearest[position] = self.n_fixed + len(self.chosen)
        self.chosen.append(int(position))

    def learn(self, cluster, size):
        """Note what a pick has left of its cluster, to predict the next picks better."""
        left = self._unit * self.value[self.nearest == cluster].sum() / size
        self._share_left += 0.1 * (min(left, 1.0) - self._share_left)

    def speculate(self, pick, sizes):
        """Find what `pick`, and the farthest rows of other large clusters, might take over."""
        if sum(len(index) for index, _ in self.columns.values()) > 2 * len(self.rows):
            self.columns = {}
        candidates = self._candidates(pick, sizes)
        block = self.rows.gather(candidates)
        scale = torch.from_numpy((1.0 - 3.0 * self._relative) * self.sq_norms[candidates])
        offset = scale.to(dtype=self._dtype, device=self.rows.device)
        block = block.times(-2.0, self._dtype, self.rows.device)
        found = []
        for a, b in self.rows.chunks():
            estimate = self.rows.products(block, a, b, self._dtype).add_(offset)
            bar = torch.from_numpy(self._bar(slice(a, b))).to(estimate)
            i, j = torch.nonzero(estimate <= bar[:, None], as_tuple=True)
            found.append([part.cpu().numpy() for part in (i + a, j, estimate[i, j])])
        i, j, estimate = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(j, kind="stable")
        ends = np.searchsorted(j[order], np.arange(len(candidates) + 1))
        for k, candidate in enumerate(candidates.tolist()):
            of_it = order[ends[k] : ends[k + 1]]
            self.columns[candidate] = i[of_it], estimate[of_it]

    def _candidates(self, pick, sizes):
        """`pick`, and the picks to come if each leaves its cluster the share that others left."""
        # Among few clusters, what a pick leaves of its own is hard to foresee.
        n_candidates = min(self.speculated, max(8, 2 * len(sizes)))
        n_large = min(len(sizes), n_candidates)
        large = np.argpartition(-sizes, n_large - 1)[:n_large]
        queue = [(-sizes[k], k) for k in large.tolist() if sizes[k] > 0]
        heapq.heapify(queue)
        members, candidates = {}, [pick]
        for _ in range(4 * n_candidates):
            if not queue or len(candidates) == n_candidates:
                break
            size, k = queue[0]
            if k not in members:
                members[k] = self._farthest_members(k)
            if not members[k]:
                heapq.heappop(queue)
                continue
            candidate = members[k].pop()
            if candidate != pick and candidate not in self.columns:
                candidates.append(candidate)
            heapq.heapreplace(queue, (size * self._share_left, k))
        return np.array(candidates)

    def _farthest_members(self, k):
        """The farthest rows of a cluster, as many as may be speculated on, farthest last."""
        members = np.flatnonzero((self.nearest == k) & (self.value > 0))
        n_far = min(len(members), 4 * self.speculated)
        if n_far < len(members):
            members = members[np.argpartition(self.value[members], -n_far)[-n_far:]]
        return members[np.argsort(self.value[members])].tolist()

    def _bar(self, index):
        """What |c|^2 - 2 <x, c> must not exceed if c might be nearer than the nearest centre."""
        bar = (1.0 + self._relative) * self.value[index] + self._absolute
        return bar - (1.0 - self._relative) * self.sq_norms[index]

    def _assign_to_fixed(self):
        """Nearest of the fixed centres: by products, and exactly where these cannot tell."""
        rows, fixed = self.rows, self.fixed
        step = max(1, min(_BLOCK, 2**20 // sum(rows.widths)))
        best = torch.full((len(rows),), torch.inf, dtype=self._dtype)
        second = best.clone()
        norms = fixed.sq_norms()
        superstep = max(step, 2**22 // sum(rows.widths) // step * step)
        for start in range(0, self.n_fixed, superstep):
            blocks = [
                (s, fixed.gather(slice(s, min(s + step, self.n_fixed))))
                for s in range(start, min(start + superstep, self.n_fixed), step)
            ]
            blocks = [
                (s, block.times(-2.0, self._dtype, rows.device), torch.from_numpy(part))
                for s, block in blocks
                for part in [norms[s : s + step]]
            ]
            for a, b in rows.chunks():
                for s, block, offset in blocks:
                    table = rows.products(block, a, b, self._dtype)
                    table += offset.to(table)
                    low, at = table.min(1)
                    table.scatter_(1, at[:, None], torch.inf)
                    low, at, next_low = low.cpu(), at.cpu(), table.amin(1).cpu()
                    nearer = low < best[a:b]
                    next_low = torch.minimum(next_low, torch.where(nearer, best[a:b], low))
                    second[a:b] = torch.minimum(second[a:b], next_low)
                    best[a:b] = torch.where(nearer, low, best[a:b])
                    now = torch.from_numpy(self.nearest[a:b])
                    now[nearer] = at[nearer] + s
        margin = 2.0 * self._relative * (self.sq_norms + 3.0 * norms.max()) + self._absolute
        gap = second.to(torch.float64) - best.to(torch.float64)
        unclear = np.flatnonzero(~(gap.numpy() > margin))
        for part in self._batches(unclear):
            self._assign_exactly(part, step)
        for part in self._batches(np.arange(len(rows))):
            self.value[part] = self._sq_distances_to(part, fixed, self.nearest[part])

    def _assign_exactly(self, part, step):
        gathered, norms = self.rows.gather(part), self.fixed.sq_norms()
        best = np.full(len(part), np.inf)
        for s in range(0, self.n_fixed, step):
            centres = self.fixed.gather(slice(s, s + step))
            table = sq_distances(gathered, self.sq_norms[part], centres, norms[s : s + step])
            low, at = (found.numpy() for found in table.min(1))
            nearer = low < best
            best[nearer] = low[nearer]
            self.nearest[part[nearer]] = at[nearer] + s

    def _sq_distances_to(self, index, centres, at):
        """|rows[index] - centres[at]|^2 pair by pair, from differences."""
        if len(at) and (at == at[0]).all():
            at = at[:1]  # one centre for all
        left, right = self.rows.gather(index).parts(), centres.gather(at).parts()
        return sq_difference(left, right).numpy()

    def _batches(self, index):
        step = max(1, _EXACT_NUMBERS // sum(self.rows.widths))
        return [index[k : k + step] for k in range(0, len(index), step)]
