"""The features whose linear combination a regressor predicts."""

from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    LassoCV,
    LinearRegression,
    Ridge,
    RidgeCV,
)

from skal.neural_network import NetView, describe, has_net, unwrap

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


def is_linear_regressor(estimator):
    """Whether an estimator ends in a linear regression, which is its own last layer."""
    return isinstance(unwrap(estimator), _LINEAR)


def regression_features(strategy, X):
    """Return the inputs of the last layer of a regressor.

    Parameters
    ----------
    strategy : QueryStrategy
        Fitted; its estimator ends in a torch net or in a linear regression.

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
    estimator = strategy.estimator_
    if has_net(estimator):
        owner = type(strategy).__name__
        return NetView(estimator, device=strategy.device, needed_by=owner).features(X)
    if is_linear_regressor(estimator):
        return strategy._inputs(X).dense()
    raise TypeError(
        f"{type(strategy).__name__} needs a regressor with a linear last layer, a fitted torch net "
        f"or a linear regression such as Ridge, but found {type(unwrap(estimator)).__name__} in "
        f"{describe(estimator)}. Use a net from skal.neural_network, or CoreSet, TypiClust or "
        "QueryByCommittee."
    )
