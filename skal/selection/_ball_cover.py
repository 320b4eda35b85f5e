"""Ball cover: the rows whose balls hold most rows that no ball holds yet."""

from numbers import Integral, Real

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.cluster import KMeans

from skal.selection._base import BatchSelector
from skal.selection._engines.herding import herd
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import Rows

_CHUNK = 1000  # rows whose neighbours are looked for at a time
_MAX_EDGES = 2 * 10**8
_SAMPLE = 1000  # rows that "auto" looks at
# Products may be wrong by this: a row at a distance of `delta` is outside on every machine.
_ROUNDING = 1e-9, 1e-13


class BallCover(BatchSelector):
    r"""Choose rows whose balls hold the most rows not yet in one.

    Rows are scaled to unit length. A row covers those closer than `delta`; each pick is the row
    that covers most of what neither a labelled row nor a pick covers.

    Parameters
    ----------
    delta : float or "auto", default="auto"
        Radius of the balls, in units of the distance of unit vectors, [0, 2]. "auto" is the
        largest with which 95 % of the balls lie in one of `n_clusters` clusters of k-means.

    n_clusters : int, default=10
        Clusters that stand for classes in ``delta="auto"``: set it to their number.

    random_state : int, RandomState or None, default=None
        Ranks rows that cover equally many, and seeds the clusters.

    See Also
    --------
    KernelHerding : The same with a kernel in place of balls.
    KCenterGreedy : The smallest radius with which all rows are covered.

    Notes
    -----
    The strict inequality makes ``delta=0`` cover nothing but the row itself and its copies. Once
    everything is covered, picks go on as those of ``KernelHerding(bandwidth=1.0)``, which still
    tells rows apart where balls do not. For "auto", a ball around a row lies in one cluster as long
    as no row of another is nearer than `delta`, so `delta` is the 5 % quantile of the distances to
    the nearest row of another cluster, over 1,000 rows.

    Cost: distances of all pairs, O(n_pool^2 D), then one addition per edge. Memory: 4 bytes per
    edge, two rows closer than `delta` having two; more than 2e8 are refused.
    With ``return_scores=True``, `select` returns how many rows each would cover first.

    References
    ----------
    O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall (2022). Active learning through a covering
    lens. NeurIPS, arXiv:2205.11320 (ProbCover, algorithm 1).

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import BallCover
    >>> angles = np.array([0.0, 0.1, 0.2, 2.0, 2.1])
    >>> Z = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> BallCover(delta=0.15, random_state=0).select(Z, 1)  # covers its two neighbours
    array([1])
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "delta": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
    }
    _prefix_stable = True

    def __init__(self, *, delta="auto", n_clusters=10, random_state=None):
        super().__init__(random_state=random_state)
        self.delta = delta
        self.n_clusters = n_clusters

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        rank = rng.permutation(len(rows))
        rows, labeled, balls, uncovered = self._cover(rows, rows_labeled, rng)
        gains = balls @ uncovered.astype(np.int64)
        picks = []
        while len(picks) < n_instances:
            best = _largest(gains, rank)
            if gains[best] <= 0:
                return picks + self._beyond(rows, labeled, picks, n_instances, rng)
            picks.append(best)
            newly = _neighbours(balls, best)
            newly = newly[uncovered[newly]]
            uncovered[newly] = False
            for j in newly:
                gains[_neighbours(balls, j)] -= 1
            gains[best] = -1
        return picks

    def _values(self, rows, rows_labeled, scores):
        _, _, balls, uncovered = self._cover(rows, rows_labeled, np.random.RandomState(0))
        return (balls @ uncovered.astype(np.int64)).astype(np.float64)

    def _cover(self, rows, rows_labeled, rng):
        """Unit rows, labelled unit rows, the graph of balls, and which rows no label covers."""
        rows = rows.normalized()
        labeled = None if rows_labeled is None else rows_labeled.normalized()
        delta = self.delta if self.delta != "auto" else self._auto(rows, rng)
        covered = np.zeros(len(rows), dtype=bool)
        if labeled is not None:
            for a in range(0, len(labeled), _CHUNK):
                near = _near(rows, labeled.gather(slice(a, a + _CHUNK)), delta)
                covered |= near.any(1).cpu().numpy()
        return rows, labeled, _balls(rows, delta), ~covered

    def _auto(self, rows, rng):
        """The 5 % quantile of distances to the nearest row of another cluster."""
        Z = rows.dense().cpu().numpy()
        n_clusters = min(self.n_clusters, len(np.unique(Z, axis=0)))
        seed = rng.randint(np.iinfo(np.int32).max)
        labels = KMeans(n_clusters, n_init=1, random_state=seed).fit(Z).labels_
        sample = rng.permutation(len(Z))[:_SAMPLE]
        if n_clusters == 1:
            return 0.0
        nearest = np.full(len(sample), np.inf)
        for a in range(0, len(Z), _CHUNK):
            part = slice(a, min(a + _CHUNK, len(Z)))
            squares = _sq_distances(rows, rows.gather(sample), part).cpu().numpy()
            squares[labels[part, None] == labels[sample]] = np.inf
            nearest = np.minimum(nearest, squares.min(0))
        return float(np.sqrt(np.quantile(nearest, 0.05)))

    def _beyond(self, rows, labeled, picks, n_instances, rng):
        """Picks after everything is covered: of the rows left, by kernel herding."""
        left = np.setdiff1d(np.arange(len(rows)), picks)
        centres = [] if labeled is None else [labeled.gather(slice(None))]
        centres += [rows.gather(np.array(picks))] if picks else []
        more, _ = herd(
            rows.gather(left), n_instances - len(picks), rng, fixed=_joined(centres), bandwidth=1.0
        )
        return left[more].tolist()


def _balls(rows, delta):
    """The graph of rows closer than `delta`, every row its own neighbour: CSR of shape (n, n)."""
    indptr, indices, n_edges = [0], [], 0
    for a in range(0, len(rows), _CHUNK):
        part = np.arange(a, min(a + _CHUNK, len(rows)))
        near = _near(rows, rows.gather(part), delta).T.cpu().numpy()
        near[np.arange(len(part)), part] = True
        i, j = np.nonzero(near)
        indices.append(j.astype(np.int32))
        indptr.extend(n_edges + np.cumsum(np.bincount(i, minlength=len(part))))
        n_edges += len(j)
        if n_edges > _MAX_EDGES:
            raise ValueError(
                f"Balls of radius delta={delta:.4g} hold more than {_MAX_EDGES} pairs among "
                f"{len(rows)} rows. Use a smaller delta, or select from a part of the pool."
            )
    indices = np.concatenate(indices)
    return csr_array(
        (np.ones(len(indices), dtype=np.int8), indices, np.asarray(indptr)), shape=(len(rows),) * 2
    )


def _near(rows, centres, delta):
    """Whether rows are closer than `delta` to gathered ones: bool tensor (n, m)."""
    relative, absolute = _ROUNDING
    return _sq_distances(rows, centres) < delta**2 * (1 - relative) - absolute


def _sq_distances(rows, centres, part=slice(None)):
    """Squared distances of rows to a few gathered ones: float64 tensor (n, m)."""
    start, stop, _ = part.indices(len(rows))
    sq_norms = torch.from_numpy(np.array(rows.sq_norms()[start:stop])).to(rows.device)
    products = rows.products(centres, start, stop, torch.float64)
    of_centres = torch.from_numpy(centres.sq_norms()).to(rows.device)
    return products.mul_(-2.0).add_(sq_norms[:, None]).add_(of_centres).clamp_min_(0.0)


def _neighbours(balls, i):
    return balls.indices[balls.indptr[i] : balls.indptr[i + 1]]


def _largest(gains, rank):
    ties = np.flatnonzero(gains == gains.max())
    return int(ties[rank[ties].argmax()])


def _joined(parts):
    """One Rows of gathered ones, or None."""
    if not parts:
        return None
    pieces = zip(*(part.parts() for part in parts), strict=True)
    return Rows(*(torch.cat(list(piece)) for piece in pieces))
