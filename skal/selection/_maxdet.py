"""MaxDet: greedy maximisation of the determinant of the batch."""

from numbers import Real

import numpy as np

from skal.selection._base import BatchSelector
from skal.selection._engines.determinant import PosteriorVariance, greedy_variance
from skal.utils._compat import Interval
from skal.utils._random import draw_seed


class MaxDet(BatchSelector):
    r"""Choose rows of large posterior variance, one after another: a greedy D-optimal design.

    A linear model on the rows, with standard normal weights and noise of standard deviation
    :math:`\sigma`, knows the labelled rows and the picks before, S. The next pick is the row it is
    least sure of,

    .. math:: i^* = \arg\max_i \; k_{ii} - k_{iS} (K_{SS} + \sigma^2 I)^{-1} k_{Si} ,
        \qquad k_{ij} = \langle z_i, z_j \rangle ,

    which is also the row that raises :math:`\log \det (K_{SS} + \sigma^2 I)` most. `scores` are not
    used.

    Parameters
    ----------
    sigma : float > 0, default=1e-3
        Standard deviation of the noise. Small: a direction is done with after one pick. Large:
        long rows are picked again and again along one direction.

    relative : bool, default=True
        Whether `sigma` is in units of the root mean square norm of the labelled rows (of the pool,
        where nothing is labelled), so that the scale of `Z` does not matter. False: in the units
        of `Z`.

    random_state : int, RandomState or None, default=None
        Breaks ties: of rows of equal variance, the one of highest random rank comes first.

    See Also
    --------
    KDPP : A random batch whose probability is its determinant.
    LCMD : The farthest row of the largest cluster: fewer outliers.

    Notes
    -----
    The defaults follow the run configurations that come with the authors' package: the kernel is
    divided by its mean over the labelled rows, and sigma is 0.001.

    The picks are those of the textbook loop in float64, but for variances that agree to 14 digits
    of the squared norm, which count as equal. Variances only fall, so old ones are upper bounds;
    512 rows are kept exact, and other rows are looked at only when none of these beats all other
    bounds. Bounds come from float32 products plus their rounding error; the pool is never written
    to. A variance below 1e-12 of the squared norm counts as 0, and noise below 1e-13 of the largest
    squared norm as that. Where all variances are 0 the rest of the batch is uniform.

    Cost: at most 2 n_pool D (n_instances + D) operations in matrix products for D up to 1024, where
    the D x D covariance of the weights is kept in float64; wider dense rows 2 n_pool D (n_labeled
    + n_instances), and D numbers per labelled row and pick. Factored rows whose D = K d exceeds
    1024 cost up to 2 n_pool (K + d + n_labeled + n_instances) for each, and their square in
    numbers.
    More labelled rows than D keep the former way up to D = 8192. Thousands of equal rows that tie
    for the largest variance cost a float64 pass over them per pick.

    With ``return_scores=True``, `select` returns the posterior variance of each row given the
    labelled ones, in squared units of `Z`: its squared norm where there is none.

    References
    ----------
    D. Holzmueller, V. Zaverkin, J. Kaestner and I. Steinwart (2023). A framework and benchmark for
    deep batch active learning for regression. Journal of Machine Learning Research 24(164),
    arXiv:2203.09410 (MaxDet, and its posterior form).

    V. V. Fedorov (1972). Theory of optimal experiments. Academic Press.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import MaxDet
    >>> Z = np.array([[3.0, 0.0], [2.9, 0.1], [0.0, 1.0], [0.0, 0.9]])
    >>> MaxDet().select(Z, 2)
    array([0, 2])
    >>> MaxDet(sigma=10.0).select(Z, 2)  # so much noise that long rows are worth a second look
    array([0, 1])
    >>> MaxDet().select(Z, 1, Z_labeled=[[1.0, 0.0]])
    array([2])
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "relative": ["boolean"],
    }
    _prefix_stable = True

    def __init__(self, *, sigma=1e-3, relative=True, random_state=None):
        super().__init__(random_state=random_state)
        self.sigma = sigma
        self.relative = relative

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        sigma = self._sigma(rows, rows_labeled)
        return greedy_variance(rows, n_instances, draw_seed(rng), sigma=sigma, fixed=rows_labeled)

    def _values(self, rows, rows_labeled, scores):
        if rows_labeled is None:
            return rows.sq_norms().copy()
        variances = PosteriorVariance(rows, self._sigma(rows, rows_labeled), rows_labeled)
        variances.make_exact(np.arange(len(rows)))
        return variances.upper * variances.scale**2

    def _sigma(self, rows, rows_labeled):
        """In units of the rows."""
        if not self.relative:
            return self.sigma
        norms = np.sqrt((rows if rows_labeled is None else rows_labeled).sq_norms())
        largest = norms.max()
        if largest == 0:
            return 0.0
        return self.sigma * largest * np.sqrt(np.mean((norms / largest) ** 2))
