"""Greedy determinants: the row of largest posterior variance, again and again.

A pick lowers the variance of all rows, so that old variances are upper bounds. As in `nearest`, the
512 rows of largest bound are kept exact, with their covariances in float64, and picks go on while
the best of them beats the bound of all others; then bounds that may matter are lowered by the
picks since, in one float32 GEMM. Whatever decides is float64.

Rows are seen in units of the longest one: nothing depends on the scale, or overflows.
"""

import numpy as np
import torch

from skal.selection._engines.nearest import (
    as_slice,
    first_of,
    largest,
    product_dtype,
    product_error,
)
from skal.utils._random import random_ranks
from skal.utils._rows import Rows

_CANDIDATES = 512  # rows that are kept exact
_MAX_WIDTH = 1024  # up to here the D x D posterior covariance is kept
_MAX_WIDTH_LABELED = 8192  # and up to here if more rows are labelled
_LEVEL = 0.7  # quantile of the kept rows' bounds from which all bounds are brought up
_MAX_AGE = 16  # updates of what is known of a kept row before it is made anew
_FIXED = 512  # labelled rows added at a time
_CHUNK_NUMBERS = 2**21
_FRONT_NUMBERS = 2**22

_FLOOR = 1e-13  # noise below this, in squared units of the longest row, is raised to it
_ZERO = 1e-12  # a variance below this share of the squared norm counts as 0
_LOOSE = 0.02  # bounds that exceed the variance by more than this share are made anew


