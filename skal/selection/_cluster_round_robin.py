"""High scores from as many clusters as possible: one row of each in turn, small ones first."""

from numbers import Integral, Real

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import MiniBatchKMeans

from skal.selection._base import BatchSelector
from skal.selection._engines.clusters import unit_table
from skal.selection._topk import TopK
from skal.utils._compat import Interval

_MICRO_CLUSTERS = 2000


class ClusterRoundRobin(TopK):
    r"""Choose among rows of large score, in turn from clusters of the pool.

    The pool is clustered by average linkage. The `factor` times n rows of largest score are grouped
    by cluster, and the clusters, by the number of candidates in them, the fewest first, give one
    random candidate each, round after round.

    Parameters
    ----------
    factor : float, default=2.0
        How many candidates there are for each row to choose. 1 takes the largest scores as they
        are; large ones ask for outliers, which make small clusters.

    cluster_size : float, default=10.0
        Mean number of rows in a cluster; there are at least as many clusters as rows to choose.

    max_exact : int, default=10_000
        Up to so many rows, the linkage is exact. Beyond, 2,000 small clusters of k-means are
        linked, and rows go with theirs.

    random_state : int, RandomState or None, default=None
        Seeds the draws within clusters, and ranks rows and clusters that tie.

    See Also
    --------
    TopK : The largest scores alone.
    skal.strategies.ClusterMargin : Margins, in turn from clusters of features.

    Notes
    -----
    The scores are `scores` where given, else the single column of `Z`. No cluster gives a second
    row before every other that has candidates left has given one. Cost of the exact linkage:
    O(n_pool^2) time, 4 n_pool^2 bytes (8 s and 324 MB at 9,000 rows).
    With ``return_scores=True``, `select` returns the scores.

    References
    ----------
    G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A. Rostamizadeh and S. Kumar
    (2021). Batch active learning at scale. NeurIPS, arXiv:2107.14263, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import ClusterRoundRobin
    >>> Z = np.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [5.0, 0.0]])
    >>> scores = np.array([4.0, 3.0, 2.0, 1.0])
    >>> selector = ClusterRoundRobin(cluster_size=2.0, random_state=0)
    >>> 3 in selector.select(Z, 2, scores=scores)  # alone in its cluster
    True
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "factor": [Interval(Real, 1, None, closed="left")],
        "cluster_size": [Interval(Real, 1, None, closed="left")],
        "max_exact": [Interval(Integral, 1, None, closed="left")],
    }
    _prefix_stable = False

    def __init__(self, *, factor=2.0, cluster_size=10.0, max_exact=10_000, random_state=None):
        super().__init__(random_state=random_state)
        self.factor = factor
        self.cluster_size = cluster_size
        self.max_exact = max_exact

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        n_pool = len(rows)
        scores = self._values(rows, rows_labeled, scores)
        n_candidates = min(n_pool, max(n_instances, int(self.factor * n_instances)))
        candidates = np.lexsort((rng.permutation(n_pool), -scores))[:n_candidates]
        n_clusters = min(n_pool, max(n_instances, int(n_pool / self.cluster_size)))
        labels = self._clusters(rows, n_clusters, rng)[candidates]
        return candidates[_round_robin(labels, n_instances, rng)]

    def _clusters(self, rows, n_clusters, rng):
        """The cluster of every row: ndarray of ints."""
        Z = unit_table(rows)
        if len(Z) <= self.max_exact:
            return _average_linkage(Z, n_clusters)
        seed = rng.randint(np.iinfo(np.int32).max)
        micro = MiniBatchKMeans(
            min(len(Z), max(_MICRO_CLUSTERS, n_clusters)),
            n_init=1,
            batch_size=4096,
            random_state=seed,
        ).fit(Z)
        return _average_linkage(micro.cluster_centers_, n_clusters)[micro.labels_]


def _average_linkage(Z, n_clusters):
    if len(Z) == 1:
        return np.zeros(1, dtype=np.int64)
    return fcluster(linkage(Z, "average"), n_clusters, criterion="maxclust")


def _round_robin(labels, n_instances, rng):
    """Positions in `labels`: one random row of each cluster in turn, the smallest first."""
    clusters, inside, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    place = np.lexsort((rng.permutation(len(clusters)), sizes)).argsort()
    # In which round every row comes: its place in a random order of its cluster.
    order = np.lexsort((rng.permutation(len(labels)), inside))
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[order] = np.arange(len(labels)) - starts
    return np.lexsort((place[inside], turn))[:n_instances]
