"""The channel of an annotator, from predictions that have not seen the labels.

P_i    probabilities for row i of a net trained on other rows, by the noisy labels
Q_i  = P_i^(1/t) / sum                                     t mends how sure the net is
max over W, t of  sum_i w_i log sum_j W[y_i, j] Q_ij       EM over W for each t
"""

import numpy as np
import torch
from scipy.optimize import minimize_scalar

# Where EM starts: how often labels are right.
_RIGHT = 0.7

# Temperatures that are tried, and steps of EM for each.
_TEMPERATURES, _STEPS = (0.05, 2.0), 200

# Labels that every class is taken to have been given rightly beforehand: the prior of a column.
_PRIOR = 2.0


def estimate_channel(log_P, labels, weight=None, start=None):
    r"""Estimate how labels go wrong, by maximum likelihood.

    With :math:`Q_i \propto P_i^{1/t}`, the mean of :math:`\log \sum_j W_{y_i j} Q_{ij}` is
    maximised over the channel W, by EM, and the temperature t in [0.05, 2]. Nets trained for long
    on wrong labels are too sure, or not sure enough: without t that would be taken for faults of
    the labels.

    Parameters
    ----------
    log_P : tensor of shape (n, n_classes), dtype float64
        Natural logarithms of class probabilities, from nets that were not trained on the row.

    labels : ndarray of shape (n,), dtype int64
        Class numbers of the noisy labels.

    weight : ndarray of shape (n,) or None, default=None
        Weights of the rows.

    start : tensor of shape (n_classes, n_classes) or None, default=None
        Where EM starts. None has 0.7 on the diagonal.

    Returns
    -------
    W : tensor of shape (n_classes, n_classes), dtype float64
        Column j holds the probabilities of the labels where class j is true.

    temperature : float
        t.

    Notes
    -----
    Every column has a prior of two right labels, so that a class of few rows stays close to the
    identity. Cost: O(n n_classes) for each of 200 steps at some 25 temperatures.
    """
    n_classes = log_P.shape[1]
    if start is None:
        off = (1.0 - _RIGHT) / max(1, n_classes - 1)
        start = torch.full((n_classes, n_classes), off, dtype=torch.float64)
        start.fill_diagonal_(_RIGHT if n_classes > 1 else 1.0)
    start, labels = start.double(), torch.as_tensor(labels)
    weight = torch.ones(len(labels)) if weight is None else torch.as_tensor(weight)
    # Rows of a label stand together: sums over them are products.
    order = torch.argsort(labels, stable=True)
    log_P, labels, weight = log_P.double()[order], labels[order], weight.double()[order]
    best = {}

    def loss(log_t):
        W, value = _em(torch.softmax(log_P / np.exp(log_t), 1), labels, weight, start)
        if not best or value > best["value"]:
            best.update(W=W, value=value, t=float(np.exp(log_t)))
        return -value

    grid = np.linspace(*np.log(_TEMPERATURES), 13)
    lowest = int(np.argmin([loss(log_t) for log_t in grid]))
    bounds = grid[max(0, lowest - 1)], grid[min(len(grid) - 1, lowest + 1)]
    minimize_scalar(loss, bounds=bounds, method="bounded", options={"maxiter": 12})
    return best["W"], best["t"]


def _em(Q, labels, weight, W):
    """EM for W with Q held: the channel, and the mean log-likelihood with the prior."""
    n_classes = len(W)
    counts = torch.bincount(labels, minlength=n_classes).tolist()
    prior = _PRIOR * torch.eye(n_classes, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    for _ in range(_STEPS):
        before = W
        blocks = zip(Q.split(counts), weight.split(counts), W, strict=True)
        # E: r_ij proportional to W[y_i, j] Q_ij; M: their sums over the rows of each label.
        rows = [row * (q.T @ (w / (q @ row).clamp_min(tiny))) for q, w, row in blocks]
        summed = torch.stack(rows) + prior
        W = summed / summed.sum(0)
        if (W - before).abs().max() < 1e-9:
            break
    likelihood = (weight * (Q * W[labels]).sum(1).clamp_min(tiny).log()).sum()
    penalty = (prior.diagonal() * W.diagonal().clamp_min(tiny).log()).sum()
    return W, float((likelihood + penalty) / weight.sum())


def split_in_folds(labels, n_folds, rng):
    """Give every row the number of a fold (n,), in each of which the labels are as frequent."""
    order = np.lexsort((rng.uniform(size=len(labels)), labels))
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds
