"""k-means++ seeding: a random batch of rows far apart."""

from numbers import Real

from skal.selection._base import BatchSelector
from skal.selection._engines.clocks import sample_by_distance
from skal.selection._kcenter import first_row, nearest_sq_distances
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import draw_seed


class KMeansPlusPlus(BatchSelector):
    r"""Draw rows one after another, each with probability proportional to squared distance.

    .. math:: P(i) = D_i^2 / \sum_j D_j^2, \qquad
        D_i^2 = \min_c \lVert z_i - z_c \rVert_2^2 ,

    the centres being the labelled rows and the picks before. Long rows are drawn early, rows close
    to a pick hardly ever, and duplicates of a pick never, until all rows are. `scores` are not
    used.

    Parameters
    ----------
    init : {"max_norm", "random"}, default="max_norm"
        The first pick where nothing is labelled: the row of largest norm, or any row, which is
        k-means++ as published. With labelled rows the first pick is drawn like all others.

    tol : float, default=0.0
        A squared distance of at most `tol` times the squared norm of the row counts as 0. Equal
        inputs that went through a net in different mini-batches differ by about 1e-7 of their
        norm: 1e-10 takes them for equal.

    random_state : int, RandomState or None, default=None
        Seeds the draws.

    See Also
    --------
    KCenterGreedy : The farthest row instead of a draw: a guarantee, but outliers first.

    Notes
    -----
    Every row has a clock, which is set to an exponential number E_i made from the seed and the
    position of the row alone. It runs at the rate D_i^2, and the row whose clock runs down next is
    the next pick: at every moment row i is next with probability D_i^2 / sum_j D_j^2, the law
    above. Batches depend on the seed and the rows, not on how the pool is cut into blocks.

    Distances only fall, so older ones give the earliest time at which a row can be next. Rows that
    cannot be before a horizon some picks ahead are not looked at. Bounds come from float32 products
    plus their rounding error; the clocks of rows that may be next are kept in float64, from
    differences of rows.

    Cost: one pass over the pool for the norms, and products of some of the pairs of rows and picks:
    4 % for 20,000 rows and 1,000 picks, 0.1 % for a million rows, 20 % in tight clusters on the
    benchmarks; 5 numbers per row, the picks in float64 and blocks of a few MiB. Factored rows cost
    (K + d) in place of D = K d, in time and in memory. Where no row has a positive distance left,
    the rest of the batch is uniform.

    With ``return_scores=True``, `select` returns the squared distance of each row to its nearest
    labelled row in squared units of `Z`, or its squared norm where there is none.

    References
    ----------
    D. Arthur and S. Vassilvitskii (2007). k-means++: the advantages of careful seeding. SODA,
    Section 2.2.

    J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal (2020). Deep batch active
    learning by diverse, uncertain gradient lower bounds. ICLR, arXiv:1906.03671, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import KMeansPlusPlus
    >>> Z = np.repeat([[0.0, 0.0], [5.0, 1.0], [2.0, 8.0]], 4, axis=0)
    >>> positions = KMeansPlusPlus(random_state=0).select(Z, 3)
    >>> sorted(positions // 4)  # one of each group of equal rows
    [np.int64(0), np.int64(1), np.int64(2)]
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "init": [StrOptions({"max_norm", "random"})],
        "tol": [Interval(Real, 0, 1, closed="left")],
    }
    _prefix_stable = True

    def __init__(self, *, init="max_norm", tol=0.0, random_state=None):
        super().__init__(random_state=random_state)
        self.init = init
        self.tol = tol

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        seed = draw_seed(rng)
        first = first_row(rows, self.init, seed) if rows_labeled is None else None
        return sample_by_distance(
            rows, n_instances, seed, fixed=rows_labeled, first=first, tol=self.tol
        )

    def _values(self, rows, rows_labeled, scores):
        if rows_labeled is None:
            return rows.sq_norms().copy()
        return nearest_sq_distances(rows, rows_labeled)
