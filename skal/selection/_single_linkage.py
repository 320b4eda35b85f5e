"""Single-linkage clusters of rows, exactly, without the matrix of their distances.

A minimum spanning tree holds all that single linkage needs: cut its longest edges. The tree is
grown as Boruvka did, every cluster joining its nearest other one in each round. The nearest is
looked for through a lower bound of the distance that is Euclidean: matrix products of blocks of
rows, boxes around blocks that rule out whole blocks, and the distance itself for the few pairs that
are left.
"""

from math import log

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_LEAF = 128  # rows of a block
_CHUNK = 4096  # rows it is compared with at a time: 4 MiB
_SAME = 1e-6  # square roots of divergences below this are rounding


class Euclidean:
    """Rows of numbers, and the Euclidean distance.

    Parameters
    ----------
    Z : ndarray of shape (n, D), dtype float64
        The rows.

    Attributes
    ----------
    Y : ndarray of shape (n, D)
        Points whose Euclidean distance is at most the distance of the rows.
    """

    def __init__(self, Z):
        self.Z = Z
        self.Y = Z - Z.mean(0)  # products of long rows lose what distinguishes them

    def pairs(self, i, j):
        """Distances of the rows `i` to the rows `j`, pair by pair: ndarray, float64."""
        difference = self.Z[i] - self.Z[j]
        return np.sqrt(np.einsum("nd,nd->n", difference, difference))

    def to_row(self, i):
        """Distances of all rows to the row `i`: ndarray (n,), float64."""
        return _in_chunks(self, i)


class JensenShannon:
    r"""Rows of probabilities, and the square root of the Jensen-Shannon divergence in bits.

    :math:`d^2(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2`, a metric in [0, 1]. It is bounded from
    below by the Hellinger distance, :math:`d^2 \ge 1 - \sum_k \sqrt{p_k q_k}`, which is Euclidean
    in the square roots.

    Parameters
    ----------
    P : ndarray of shape (n, K), dtype float64
        Rows that sum to 1.
    """

    def __init__(self, P):
        self.Z = P
        self.Y = np.sqrt(P / 2)
        self._entropy = -_sum_x_log_x(P)

    def pairs(self, i, j):
        """Distances of the rows `i` to the rows `j`, pair by pair: ndarray, float64."""
        mean = self.Z[i] + self.Z[j]
        mean *= 0.5
        nats = -_sum_x_log_x(mean) - 0.5 * (self._entropy[i] + self._entropy[j])
        distance = np.sqrt(np.clip(nats / log(2), 0.0, 1.0))
        distance[distance < _SAME] = 0.0
        return distance

    def to_row(self, i):
        """Distances of all rows to the row `i`: ndarray (n,), float64."""
        return _in_chunks(self, i)


def single_linkage(space, n_clusters):
    """Cluster rows by single linkage.

    Parameters
    ----------
    space : Euclidean or JensenShannon
        The rows and their distance.

    n_clusters : int
        In [1, n].

    Returns
    -------
    labels : ndarray of shape (n,), dtype int
        The cluster of every row, in [0, n_clusters).

    Notes
    -----
    The partition is that of the full matrix of distances; where distances tie at the cut, it is one
    of those that are possible. O(n D) memory. O(n^2 D) time at worst, far less where rows lie in
    groups.
    """
    n = len(space.Y)
    forest = _Forest(space, n - n_clusters)
    while forest.n_edges < n - 1 and forest.grow():
        pass
    return cut(*forest.edges(), n, n_clusters)


def cut(i, j, height, n, n_clusters):
    """Labels of the clusters that the `n - n_clusters` shortest edges of a tree make."""
    shortest = np.argsort(height, kind="stable")[: n - n_clusters]
    edges = (np.ones(len(shortest)), (i[shortest], j[shortest]))
    return connected_components(coo_array(edges, shape=(n, n)), directed=False)[1]


