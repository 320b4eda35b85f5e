"""k-DPP: a random batch whose probability is the determinant of its Gram matrix."""

import warnings
from numbers import Integral

import numpy as np
import torch

from skal.selection._base import BatchSelector
from skal.selection._engines.determinant import explicit, greedy_variance, scaled, sq_sums
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import draw_seed
from skal.utils._rows import Rows

_MAX_EXACT = 5000  # the larger of "auto"'s eigenproblems
_RANK = 1e-10  # an eigenvalue, or squared distance, below this share of the largest counts as 0
_CHUNK_NUMBERS = 2**21
_MIN_DRAWS, _MAX_DRAWS = 8, 128
_PROPOSALS = 128  # of the chain, whose products are computed together
_REFACTOR = 100  # swaps between two inversions from scratch


class KDPP(BatchSelector):
    r"""Draw a batch that is long and diverse: a determinantal point process of fixed size.

    .. math:: P(S) \propto \det(K_{SS}), \qquad |S| = n, \quad k_{ij} = \langle z_i, z_j \rangle ,

    the squared volume that the rows of the batch span: long rows are likely, similar ones are
    unlikely together, equal ones impossible. `Z_labeled` and `scores` are not used.

    Parameters
    ----------
    method : {"auto", "exact", "mcmc", "greedy"}, default="auto"
        "exact" draws from the law, through eigenvalues. "mcmc" runs a Markov chain of swaps towards
        it. "greedy" takes the row that raises the determinant most, again and again; nothing is
        random but ties. "auto" is "exact" where the pool or its columns number at most 5000, else
        "mcmc".

    n_steps : int or None, default=None
        Steps of the chain. None means floor(5 n ln n), n being the size of the batch.

    random_state : int, RandomState or None, default=None
        Seeds the draws.

    See Also
    --------
    MaxDet : The greedy choice with noise, and given the labelled rows.
    KMeansPlusPlus : Nearly as diverse, cheaper, and not limited by the rank.

    Notes
    -----
    A batch larger than the rank of the pool has probability zero. As many rows as the rank are
    drawn then, the rest is uniform, and a UserWarning says so. The rank counts eigenvalues above
    1e-10 times the largest. Multiplying all rows by a number changes nothing. The order within a
    batch means nothing, except for "greedy".

    *Exact*: the eigenvectors of the D x D matrix of columns (N x N of rows, if smaller) are chosen
    first, by elementary symmetric polynomials in logarithms. Then rows are drawn one after another
    with probability proportional to their squared length outside the span of those before. These
    lengths only fall: rows are proposed from old ones and kept with probability now / then, which
    is the same law, and the pool is passed over once for many draws. Everything is float64.
    Cost: 2 N D^2 (2 N^2 D) + 10 min(N, D)^3 operations, 4 N D n for the draws, min(N, D)^2 numbers.
    Factored rows count D = K d.

    *MCMC*: from a uniform set of positive determinant (or a greedy one, where 20 are singular),
    swap a random member for a random other row with probability min(1, det after / det before).
    Cost: n^2 + n D per step, n^2 + n D numbers; practical up to a thousand rows. The law is reached
    in the limit of many steps only. A batch of one is drawn exactly. Here a set counts as singular
    where less than 1e-10 of a squared norm lies outside the span of other members.

    With ``return_scores=True``, `select` returns the squared norm of each row: the law of a batch
    of one.

    References
    ----------
    A. Kulesza and B. Taskar (2011). k-DPPs: fixed-size determinantal point processes. ICML,
    Algorithms 1 and 2.

    A. Kulesza and B. Taskar (2012). Determinantal point processes for machine learning. Foundations
    and Trends in Machine Learning 5, arXiv:1207.6083, Sections 3.3 (dual) and 5.2.

    N. Anari, S. Oveis Gharan and A. Rezaei (2016). Monte Carlo Markov chain algorithms for sampling
    strongly Rayleigh distributions and determinantal point processes. COLT, arXiv:1602.05242.

    J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal (2020). Deep batch active
    learning by diverse, uncertain gradient lower bounds. ICLR, arXiv:1906.03671, Appendix F.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import KDPP
    >>> Z = np.repeat(np.eye(3), 4, axis=0)
    >>> positions = KDPP(random_state=0).select(Z, 3)
    >>> sorted(positions // 4)  # one of each group of equal rows
    [np.int64(0), np.int64(1), np.int64(2)]
    """

    _parameter_constraints: dict = {
        **BatchSelector._parameter_constraints,
        "method": [StrOptions({"auto", "exact", "mcmc", "greedy"})],
        "n_steps": [Interval(Integral, 0, None, closed="left"), None],
    }

    def __init__(self, *, method="auto", n_steps=None, random_state=None):
        super().__init__(random_state=random_state)
        self.method = method
        self.n_steps = n_steps

    @property
    def _prefix_stable(self):
        return self.method == "greedy"

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        method = self.method
        if method == "auto":
            method = "exact" if min(rows.shape) <= _MAX_EXACT else "mcmc"
        scale = np.sqrt(rows.sq_norms().max())
        picks = []
        if scale > 0 and method == "greedy":
            picks = _greedy(rows, n_instances, rng)
        elif scale > 0 and n_instances == 1:
            share = np.cumsum((np.sqrt(rows.sq_norms()) / scale) ** 2)
            picks = _draw(share, rng.random_sample(1)).tolist()
        elif scale > 0 and method == "exact":
            picks = _draw_exactly(rows, scale, n_instances, rng)
        elif scale > 0:
            picks = _run_chain(rows, n_instances, self.n_steps, rng)
        if len(picks) < n_instances:
            warnings.warn(
                f"KDPP: the rows of Z have rank {len(picks)}, less than n_instances="
                f"{n_instances}. {n_instances - len(picks)} rows were drawn uniformly. Ask for "
                "fewer rows, or use KMeansPlusPlus.",
                UserWarning,
                stacklevel=3,
            )
            # The one permutation keeps a smaller greedy batch the start of a larger one.
            order = rng.permutation(len(rows))
            left = order[~np.isin(order, picks)]
            picks = [*picks, *left[: n_instances - len(picks)].tolist()]
        return picks

    def _values(self, rows, rows_labeled, scores):
        return rows.sq_norms().copy()


