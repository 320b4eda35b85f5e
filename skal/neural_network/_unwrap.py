"""Through pipelines, searches and other wrappers to the fitted predictor at the end."""

from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet


class NetWrapper:
    """Mark of a meta-estimator of this package that predicts with the net in `estimator_`."""


def find_net(estimator, *, needed_by=None):
    """Find the fitted torch net at the end of an estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted net of :mod:`skal.neural_network` or of skorch, alone or inside ``Pipeline``,
        ``TransformedTargetRegressor``, searches such as ``GridSearchCV``, threshold classifiers,
        :class:`PseudoLabelFineTuner`, ``FrozenEstimator``, :class:`~skal.ActiveLearner`, nested at
        will.

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
    >>> from skal.neural_network import NeuralNetClassifier, find_net
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(max_epochs=2, random_state=0)
    >>> transformers, net = find_net(make_pipeline(StandardScaler(), net).fit(X, y))
    >>> type(net).__name__, len(transformers)
    ('NeuralNetClassifier', 1)
    """
    needs = f"{needed_by} needs a fitted torch net" if needed_by else "Needed a fitted torch net"
    transformers, predictor = _walk(estimator)
    whole = "" if predictor is estimator else f" at the end of {describe(estimator)}"
    if hasattr(predictor, "fit") and not _is_fitted(predictor):
        raise NotFittedError(
            f"{needs} but {type(predictor).__name__}{whole} is not fitted yet. Call fit first."
        )
    if not isinstance(predictor, NeuralNet):
        raise TypeError(
            f"{needs} but found {_name(predictor)}{whole}. Use a net from skal.neural_network, or "
            "a strategy that needs only predictions."
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
    >>> from skal.neural_network import has_net
    >>> has_net(Ridge())
    False
    """
    predictor = _walk(estimator)[1]
    return isinstance(predictor, NeuralNet) and _is_fitted(predictor)


def unwrap(estimator):
    """Return the predictor at the end of a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        Any fitted estimator; see :func:`find_net` for the wrappers that are seen through.

    Returns
    -------
    predictor : estimator
        The fitted predictor itself, not a copy.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import unwrap
    >>> unwrap(make_pipeline(StandardScaler(), Ridge()).fit([[0.0], [1.0]], [0.0, 1.0]))
    Ridge()
    """
    return _walk(estimator)[1]


def predictor_inputs(estimator, X):
    """Transform rows into what the predictor at the end of an estimator sees.

    Parameters
    ----------
    estimator : estimator
        Any fitted estimator; see :func:`find_net` for the wrappers that are seen through.

    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them.

    Returns
    -------
    X_inner : array, sparse matrix or frame of shape (n_samples, n_inputs)
        The rows after all preprocessing; X itself where there is none.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skal.neural_network import predictor_inputs
    >>> model = make_pipeline(MinMaxScaler(), Ridge()).fit([[0.0], [4.0]], [0.0, 1.0])
    >>> predictor_inputs(model, [[1.0]])
    array([[0.25]])
    """
    for transformer in _walk(estimator)[0]:
        X = transformer.transform(X)
    return X


def describe(estimator):
    """Name an estimator and what it is built of.

    Parameters
    ----------
    estimator : estimator
        Any estimator, fitted or not.

    Returns
    -------
    name : str
        Class names, nested as the estimators are.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import describe
    >>> describe(make_pipeline(StandardScaler(), Ridge()))
    'Pipeline(StandardScaler, Ridge)'
    """
    if isinstance(estimator, FrozenEstimator):
        return describe(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return f"Pipeline({', '.join(describe(step) for _, step in estimator.steps)})"
    inner = _inner(estimator)
    name = _name(estimator)
    return name if inner is None else f"{name}({describe(inner)})"


def _walk(estimator):
    """Return the transformers in front of the predictor of `estimator`, and the predictor."""
    transformers = []
    while True:
        if isinstance(estimator, Pipeline):
            if len(estimator.steps) > 1:
                transformers.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
            continue
        inner = _inner(estimator)
        if inner is None:
            return transformers, estimator
        estimator = inner


def _inner(estimator):
    """The fitted estimator that a wrapper predicts with, or None if it is no known wrapper."""
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if isinstance(estimator, TransformedTargetRegressor):
        return getattr(estimator, "regressor_", None)
    if isinstance(estimator, NetWrapper):
        return getattr(estimator, "estimator_", None)
    if isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return getattr(estimator, "estimator_", None)
    fitted = getattr(estimator, "__dict__", {})
    if "best_estimator_" in fitted:
        return fitted["best_estimator_"]
    # An active learner and the meta-estimator around one, which this package must not import.
    if "query_strategy_" in fitted:
        return fitted.get("estimator_")
    return fitted.get("learner_")


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def _name(estimator):
    return estimator if isinstance(estimator, str) else type(estimator).__name__
