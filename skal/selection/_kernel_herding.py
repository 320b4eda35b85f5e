"""Kernel herding: the rows that cover the pool best in a kernel, each as far as it is weighed."""

from numbers import Integral, Real

import numpy as np

from skal.selection._base import BatchSelector
from skal.selection._engines.herding import herd
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import Rows

_SMALLEST = 1e-3  # of a bandwidth learnt from labelled rows, which may be near copies


class KernelHerding(BatchSelector):
    r"""Choose rows that cover the pool: every row should be similar to some chosen one.

    With the similarity :math:`k(z, z') = \exp(-|z - z'|^2 / h^2)` of rows of unit length, the
    coverage of a set S is :math:`\sum_i u_i \max_{s \in S} k(z_i, z_s)`. Greedily, each pick is the
    row that raises it most.

    Parameters
    ----------
    bandwidth : float or "labeled", default=1.0
        The width h of the kernel, in units of the distance of unit vectors, [0, 2]. "labeled" is
        the 5 % quantile of the distances of labelled rows to the nearest other one, at least 0.001:
        it shrinks as labels come, so that coverage gives way to the weights. 1 where fewer than two
        rows are labelled.

    weighted : bool, default=False
        Whether `scores` are the weights u. They must not be negative; rows of weight 0 have no
        pull, but may be chosen. Otherwise every row counts alike, and `scores` change nothing.

    center : bool, default=False
        Whether to subtract the mean of the pool before rows are scaled to unit length. Raw inputs
        point the same way without.

    n_reference : int or None, default=None
        Coverage is summed over this many rows, drawn at random, instead of over all. It is faster
        for pools of 50,000 rows and more, and covers less well.

    random_state : int, RandomState or None, default=None
        Ranks rows of equal gain, and draws the reference rows.

    See Also
    --------
    KCenterGreedy : Minimises the largest distance instead of a mean over the pool.
    BallCover : The same with balls in place of a kernel.

    Notes
    -----
    Labelled rows are centres from the start. Coverage is monotone and submodular, so that greedy
    picks reach at least 1 - 1/e of the best, and a lazy evaluation gives exactly the picks of the
    full one: gains only fall, so old ones are upper bounds, and only rows of large bound are looked
    at again. Cost: one pass with all pairs, O(n_pool^2 D), then few per pick (about 7 kernel rows
    per row of the pool in all, for 200 picks of 10,000); memory O(n_pool) beside blocks of 32 MB.
    Rows of zeros stay where they are. With ``return_scores=True``, `select` returns the gains
    before the first pick.

    References
    ----------
    W. Bae, J. Noh and D. J. Sutherland (2024). Generalized coverage for more robust low-budget
    active learning. ECCV, arXiv:2407.12212 (MaxHerding, algorithm 1).

    W. Bae, D. J. Sutherland and G. Oliveira (2025). Uncertainty herding: one active learning method
    for all label budgets. ICLR, arXiv:2412.20644 (weights).

    M. Minoux (1978). Accelerated greedy algorithms for maximizing submodular set functions.
    Optimization Techniques, Springer (lazy evaluation).

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import KernelHerding
    >>> angles = np.array([0.0, 0.1, 0.2, 2.0, 2.1, 2.2])
    >>> Z = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> sorted((KernelHerding(random_state=0).select(Z, 2) // 3).tolist())  # one of each cluster
    [0, 1]
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "bandwidth": [Interval(Real, 0, None, closed="neither"), StrOptions({"labeled"})],
        "weighted": ["boolean"],
        "center": ["boolean"],
        "n_reference": [Interval(Integral, 1, None, closed="left"), None],
    }
    _prefix_stable = True

    def __init__(
        self,
        *,
        bandwidth=1.0,
        weighted=False,
        center=False,
        n_reference=None,
        random_state=None,
    ):
        super().__init__(random_state=random_state)
        self.bandwidth = bandwidth
        self.weighted = weighted
        self.center = center
        self.n_reference = n_reference

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        return self._herd(rows, n_instances, rows_labeled, scores, rng)[0]

    def _values(self, rows, rows_labeled, scores):
        return self._herd(rows, 1, rows_labeled, scores, np.random.RandomState(0))[1]

    def _herd(self, rows, n_instances, rows_labeled, scores, rng):
        weights = self._weights(scores)
        rows, labeled = self._unit(rows, rows_labeled)
        reference = None
        if self.n_reference is not None and self.n_reference < len(rows):
            reference = np.sort(rng.permutation(len(rows))[: self.n_reference])
        return herd(
            rows,
            n_instances,
            rng,
            weights=weights,
            fixed=labeled,
            bandwidth=self._width(labeled),
            reference=reference,
        )

    def _weights(self, scores):
        if not self.weighted:
            return None
        if scores is None:
            raise ValueError(
                f"{type(self).__name__}(weighted=True) needs scores=, a weight for every row. Got "
                "None instead."
            )
        if scores.min() < 0:
            worst = int(scores.argmin())
            raise ValueError(
                f"{type(self).__name__}(weighted=True) needs weights that are not negative. Got "
                f"{scores[worst]:.4g} in row {worst} instead. Add a constant, or use "
                "weighted=False."
            )
        return scores

    def _unit(self, rows, rows_labeled):
        """Pool and labelled rows of unit length, centred if asked for."""
        if not self.center:
            return rows.normalized(), None if rows_labeled is None else rows_labeled.normalized()
        both = [rows] if rows_labeled is None else [rows, rows_labeled]
        tables = [part.gather(slice(None)).parts() for part in both]
        if rows.is_factored:
            tables = [((F[:, :, None] * H[:, None, :]).flatten(1),) for H, F in tables]
        scale = max(float(table.abs().max()) for (table,) in tables) or 1.0
        tables = [table / scale for (table,) in tables]
        mean = tables[0].mean(0)
        centred = [Rows((table - mean).to(rows.device)).normalized() for table in tables]
        return centred[0], centred[1] if rows_labeled is not None else None

    def _width(self, labeled):
        if self.bandwidth != "labeled":
            return self.bandwidth
        if labeled is None or len(labeled) < 2:
            return 1.0
        Z = labeled.dense().double().cpu().numpy()
        nearest = np.array([_distance_to_others(Z, i) for i in range(len(Z))])
        return max(_SMALLEST, float(np.quantile(nearest, 0.05)))


def _distance_to_others(Z, i):
    distances = np.sqrt(((Z - Z[i]) ** 2).sum(1))
    return np.delete(distances, i).min()
