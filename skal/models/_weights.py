"""Weights of the parts of a stack: not negative, of sum 1, from predictions of held-out rows."""

import numpy as np
from scipy.optimize import nnls

# How strongly few rows pull towards equal weights: as one more row, off by the target's spread.
_PULL = 1.0

# A weight on the constraint that the sum is 1, in rows.
_CONSTRAINT = 1e4

# Steps of the fixed point for the log loss, and the change at which it ends.
_STEPS, _TOL = 500, 1e-6


def least_squares_weights(predictions, y, weight):
    """Weights with the least squared error, by non-negative least squares.

    Parameters
    ----------
    predictions : ndarray of shape (n_samples, n_parts)
        Of held-out rows.

    y : ndarray of shape (n_samples,)
        The targets, in units of their standard deviation.

    weight : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    shares : ndarray of shape (n_parts,)
        The minimiser of :math:`\\sum_i w_i (y_i - p_i s)^2 + |s - 1/m|^2`.
    """
    n_parts = predictions.shape[1]
    root = np.sqrt(weight)
    pull = np.sqrt(_PULL)
    A = np.vstack(
        [root[:, None] * predictions, pull * np.eye(n_parts), np.full((1, n_parts), _CONSTRAINT)]
    )
    b = np.concatenate([root * y, np.full(n_parts, pull / n_parts), [_CONSTRAINT]])
    shares, _ = nnls(A, b)
    return shares / shares.sum()


def log_loss_weights(likelihoods, weight):
    """Weights of a mixture with the least log loss, by expectation maximisation.

    Parameters
    ----------
    likelihoods : ndarray of shape (n_samples, n_parts)
        Probability that each part gives the label of a held-out row, above 0.

    weight : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    shares : ndarray of shape (n_parts,)
        The maximiser of the concave :math:`\\sum_i w_i \\log(p_i s) + \\frac1m \\sum_k \\log s_k`.
    """
    n_parts = likelihoods.shape[1]
    shares = np.full(n_parts, 1.0 / n_parts)
    for _ in range(_STEPS):
        joint = likelihoods * shares
        counts = weight @ (joint / joint.sum(axis=1, keepdims=True)) + _PULL / n_parts
        before, shares = shares, counts / counts.sum()
        if np.abs(shares - before).max() < _TOL:
            break
    return shares