def _greedy(rows, n, rng):
    """Greedy maximisation of the determinant; fewer than `n` rows if the rank is less."""
    return greedy_variance(rows, n, draw_seed(rng), stop=_RANK)


def _draw(share, uniform):
    """Positions at so many parts of a cumulative sum; never one of no weight."""
    draws = np.searchsorted(share, uniform * share[-1], side="right")
    return np.minimum(draws, np.searchsorted(share, share[-1]))


# ---------------------------------------------------------------- exact


def _draw_exactly(rows, scale, n, rng):
    """Choose eigenvectors, then draw from the projection onto their span."""
    values, vectors, is_dual = _eigen(rows, scale)
    chosen = _choose_eigenvectors(values, min(n, len(values)), rng)
    basis = vectors[:, torch.from_numpy(chosen)]
    if is_dual:
        basis /= torch.from_numpy(np.sqrt(values[chosen]))
    return _draw_from_projection(_Projection(rows, scale, basis, is_dual), rng)


def _eigen(rows, scale):
    """Positive eigenvalues, ascending, and eigenvectors: of Z^T Z, or Z Z^T where smaller."""
    n, width = rows.shape
    is_dual = width <= n
    if is_dual:
        matrix = torch.zeros((width, width), dtype=torch.float64)
        for part in _parts(n, width):
            F = explicit(scaled(rows, part, scale))
            matrix.addmm_(F.T, F)
    else:
        matrix = torch.empty((n, n), dtype=torch.float64)
        for left in _parts(n, sum(rows.widths)):
            block = scaled(rows, left, scale)
            for right in _parts(n, sum(rows.widths)):
                other = scaled(rows, right, scale)
                matrix[left, right] = block.products(other, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(matrix)
    positive = values > _RANK * values[-1]
    return values[positive].numpy(), vectors[:, positive], is_dual


def _choose_eigenvectors(values, k, rng):
    """Sorted positions of `k` eigenvectors, a set with probability ~ product of its eigenvalues."""
    logs = np.log(values) - np.log(values).mean()
    # table[j, l]: log of the elementary symmetric polynomial of order l of the first j.
    table = np.full((len(values) + 1, k + 1), -np.inf)
    table[:, 0] = 0.0
    for j, log in enumerate(logs):
        table[j + 1, 1:] = np.logaddexp(table[j, 1:], log + table[j, :-1])
    chosen = []
    for j in range(len(values), 0, -1):
        order = k - len(chosen)
        if order == 0:
            break
        log_keep = logs[j - 1] + table[j - 1, order - 1] - table[j, order]
        if np.log(1.0 - rng.random_sample()) <= log_keep or j == order:
            chosen.append(j - 1)
    return np.array(chosen[::-1])


def _draw_from_projection(projection, rng):
    """As many rows as dimensions, each with probability ~ its squared length outside of the span
    of those before."""
    k = projection.k
    weights = projection.sq_lengths(torch.eye(k, dtype=torch.float64))
    least = 1e-12 * weights  # what is left of a row that lies in the span
    known, picks = torch.empty((0, k), dtype=torch.float64), []
    while len(picks) < k and weights.any():
        n_draws = int(np.clip((k - len(picks)) // 2, _MIN_DRAWS, _MAX_DRAWS))
        draws = _draw(np.cumsum(weights), rng.random_sample(n_draws))
        bars = rng.random_sample(n_draws) * weights[draws]
        outside = projection.coordinates(draws)
        for _ in range(2):  # once more, for what rounding has left of the span
            outside -= (outside @ known.T) @ known
        fresh = []
        for i, position in enumerate(draws.tolist()):
            sq_length = float(outside[i] @ outside[i])
            if len(picks) == k or not max(bars[i], least[position]) < sq_length:
                continue
            direction = outside[i] / np.sqrt(sq_length)
            outside -= torch.outer(outside @ direction, direction)
            picks.append(position)
            fresh.append(direction)
        if fresh:
            fresh = torch.stack(fresh)
            known = torch.cat([known, fresh])
            weights -= projection.sq_lengths(fresh)
            weights[weights <= least] = 0.0
            weights[picks] = 0.0
    return picks


class _Projection:
    """Coordinates of the rows in an orthonormal basis of k columns: N x k, or made as needed."""

    def __init__(self, rows, scale, basis, is_dual):
        self.rows, self.scale, self.basis, self.is_dual = rows, scale, basis, is_dual
        self.k = basis.shape[1]

    def coordinates(self, index):
        """Of few rows: float64 tensor (len(index), k)."""
        if not self.is_dual:
            return self.basis[torch.from_numpy(index)]
        return explicit(scaled(self.rows, index, self.scale)) @ self.basis

    def sq_lengths(self, directions):
        """Squared length of all rows along some orthonormal directions: ndarray (N,)."""
        if not self.is_dual:
            return sq_sums(self.basis @ directions.T).numpy()
        block, n = self.basis @ directions.T, len(self.rows)
        found = np.empty(n)
        for part in _parts(n, self.rows.shape[1] + len(directions)):
            F = explicit(scaled(self.rows, part, self.scale))
            found[part] = sq_sums(F @ block).numpy()
        return found


def _parts(n, width):
    step = max(16, _CHUNK_NUMBERS // width)
    return [slice(a, min(a + step, n)) for a in range(0, n, step)]


# ---------------------------------------------------------------- Markov chain


def _run_chain(rows, n, n_steps, rng):
    """Swap members for other rows, with the ratio of determinants."""
    # Determinants are products of squared norms and of determinants of directions: rows may be
    # longer than others by any number of digits.
    directions, norms = rows.normalized(), np.sqrt(rows.sq_norms())
    members = _first_members(rows, directions, n, rng)
    n = len(members)
    if n == len(rows) or n == 0:
        return members.tolist()
    if n_steps is None:
        n_steps = int(5 * n * np.log(n))
    chain = _Chain(directions, norms, members)
    while n_steps > 0:
        proposals = rng.randint(len(rows), size=min(n_steps, _PROPOSALS))
        slots = rng.randint(n, size=len(proposals))
        n_steps -= chain.advance(slots, proposals, rng.random_sample(len(proposals)))
    return chain.members.tolist()


def _first_members(rows, directions, n, rng):
    """A set of positive determinant: uniform, or greedy and then as large as the rank."""
    for _ in range(20):
        members = rng.permutation(len(rows))[:n]
        if n <= rows.shape[1] and _inverse(_gram(directions.gather(members))) is not None:
            return members
    return np.array(_greedy(rows, n, rng), dtype=np.int64)


def _gram(points):
    return points.products(points, dtype=torch.float64)


def _inverse(gram):
    """Inverse of a Gram matrix, or None where it is singular."""
    L, failed = torch.linalg.cholesky_ex(gram)
    if failed or bool((L.diagonal() ** 2 <= _RANK * gram.diagonal()).any()):
        return None
    return torch.cholesky_inverse(L).numpy()


class _Chain:
    """The members, and the inverse of the Gram matrix of their directions.

    It is kept up by rank-one updates.
    """

    def __init__(self, directions, norms, members):
        self.directions, self.members = directions, members.copy()
        self.log_sq_norms = 2.0 * np.log(norms, where=norms > 0, out=np.full(len(norms), -np.inf))
        self.points = directions.gather(self.members)
        self.is_member = np.zeros(len(norms), dtype=bool)
        self.is_member[members] = True
        self.inverse = _invert(self.points)
        self.n_swaps = 0

    def advance(self, slots, proposals, uniform):
        """Try swaps one after another; returns how many of them were steps of the chain."""
        others = self.directions.gather(proposals)
        between = _gram(others).numpy()
        products = self.points.products(others, dtype=torch.float64).numpy()
        n_steps = 0
        for k, (slot, position) in enumerate(zip(slots.tolist(), proposals.tolist(), strict=True)):
            if self.is_member[position]:
                continue  # proposals are uniform among the other rows
            n_steps += 1
            log_bar = np.log(1.0 - uniform[k]) - self.log_sq_norms[position]
            log_bar += self.log_sq_norms[self.members[slot]]
            if between[k, k] > 0 and self._try(slot, products[:, k], between[k, k], log_bar):
                self._swap(slot, position, others, k)
                products[slot] = between[k]
        return n_steps

    def _try(self, slot, product, sq_norm, log_bar):
        """Update the inverse if the logarithm of det after / det before is above a bar."""
        A = self.inverse
        column, pivot = A[:, slot].copy(), A[slot, slot]
        product = product.copy()
        product[slot] = 0.0
        # Weights of the other members in what they explain of the new one.
        weights = A @ product - column * (column @ product / pivot)
        weights[slot] = 0.0
        rest = sq_norm - product @ weights
        if not (rest > _RANK * sq_norm and log_bar < np.log(rest) + np.log(pivot)):
            return False
        A -= np.outer(column, column / pivot)
        weights[slot] = -1.0
        A += np.outer(weights, weights / rest)
        return True

    def _swap(self, slot, position, others, k):
        self.is_member[self.members[slot]], self.is_member[position] = False, True
        self.members[slot] = position
        for part, other in zip(self.points.parts(), others.parts(), strict=True):
            part[slot] = other[k]
        self.n_swaps += 1
        if self.n_swaps % _REFACTOR == 0:
            self.inverse = _invert(Rows(*self.points.parts()))


def _invert(points):
    """Inverse of the Gram matrix of members, from scratch."""
    gram = _gram(points)
    inverse = _inverse(gram)
    return torch.linalg.pinv(gram, hermitian=True).numpy() if inverse is None else inverse