class _Forest:
    """The edges of a minimum spanning tree found so far, and the clusters they make.

    Rows are in the order of the leaves of a k-d tree: leaf a is rows starts[a]:starts[a + 1].
    """

    def __init__(self, space, n_wanted):
        self.order, self.starts = _leaves(space.Y)
        self.space, self.n_wanted = space, n_wanted
        Y = space.Y[self.order]
        sq_norms = np.einsum("nd,nd->n", Y, Y)
        ones = np.ones_like(sq_norms)
        # One product of these gives squared distances.
        self.left = np.column_stack([-2 * Y, ones, sq_norms])
        self.right = np.column_stack([Y, sq_norms, ones])
        self.slack = 4 * np.finfo(float).eps * (Y.shape[1] + 2) * sq_norms.max()
        self.low = np.minimum.reduceat(Y, self.starts[:-1])
        self.high = np.maximum.reduceat(Y, self.starts[:-1])
        self.cluster = np.arange(len(Y), dtype=np.int32)
        self.nearest = np.zeros(len(Y))  # lower bound of the distance to other clusters
        self.n_edges, self.found = 0, []
        self.limit = np.inf  # no longer edge is wanted

    def edges(self):
        """(i, j, length) of all edges found, in the rows' own numbers."""
        i, j, length = (np.concatenate(parts) for parts in zip(*self.found, strict=True))
        return self.order[i], self.order[j], length

    def grow(self):
        """Join every cluster with its nearest other one; False where there was nothing to join."""
        self._begin_round()
        for leaf in range(len(self.starts) - 1):
            self._look_around(leaf)
        added = self._join()
        if self.n_edges >= self.n_wanted > 0:
            lengths = np.concatenate([length for _, _, length in self.found])
            self.limit = np.partition(lengths, self.n_wanted - 1)[self.n_wanted - 1]
        return added

    # ------------------------------------------------------------------ one round

    def _begin_round(self):
        """No cluster knows its nearest other yet; a look inside the leaves gives a first idea."""
        n_clusters = int(self.cluster.max()) + 1
        self.best = np.full(n_clusters, self.limit)
        self.edge = np.full((n_clusters, 2), -1)
        edges = self.starts[:-1]
        first = np.minimum.reduceat(self.cluster, edges)
        last = np.maximum.reduceat(self.cluster, edges)
        self.only = np.where(first == last, first, -1)  # the cluster of a leaf that has but one
        for a in np.flatnonzero(self.only < 0):
            rows = np.arange(self.starts[a], self.starts[a + 1])
            self._offer_nearest(rows, rows, self._sq_distances(rows, rows))
        # Clusters that fill whole leaves have not met another one: compare one row of each.
        alone = np.flatnonzero(~np.isfinite(self.best))
        _, row_of = np.unique(self.cluster, return_index=True)
        everything = np.arange(len(self.cluster))
        for k in alone:
            for columns in _chunks(everything):
                row = row_of[k : k + 1]
                self._offer_nearest(row, columns, self._sq_distances(row, columns))

    def _look_around(self, leaf):
        """Find the nearest rows of other clusters to the rows of a leaf, where it may matter."""
        rows = np.arange(self.starts[leaf], self.starts[leaf + 1])
        rows = rows[self.nearest[rows] < self.best[self.cluster[rows]]]
        if not len(rows):
            return
        gap = self._gaps(leaf)
        gap[(self.only == self.only[leaf]) & (self.only >= 0)] = np.inf  # all of its own cluster
        close = gap < self.best[self.cluster[rows]].max()
        far = gap[~close].min(initial=np.inf)
        columns = np.flatnonzero(np.repeat(close, np.diff(self.starts)))
        bound, measured = np.full(len(rows), far), np.full(len(rows), np.inf)
        for chunk in _chunks(columns):
            sq_distances = self._sq_distances(rows, chunk)
            least = self._offer_nearest(rows, chunk, sq_distances)
            np.minimum(bound, least, out=bound)
            self._offer_closer(rows, chunk, sq_distances, least, measured)
        # What was not measured is at least as far as what its cluster has found.
        np.minimum(measured, self.best[self.cluster[rows]], out=measured)
        self.nearest[rows] = np.maximum(self.nearest[rows], np.maximum(bound, measured))

    def _gaps(self, leaf):
        """Lower bounds of the distances of a leaf to all leaves, by the boxes around them."""
        gap = np.maximum(self.low - self.high[leaf], self.low[leaf] - self.high)
        np.maximum(gap, 0.0, out=gap)
        return np.sqrt(np.maximum(np.einsum("ld,ld->l", gap, gap) - self.slack, 0.0))

    def _sq_distances(self, rows, columns):
        """Squared lower bounds of the distances to rows of other clusters; infinity elsewhere."""
        sq_distances = self.left[rows] @ self.right[columns].T
        same = self.cluster[rows][:, None] == self.cluster[columns]
        np.copyto(sq_distances, np.inf, where=same)
        return sq_distances

    def _offer_nearest(self, rows, columns, sq_distances):
        """Measure each row's nearest by the lower bound, which is returned."""
        column = sq_distances.argmin(1)
        least = sq_distances[np.arange(len(rows)), column]
        least = np.sqrt(np.maximum(least - self.slack, 0.0))
        promising = least < self.best[self.cluster[rows]]
        self._offer(rows[promising], columns[column[promising]])
        return least

    def _offer_closer(self, rows, columns, sq_distances, least, measured):
        """Measure all pairs that the lower bound does not rule out; lower `measured` to them."""
        within = self.best[self.cluster[rows]]
        some = np.flatnonzero(least < within)
        if len(some):
            bound = within[some] ** 2 + self.slack
            doubt = np.flatnonzero(sq_distances[some] < bound[:, None])
            i, j = np.divmod(doubt, len(columns))
            length = self._offer(rows[some[i]], columns[j])
            np.minimum.at(measured, some[i], length)

    def _offer(self, i, j):
        """Measure pairs of rows of different clusters, and keep the shortest for each cluster."""
        if not len(i):
            return np.empty(0)
        length = self.space.pairs(self.order[i], self.order[j])
        k = self.cluster[i]
        shortest = np.lexsort((length, k))
        first = np.r_[True, np.diff(k[shortest]) > 0]
        shortest = shortest[first]
        shortest = shortest[length[shortest] < self.best[k[shortest]]]
        self.best[k[shortest]] = length[shortest]
        self.edge[k[shortest]] = np.column_stack([i[shortest], j[shortest]])
        return length

    def _join(self):
        """Add the edges found, shortest first, but those that close a ring; False for none."""
        found = np.flatnonzero(self.edge[:, 0] >= 0)
        if not len(found):
            return False
        found = found[np.argsort(self.best[found], kind="stable")]
        i, j = self.edge[found].T
        keep = _without_rings(self.cluster[i], self.cluster[j], len(self.best))
        self.found.append((i[keep], j[keep], self.best[found[keep]]))
        self.n_edges += len(keep)
        edges = (np.ones(len(found)), (self.cluster[i], self.cluster[j]))
        graph = coo_array(edges, shape=(len(self.best),) * 2)
        self.cluster = connected_components(graph, directed=False)[1][self.cluster]
        return True