def greedy_variance(rows, n, seed, *, sigma=0.0, fixed=None, stop=0.0, candidates=_CANDIDATES):
    """Up to `n` positions, each the row of largest posterior variance given all before it.

    Parameters
    ----------
    rows : Rows of shape (n_pool, D)
        The pool.

    n : int
        How many rows to pick, at most `n_pool`.

    seed : int
        Ranks the rows; of rows of equal variance the highest rank comes first.

    sigma : float, default=0.0
        Standard deviation of the noise, in units of the rows.

    fixed : Rows of shape (m, D) or None, default=None
        Rows that are known before the first pick.

    stop : float, default=0.0
        The picks end where no variance is above `stop` times the largest squared norm; with 0.0
        they go on among rows of variance zero, at random.

    candidates : int, default=512
        How many rows are kept exact.

    Returns
    -------
    picks : list of at most n ints
        Distinct positions, in order of choice.
    """
    variances = PosteriorVariance(rows, sigma, fixed)
    rank = random_ranks(seed, len(rows))
    candidates = min(candidates, max(8, _FRONT_NUMBERS // variances.state.width))
    picks = []
    while len(picks) < n:
        front, rest, best = _exact_front(variances, rank, candidates)
        if best <= stop:
            if stop > 0:
                break
            left = np.setdiff1d(np.arange(len(rows)), picks)
            return picks + left[np.argsort(-rank[left])][: n - len(picks)].tolist()
        picks += _pick_from_front(variances, n - len(picks), front, rank, rest, stop)
    return picks


def _pick_from_front(variances, n, front, rank, rest, stop):
    """Pick from the exact rows `front` while the best beats `rest`, the best bound elsewhere."""
    prior, noise = variances.prior[front], variances.state.noise
    points, value = variances.front(front)
    value, rounded = value.copy(), variances.upper[front].copy()
    columns = np.empty((min(n, len(front)), len(front)))
    picked = []
    while len(picked) < n:
        best = first_of(rounded, rank[front])
        if rounded[best] <= stop or (rounded[best], rank[front[best]]) < rest:
            break
        known = columns[: len(picked)]
        column = points.covariance_with(best) - known[:, best] @ known
        column /= np.sqrt(value[best] + noise)
        columns[len(picked)] = column
        value -= column**2
        picked.append(best)
        rounded = round_variance(value, prior)
        rounded[picked] = -np.inf
    if picked:
        variances.add(front[picked], points.take(picked))
    alive = rounded > -np.inf
    variances.set_exact(front[alive], rounded[alive])
    return front[picked].tolist()


def _exact_front(variances, rank, size):
    """The `size` rows of largest bound, made exact, and the largest (bound, rank) of the others.

    The first of the front beats all others, so that at least one row can be picked from it. Its
    variance comes third.
    """
    width = size
    while True:
        likely, _ = largest(variances.upper, rank, size)
        variances.refresh(likely)
        level = np.quantile(np.maximum(variances.upper[likely], 0.0), _LEVEL)
        variances.refresh(np.flatnonzero(variances.upper >= level))
        front, rest = largest(variances.upper, rank, width)
        front = front[variances.upper[front] > -np.inf]
        loose = variances.make_exact(front, together=width == size)
        best = front[first_of(variances.upper[front], rank[front])]
        if (variances.upper[best], rank[best]) >= rest:
            break
        if loose and variances.forget():
            continue
        if variances.is_current(np.flatnonzero(variances.upper >= variances.upper[best])):
            width *= 2  # rounding keeps the bounds from telling: make more of them exact
    if width > size:
        front, rest = largest(variances.upper, rank, size)
        front = front[variances.upper[front] > -np.inf]
        variances.make_exact(front, together=True)
    return front, rest, variances.upper[best]


def round_variance(value, prior):
    """Variances without their last digits, so that equal rows have equal ones; 0 where lost."""
    # A power of two, the same for norms that differ in the last digit; 1.4 keeps 1.0 off the edge.
    quantum = np.ldexp(1.0, np.maximum(np.frexp(1.4 * prior)[1], -900) - 47)
    return np.where(value > _ZERO * prior, np.round(value / quantum) * quantum, 0.0)


class PosteriorVariance:
    """Posterior variance of every row: bounds for all, exact on demand.

    The prior is a linear model with independent standard normal weights. `upper[i]` is never below
    the variance given the first `covered[i]` known rows, hence given all. Picked rows are at -inf.

    Memory: 4 numbers per row, the state (below), and blocks of a few MiB.
    """

    def __init__(self, rows, sigma, fixed=None):
        largest = max(part.sq_norms().max() for part in (rows, fixed) if part is not None)
        self.rows, self.scale = rows, np.sqrt(largest) if largest > 0 else 1.0
        self.prior = (np.sqrt(rows.sq_norms()) / self.scale) ** 2
        self.upper = round_variance(self.prior, self.prior)
        self.covered = np.zeros(len(rows), dtype=np.int64)
        self.exact_at = np.zeros(len(rows), dtype=np.int64)
        noise = max(float(sigma / self.scale) ** 2, _FLOOR)
        n_fixed = 0 if fixed is None else len(fixed)
        width = rows.shape[1]
        kept = width <= max(_MAX_WIDTH, min(n_fixed, _MAX_WIDTH_LABELED))
        if kept or not rows.is_factored:
            self.state = _WeightSpace(width, noise, kept)
        else:
            self.state = _RowSpace(sum(rows.widths), noise)
        self._dtype = product_dtype(rows, fixed)
        self._forgotten_at, self._front = -1, None
        for a in range(0, n_fixed, _FIXED):
            self.state.add(scaled(fixed, slice(a, a + _FIXED), self.scale))
        if kept:
            self.state.drop_directions()

    def gather(self, index):
        """Few rows in float64, in units of the longest."""
        return scaled(self.rows, index, self.scale)

    def add(self, positions, points):
        """Make rows of the pool known."""
        self.state.add(points)
        self.upper[positions] = -np.inf
        self.covered[positions] = self.exact_at[positions] = np.iinfo(np.int64).max

    def set_exact(self, positions, value):
        """Note variances that are exact now."""
        self.upper[positions] = value
        self.covered[positions] = self.exact_at[positions] = self.state.count

    def is_current(self, positions):
        """Whether the bounds of some rows take all known rows into account."""
        return (self.covered[positions] >= self.state.count).all()

    def forget(self):
        """Have all bounds made anew rather than lowered, once per state; whether that is new."""
        if self._forgotten_at == self.state.count or not self.state.is_kept:
            return False
        self._forgotten_at = self.state.count
        self.covered[self.upper > -np.inf] = -1
        return True

    def front(self, positions):
        """Few rows, and their variance; what is known of rows from the last call is used again."""
        last, count = self._front, self.state.count
        if last is None or last.age >= _MAX_AGE:
            self._front = _Front(self.state, positions, self.gather(positions))
            return self._front, self._front.variance()
        if last.count == count and np.array_equal(last.positions, positions):
            return last, last.variance()
        old = np.flatnonzero(np.isin(last.positions, positions))
        new = positions[~np.isin(positions, last.positions)]
        last.update()
        fresh = _Front(self.state, new, self.gather(new))
        self._front = last.keep(old).joined(fresh).ordered(positions)
        return self._front, self._front.variance()

    def make_exact(self, positions, together=False):
        """Make the bounds of some rows exact; whether they were loose though current.

        `together` says that they are few, and that their covariance will be asked for.
        """
        count = self.state.count
        if not together:
            positions = positions[self.exact_at[positions] < count]
        before, current = self.upper[positions].copy(), self.covered[positions] == count
        for part in [positions] if together else self._parts(positions):
            if together:
                value = self.front(part)[1]
            else:
                value = _Front(self.state, part, self.gather(part)).variance()
            self.set_exact(part, round_variance(value, self.prior[part]))
        before, after = before[current], self.upper[positions[current]]
        return len(after) > 0 and bool(np.median(before - after * (1.0 + _LOOSE)) > 0)

    def refresh(self, positions):
        """Bring the bounds of some rows up to the last known row."""
        count = self.state.count
        positions = positions[self.covered[positions] < count]
        for start in np.unique(self.covered[positions]):
            self._lower(positions[self.covered[positions] == start], int(start), count)

    def _lower(self, group, start, count):
        """Lower some bounds by the known rows start..count-1."""
        state, device = self.state, self.rows.device
        anew = state.is_kept and (start < state.first or 2 * (count - start) >= state.width)
        relative = product_error(state.product_widths(self.rows.widths), self._dtype)
        block, size = state.block(start, count, anew, self.scale, self._dtype, device)
        for part in self._parts(group):
            chunk = self.rows.read(as_slice(part), self._dtype)
            found = state.apply(chunk, block, anew).cpu().numpy().astype(np.float64)
            prior = self.prior[part]
            if anew:
                # z M z, off by e |z|^2 |M|.
                value = np.maximum(found / self.scale, 0.0) + relative * prior * size + 1e-20
                self.upper[part] = np.minimum(value, self.upper[part])
                continue
            # The sum of squares of z u_j, each off by e |z| |u_j|, is not smaller than this.
            error = relative * np.sqrt(prior) * size + 1e-20
            fall = np.maximum(np.sqrt(found * (1.0 - relative)) - error, 0.0) ** 2
            self.upper[part] = np.maximum(self.upper[part] - fall, 0.0)
        self.covered[group] = count
        self.exact_at[group] = -1

    def _parts(self, positions):
        step = max(16, _CHUNK_NUMBERS // self.state.numbers_per_row(self.rows.widths))
        return [positions[k : k + step] for k in range(0, len(positions), step)]


class _Front:
    """Few rows in float64, with what turns them into posterior covariances."""

    def __init__(self, state, positions, points, known=None, age=0):
        self.state, self.positions, self.age, self.count = state, positions, age, state.count
        self.points = state.expanded(points)
        self.known = state.explain(self.points) if known is None else known

    def variance(self):
        """Posterior variance of every row: ndarray (n,)."""
        return self.state.variance_from(self.points, self.known).numpy()

    def covariance_with(self, k):
        """Posterior covariance of every row with row k: ndarray (n,)."""
        return self.state.column_from(self.points, self.known, k).numpy()

    def take(self, index):
        return Rows(*(part[index] for part in self.points.parts()))

    def update(self):
        """Take account of the rows known since."""
        if self.count < self.state.count:
            self.known = self.state.explain_more(self.points, self.known, self.count)
            self.count, self.age = self.state.count, self.age + 1

    def keep(self, index):
        return _Front(
            self.state, self.positions[index], self.take(index), self.known[index], self.age
        )

    def joined(self, other):
        both = zip(self.points.parts(), other.points.parts(), strict=True)
        positions = np.concatenate([self.positions, other.positions])
        known = torch.cat([self.known, other.known])
        return _Front(self.state, positions, Rows(*map(torch.cat, both)), known, self.age)

    def ordered(self, positions):
        order = np.argsort(self.positions)
        return self.keep(order[np.searchsorted(self.positions[order], positions)])


class _WeightSpace:
    """The posterior of the weights, D numbers each: M = I - U U^T.

    Column j of U is how much the weights got known by row j. Where `is_kept`, M is kept, too.
    """

    def __init__(self, width, noise, is_kept):
        self.width, self.noise, self.is_kept = width, noise, is_kept
        self.count = self.first = 0  # known rows; those before `first` are in M only
        self.M = torch.eye(width, dtype=torch.float64) if is_kept else None
        self.U = torch.empty((0, width), dtype=torch.float64)  # rows are columns here

    def numbers_per_row(self, widths):
        return 3 * self.width + len(self.U)

    def product_widths(self, widths):
        """Lengths of the inner products behind a bound."""
        return (self.width,)

    def expanded(self, points):
        return Rows(explicit(points))

    def explain(self, points):
        """F M, from which (co)variances of the rows follow: float64 tensor (n, D)."""
        return self._times(explicit(points))

    def explain_more(self, points, known, since):
        """The same from what it was when so many rows were known."""
        U = self.U[since - self.first :]
        return known - (explicit(points) @ U.T) @ U

    def variance_from(self, points, known):
        return torch.linalg.vecdot(explicit(points), known)

    def column_from(self, points, known, k):
        return known @ explicit(points)[k]

    def add(self, points):
        """Make rows known."""
        F = explicit(points)
        C = self._times(F)
        new = torch.linalg.solve_triangular(_cholesky(F @ C.T, self.noise), C, upper=False)
        if self.is_kept:
            self.M -= new.T @ new
        self.U = torch.cat([self.U, new])
        self.count += len(F)

    def drop_directions(self):
        """Keep what is known in M alone."""
        self.first, self.U = self.count, self.U[:0].clone()

    def block(self, start, count, anew, scale, dtype, device):
        """What chunks are multiplied with, and how large it is."""
        matrix = self.M if anew else self.U[start - self.first : count - self.first].T
        return (matrix / scale).to(dtype=dtype, device=device), float(matrix.norm())

    def apply(self, chunk, block, anew):
        """z M z of every row z of a chunk, times the scale, or the sum of squares of z U."""
        Z = explicit(chunk)
        return torch.linalg.vecdot(Z @ block, Z) if anew else sq_sums(Z @ block)

    def _times(self, F):
        """F M."""
        return F @ self.M if self.is_kept else F - (F @ self.U.T) @ self.U


class _RowSpace:
    """The same where D is too large: column j of U is X^T t_j, X being the known rows.

    `T` is upper triangular, and products with X are products of factors.
    """

    is_kept, first = False, 0

    def __init__(self, width, noise):
        self.width, self.noise, self.count = width, noise, 0
        self.X, self.T = None, torch.empty((0, 0), dtype=torch.float64)

    def numbers_per_row(self, widths):
        return sum(widths) + 3 * self.count

    def product_widths(self, widths):
        return (*widths, self.count)

    def expanded(self, points):
        return points

    def explain(self, points):
        """Coefficients C, the prior being K and the posterior K - C C^T: float64 (n, count)."""
        if not self.count:
            return torch.empty((len(points), 0), dtype=torch.float64)
        return points.products(self.X, dtype=torch.float64) @ self.T

    def explain_more(self, points, known, since):
        more = points.products(self.X, dtype=torch.float64) @ self.T[:, since:]
        return torch.cat([known, more], dim=1)

    def variance_from(self, points, known):
        return torch.from_numpy(points.sq_norms()) - sq_sums(known)

    def column_from(self, points, known, k):
        prior = points.products(points.gather(slice(k, k + 1)), dtype=torch.float64)[:, 0]
        return prior - known @ known[k]

    def add(self, points):
        C = self.explain(points)
        prior = points.products(points, dtype=torch.float64)
        L = _cholesky(prior - C @ C.T, self.noise)
        k, eye = len(points), torch.eye(len(points), dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(L, eye, upper=False).T
        T = torch.zeros((self.count + k, self.count + k), dtype=torch.float64)
        T[self.count :, self.count :] = inverse
        if self.count:
            T[: self.count, : self.count] = self.T
            T[: self.count, self.count :] = -self.T @ (C.T @ inverse)
            both = zip(self.X.parts(), points.parts(), strict=True)
            points = Rows(*(torch.cat(pair) for pair in both))
        self.X, self.T, self.count = points, T, self.count + k

    def block(self, start, count, anew, scale, dtype, device):
        columns = self.T[:, start:count]
        norms = torch.from_numpy(np.sqrt(self.X.sq_norms()))
        size = float((norms @ columns.abs()).norm())
        matrix = (columns / scale).to(dtype=dtype, device=device)
        return (self.X.times(1.0, dtype, device), matrix), size

    def apply(self, chunk, block, anew):
        X, columns = block
        return sq_sums(chunk.products(X, dtype=columns.dtype) @ columns)


def scaled(rows, index, scale):
    first, *others = rows.gather(index).parts()
    return Rows(first / scale, *others)


def explicit(rows):
    """The matrix that few rows stand for."""
    parts = rows.parts()
    if len(parts) == 1:
        return parts[0]
    return (parts[1][:, :, None] * parts[0][:, None, :]).flatten(1)


def sq_sums(table):
    """Sum of squares of every row."""
    return torch.linalg.vecdot(table, table)


def _cholesky(covariance, noise):
    """Cholesky factor of a covariance plus noise, with more of it where rounding asks for it."""
    eye = torch.eye(len(covariance), dtype=torch.float64)
    covariance = (covariance + covariance.T) / 2
    while True:
        L, failed = torch.linalg.cholesky_ex(covariance + noise * eye)
        if not failed:
            return L
        noise *= 10.0
