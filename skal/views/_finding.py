"""Whether there is a torch net at the end of an estimator, and which."""

from sklearn.exceptions import NotFittedError
from skorch import NeuralNet

from skal.utils._nesting import class_name, describe, is_fitted, take_apart


def find_net(estimator, *, needed_by=None):
    """Find the fitted torch net at the end of an estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted net of :mod:`skal.neural_network` or of skorch, alone or inside ``Pipeline``,
        ``TransformedTargetRegressor``, searches such as ``GridSearchCV``, threshold classifiers,
        :class:`~skal.neural_network.PseudoLabelFineTuner`, ``FrozenEstimator``,
        :class:`~skal.ActiveLearner`, nested at will.

    needed_by : str, default=None
        Who needs the net, for the error.

    Returns
    -------
    transformers : list of transformers
        The fitted preprocessing in front of the net, to apply in this order.

    net : skorch.NeuralNet
        The fitted net itself, not a copy.

    Raises
    ------
    TypeError
        If another predictor is found.
    NotFittedError
        If the net is not fitted yet.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.views import find_net
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(max_epochs=2, random_state=0)
    >>> transformers, net = find_net(make_pipeline(StandardScaler(), net).fit(X, y))
    >>> type(net).__name__, len(transformers)
    ('NeuralNetClassifier', 1)
    """
    needs = f"{needed_by} needs a fitted torch net" if needed_by else "Needed a fitted torch net"
    transformers, predictor = take_apart(estimator)
    whole = "" if predictor is estimator else f" at the end of {describe(estimator)}"
    if hasattr(predictor, "fit") and not is_fitted(predictor):
        raise NotFittedError(
            f"{needs} but {type(predictor).__name__}{whole} is not fitted yet. Call fit first."
        )
    if _is_gaussian_process(predictor):
        raise TypeError(
            f"{needs} with outputs and features, but found {class_name(predictor)}{whole}, a "
            "Gaussian process, whose outputs are distributions. Use CoreSet or TypiClust on its "
            "inputs, or a net from skal.neural_network."
        )
    if not isinstance(predictor, NeuralNet):
        raise TypeError(
            f"{needs} but found {class_name(predictor)}{whole}. Use a net from "
            "skal.neural_network, or a strategy that needs only predictions."
        )
    return transformers, predictor


def has_net(estimator):
    """Tell whether there is a fitted torch net at the end of an estimator.

    Parameters
    ----------
    estimator : estimator or None
        Any estimator, wrapped or not.

    Returns
    -------
    answer : bool
        Whether :func:`find_net` would find one.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skal.views import has_net
    >>> has_net(Ridge())
    False
    """
    predictor = take_apart(estimator)[1]
    return (
        isinstance(predictor, NeuralNet)
        and not _is_gaussian_process(predictor)
        and is_fitted(predictor)
    )


def _is_gaussian_process(predictor):
    """Whether this is one of skorch's; by name, as their module needs gpytorch."""
    names = ("GPBase", "ExactGPRegressor", "GPRegressor", "GPBinaryClassifier")
    return any(base.__name__ in names for base in type(predictor).__mro__)
