"""Gaussian processes with Matern kernels whose hyperparameters have the largest evidence."""

from copy import copy

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

SQRT3 = np.sqrt(3.0)

# Length scales in median distances, and variances of the noise in those of the signal.
LENGTHS = (0.35, 0.9, 2.4)
NOISES = (1e-3, 1e-2, 0.05, 0.15, 0.4, 1.0, 3.0)

# Where the share of the linear kernel starts, and the variance of the priors of its logarithm and
# of those of the columns' squared inverse lengths, about where they start.
LINEAR = 0.1
PRIOR_VARIANCE = 2.0

# More steps, or smaller ones, cost twice as much and change no error by a hundredth.
_CLIMB = {"maxiter": 15, "ftol": 1e-4}

# Hyperparameters are found on at most so many rows, and at most so many are conditioned on: the
# cost is cubic.
TUNING_ROWS = 400
KERNEL_ROWS = 2000

# Entries of the kernel between rows to predict and labelled rows that are held at a time.
_CHUNK_VALUES = 2**22


class MaternProcess:
    """Regression on several targets at once, with one kernel and one length scale.

    The kernel is :math:`(1 + \\sqrt3 r) \\exp(-\\sqrt3 r)`, r the distance in length scales. The
    variance of the signal is profiled out of the marginal likelihood (the evidence), so that each
    length and noise cost a division once the kernel's eigenvalues are known. A row of weight w has
    1/w of the noise.

    Attributes
    ----------
    held_out_, held_out_std_ : ndarray of shape (n_samples, n_targets)
        Prediction of each row from the others, :math:`y_i - [K^{-1} y]_i / [K^{-1}]_{ii}`, and the
        standard deviation of its label there.
    """

    def fit(self, Z, Y, weight, fold, rng):
        """Find the hyperparameters and condition on the rows.

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_features)
            Rows, scaled.

        Y : ndarray of shape (n_samples, n_targets)
            Targets of mean 0.

        weight : ndarray of shape (n_samples,)
            Weights of mean 1.

        fold : ndarray of shape (n_samples,), dtype int
            For a process whose hyperparameters have to be found afresh without held-out rows.

        rng : RandomState
            Chooses rows where there are many.
        """
        self._rows = _some(np.arange(len(Z)), KERNEL_ROWS, rng)
        self._start(Z, Y, weight, rng)
        self._tune(Z, Y, weight, rng)
        self._condition(Z, Y, weight)
        self.held_out_, self.held_out_std_ = self._hold_out(Z, Y, weight, fold, rng)
        return self

    def _start(self, Z, Y, weight, rng):
        rows = _some(np.arange(len(Z)), TUNING_ROWS, rng)
        length, self.noise_ = best_on_grid(Z[rows], Y[rows], weight[rows])
        self.scales_ = np.full(Z.shape[1], 1.0 / length)
        self.linear_ = 0.0

    def _tune(self, Z, Y, weight, rng):
        """Nothing is left to find."""

    def _condition(self, Z, Y, weight):
        rows = self._rows
        self._Z = Z[rows] * self.scales_
        kernel = kernel_of(self._Z, self._Z, self.linear_)
        kernel[np.diag_indices_from(kernel)] += self.noise_ / weight[rows]
        self._factor = cho_factor(kernel, lower=True, overwrite_a=True)
        self._dual = cho_solve(self._factor, Y[rows])
        self.signal_ = _positive((Y[rows] * self._dual).mean(axis=0))

    def _hold_out(self, Z, Y, weight, fold, rng):
        """Means and standard deviations of each row's label, given the others."""
        return self._leave_one_out(Z, Y)

    def _leave_one_out(self, Z, Y):
        rows, others = self._rows, np.setdiff1d(np.arange(len(Z)), self._rows)
        mean, std = np.empty_like(Y), np.empty_like(Y)
        precision = np.diag(_inverse(self._factor))[:, None]
        mean[rows] = Y[rows] - self._dual / precision
        std[rows] = np.sqrt(self.signal_ / precision)
        if len(others):
            mean[others], std[others] = self.predict(Z[others])
        return mean, std

    def predict(self, Z):
        """Return means and standard deviations of a new label, (n_samples, n_targets) each."""
        mean = np.empty((len(Z), self._dual.shape[1]))
        variance = np.empty(len(Z))
        step = max(1, _CHUNK_VALUES // len(self._Z))
        for start in range(0, len(Z), step):
            rows = slice(start, start + step)
            scaled = Z[rows] * self.scales_
            cross = kernel_of(scaled, self._Z, self.linear_)
            mean[rows] = cross @ self._dual
            prior = 1.0 + self.linear_ * (scaled**2).sum(axis=1)
            explained = np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
            variance[rows] = np.maximum(prior - explained, 0.0) + self.noise_
        return mean, np.sqrt(variance[:, None] * self.signal_)


class RelevanceProcess(MaternProcess):
    """The same with a length scale per column and a linear kernel beside the Matern kernel.

    The lengths, the noise and the share of the linear kernel are the mode of the evidence times
    log-normal priors about the one length of all columns, which keep few labels from switching
    columns off. As there are as many of them as columns, they would know a held-out row too well:
    for its prediction they are found without its fold. With many rows, a fold hardly changes them.
    """

    def _tune(self, Z, Y, weight, rng):
        rows = _some(np.arange(len(Z)), TUNING_ROWS, rng)
        self.scales_, self.noise_, self.linear_ = self._tuned(Z[rows], Y[rows], weight[rows])

    def _tuned(self, Z, Y, weight):
        """Climb from the hyperparameters at the start."""
        middle = np.append(2 * np.log(self.scales_), [np.log(self.noise_), np.log(LINEAR)])
        far = 4 * np.sqrt(PRIOR_VARIANCE)
        bounds = [(value - far, value + far) for value in middle]
        bounds[-2] = np.log(NOISES[0]), np.log(NOISES[-1])
        place = minimize(
            negative_log_posterior,
            middle,
            (middle, Z, Y, weight),
            "L-BFGS-B",
            jac=True,
            bounds=bounds,
            options=_CLIMB,
        ).x
        return np.exp(place[:-2] / 2), np.exp(place[-2]), np.exp(place[-1])

    def _start(self, Z, Y, weight, rng):
        super()._start(Z, Y, weight, rng)
        self._untuned = copy(self)

    def _hold_out(self, Z, Y, weight, fold, rng):
        untuned = vars(self).pop("_untuned")
        if len(Z) > TUNING_ROWS:
            return self._leave_one_out(Z, Y)
        mean, std = np.empty_like(Y), np.empty_like(Y)
        for number in range(fold.max() + 1):
            inside, outside = fold != number, fold == number
            part = copy(untuned)
            part._tune(Z[inside], Y[inside], weight[inside], rng)
            part._condition(Z, Y, weight)
            means, stds = part._leave_one_out(Z, Y)
            mean[outside], std[outside] = means[outside], stds[outside]
        return mean, std


def best_on_grid(Z, Y, weight):
    """The pair of `LENGTHS` (in median distances) and `NOISES` with the largest evidence."""
    median, evidence = _on_grid(Z, Y, weight)
    evidence = evidence.sum(axis=2)
    length, noise = np.unravel_index(evidence.argmax(), evidence.shape)
    return LENGTHS[length] * median, NOISES[noise]


def best_evidence(Z, Y, weight):
    """The largest log evidence of each target on the grid: (n_targets,)."""
    return _on_grid(Z, Y, weight)[1].max(axis=(0, 1))


def _on_grid(Z, Y, weight):
    """The median distance, and evidence of shape (n_lengths, n_noises, n_targets)."""
    median = median_distance(squared_distances(Z, Z))
    kernels = (kernel_of(Z / (length * median), Z / (length * median)) for length in LENGTHS)
    return median, np.array([log_evidence(kernel, Y, weight) for kernel in kernels])


def log_evidence(kernel, Y, weight):
    """Log marginal likelihood of each target for each of `NOISES`, the signal profiled out.

    Returns
    -------
    evidence : ndarray of shape (n_noises, n_targets)
        For targets t ~ N(0, v (K + s / weight)) with the best v of each.
    """
    n = len(kernel)
    root = np.sqrt(weight)
    values, vectors = eigh(kernel * root[:, None] * root, check_finite=False)
    projections = (vectors.T @ (root[:, None] * Y)) ** 2
    evidence = []
    for noise in NOISES:
        shifted = np.maximum(values, 0.0) + noise
        signal = _positive((projections / shifted[:, None]).sum(axis=0) / n)
        log_det = np.log(shifted).sum() - np.log(weight).sum()
        evidence.append(-0.5 * (n * np.log(2 * np.pi * signal) + log_det + n))
    return np.array(evidence)


def negative_log_posterior(place, middle, Z, Y, weight):
    """Minus the log evidence of all targets and the log priors, up to a constant, and its gradient.

    `place` holds the logarithms of the squared inverse length of each column, of the noise, and of
    the share of the linear kernel; `middle` the modes of their priors (the noise has none).
    """
    n, n_targets = Y.shape
    relevance, noise, linear = np.exp(place[:-2]), np.exp(place[-2]), np.exp(place[-1])
    scaled = Z * np.sqrt(relevance)
    products = scaled @ scaled.T
    distance = SQRT3 * np.sqrt(squared_distances(scaled, scaled))
    decay = np.exp(-distance)
    kernel = (1.0 + distance) * decay + linear * products
    kernel[np.diag_indices(n)] += noise / weight
    factor = cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
    dual = cho_solve(factor, Y, check_finite=False)
    signal = _positive((Y * dual).sum(axis=0) / n)
    value = 0.5 * n * np.log(signal).sum() + n_targets * np.log(np.diag(factor[0])).sum()

    # By the kernel's entries: half of n_targets K^-1 less the sum of dual dual' / signal.
    slope = 0.5 * (n_targets * _inverse(factor) - (dual / signal) @ dual.T)
    # By squared distances, those of the Matern kernel; their sums over pairs are matrix products.
    by_distance = slope * (-1.5 * decay)
    by_column = 2.0 * (by_distance.sum(axis=1) @ Z**2 - _quadratic(by_distance, Z))
    by_column += linear * _quadratic(slope, Z)
    by_noise = (np.diag(slope) / weight).sum()
    by_linear = (slope * products).sum()
    gradient = np.append(relevance * by_column, [noise * by_noise, linear * by_linear])

    away = place - middle
    away[-2] = 0.0
    value += 0.5 * (away**2).sum() / PRIOR_VARIANCE
    return value, gradient + away / PRIOR_VARIANCE


def _quadratic(matrix, Z):
    """z' matrix z for each column z of Z."""
    return np.einsum("id,id->d", Z, matrix @ Z)


def kernel_of(A, B, linear=0.0):
    """The kernel between rows in length scales, (len(A), len(B)): Matern 3/2 and a linear one."""
    scaled = SQRT3 * np.sqrt(squared_distances(A, B))
    kernel = (1.0 + scaled) * np.exp(-scaled)
    return kernel + linear * (A @ B.T) if linear else kernel


def squared_distances(A, B):
    """Squared Euclidean distances between rows: (len(A), len(B)), never negative."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2.0 * (A @ B.T)
    if A is B:
        squared[np.diag_indices_from(squared)] = 0.0
    return np.maximum(squared, 0.0, out=squared)


def median_distance(squared):
    """The median distance between different rows, 1 where all are equal."""
    distinct = squared[np.triu_indices_from(squared, k=1)]
    distinct = distinct[distinct > 0]
    return float(np.sqrt(np.median(distinct))) if len(distinct) else 1.0


def _some(rows, most, rng):
    """The rows, or at random the most that are worth their cost."""
    return rows if len(rows) <= most else np.sort(rng.permutation(rows)[:most])


def _inverse(factor):
    """The inverse of a matrix from its lower Cholesky factor, symmetric."""
    inverse, _ = dpotri(factor[0], lower=1)
    return np.tril(inverse) + np.tril(inverse, -1).T


def _positive(signal):
    # A target without variation has an infinite likelihood.
    return np.maximum(signal, np.finfo(np.float64).tiny)
