"""Typical rows of the largest clusters that hold no label yet."""

import heapq
import warnings
from numbers import Integral

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors

from skal.selection._base import BatchSelector
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import draw_seed, random_ranks
from skal.utils._rows import Rows

_MINI_BATCH_FROM = 10_000_000  # rows x clusters
_MINI_BATCH = 4096
_CHUNK_NUMBERS = 2**20  # of differences between rows and neighbours, at a time


class TypicalClusters(BatchSelector):
    r"""Choose the most typical row of each of the largest clusters without a labelled row.

    Pool and labelled rows together are cut by k-means into as many clusters as there are labelled
    rows and rows to choose, at most `max_clusters`, so that at least as many clusters as rows to
    choose hold no label. The largest of them gives its row of highest typicality,

    .. math:: t(z) = \Big( \frac{1}{K} \sum_{z' \in N_K(z)} \lVert z - z' \rVert_2 \Big)^{-1} ,

    :math:`N_K(z)` being the K nearest other rows of the cluster, and so on. `scores` are not used.

    Parameters
    ----------
    n_neighbors : int, default=20
        K; all other rows of the cluster where it has fewer. Small values measure density more
        locally, and with more noise.

    max_clusters : int, default=500
        Largest number of clusters. Where more rows are labelled, clusters with few labels are
        chosen from instead of clusters with none.

    min_cluster_size : int, default=5
        Clusters of fewer rows, labelled ones included, are taken for outliers: nothing is chosen
        from them before all rows of the others are. 1 leaves out none.

    metric : {"euclidean", "cosine"}, default="euclidean"
        "cosine" divides every row by its norm first, as usual for self-supervised features of
        images.

    random_state : int, RandomState or None, default=None
        Seeds k-means and the breaking of ties.

    See Also
    --------
    KCenterGreedy : The opposite: rows farthest from everything.
    LCMD : The farthest row of the largest cluster.
    skal.strategies.TypiClust : This selector on inputs or on the features of a net.

    Notes
    -----
    A cluster comes before another if it holds fewer labelled or already chosen rows; of those with
    equally many, the larger one, counting all its rows. Typicality looks at all rows of the
    cluster, labelled ones too.

    The matrix is built in float32, which refuses more than 4 GiB. Above 10 million rows times
    clusters, ``MiniBatchKMeans`` takes the place of ``KMeans``. Cost: k-means, O(n k D) per
    iteration for n rows and k clusters, then O(n^2 D / k) for the distances within clusters of
    about equal size. A batch is not the start of a larger one: that has other clusters.

    With ``return_scores=True``, `select` returns minus the mean distance of each row to its
    `n_neighbors` nearest rows of the whole pool and the labelled rows, in units of `Z` (of
    normalised rows with ``metric="cosine"``): -1 / t where everything is one cluster. This costs
    O(n^2 D).

    References
    ----------
    G. Hacohen, A. Dekel and D. Weinshall (2022). Active learning on a budget: opposite strategies
    suit high and low budgets. ICML, arXiv:2202.02794, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import TypicalClusters
    >>> blob = np.array([[-1.0], [-0.5], [0.0], [0.5], [1.0]])
    >>> Z = np.vstack([blob, 10 + blob, 30 + blob])
    >>> positions = TypicalClusters(random_state=0).select(Z[5:], 2, Z_labeled=Z[:1])
    >>> sorted(positions.tolist())  # the middles of the two blobs without a label
    [2, 7]
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_clusters": [Interval(Integral, 1, None, closed="left")],
        "min_cluster_size": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"euclidean", "cosine"})],
    }

    def __init__(
        self,
        *,
        n_neighbors=20,
        max_clusters=500,
        min_cluster_size=5,
        metric="euclidean",
        random_state=None,
    ):
        super().__init__(random_state=random_state)
        self.n_neighbors = n_neighbors
        self.max_clusters = max_clusters
        self.min_cluster_size = min_cluster_size
        self.metric = metric

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        n_pool = len(rows)
        Z, _ = self._matrix(rows, rows_labeled)
        n_clusters = min(len(Z) - n_pool + n_instances, self.max_clusters)
        members = _members(_k_means(Z, n_clusters, rng))
        seed = draw_seed(rng)
        rank, cluster_rank = random_ranks(seed, n_pool), rng.permutation(len(members))

        queue = []
        for k, inside in enumerate(members):
            n_labels = int((inside >= n_pool).sum())
            if n_labels < len(inside):
                outlying = len(inside) < self.min_cluster_size
                queue.append((outlying, n_labels, -len(inside), cluster_rank[k], k))
        heapq.heapify(queue)

        most_typical_last, picks = {}, []
        while len(picks) < n_instances:
            outlying, n_labels, size, tie, k = queue[0]
            if k not in most_typical_last:
                most_typical_last[k] = self._by_typicality(Z, members[k], rank)
            picks.append(most_typical_last[k].pop())
            if most_typical_last[k]:
                heapq.heapreplace(queue, (outlying, n_labels + 1, size, tie, k))
            else:
                heapq.heappop(queue)
        return picks

    def _by_typicality(self, Z, inside, rank):
        """The pool rows of a cluster, from the least to the most typical."""
        distance = _mean_distances(Z[inside], self.n_neighbors)
        of_pool = inside < len(rank)
        inside, distance = inside[of_pool], distance[of_pool]
        return inside[np.lexsort((rank[inside], -distance))].tolist()

    def _values(self, rows, rows_labeled, scores):
        Z, unit = self._matrix(rows, rows_labeled)
        return -unit * _mean_distances(Z, self.n_neighbors)[: len(rows)]

    def _matrix(self, rows, rows_labeled):
        """Pool, then labelled rows: ndarray (n_pool + n_labeled, D), float32, and its unit."""
        parts = [part for part in (rows, rows_labeled) if part is not None]
        if self.metric == "cosine":
            parts = [part.normalized() for part in parts]
        # Of the features, and of the factors if there are any.
        largest = np.max([part.max_sq_norms() for part in parts], axis=0)
        units = [_unit(size**0.5) for size in largest]
        if set(units) != {1.0}:
            scaled = [zip(part.gather(slice(None)).parts(), units, strict=True) for part in parts]
            parts = [Rows(*(numbers / unit for numbers, unit in part)) for part in scaled]
        return np.concatenate([part.dense().cpu().numpy() for part in parts]), np.prod(units)


def _unit(largest):
    """A power of two that makes the largest norm about 1, where float32 squares need it."""
    return 1.0 if largest == 0 or 1e-9 < largest < 1e9 else 2.0 ** np.ceil(np.log2(largest))


def _k_means(Z, n_clusters, rng):
    """The cluster of every row: ndarray (n,) of ints."""
    seed = rng.randint(np.iinfo(np.int32).max)
    if len(Z) * n_clusters > _MINI_BATCH_FROM:
        batch_size = max(_MINI_BATCH, n_clusters)
        k_means = MiniBatchKMeans(n_clusters, batch_size=batch_size, n_init=1, random_state=seed)
    else:
        k_means = KMeans(n_clusters, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: some clusters stay empty, which is as it should be.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return k_means.fit(Z).labels_


def _members(labels):
    """The rows of every cluster that has any: list of ndarrays of ints."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _mean_distances(Z, n_neighbors):
    """Mean distance of every row to its nearest others: ndarray (n,), float64; 0 for one row."""
    n_neighbors = min(n_neighbors, len(Z) - 1)
    if n_neighbors == 0:
        return np.zeros(len(Z))
    Z = Z.astype(np.float64)
    Z -= Z.mean(0)  # what products lose grows with the norms
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(Z)
    neighbors = search.kneighbors(return_distance=False)
    means = np.empty(len(Z))
    step = max(1, _CHUNK_NUMBERS // (n_neighbors * Z.shape[1]))
    for a in range(0, len(Z), step):
        # From differences, so that equal rows tie exactly.
        difference = Z[neighbors[a : a + step]] - Z[a : a + step, None]
        distances = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
        means[a : a + step] = np.sort(distances, axis=1).mean(1)
    return means
