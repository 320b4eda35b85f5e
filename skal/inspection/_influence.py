"""Which labelled rows help a model on a test set, and which harm it."""

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skal.utils._rows import full_precision
from skal.utils.validation import check_same_length
from skal.views import ModelView
from skal.views._influence import LastLayerInfluence, penalty, residuals_of
from skal.views._last_layer import with_constant


def influence(
    estimator,
    X_labeled,
    y_labeled,
    X_test,
    y_test,
    *,
    damping=0.01,
    weight_decay=None,
    device=None,
):
    r"""Estimate how the loss on test rows would change without each labelled row.

    Influence functions, in the last layer of a classifier: what a training without the row would
    give, to first order and without training. Rows that harm are often mislabelled.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier: a torch net with a linear output layer, or multinomial
        ``LogisticRegression``, however wrapped.

    X_labeled : array-like of shape (n_labeled, n_features)
        The rows it was trained on.

    y_labeled : array-like of shape (n_labeled,)
        Their labels.

    X_test : array-like of shape (n_test, n_features)
        Rows to measure the loss on. They must not be among `X_labeled`, and their labels should be
        right: influence takes their side.

    y_test : array-like of shape (n_test,)
        Their labels.

    damping : float, default=0.01
        Added to the diagonal of the curvature, against directions that the labelled rows say
        nothing about. 0 is the plain formula.

    weight_decay : float or None, default=None
        The penalty of the training, added to the diagonal, too. None takes that of the net's
        optimiser, or 1e-4 where it has none, and 1 / (C m) for ``LogisticRegression``, without the
        bias.

    device : str or None, default=None
        Where to compute. None is the device of the net.

    Returns
    -------
    change : ndarray of shape (n_labeled,), dtype float64
        By how much the mean cross-entropy of the test rows (natural logarithms) would rise without
        each labelled row. Above 0 the row helps; below 0 it harms, the most negative most.

    Raises
    ------
    TypeError
        If the estimator has no linear last layer.
    ValueError
        If it is a regressor, rows and labels do not match, or a label is none of its classes.

    See Also
    --------
    skal.strategies.RALIF : Influence of labels that are not known yet.

    Notes
    -----
    With the input h of the last layer followed by a 1, class probabilities p, the gradient
    :math:`g_i = (p_i - e_{y_i}) \otimes h_i`, the mean gradient v over the test rows, and the
    Hessian A of the mean training loss plus `weight_decay` and `damping`,

    .. math:: \text{change}_i = \tfrac{1}{m} \, v^\top A^{-1} g_i.

    It assumes a last layer at the minimum of its training loss, and holds earlier layers fixed. For
    logistic regression with ``damping=0`` it misses the effect of leaving a row out by a factor of
    about one plus the leverage of the row.

    Cost: a pass of the model over all rows, one linear system by conjugate gradients in float64,
    O(n_labeled K d) for each step, and one product.

    References
    ----------
    P. W. Koh and P. Liang (2017). Understanding black-box predictions via influence functions.
    ICML, arXiv:1703.04730, equation (2).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.inspection import influence
    >>> X, y = load_iris(return_X_y=True)
    >>> train, test = np.arange(0, 150, 2), np.arange(1, 150, 2)
    >>> wrong = y[train].copy()
    >>> wrong[10] = 2                                       # a setosa called virginica
    >>> model = LogisticRegression(max_iter=500).fit(X[train], wrong)
    >>> int(influence(model, X[train], wrong, X[test], y[test]).argmin())
    10
    """
    check_is_fitted(estimator)
    for X, y, name in ((X_labeled, y_labeled, "y_labeled"), (X_test, y_test, "y_test")):
        check_same_length(X, y, name)
    if not damping >= 0 or (weight_decay is not None and not weight_decay >= 0):
        raise ValueError(
            "damping and weight_decay of influence must not be negative. Got "
            f"{damping!r} and {weight_decay!r} instead."
        )
    _check_classifier(estimator)
    view = ModelView(estimator, device=device, needed_by="influence")
    with full_precision():
        H, R, P = _gradients(view, X_labeled, y_labeled)
        H_test, R_test, _ = _gradients(view, X_test, y_test)
        decay = penalty(weight_decay, estimator, len(H), P.shape[1])
        last = LastLayerInfluence(H, P, decay, float(damping), "influence")
        S = last.solve(R_test.T @ H_test / len(H_test))
        change = (R * (H @ S.T)).sum(1) / len(H)
    return np.asarray(change.cpu(), dtype=np.float64)


def _gradients(view, X, y):
    """Inputs of the last layer (n, d + 1), residuals p - e_y (n, K) and p (n, K), float64."""
    H, log_P = view.last_layer(X, exact=True)
    P = log_P.exp()
    R = residuals_of(y, P, view.estimator.classes_, "influence")
    return with_constant(H, log_P.dtype, float(view.has_bias)), R, P


def _check_classifier(estimator):
    if get_tags(estimator).estimator_type == "regressor":
        raise ValueError(
            f"influence serves classification. Got {type(estimator).__name__}, which is a "
            "regressor, instead."
        )
