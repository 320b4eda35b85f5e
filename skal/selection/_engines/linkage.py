"""Single-linkage clusters of rows, exactly, without the matrix of their distances.

A minimum spanning tree holds all that single linkage needs: cut its longest edges. The tree is
grown from one row (Prim): each step takes in the nearest row outside, and looks which of the others
are nearer to it than to the rest of the tree. A lower bound of the distance, Euclidean and hence
one product of a vector with all rows outside, rules out almost all of them; the rest are measured.
"""

from math import log

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_CHUNK = 4096  # rows measured at a time
_SAME = 1e-6  # square roots of divergences below this are rounding


class _Space:
    """Rows `Z` and a distance, and points `Y` whose Euclidean distance is never larger."""

    def pairs(self, i, j):
        """Distances of the rows `i` to the rows `j`, pair by pair: ndarray, float64."""
        raise NotImplementedError

    def from_row(self, i, rows=None):
        """Distances of the row `i` to some rows, or to all: ndarray, float64."""
        if rows is None:
            rows = np.arange(len(self.Z))
        if len(rows) <= _CHUNK:
            return self.pairs(i, rows)
        parts = np.split(rows, range(_CHUNK, len(rows), _CHUNK))
        return np.concatenate([self.pairs(i, part) for part in parts])


class Euclidean(_Space):
    """Rows of numbers, and the Euclidean distance.

    Parameters
    ----------
    Z : ndarray of shape (n, D), dtype float64
        The rows.
    """

    def __init__(self, Z):
        self.Z = Z
        self.Y = Z - Z.mean(0)  # products of long rows lose what distinguishes them

    def pairs(self, i, j):
        difference = self.Z[i] - self.Z[j]
        return np.sqrt(np.einsum("nd,nd->n", difference, difference))


class JensenShannon(_Space):
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
        mean = self.Z[i] + self.Z[j]
        mean *= 0.5
        nats = -_sum_x_log_x(mean) - 0.5 * (self._entropy[i] + self._entropy[j])
        distance = np.sqrt(np.clip(nats / log(2), 0.0, 1.0))
        distance[distance < _SAME] = 0.0
        return distance


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
    of those that are possible. O(n D) memory, O(n^2 D) time.
    """
    return cut(*spanning_tree(space), len(space.Y), n_clusters)


def spanning_tree(space):
    """Grow a minimum spanning tree.

    Parameters
    ----------
    space : Euclidean or JensenShannon
        The rows and their distance.

    Returns
    -------
    i, j : ndarrays of shape (n - 1,), dtype int
        The ends of the edges.

    length : ndarray of shape (n - 1,), dtype float64
        Their lengths.
    """
    n = len(space.Y)
    sq_norms = np.einsum("nd,nd->n", space.Y, space.Y)
    slack = 4 * np.finfo(float).eps * (space.Y.shape[1] + 2) * sq_norms.max()
    # A product with (-2 y, 1, |y|^2) gives squared distances. One column per row: the rows outside
    # the tree are the first ones of all arrays, so that no work is done on the others.
    points = np.vstack([space.Y.T, sq_norms, np.ones(n)])
    outside = np.arange(n)
    nearest, reach = np.full(n, np.inf), np.full(n, np.inf)
    source = np.zeros(n, dtype=np.intp)
    i, j = np.empty((2, n - 1), dtype=np.intp)
    length, new = np.empty(n - 1), 0
    for m in range(n - 1, 0, -1):
        row = outside[new]
        product = np.append(-2 * space.Y[row], (1.0, sq_norms[row]))
        for values in (outside, nearest, reach, source):
            values[new] = values[m]  # the last one fills the gap
        points[:, new] = points[:, m]

        doubt = np.flatnonzero(product @ points[:, :m] < reach[:m])
        if len(doubt):
            distance = space.from_row(row, outside[doubt])
            closer = distance < nearest[doubt]
            doubt, distance = doubt[closer], distance[closer]
            nearest[doubt], source[doubt] = distance, row
            # Nothing is nearer than 0, whatever rounding says.
            reach[doubt] = np.where(distance > 0, distance**2 + slack, -np.inf)

        new = int(np.argmin(nearest[:m]))
        i[m - 1], j[m - 1], length[m - 1] = source[new], outside[new], nearest[new]
    return i, j, length


def cut(i, j, length, n, n_clusters):
    """Labels of the clusters that the `n - n_clusters` shortest edges of a tree make."""
    shortest = np.argsort(length, kind="stable")[: n - n_clusters]
    edges = (np.ones(len(shortest)), (i[shortest], j[shortest]))
    return connected_components(coo_array(edges, shape=(n, n)), directed=False)[1]


def _sum_x_log_x(P):
    """Sum of x log x over each row, 0 log 0 = 0: ndarray (n,)."""
    return np.einsum("nk,nk->n", P, np.log(np.maximum(P, np.finfo(float).tiny)))
