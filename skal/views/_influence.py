"""Influence of labels on a loss elsewhere, for the last layer of a classifier."""

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from skal.utils._nesting import unwrap
from skal.views._finding import has_net
from skal.views._last_layer import apply_layer, layer_gradient, residuals
from skal.views._layer_curvature import LISSA_SCALE, LastLayerCurvature, lissa

_WEIGHT_DECAY = 1e-4


def penalty(weight_decay, estimator, n_labeled, n_classes):
    """Return the weights of the penalty, (of coefficients, of the bias), as the mean loss sees it.

    `weight_decay` for both unless it is None. Then a net's comes from its optimiser, 1e-4 where
    that has none. ``LogisticRegression`` minimises C times the sum of the losses plus half the
    squared coefficients, without the bias; with two classes it has one row of coefficients in place
    of two of opposite sign.
    """
    if weight_decay is not None:
        return (float(weight_decay),) * 2
    if has_net(estimator):
        groups = getattr(unwrap(estimator).optimizer_, "param_groups", [])
        decay = max([float(group.get("weight_decay", 0.0)) for group in groups], default=0.0)
        return (decay or _WEIGHT_DECAY,) * 2
    predictor = unwrap(estimator)
    if not isinstance(predictor, (LogisticRegression, LogisticRegressionCV)):
        return (_WEIGHT_DECAY,) * 2
    C = float(np.ravel(getattr(predictor, "C_", getattr(predictor, "C", 1.0)))[0])
    return (2.0 if n_classes == 2 else 1.0) / (C * n_labeled), 0.0


class LastLayerInfluence:
    r"""How a further label would change a loss, to first order, through the last layer.

    Parameters
    ----------
    H : tensor of shape (m, d + 1), dtype float64
        Inputs of the last layer for the labelled rows, the column of ones last; of zeros where the
        layer has no bias.

    P : tensor of shape (m, K), dtype float64
        Their class probabilities.

    decay : tuple of two floats
        Weight decay of the coefficients and of the bias.

    damping : float
        Added to the curvature.

    owner : str
        Who asks, for errors.
    """

    def __init__(self, H, P, decay, damping, owner):
        ridge = H.new_full((H.shape[1],), decay[0] + damping)
        ridge[-1] = decay[1] + damping
        if not float(ridge[0]) > 0:
            raise ValueError(
                f"{owner} needs damping or weight decay: without any, the curvature may be "
                "singular. Got damping=0 and weight_decay=0 instead. Set damping=0.01."
            )
        self.curvature, self.owner = LastLayerCurvature(H, P, ridge), owner

    def solve(self, v, solver="exact"):
        """Return the direction S (K, d + 1) of a gradient `v` of the same shape."""
        if solver == "exact":
            return self.curvature.solve(v, owner=self.owner)
        bare = LastLayerCurvature(
            self.curvature.H, self.curvature.P, torch.zeros_like(self.curvature.ridge)
        )
        return lissa(bare.product, v, scale=LISSA_SCALE) / LISSA_SCALE


def derivatives_for_pool(H, log_P, influence, solver, constant=1.0):
    """Derivatives of the logits of a pool along s, the direction that its own loss asks for.

    Parameters
    ----------
    H : tensor of shape (n, d)
        Features of the pool.

    log_P : tensor of shape (n, K), dtype float64
        Its log-probabilities; the loss is that of the most likely classes.

    influence : LastLayerInfluence
        Of the labelled rows.

    solver : {"exact", "lissa"}
        How s = A^-1 v is found, v the mean gradient.

    constant : float, default=1.0
        The input of the bias; 0 where the layer has none.

    Returns
    -------
    U : tensor of shape (n, K), dtype float64
        Logits of the weights s.
    """
    v = layer_gradient(residuals(log_P), H, constant) / len(H)
    return apply_layer(H, influence.solve(v, solver))


def fit_head(H, y, n_classes, decay):
    """Minimise the mean cross-entropy of a softmax layer plus its penalty: weights (K, d + 1).

    Parameters
    ----------
    H : tensor of shape (m, d + 1), dtype float64
        Its inputs, the column of ones last.

    y : ndarray of shape (m,), dtype int64
        Class numbers.

    n_classes : int
        K.

    decay : tuple of two floats
        Weight decay of the coefficients and of the bias.
    """
    H = H.cpu()
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(y), n_classes).double()
    ridge = H.new_full((H.shape[1],), decay[0])
    ridge[-1] = decay[1]

    def objective(w):
        W = torch.as_tensor(w).reshape(n_classes, -1)
        log_P = torch.log_softmax(H @ W.T, 1)
        loss = -(log_P * one_hot).sum() / len(H) + 0.5 * float((ridge * W * W).sum())
        gradient = (log_P.exp() - one_hot).T @ H / len(H) + ridge * W
        return float(loss), gradient.numpy().ravel()

    start = np.zeros(n_classes * H.shape[1])
    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return torch.as_tensor(found.x).reshape(n_classes, -1)


def residuals_of(y, P, classes, owner):
    """Gradients p - e_y of the loss in the logits, (n, K), for labels among `classes`."""
    R = P.clone()
    R[range(len(R)), encode_labels(y, classes, owner)] -= 1.0
    return R


def encode_labels(y, classes, owner):
    """Return the positions of labels in the classes of a model."""
    y, classes = np.asarray(y), np.asarray(classes)
    if y.ndim != 1:
        raise ValueError(f"{owner} needs one label per row. Got shape {y.shape} instead.")
    positions = np.searchsorted(classes, y)
    positions = np.minimum(positions, len(classes) - 1)
    unknown = classes[positions] != y
    if unknown.any():
        raise ValueError(
            f"{owner} got {int(unknown.sum())} labels that the model does not know, the first in "
            f"row {int(np.flatnonzero(unknown)[0])}: {y[unknown][0]!r}."
        )
    return positions.astype(np.int64)
