"""The last, linear layer of a classifier: what goes into it and what it makes of that.

For a net these are the penultimate features and the class probabilities. Multinomial logistic
regression is its own last layer: its features are its inputs.
"""

import numpy as np
import torch
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeCV,
)

from skal.utils._nesting import describe, unwrap

# Linear in their inputs, for the squared loss. Lasso is an ElasticNet.
_LINEAR = (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    LassoCV,
    LinearRegression,
    Ridge,
    RidgeCV,
)

_CHUNK = 2048  # rows cast at a time: they stay in the cache, and no second copy of all is made


def last_layer(view, X, exact=False):
    """Return the features and log-probabilities of rows.

    Parameters
    ----------
    view : ModelView
        Of an estimator that ends in a torch net or in multinomial logistic regression.

    X : array-like of shape (n_samples, n_features)
        The rows.

    exact : bool, default=False
        Whether the probabilities must be the softmax of what the layer makes of the features.

    Returns
    -------
    H : tensor of shape (n_samples, d), dtype float32
        Inputs of the last layer.

    log_P : tensor of shape (n_samples, n_classes), dtype float64
        Natural logarithms of the class probabilities.

    Raises
    ------
    TypeError
        If the estimator ends in another predictor.
    """
    if view.has_net:
        net = view.net
        return net.last_layer(X) if exact else net.features_and_log_probabilities(X)
    predictor = view.predictor
    if not isinstance(predictor, (LogisticRegression, LogisticRegressionCV)):
        raise TypeError(
            f"{view.owner} needs a classifier with a linear last layer, a fitted "
            f"torch net or LogisticRegression, but found {type(predictor).__name__} in "
            f"{describe(view.estimator)}. Use a net from skal.neural_network, or a strategy "
            "that needs only predictions."
        )
    with np.errstate(divide="ignore"):  # a probability may be 0
        log_P = view.estimator.predict_log_proba(X)
    log_P = torch.tensor(log_P, dtype=torch.float64)
    log_P = log_P.to(view.torch_device)
    H = view.inputs(X).dense().to(log_P.device)
    return H, log_P


def head_weights(view):
    """Return the weights and biases of a classifier's last layer, as a softmax over classes.

    Parameters
    ----------
    view : ModelView
        Of an estimator that ends in a torch net or in multinomial logistic regression.

    Returns
    -------
    W : tensor of shape (n_classes, d)
        Weights. A single logit z of two classes counts as the logits (0, z).

    b : tensor of shape (n_classes,)
        Biases, 0 where the layer has none.
    """
    if view.has_net:
        head = view.net.head
        W = head.weight.detach()
        b = W.new_zeros(len(W)) if head.bias is None else head.bias.detach()
    else:
        W = torch.as_tensor(view.predictor.coef_)
        b = torch.as_tensor(np.broadcast_to(view.predictor.intercept_, len(W)).copy())
    if len(W) == 1:
        W, b = torch.cat([torch.zeros_like(W), W]), torch.cat([torch.zeros_like(b), b])
    return W, b


def last_layer_gradients(view, X):
    """Return features, and gradients of the loss of the predicted class in the logits.

    Parameters
    ----------
    view : ModelView
        Of an estimator that ends in a torch net or in multinomial logistic regression.

    X : array-like of shape (n_samples, n_features)
        The rows.

    Returns
    -------
    H : tensor of shape (n_samples, d), dtype float32
        Inputs of the last layer.

    A : tensor of shape (n_samples, k), dtype float64
        p - e_y; from a backward pass where something follows the last layer of a net.
    """
    if not view.has_net:
        H, log_P = last_layer(view, X)
        return H, residuals(log_P)
    H, log_P, linked = view.net.linked_last_layer(X)
    return (H, residuals(log_P)) if linked else view.net.logit_gradients(X)


def is_linear_regressor(estimator):
    """Whether an estimator ends in a linear regression, which is its own last layer."""
    return isinstance(unwrap(estimator), _LINEAR)


def regression_features(view, X):
    """Return the inputs of the last layer of a regressor.

    Parameters
    ----------
    view : ModelView
        Of an estimator that ends in a torch net or in a linear regression.

    X : array-like of shape (n_samples, n_features)
        The rows.

    Returns
    -------
    H : tensor of shape (n_samples, d), dtype float32
        Penultimate features, or the inputs of the linear regression.

    Raises
    ------
    TypeError
        If the estimator ends in another predictor.
    """
    if view.has_net:
        return view.net.features(X)
    if is_linear_regressor(view.estimator):
        return view.inputs(X).dense()
    raise TypeError(
        f"{view.owner} needs a regressor with a linear last layer, a fitted torch net "
        f"or a linear regression such as Ridge, but found {type(view.predictor).__name__} in "
        f"{describe(view.estimator)}. Use a net from skal.neural_network, or CoreSet, TypiClust or "
        "QueryByCommittee."
    )


def residuals(log_P):
    """Return p - e_y at the predicted class y: the gradient of the cross-entropy in the logits.

    Parameters
    ----------
    log_P : tensor of shape (n_samples, n_classes), dtype float64
        Log-probabilities.

    Returns
    -------
    A : tensor of shape (n_samples, n_classes), dtype float64
        Rows sum to 0.
    """
    A = log_P.exp()
    predicted = A.max(1, keepdim=True).indices  # faster than argmax
    # Minus the sum of the others: p_y - 1 cancels in rows the model is sure of.
    A.scatter_(1, predicted, 0.0)
    return A.scatter_(1, predicted, -A.sum(1, keepdim=True))


def with_constant(H, dtype=None, constant=1.0):
    """Append a column of ones to features, and cast them: the input of a layer with a bias.

    Zeros (``constant=0.0``) stand for a layer without one.
    """
    augmented = H.new_full((len(H), H.shape[1] + 1), constant, dtype=dtype or H.dtype)
    augmented[:, :-1] = H
    return augmented


def apply_layer(H, W):
    """Return what a layer with the weights `W` makes of features.

    Parameters
    ----------
    H : tensor of shape (n, d)
        Features, of any float dtype.

    W : tensor of shape (K, d + 1)
        Weights, the bias last.

    Returns
    -------
    Z : tensor of shape (n, K), dtype of `W`
        Computed in that dtype, in chunks of rows.
    """
    Z = W.new_empty((len(H), len(W)))
    for a in range(0, len(H), _CHUNK):
        torch.addmm(W[:, -1], H[a : a + _CHUNK].to(W.dtype), W[:, :-1].T, out=Z[a : a + _CHUNK])
    return Z


def layer_gradient(R, H, constant=1.0):
    """Return the sum over rows of the gradient in the weights of a layer with a bias.

    Parameters
    ----------
    R : tensor of shape (n, K)
        Gradients in the logits.

    H : tensor of shape (n, d)
        Features, of any float dtype.

    constant : float, default=1.0
        The input of the bias; 0 where the layer has none.

    Returns
    -------
    G : tensor of shape (K, d + 1), dtype of `R`
        The bias last; computed in that dtype, in chunks of rows.
    """
    G = R.new_zeros((R.shape[1], H.shape[1] + 1))
    for a in range(0, len(H), _CHUNK):
        G[:, :-1] += R[a : a + _CHUNK].T @ H[a : a + _CHUNK].to(R.dtype)
    G[:, -1] = constant * R.sum(0)
    return G
