"""Rows that shrink the mean variance of a Gaussian process at target rows: greedy, without labels.

The covariance of two rows is the share of a forest's trees in which they share a leaf, or the mean
of that and of a Matern kernel of their inputs; it is 1 for a row with itself. Two things are all
that greedy steps need of the pool, C its covariance given the labelled rows:

    C(pool, targets), n x k numbers,    and    q = C(pool, c) / sqrt(v(c) + noise)

for each row c chosen, since a label at c, whatever it is, makes C(x, x') into C(x, x') - q(x)
q(x'). Covariances with the whole pool are products K(pool, anchors) B: sums of the rows of a table
with one row per leaf, and blocks of distances. Nothing of the size n x n is built.
"""

from dataclasses import dataclass

import numpy as np
import torch

_CHUNK_NUMBERS = 2**18  # of float32 in the products of one chunk of rows
_TABLE_NUMBERS = 2**23  # of float32 in the tables of all trees
_KEPT_NUMBERS = 2**24  # of float32, up to which what labelled rows say of the pool is kept
_LENGTHS = (0.35, 0.9, 2.4)
_NOISES = (1e-3, 0.01, 0.05, 0.15, 0.4, 1.0, 3.0)
_BLOCK = 64  # picks after which the rows chosen count as labelled
_ROUNDING = 1e-5  # relative, of gains computed from float32: gains that are closer tie


@dataclass(frozen=True)
class TreeRows:
    """Rows as a forest and a Matern kernel see them.

    Attributes
    ----------
    leaves : tensor of shape (n, T), dtype int32
        The leaf of each row in each tree, numbered through all trees.

    inputs : tensor of shape (n, d), dtype float32, or None
        Inputs whose Euclidean distance the Matern kernel takes. None leaves it out.

    n_leaves : int
        Of all trees.
    """

    leaves: torch.Tensor
    inputs: torch.Tensor | None
    n_leaves: int

    def __len__(self):
        return len(self.leaves)

    def __getitem__(self, index):
        inputs = None if self.inputs is None else self.inputs[index]
        return TreeRows(self.leaves[index], inputs, self.n_leaves)

    def __setitem__(self, index, rows):
        self.leaves[index] = rows.leaves
        if self.inputs is not None:
            self.inputs[index] = rows.inputs

    @property
    def device(self):
        return self.leaves.device

    def emptied(self, n):
        """n rows of this kind, to be set."""
        inputs = self.inputs
        if inputs is not None:
            inputs = inputs.new_empty((n, inputs.shape[1]))
        return TreeRows(self.leaves.new_empty((n, self.leaves.shape[1])), inputs, self.n_leaves)

    def then(self, others):
        """These rows followed by others."""
        inputs = None if self.inputs is None else torch.cat([self.inputs, others.inputs])
        return TreeRows(torch.cat([self.leaves, others.leaves]), inputs, self.n_leaves)