def _without_rings(first, second, n):
    """Positions of the edges that join what the edges before them have not joined."""
    parent = list(range(n))

    def root(k):
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    keep = []
    for position, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        a, b = root(a), root(b)
        if a != b:
            parent[a] = b
            keep.append(position)
    return np.array(keep, dtype=np.intp)


def _leaves(Y):
    """Order of the rows by the leaves of a k-d tree, and where each leaf starts (and the end)."""
    order, starts = np.arange(len(Y)), []
    todo = [(0, len(Y))]
    while todo:
        a, b = todo.pop()
        if b - a <= _LEAF:
            starts.append(a)
            continue
        block = Y[order[a:b]]
        axis = np.argmax(block.max(0) - block.min(0))
        middle = (b - a) // 2
        order[a:b] = order[a:b][np.argpartition(block[:, axis], middle)]
        todo += [(a + middle, b), (a, a + middle)]
    return order, np.array([*starts, len(Y)])


def _chunks(positions):
    for a in range(0, len(positions), _CHUNK):
        yield positions[a : a + _CHUNK]


def _in_chunks(space, i):
    """Distances of all rows to one, a piece at a time."""
    chunks = _chunks(np.arange(len(space.Z)))
    return np.concatenate([space.pairs(rows, np.full(len(rows), i)) for rows in chunks])


def _sum_x_log_x(P):
    """Sum of x log x over each row, 0 log 0 = 0: ndarray (n,)."""
    return np.einsum("nk,nk->n", P, np.log(np.maximum(P, np.finfo(float).tiny)))
