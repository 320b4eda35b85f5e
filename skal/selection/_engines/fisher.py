"""Rows that shrink the trace of the inverse Fisher information: greedy forward, then backward.

The Fisher information of a row in the weights of a linear last layer is a Kronecker product,
I = (S S') x (h h') with h of d and S of K x K numbers. With V = S x h, so that I = V V', M the
information gathered so far and F that of the pool, all that greedy steps need of a row are

    A = V' M^-1 V    and    B = V' M^-1 F M^-1 V,    K x K each:

adding the row lowers tr(M^-1 F) by tr(B (I + A)^-1), removing it raises it by tr(B (I - A)^-1).
"""

import numpy as np
import torch

from skal.selection._engines.nearest import first_of
from skal.utils._memory import keep_freed_memory
from skal.utils._random import draw_seed, random_ranks

_CHUNK_NUMBERS = 2**20  # of float64 in the products of one chunk of rows
_BAND = 8  # features whose products with all later features are made at once
_STRIPE = 256  # rows of a symmetric product that are computed at once
_REFRESH_EVERY = 100  # updates, after which rounding errors are wiped out
_LARGEST_STEP = 1e5  # change of an eigenvalue by an update, which loses twice as many digits
_LARGEST_RATIO = 1e12  # of information to regularization, for float64
_SMALLEST = 1e-8  # of the eigenvalues of I - A, which are positive but for rounding


def fisher_factors(P):
    """Square roots of diag(p) - p p', without the direction in which it is zero.

    Parameters
    ----------
    P : tensor of shape (n, C), dtype float64
        Class probabilities.

    Returns
    -------
    S : tensor of shape (n, C - 1, C - 1), dtype float64
        S S' = Q' (diag(p) - p p') Q, where the C - 1 columns of Q are an orthonormal basis of the
        vectors of sum 0, the same for every row.
    """
    n, C = P.shape
    roots, top = P.sqrt(), P.argmax(1, keepdim=True)
    others = (1.0 - P).scatter(1, top, P.scatter(1, top, 0.0).sum(1, keepdim=True))
    # Reflections map the constant vector and sqrt(p) to the first axis, which is then left out.
    mirror = torch.full((C,), C**-0.5, dtype=P.dtype, device=P.device)
    mirror[0] += 1.0
    basis = torch.eye(C, dtype=P.dtype, device=P.device)[:, 1:]
    basis = basis - mirror[:, None] * mirror[1:] * (2.0 / mirror.dot(mirror))
    S = P.new_empty((n, C - 1, C - 1))
    for a, b in _chunks(n, C * C):
        root = roots[a:b]
        columns = -P[a:b, :, None] * root[:, None, :]  # sqrt(p_y) (e_y - p), one per class y
        columns.diagonal(dim1=1, dim2=2).copy_(root * others[a:b])
        share = root[:, 1:] / (1.0 + root[:, :1])
        S[a:b] = basis.T @ (columns[:, :, 1:] - columns[:, :, :1] * share[:, None, :])
    return S


def fisher_greedy(pool, labeled, n_instances, rng, *, regularization=1.0, oversample=2.0):
    """Choose rows by Fisher information.

    Parameters
    ----------
    pool, labeled : pairs (H, S) of tensors
        Features (n, d) and factors (n, K, K), float64. `labeled` may have no rows.

    n_instances : int
        How many rows of the pool to choose, b.

    rng : RandomState
        Ranks rows of equal gain.

    regularization : float, default=1.0
        Added to the diagonal of the information.

    oversample : float, default=2.0
        So many times b rows are chosen forward, before all but b are removed again.

    Returns
    -------
    picks : ndarray of shape (n_instances,), dtype int64
        Distinct positions, in order of choice.

    gains : ndarray of shape (n,), dtype float64
        By how much each row alone lowers the trace.

    Raises
    ------
    ValueError
        If `regularization` is too small, next to the information, for float64.
    """
    keep_freed_memory()
    n, n_labeled = len(pool[0]), len(labeled[0])
    gathered, everything = _information(*labeled), _information(*pool)
    everything = (everything + gathered) / (n + n_labeled)
    gathered /= n_labeled + n_instances
    share = (n_instances / (n_labeled + n_instances)) ** 0.5
    _check_regularization(regularization, max(float(everything.trace()), float(gathered.trace())))
    gathered.diagonal().add_(regularization)
    design = _Design(pool[0], pool[1] * share, gathered, everything)

    rank, chosen = random_ranks(draw_seed(rng), n), []
    n_forward = min(n, max(n_instances, int(oversample * n_instances)))
    for _ in range(n_forward):
        gains = design.gains()
        if not chosen:
            first_gains = gains.copy()
        gains[chosen] = -np.inf
        chosen.append(int(first_of(_rounded(gains), rank)))
        if len(chosen) < n_forward:
            design.add(chosen[-1])

    # What the last pick does to the rows left in the pool is never asked.
    design, chosen = design.restricted_to(chosen), np.array(chosen)
    if n_forward > n_instances:
        design.add(n_forward - 1)
    while len(chosen) > n_instances:
        out = int(first_of(_rounded(-design.losses()), -rank[chosen]))
        if len(chosen) > n_instances + 1:
            design.remove(out)
        keep = np.delete(np.arange(len(chosen)), out)
        design, chosen = design.restricted_to(keep), chosen[keep]
    return chosen, first_gains


