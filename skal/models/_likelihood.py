"""How probable labels are under predicted probabilities."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# No class has less than this share of an equal one: a label that was held out costs a finite loss.
_FLOOR = 0.02


def floored(P):
    """Probabilities mixed with a little of equal ones."""
    return (1.0 - _FLOOR) * P + _FLOOR / P.shape[1]


def likelihoods(P, codes):
    """The floored probability of each row's label: (n_samples,)."""
    return floored(P)[np.arange(len(codes)), codes]


def mean_log_loss(likelihood, weight):
    """Weighted mean of minus the logarithm."""
    return -np.average(np.log(likelihood), weights=weight)


def best_temperature(scores, codes, weight):
    """The factor on scores whose softmax has the least log loss for the labels."""
    rows = np.arange(len(codes))

    def loss(log_factor):
        log_P = log_softmax(np.exp(log_factor) * scores, axis=1)
        return -np.average(log_P[rows, codes], weights=weight)

    return float(np.exp(minimize_scalar(loss, bounds=(-1.0, 4.0), method="bounded").x))
