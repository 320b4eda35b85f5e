"""Deterministic annealing around the centroids of clusters.

clusters of the rows; of each, the member of median importance rho: its centroid c
n_instances times:
    a cluster, with probability rho_c / sum rho                      (with replacement)
    a row s not chosen yet, with probability ~ exp(-beta d(c, s))    (without)
"""

from numbers import Integral, Real

import numpy as np
from scipy.cluster.hierarchy import linkage as scipy_linkage

from skal.selection._base import BatchSelector
from skal.selection._engines.linkage import Euclidean, JensenShannon, cut, single_linkage
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import as_rows
from skal.utils.validation import check_n_instances

_MATRIX_BYTES = 4 * 2**30
_CACHE_BYTES = 32 * 2**20  # of distances to centroids that were drawn
_METRICS = {"euclidean": Euclidean, "jensenshannon": JensenShannon}


class AnnealedClusters(BatchSelector):
    r"""Draw rows around the centroids of clusters, the closer the larger `beta`.

    The rows are clustered. Each cluster has a centroid: of its members, the one of median
    importance (of two, the upper). Each draw takes a cluster with probability proportional to the
    importance of its centroid, with replacement, and then a row s that is not chosen yet with
    probability

    .. math:: p(s) = \frac{e^{-\beta d(c, s)}}{\sum_{s'} e^{-\beta d(c, s')}} ,

    the sum being over all rows not chosen yet, of any cluster. With ``beta=0`` the batch is a
    uniform one, with ``beta=inf`` it holds the centroids and what is nearest to them.

    Parameters
    ----------
    n_clusters : int or None, default=None
        How many clusters; all rows are clusters of their own where there are no more of them. None
        is 5 times `n_instances`.

    linkage : {"single", "average", "complete"}, default="single"
        Of the agglomerative clustering. "single" needs no matrix of distances.

    beta : float, default=10.0
        Inverse temperature, in [0, inf], per unit of distance.

    metric : {"euclidean", "jensenshannon"}, default="euclidean"
        The distance d. "jensenshannon" is the square root of the Jensen-Shannon divergence in
        bits, in [0, 1]: rows must be probabilities.

    max_candidates : int or None, default=None
        Where the pool has more rows, only as many of them, drawn at random without replacement, are
        clustered and chosen from; never fewer than `n_instances`.

    random_state : int, RandomState or None, default=None
        Seeds all draws.

    See Also
    --------
    TypicalClusters : Typical rows of k-means clusters.
    KMeansPlusPlus : Rows drawn far apart.
    skal.strategies.DeAn : This selector on a net's probabilities, with `beta` from its uncertainty.

    Notes
    -----
    `scores` are the importance of the rows; negative ones count as 0. Without scores, or where
    those of all centroids are 0, clusters are drawn uniformly. Labelled rows change nothing.
    ``return_scores=True`` returns the importance, 1 for every row without scores.

    Single linkage chains: one large cluster and many of one row are what is to be expected, and
    most centroids are outliers then. `cluster_sizes` shows it.

    Equal rows are at distance 0 and equally likely; square roots of divergences below 1e-6 count as
    0, being rounding. With ``beta=inf`` rows at the least distance are equally likely.

    Cost for n candidates of D columns, beside a float64 copy of them: "single" is exact in O(n D)
    memory and O(n^2 D) time, see the benchmarks; the other linkages need all n (n - 1) / 2
    distances and refuse more than 4 GiB, 32,768 rows. Draws cost O(n_instances n D). Everything
    runs on the CPU. A batch is not the start of a larger one.

    References
    ----------
    G. Gupta, A. K. Sahu and W.-Y. Lin (2019). Noisy batch active learning with deterministic
    annealing. arXiv:1909.12473.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import AnnealedClusters
    >>> Z = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    >>> selector = AnnealedClusters(n_clusters=2, beta=np.inf, random_state=0)
    >>> selector.cluster_sizes(Z)
    array([3, 3])
    >>> importance = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    >>> selector.select(Z, 1, scores=importance)  # of median importance, in the cluster that has it
    array([4])
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "linkage": [StrOptions({"single", "average", "complete"})],
        "beta": [Interval(Real, 0, None, closed="both")],
        "metric": [StrOptions(set(_METRICS))],
        "max_candidates": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        n_clusters=None,
        linkage="single",
        beta=10.0,
        metric="euclidean",
        max_candidates=None,
        random_state=None,
    ):
        super().__init__(random_state=random_state)
        self.n_clusters = n_clusters
        self.linkage = linkage
        self.beta = beta
        self.metric = metric
        self.max_candidates = max_candidates

    def cluster_sizes(self, Z, n_instances=1):
        """Cluster rows as `select` does, and count.

        Parameters
        ----------
        Z : ndarray, memmap, tensor or Rows of shape (n_pool, D)
            The pool. With `max_candidates`, its first rows only.

        n_instances : int, default=1
            The batch size that the default of `n_clusters` depends on.

        Returns
        -------
        sizes : ndarray of shape (n_clusters,), dtype int64
            Numbers of rows, the largest cluster first.
        """
        self._validate_params()
        rows = as_rows(Z, "Z")
        n_instances = check_n_instances(n_instances, len(rows), "Z")
        rows.sq_norms("Z")
        space = self._space(rows, np.arange(self._n_candidates(rows, n_instances)))
        labels = self._clusters(space, n_instances)
        return np.sort(np.bincount(labels))[::-1].astype(np.int64)

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        # In random order, so that ties anywhere below are broken at random.
        candidates = rng.permutation(len(rows))[: self._n_candidates(rows, n_instances)]
        space = self._space(rows, candidates)
        importance = self._values(rows, None, scores)[candidates]
        labels = self._clusters(space, n_instances)
        centroids = upper_medians(labels, importance)
        drawn = _draw_many(importance[centroids], n_instances, rng)
        return candidates[_anneal(space, centroids[drawn], float(self.beta), rng)]

    def _values(self, rows, rows_labeled, scores):
        return np.ones(len(rows)) if scores is None else np.maximum(scores, 0.0)

    def _n_candidates(self, rows, n_instances):
        if self.max_candidates is None:
            return len(rows)
        return min(len(rows), max(self.max_candidates, n_instances))

    def _space(self, rows, candidates):
        """The candidates in float64, with their distance."""
        features, *factors = (part.numpy() for part in rows.gather(candidates).parts())
        Z = features
        if factors:
            _check_bytes(8 * len(candidates) * rows.shape[1], "The embeddings", "")
            Z = (factors[0][:, :, None] * features[:, None, :]).reshape(len(features), -1)
        if self.metric == "jensenshannon":
            _check_distributions(Z, candidates)
            Z = np.maximum(Z, 0.0)
            Z = Z / Z.sum(1, keepdims=True)
        return _METRICS[self.metric](Z)

    def _clusters(self, space, n_instances):
        """The cluster of every candidate: ndarray of ints."""
        n = len(space.Z)
        n_clusters = min(5 * n_instances if self.n_clusters is None else self.n_clusters, n)
        if n_clusters == n:
            return np.arange(n)
        if self.linkage == "single":
            return single_linkage(space, n_clusters)
        _check_bytes(
            4 * n * (n - 1),
            f"linkage={self.linkage!r} needs all distances, which",
            "Use linkage='single', which needs no matrix, or fewer rows: max_candidates=20_000. ",
        )
        merges = scipy_linkage(_condensed(space), method=self.linkage)
        return _cut_merges(merges, n, n_clusters)


def upper_medians(labels, importance):
    """Position of the member of median importance of every cluster, the upper one of two.

    Ties keep the order of the rows.
    """
    order = np.lexsort((importance, labels))
    sizes = np.bincount(labels)
    return order[np.cumsum(sizes) - sizes + sizes // 2]


def _anneal(space, centroids, beta, rng):
    """One row for each centroid in turn, none twice: ndarray of ints."""
    left = np.ones(len(space.Z), dtype=bool)
    known, n_known = {}, max(1, _CACHE_BYTES // (8 * len(left)))
    picks = []
    for centroid in centroids.tolist():
        if centroid not in known and len(known) >= n_known:
            known.clear()
        if centroid not in known:
            known[centroid] = space.from_row(centroid)
        distance = np.where(left, known[centroid], np.inf)
        distance -= distance.min()
        if np.isinf(beta):
            weights = (distance == 0).astype(np.float64)
        elif beta == 0:
            weights = left.astype(np.float64)
        else:
            weights = np.exp(-beta * distance)
        pick = _draw_many(weights, 1, rng)[0]
        left[pick] = False
        picks.append(pick)
    return np.array(picks)


def _draw_many(weights, size, rng):
    """Positions drawn with replacement in proportion to `weights`; uniformly where all are 0."""
    share = np.cumsum(weights if weights.any() else np.ones_like(weights))
    share /= share[-1]
    return np.searchsorted(share, rng.random_sample(size), side="right")


def _condensed(space):
    """All distances, in the order of SciPy's condensed matrices: ndarray, float64."""
    n = len(space.Z)
    distances = np.empty(n * (n - 1) // 2)
    a = 0
    for i in range(n - 1):
        others = np.arange(i + 1, n)
        distances[a : a + len(others)] = space.from_row(i, others)
        a += len(others)
    return distances


def _cut_merges(merges, n, n_clusters):
    """Labels from SciPy's table of merges, the last `n_clusters - 1` of them undone."""
    some_row = np.arange(2 * n - 1)
    for k, (first, _) in enumerate(merges[:, :2].astype(np.intp)):
        some_row[n + k] = some_row[first]
    i, j = some_row[merges[:, :2].astype(np.intp)].T
    return cut(i, j, np.arange(n - 1), n, n_clusters)


def _check_bytes(n_bytes, what, remedy):
    if n_bytes > _MATRIX_BYTES:
        raise MemoryError(
            f"{what} would take {n_bytes / 2**30:.1f} GiB in float64; AnnealedClusters builds no "
            f"more than {_MATRIX_BYTES / 2**30:.0f} GiB. {remedy}".strip()
        )


def _check_distributions(P, candidates):
    """Raise ValueError unless all rows are probabilities, up to rounding."""
    bad = (P < -1e-6).any(1) | (np.abs(P.sum(1) - 1) > 1e-3)
    if bad.any():
        raise ValueError(
            "metric='jensenshannon' of AnnealedClusters compares rows of probabilities, which are "
            f"not negative and sum to 1. {bad.sum()} of {len(P)} rows of Z are not so (first: "
            f"{np.sort(candidates[bad])[:5].tolist()}). Use metric='euclidean' for embeddings."
        )