class _Design:
    """The information M, its inverse, and what changing it by one of some rows would do.

    M^-1 and M^-1 F M^-1 are those of the last refresh; updates since then are kept as factors.
    """

    def __init__(self, H, S, M, F):
        self.H, self.S, self.M, self.F = H, S, M, F
        self._eye = torch.eye(S.shape[1], dtype=torch.float64, device=S.device)
        self._updates = []  # (V, sign, U, T) of each since the last refresh
        self._refresh()

    def gains(self):
        """By how much adding each row lowers the trace: ndarray (n,)."""
        gains = self.A.new_empty(len(self.A))
        for a, b in self._row_chunks():
            root = torch.linalg.cholesky(self.A[a:b] + self._eye)
            solved = torch.cholesky_solve(self.B[a:b], root)
            gains[a:b] = solved.diagonal(dim1=1, dim2=2).sum(1)
        return gains.cpu().numpy()

    def losses(self):
        """By how much removing each row, which was added before, raises the trace: ndarray (n,)."""
        values, vectors = torch.linalg.eigh(self._eye - self.A)
        diagonal = ((self.B @ vectors) * vectors).sum(1)
        return (diagonal / values.clamp_min(_SMALLEST)).sum(1).cpu().numpy()

    def add(self, position):
        self._update(position, 1.0)

    def remove(self, position):
        self._update(position, -1.0)

    def restricted_to(self, positions):
        """The same information, looking at some of the rows only."""
        design = object.__new__(_Design)
        vars(design).update(vars(self))
        for name in ("H", "S", "A", "B"):
            setattr(design, name, getattr(self, name)[positions])
        return design

    def _update(self, position, sign):
        """Add (sign 1) or subtract (-1) the information of a row: Woodbury, of rank K.

        With W = (I + sign A)^-1 = L L', U = M^-1 V L and T = M^-1 F M^-1 V L - sign/2 U L' B L,

            M^-1 loses sign U U',    M^-1 F M^-1 loses sign (U T' + T U').
        """
        V = (self.S[position][:, None, :] * self.H[position][None, :, None]).flatten(0, 1)
        values, vectors = torch.linalg.eigh(self._eye + sign * self.A[position])
        root = vectors * values.clamp_min(_SMALLEST).rsqrt()
        step = max(float(values.max()), 1.0 / max(float(values.min()), _SMALLEST))
        if step > _LARGEST_STEP or len(self._updates) == _REFRESH_EVERY - 1:
            self._updates.append((V, sign, None, None))
            self._refresh()
            return
        U, T = (product @ root for product in self._products(position, V))
        T -= U @ (root.T @ self.B[position] @ root) * (sign / 2)
        self._updates.append((V, sign, U, T))

        K, d = self.S.shape[1], self.H.shape[1]
        both = torch.cat([U, T], dim=1).reshape(K, d, 2 * K).transpose(0, 1).reshape(d, -1)
        for a, b in self._row_chunks():
            products = (self.H[a:b] @ both).reshape(-1, K, 2 * K)
            u, t = (self.S[a:b].mT @ products).split(K, dim=2)
            self.A[a:b].baddbmm_(u, u.mT, alpha=-sign)
            self.B[a:b].baddbmm_(u, t.mT, alpha=-sign).baddbmm_(t, u.mT, alpha=-sign)

    def _products(self, position, V):
        """M^-1 V and M^-1 F M^-1 V, for the V = S x h of a row."""
        h, S = self.H[position], self.S[position]
        # Products with h alone read the matrices once, and multiply K times less than those with V.
        inverse, sandwich = (
            (matrix.reshape(-1, len(h)) @ h).reshape(-1, len(S)) @ S
            for matrix in (self.inverse, self.sandwich)
        )
        for _, sign, U, T in self._updates:
            u = U.T @ V
            inverse.addmm_(U, u, alpha=-sign)
            sandwich.addmm_(U, T.T @ V, alpha=-sign).addmm_(T, u, alpha=-sign)
        return inverse, sandwich

    def _refresh(self):
        """Everything that follows from M, from scratch."""
        for V, sign, _, _ in self._updates:
            self.M.addmm_(V, V.T, alpha=sign)
        self._updates = []
        # Transposed: the same matrix, in the order that `_products` and the forms read it.
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.M)).mT.contiguous()
        self.sandwich = _symmetric_product(self.inverse @ self.F, self.inverse)
        self.A, self.B = _quadratic_forms(self.H, self.S, self.inverse, self.sandwich)

    def _row_chunks(self):
        return _chunks(len(self.H), 2 * self.S.shape[1] ** 2 + self.H.shape[1])


