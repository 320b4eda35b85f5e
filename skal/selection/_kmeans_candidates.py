"""Candidates by their score, and the one nearest to each centre of k-means among them."""

import warnings
from numbers import Real

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from skal.selection._base import BatchSelector
from skal.utils._compat import Interval

_MINI_BATCH_FROM = 10**7  # rows times clusters


class KMeansCandidates(BatchSelector):
    r"""Choose, among rows of high score, the one nearest to each of n centres of k-means.

    Parameters
    ----------
    levels : tuple of float or None, default=None
        Thresholds of the score, falling. Candidates are the rows above the first of them that
        leaves enough, or above the last. None makes every row a candidate.

    oversample : float, default=1.0
        Enough are `oversample` times as many as rows are to be chosen.

    normalize : bool, default=True
        Whether rows are scaled to unit length before they are clustered.

    random_state : int, RandomState or None, default=None
        Seeds k-means, and the draws that fill a batch.

    See Also
    --------
    TypicalClusters : Typical rows of the clusters without a label.
    KMeansPlusPlus : A random batch of rows far apart.

    Notes
    -----
    Where there are fewer candidates, or fewer distinct ones, than rows to choose, the batch is
    filled uniformly, first from the candidates, then from the pool, without replacement. Without
    `scores`, every row is a candidate. Above ten million rows times clusters, k-means runs on
    mini-batches. Cost: O(n_candidates n_instances D) for every iteration.
    With ``return_scores=True``, `select` returns the scores, or the norms without any.

    References
    ----------
    A. Parvaneh, E. Abbasnejad, D. Teney, R. Haffari, A. van den Hengel and J. Q. Shi (2022).
    Active learning by feature mixing. CVPR, arXiv:2203.07034, section 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import KMeansCandidates
    >>> Z = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    >>> scores = np.array([0.2, 0.3, 0.4, 0.0])
    >>> selector = KMeansCandidates(levels=(0.1,), random_state=0)
    >>> 3 in selector.select(Z, 2, scores=scores)  # not above 0.1
    False
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "levels": [tuple, list, None],
        "oversample": [Interval(Real, 1, None, closed="left")],
        "normalize": ["boolean"],
    }

    def __init__(self, *, levels=None, oversample=1.0, normalize=True, random_state=None):
        super().__init__(random_state=random_state)
        self.levels = levels
        self.oversample = oversample
        self.normalize = normalize

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        candidates = self._candidates(len(rows), n_instances, scores)
        picks = []
        if len(candidates) > n_instances:
            picks = self._by_kmeans(rows, candidates, n_instances, rng)
        for group in (candidates, np.arange(len(rows))):
            left = rng.permutation(np.setdiff1d(group, picks))
            picks = [*picks, *left[: n_instances - len(picks)]]
        return picks

    def _values(self, rows, rows_labeled, scores):
        return super()._values(rows, rows_labeled, scores) if scores is None else scores

    def _candidates(self, n_pool, n_instances, scores):
        """Positions of the rows above the first level that leaves enough of them."""
        if scores is None or self.levels is None:
            return np.arange(n_pool)
        levels = np.asarray(self.levels, dtype=np.float64)
        if len(levels) == 0 or (np.diff(levels) >= 0).any():
            raise ValueError(
                f"'levels' of {type(self).__name__} must be numbers that fall. Got {self.levels!r} "
                "instead."
            )
        for level in levels:
            above = np.flatnonzero(scores > level)
            if len(above) >= self.oversample * n_instances:
                break
        return above

    def _by_kmeans(self, rows, candidates, n_instances, rng):
        """The candidate nearest to each centre, distinct ones, by number of the cluster."""
        rows = rows.normalized() if self.normalize else rows
        Z = rows.read(candidates).dense().cpu().numpy()
        seed = rng.randint(np.iinfo(np.int32).max)
        kind = MiniBatchKMeans if len(Z) * n_instances > _MINI_BATCH_FROM else KMeans
        with warnings.catch_warnings():
            # Fewer distinct rows than clusters: the batch is filled afterwards.
            warnings.simplefilter("ignore", ConvergenceWarning)
            k_means = kind(n_instances, n_init=1, random_state=seed).fit(Z)
        differences = (Z - k_means.cluster_centers_[k_means.labels_]).astype(np.float64)
        distances = np.einsum("nd,nd->n", differences, differences)
        order = np.lexsort((rng.permutation(len(Z)), distances, k_means.labels_))
        first = np.flatnonzero(np.diff(k_means.labels_[order], prepend=-1))
        return candidates[order[first]].tolist()
