"""Greedy k-center: each pick is the row farthest from all before it."""

import numpy as np

from skal.selection._base import BatchSelector
from skal.selection._engines.nearest import NearestCentre, farthest_first, first_of
from skal.utils._compat import StrOptions
from skal.utils._random import draw_seed, random_ranks


class KCenterGreedy(BatchSelector):
    r"""Choose rows that cover the pool: farthest-first traversal.

    Each pick is the row whose distance to the nearest centre is largest,

    .. math:: i^* = \arg\max_i \min_c \lVert z_i - z_c \rVert_2 ,

    the centres being the labelled rows and the picks before. The covering radius is at most twice
    the smallest that as many picks can reach. `scores` are not used.

    Parameters
    ----------
    init : {"max_norm", "origin", "random"}, default="max_norm"
        The first pick where nothing is labelled: "max_norm" is the row of largest norm, "random"
        any row. "origin" makes the zero vector a centre, with or without labelled rows: the first
        pick is then the row of largest norm, and rows near zero count as covered.

    metric : {"euclidean", "cosine"}, default="euclidean"
        "cosine" divides every row by its norm first: the distance is 1 - cos of the angle. A row
        of zeros has no direction and is at 0.5 from every other row. "max_norm" still looks at
        the norms before the division.

    random_state : int, RandomState or None, default=None
        Breaks ties: of rows at equal distance, the one of highest random rank comes first.

    See Also
    --------
    KMeansPlusPlus : Draws rows by squared distance instead: fewer outliers.
    skal.strategies.CoreSet : This selector on the features of a net.

    Notes
    -----
    The picks are those of the textbook loop in float64; only the work is arranged otherwise.
    Distances to the nearest centre only fall, so those to some of the centres are upper bounds.
    512 rows are kept exact, and other rows are compared with the centres they have not met, in
    matrix products, only when none of the 512 beats their bounds. Bounds come from float32
    products plus their rounding error; distances that differ in the last digits of float64 may be
    taken for each other.

    Cost: at most 2 n_pool D (n_labeled + n_instances) operations, most of them in matrix products
    (a quarter to a half of that on the benchmarks: near rows are left out); 6 numbers per row and
    blocks of a few MiB. Factored rows cost (K + d) in place of D = K d, in time and in memory.

    With ``return_scores=True``, `select` returns the distance of each row to its nearest labelled
    row (or origin) in units of `Z`; its norm where there is neither; with ``metric="cosine"``,
    1 - cos. It is computed in float64, which takes longer than choosing.

    References
    ----------
    T. F. Gonzalez (1985). Clustering to minimize the maximum intercluster distance. Theoretical
    Computer Science 38, doi:10.1016/0304-3975(85)90224-5.

    O. Sener and S. Savarese (2018). Active learning for convolutional neural networks: a core-set
    approach. ICLR, arXiv:1708.00489, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import KCenterGreedy
    >>> Z = np.array([[0.0], [1.0], [10.0], [11.0], [30.0]])
    >>> KCenterGreedy().select(Z, 3)
    array([4, 0, 3])
    >>> KCenterGreedy().select(Z, 2, Z_labeled=[[29.0]])
    array([0, 3])
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "init": [StrOptions({"max_norm", "origin", "random"})],
        "metric": [StrOptions({"euclidean", "cosine"})],
    }
    _prefix_stable = True

    def __init__(self, *, init="max_norm", metric="euclidean", random_state=None):
        super().__init__(random_state=random_state)
        self.init = init
        self.metric = metric

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        seed, first = draw_seed(rng), None
        if rows_labeled is None and self.init != "origin":
            first = first_row(rows, self.init, seed)
        rows, fixed, ceiling = self._geometry(rows, rows_labeled)
        return farthest_first(rows, n_instances, seed, fixed=fixed, ceiling=ceiling, first=first)

    def _values(self, rows, rows_labeled, scores):
        norms = np.sqrt(rows.sq_norms())
        rows, fixed, ceiling = self._geometry(rows, rows_labeled)
        if fixed is None:
            return norms
        sq_distances = nearest_sq_distances(rows, fixed, ceiling)
        return sq_distances / 2 if self.metric == "cosine" else np.sqrt(sq_distances)

    def _geometry(self, rows, rows_labeled):
        """Rows and permanent centres as the metric sees them, and the distance to the origin."""
        if self.metric == "cosine":
            if self.init == "origin":
                raise ValueError(
                    "KCenterGreedy(init='origin') needs metric='euclidean': the origin has no "
                    "direction. Got metric='cosine' instead. Use init='max_norm' or 'random'."
                )
            rows = rows.normalized()
            rows_labeled = None if rows_labeled is None else rows_labeled.normalized()
        return rows, rows_labeled, rows.sq_norms() if self.init == "origin" else None


def first_row(rows, init, seed):
    """The first pick where nothing is labelled: of largest norm, ties at random, or any row."""
    sq_norms = rows.sq_norms()
    if init == "max_norm" and (sq_norms == sq_norms.max()).sum() == 1:
        return int(sq_norms.argmax())
    rank = random_ranks(seed, len(rows))
    return int(rank.argmax() if init == "random" else first_of(sq_norms, rank))


def nearest_sq_distances(rows, fixed, ceiling=None):
    """Squared distance of every row to the nearest of some rows: ndarray (n,), in float64."""
    near = NearestCentre(rows, fixed, ceiling=ceiling)
    near.exact(np.arange(len(rows)))
    return near.upper