def _check_regularization(regularization, trace):
    if trace > _LARGEST_RATIO * regularization:
        raise ValueError(
            f"regularization={regularization:g} is too small for the information in the rows, "
            f"of mean trace {trace:.2g}: float64 cannot invert the sum. Standardise features or "
            f"use at least {trace / _LARGEST_RATIO:.2g}."
        )


def _information(H, S):
    """Sum over the rows of (S S') x (h h'): (K d, K d)."""
    K, d = S.shape[1], H.shape[1]
    i, j = torch.triu_indices(K, K, device=S.device)
    weights = (S @ S.mT)[:, i, j]
    sums = H.new_zeros((len(i), _n_pairs(d)))
    for a, b in _chunks(len(H), _n_pairs(d)):
        sums.addmm_(weights[a:b].T, _pairs(H[a:b]).T)
    total = H.new_empty((K, d, K, d))
    total[i, :, j] = total[j, :, i] = _unfolded(sums, d)
    return total.reshape(K * d, K * d)


def _quadratic_forms(H, S, *matrices):
    """(S x h)' M (S x h) of every row, for symmetric M: a tensor (n, K, K) for each matrix."""
    K, d = S.shape[1], H.shape[1]
    i, j = torch.triu_indices(K, K, device=S.device)
    weights = torch.cat([_folded(M.reshape(K, d, K, d)[i, :, j]) for M in matrices])
    forms = [torch.empty_like(S) for _ in matrices]
    for a, b in _chunks(len(H), weights.shape[1]):
        found = (weights @ _pairs(H[a:b])).reshape(len(matrices), len(i), b - a)
        for form, part in zip(forms, found, strict=True):
            inner = S.new_empty((b - a, K, K))
            inner[:, i, j] = inner[:, j, i] = part.T
            form[a:b] = S[a:b].mT @ inner @ S[a:b]
    return forms


def _symmetric_product(left, right):
    """left @ right, which is known to be symmetric: little more than half of the work."""
    product = torch.empty_like(left)
    for a in range(0, len(left), _STRIPE):
        b = min(a + _STRIPE, len(left))
        torch.mm(left[a:b], right[:, a:], out=product[a:b, a:])
        product[b:, a:b] = product[a:b, b:].T
    return product


# The d^2 products of two features of a row, each pair (nearly) once: bands of features times all
# features from the band on.


def _pairs(H):
    """Products of two features: (n_pairs, n)."""
    (n, d), columns = H.shape, H.T.contiguous()
    pairs = H.new_empty((_n_pairs(d), n))
    for a, b, at in _bands(d):
        torch.mul(columns[a:b, None], columns[a:], out=pairs[at].view(b - a, d - a, n))
    return pairs


def _folded(M):
    """The weights of the pairs in h' M h: (..., d, d) to (..., n_pairs)."""
    parts = []
    for a, b, _ in _bands(M.shape[-1]):
        part = M[..., a:b, a:].clone()
        part[..., b - a :] += M[..., b:, a:b].mT
        parts.append(part.flatten(-2))
    return torch.cat(parts, dim=-1)


def _unfolded(sums, d):
    """The symmetric matrices of sums over products of two features: (m, n_pairs) to (m, d, d)."""
    M = sums.new_empty((len(sums), d, d))
    for a, b, at in _bands(d):
        part = sums[:, at].reshape(-1, b - a, d - a)
        M[:, a:b, a:], M[:, a:, a:b] = part, part.mT
    return M


def _n_pairs(d):
    return _bands(d)[-1][2].stop


def _bands(d):
    """Triples (a, b, at): the products of features a..b-1 with all from a on are the pairs `at`."""
    bands, start = [], 0
    for a in range(0, d, _BAND):
        b = min(a + _BAND, d)
        stop = start + (b - a) * (d - a)
        bands.append((a, b, slice(start, stop)))
        start = stop
    return bands


def _rounded(values):
    """Values made equal where they agree to 11 digits: then they tie."""
    digits, exponent = np.frexp(values)
    return np.ldexp(np.round(digits * 2.0**36), exponent - 36)


def _chunks(n, width):
    step = max(16, _CHUNK_NUMBERS // width)
    return [(a, min(a + step, n)) for a in range(0, n, step)]