def kernel_product(rows, anchors, B):
    """Product of the kernel matrix of rows and anchors with a matrix.

    Parameters
    ----------
    rows, anchors : TreeRows of n and p rows

    B : tensor of shape (p, k)

    Returns
    -------
    KB : tensor of shape (n, k), dtype float32
        K(rows, anchors) B. Cost: O(n T k) sums, and O(n p (d + k)) for the Matern kernel.
    """
    B = B.float()
    n_trees = rows.leaves.shape[1]
    share = (1.0 if rows.inputs is None else 0.5) / n_trees
    product = B.new_empty((len(rows), B.shape[1]))
    for columns in _slices(B.shape[1], max(1, _TABLE_NUMBERS // rows.n_leaves)):
        table = _leaf_table(anchors, share * B[:, columns])
        for part in _chunks(len(rows), max(n_trees, table.shape[1])):
            product[part, columns] = _sum_of_rows(table, rows.leaves[part])
    if rows.inputs is not None:
        for part in _chunks(len(rows), max(len(anchors), B.shape[1])):
            K = matern(distances(rows.inputs[part], anchors.inputs))
            product[part] += 0.5 * (K @ B if B.shape[1] > 1 else torch.mv(K, B[:, 0])[:, None])
    return product


def distances(x, y):
    """Euclidean distances: tensor (n, p).

    Squares are expanded: what cancels, about 1e-7 of |x|^2, is small next to 1 where it enters
    the Matern kernel, which is quadratic near 0.
    """
    squares = torch.addmm(y.square().sum(1), x, y.T, alpha=-2.0)
    squares += x.square().sum(1, keepdim=True)
    return squares.clamp_(min=0.0).sqrt_()


def matern(distance):
    """The Matern kernel of smoothness 3/2 of a tensor of distances, which is overwritten."""
    distance *= 3.0**0.5
    decay = distance.neg().exp_()
    return decay.addcmul_(decay, distance)


def fit_matern(inputs, targets, importances):
    """Choose the scales of the Matern kernel and the noise by marginal likelihood.

    Inputs are multiplied by w^(g/2), w = d importances + 0.01, with g 0 or 1, and divided by one of
    three length scales, multiples of the median distance. The variance of the signal is profiled
    out; one eigendecomposition serves all noises.

    Parameters
    ----------
    inputs : tensor of shape (m, d), dtype float64
    targets : tensor of shape (m, k), dtype float64
        Of mean 0.
    importances : tensor of shape (d,), dtype float64
        Not negative, of sum 1.

    Returns
    -------
    scales : tensor of shape (d,), dtype float64
        What to multiply inputs with, for the distances of the kernel.

    noise : float
        In units of the variance of the signal.
    """
    m, d = inputs.shape
    best = -np.inf, None, None
    for g in (0.0, 1.0):
        weights = (d * importances + 0.01) ** (g / 2.0)
        apart = torch.cdist(inputs * weights, inputs * weights)
        median = _median_distance(apart)
        for length in _LENGTHS:
            scales = weights / (length * median)
            values, vectors = torch.linalg.eigh(matern(apart / (length * median)))
            powers = (vectors.T @ targets).square()
            for noise in _NOISES:
                spectrum = values.clamp(min=0.0) + noise
                fit = (powers / spectrum[:, None]).mean(0).clamp(min=1e-300).log().sum()
                likelihood = -0.5 * (m * fit + targets.shape[1] * spectrum.log().sum()).item()
                if likelihood > best[0]:
                    best = likelihood, scales, noise
    return best[1:]


def median_scales(inputs):
    """Scales that make the median distance of the rows 1: tensor (d,)."""
    scale = 1.0 / _median_distance(torch.cdist(inputs, inputs))
    return torch.full_like(inputs[0], scale)


def medoid(rows, targets, rng):
    """Position of the row whose mean distance to the targets is smallest."""
    distance = torch.empty(len(rows), device=rows.device)
    for part in _chunks(len(rows), len(targets)):
        distance[part] = distances(rows.inputs[part], rows.inputs[targets]).mean(1)
    distance = distance.cpu().numpy()
    return int(rng.choice(np.flatnonzero(distance <= distance.min() * (1.0 + _ROUNDING))))


def _median_distance(distances):
    """Median of the distances of distinct rows; 1 where there are none."""
    i, j = torch.triu_indices(len(distances), len(distances), offset=1)
    distances = distances[i, j]
    distances = distances[distances > 0]
    return distances.median().item() if len(distances) else 1.0


class Posterior:
    """A Gaussian process of prior variance 1, given rows whose labels are known.

    Variances do not depend on what the labels are.

    Parameters
    ----------
    labeled : TreeRows or None
        The labelled rows; None before there are any.

    noise : float
        Variance of the noise of a label, in units of the prior variance.
    """

    def __init__(self, labeled, noise):
        self.labeled = labeled
        self.noise = noise
        if labeled is not None:
            K = kernel_product(labeled, labeled, _unit(labeled)).double()
            K.diagonal().add_(noise)
            self._factor = torch.linalg.cholesky(0.5 * (K + K.T))

    @property
    def n_labeled(self):
        return 0 if self.labeled is None else len(self.labeled)

    def known(self, rows):
        """V with C(x, x') = K(x, x') - V(x) V(x')': tensor (n, n_labeled), dtype float32."""
        V = torch.empty((len(rows), self.n_labeled), device=rows.device)
        for part, block in self._known_in_chunks(rows):
            V[part] = block
        return V

    def variance(self, rows):
        """Variances of n rows: tensor (n,), dtype float64, in [0, 1]."""
        variance = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
        for part, block in self._known_in_chunks(rows):
            variance[part] -= block.square().sum(1, dtype=torch.float64)
        return variance.clamp_(min=0.0)

    def covariance(self, rows, others):
        """Covariances of n rows with k others: tensor (n, k), dtype float32."""
        if self.labeled is None:
            return kernel_product(rows, others, _unit(others))
        known = kernel_product(self.labeled, others, _unit(others)).double()
        explained = torch.cholesky_solve(known, self._factor).float()
        B = torch.cat([_unit(others), -explained])
        return kernel_product(rows, others.then(self.labeled), B)

    def _known_in_chunks(self, rows):
        if self.labeled is None:
            return
        unit = _unit(self.labeled)
        whiten = torch.linalg.solve_triangular(self._factor, unit.double(), upper=False).T.float()
        for part in _chunks(len(rows), self.n_labeled, 4 * _CHUNK_NUMBERS):
            yield part, kernel_product(rows[part], self.labeled, unit) @ whiten

    def given(self, rows):
        """The posterior once further rows are labelled."""
        labeled = rows if self.labeled is None else self.labeled.then(rows)
        return Posterior(labeled, self.noise)


def variance_greedy(posterior, pool, targets, weights, n_instances, rng, first=None):
    r"""Choose rows one by one, each time the one that lowers the targets' variance most.

    Parameters
    ----------
    posterior : Posterior
        What the labelled rows leave uncertain.

    pool : TreeRows
        The rows to choose from.

    targets : ndarray of shape (k,), int
        Positions in the pool of the rows whose variance is to fall.

    weights : tensor of shape (k,)
        Of the targets, not negative.

    n_instances : int
        How many rows to choose.

    rng : RandomState
        Ranks rows of equal gain.

    first : int or None, default=None
        The row to choose first, whatever its gain.

    Returns
    -------
    picks : ndarray of shape (n_instances,), dtype int64
        Distinct positions, in order of choice.

    gains : ndarray of shape (n,), dtype float64
        What a label of each row alone takes off the weighted sum of the targets' variances.
    """
    rank = rng.permutation(len(pool))
    targets = torch.as_tensor(targets, device=pool.device)
    state = _State(posterior, pool, targets, weights.double(), min(_BLOCK, n_instances))
    left = np.ones(len(pool), dtype=bool)
    picks, gains_at_first = [], state.gains()
    gains = gains_at_first
    for number in range(n_instances):
        if number:
            gains = state.gains()
        if number == 0 and first is not None:
            pick = int(first)
        else:
            pick = _best(gains, left, rank)
        picks.append(pick)
        left[pick] = False
        if number + 1 < n_instances:
            state.label(pick)
    return np.array(picks, dtype=np.int64), gains_at_first


def _best(gains, left, rank):
    """The row of largest gain of those left, gains within the rounding error being equal."""
    candidates = np.flatnonzero(left)
    gains = gains[candidates]
    close = gains >= gains.max() * (1.0 - _ROUNDING)
    return int(candidates[close][np.argmax(rank[candidates[close]])])


class _State:
    """Covariances of the pool with the targets, and what the rows chosen took off them."""

    def __init__(self, posterior, pool, targets, weights, block):
        self.posterior, self.pool, self.targets = posterior, pool, targets
        self.weights = weights / weights.sum()
        self.covariance = posterior.covariance(pool, pool[targets])
        self.columns = self.covariance.new_empty((block, len(pool)))
        self._begin()

    def _begin(self):
        """Start from the covariances as they are now; no row is chosen yet."""
        self.chosen = []
        self.known = None
        if len(self.pool) * self.posterior.n_labeled <= _KEPT_NUMBERS:
            self.known = self.posterior.known(self.pool)
            self.variance = 1.0 - self.known.square().sum(1, dtype=torch.float64)
        else:
            self.variance = self.posterior.variance(self.pool)
        self.reach = torch.empty_like(self.variance)
        weights = self.weights.float()
        for part in _chunks(len(self.pool), len(self.targets)):
            self.reach[part] = (self.covariance[part].square() @ weights).double()

    def _column(self, pick):
        """Covariance of the pool with one of its rows, before any was chosen: tensor (n,)."""
        row = self.pool[[pick]]
        if self.known is None:
            return self.posterior.covariance(self.pool, row)[:, 0]
        prior = kernel_product(self.pool, row, _unit(row))[:, 0]
        return prior - self.known @ self.known[pick]

    def gains(self):
        """What a label of each row takes off the targets' weighted mean variance: ndarray (n,)."""
        gains = self.reach.clamp(min=0.0) / (self.variance + self.posterior.noise)
        return gains.cpu().numpy()

    def label(self, pick):
        """Take the posterior after a label of the row `pick`.

        C(x, a) becomes C(x, a) - q(x) q(a), which changes the reach of x, the sum over the targets
        of u(a) C(x, a)^2, by -2 q(x) sum_a u(a) q(a) C(x, a) + q(x)^2 sum_a u(a) q(a)^2: one
        product with the covariances, which are left as they are until the block is full.
        """
        if len(self.chosen) == len(self.columns):
            self._absorb()
        done = self.columns[: len(self.chosen)]
        q = self._column(pick) - done.T @ done[:, pick]
        q /= (self.variance[pick] + self.posterior.noise).sqrt().float()
        weighted = (self.weights * q[self.targets]).float()
        seen = self.covariance @ weighted - done.T @ (done[:, self.targets] @ weighted)
        spread = weighted.double() @ q[self.targets].double()
        q = q.double()
        self.reach += q * (q * spread - 2.0 * seen.double())
        self.variance -= q.square()
        self.variance.clamp_(min=0.0)
        self.columns[len(self.chosen)] = q.float()
        self.chosen.append(pick)

    def _absorb(self):
        """Count the rows chosen as labelled: no more of their columns are kept."""
        self.covariance -= self.columns.T @ self.columns[:, self.targets]
        self.posterior = self.posterior.given(self.pool[self.chosen])
        self._begin()


# ---------------------------------------------------------------------------------- tables


def _leaf_table(anchors, B):
    """Sum of the rows of `B` whose anchors lie in each leaf: (n_leaves, k)."""
    m, k = B.shape
    table = B.new_zeros((anchors.n_leaves, k))
    for trees in _slices(anchors.leaves.shape[1], max(1, _CHUNK_NUMBERS // (m * k))):
        leaves = anchors.leaves[:, trees].T
        table.index_add_(0, leaves.reshape(-1), B.repeat(len(leaves), 1))
    return table


def _sum_of_rows(table, leaves):
    """Sum over the trees of the table's rows: (n, k)."""
    if table.shape[1] > 1:
        return torch.nn.functional.embedding_bag(leaves, table, mode="sum")
    return table[:, 0].index_select(0, leaves.reshape(-1)).view(leaves.shape).sum(1, keepdim=True)


def _unit(rows):
    return torch.eye(len(rows), device=rows.device)


def _chunks(n, width, numbers=_CHUNK_NUMBERS):
    """Slices of n rows of so many numbers in all."""
    return _slices(n, max(16, numbers // max(1, width)))


def _slices(n, step):
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
