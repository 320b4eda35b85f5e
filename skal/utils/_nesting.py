"""How estimators nest: the predictor inside wrappers, before and after they are fitted."""

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.utils.validation import check_is_fitted


class NetWrapper:
    """Mark of a meta-estimator of this package that predicts with the net in `estimator_`."""


def unwrap(estimator):
    """Return the predictor at the end of a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        Any fitted estimator; see :func:`~skal.views.find_net` for the wrappers that are seen
        through.

    Returns
    -------
    predictor : estimator
        The fitted predictor itself, not a copy.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.views import unwrap
    >>> unwrap(make_pipeline(StandardScaler(), Ridge()).fit([[0.0], [1.0]], [0.0, 1.0]))
    Ridge()
    """
    return take_apart(estimator)[1]


def predictor_inputs(estimator, X):
    """Transform rows into what the predictor at the end of an estimator sees.

    Parameters
    ----------
    estimator : estimator
        Any fitted estimator; see :func:`~skal.views.find_net` for the wrappers that are seen
        through.

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
    >>> from skal.views import predictor_inputs
    >>> model = make_pipeline(MinMaxScaler(), Ridge()).fit([[0.0], [4.0]], [0.0, 1.0])
    >>> predictor_inputs(model, [[1.0]])
    array([[0.25]])
    """
    return transform_rows(take_apart(estimator)[0], X)


def transform_rows(transformers, X):
    """Send rows through fitted transformers, one after the other."""
    for transformer in transformers:
        X = transformer.transform(X)
    return X


def predictor_targets(estimator, y):
    """Transform labels into what the predictor at the end of an estimator is trained on.

    Parameters
    ----------
    estimator : estimator or None
        Any fitted estimator; see :func:`~skal.views.find_net` for the wrappers that are seen
        through.

    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels as the estimator takes them.

    Returns
    -------
    y_inner : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The labels after the transformation of every ``TransformedTargetRegressor`` on the way.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from skal.utils._nesting import predictor_targets
    >>> y = np.array([1.0, 10.0, 100.0])
    >>> model = TransformedTargetRegressor(Ridge(), func=np.log10, inverse_func=np.exp)
    >>> predictor_targets(model.set_params(check_inverse=False).fit(y[:, None], y), y)
    array([0., 1., 2.])
    """
    while estimator is not None:
        if isinstance(estimator, TransformedTargetRegressor):
            table = y[:, None] if y.ndim == 1 else y
            table = estimator.transformer_.transform(table)
            y = table[:, 0] if y.ndim == 1 and table.shape[1] == 1 else table
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            estimator = _inner(estimator)
    return y


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
    >>> from skal.utils._nesting import describe
    >>> describe(make_pipeline(StandardScaler(), Ridge()))
    'Pipeline(StandardScaler, Ridge)'
    """
    if isinstance(estimator, FrozenEstimator):
        return describe(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return f"Pipeline({', '.join(describe(step) for _, step in estimator.steps)})"
    inner = _inner(estimator)
    name = class_name(estimator)
    return name if inner is None else f"{name}({describe(inner)})"


def take_apart(estimator):
    """Return the transformers in front of the predictor of `estimator`, and the predictor."""
    transformers = []
    while True:
        if isinstance(estimator, Pipeline):
            transformers += acting_steps(estimator.steps[:-1])
            estimator = estimator.steps[-1][1]
            continue
        inner = _inner(estimator)
        if inner is None:
            return transformers, estimator
        estimator = inner


def acting_steps(steps):
    """Return the transformers among the steps of a pipeline that rows to predict go through.

    One by one, not as a pipeline: that asks its last step whether it is fitted, which a transformer
    that learns nothing cannot answer. Steps that resample act on training rows alone.
    """
    acting = []
    for _, step in steps:
        if isinstance(step, Pipeline):
            acting += acting_steps(step.steps)
        elif not (step is None or isinstance(step, str) or hasattr(step, "fit_resample")):
            acting.append(step)
    return acting


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


def is_fitted(estimator):
    """Whether `estimator` has been fitted, as far as one can tell.

    By scikit-learn's rules, or because it has attributes that are no parameters: estimators of
    other habits keep what they learn in ``self.model``.
    """
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        last = final_step(estimator)
        if hasattr(last, "__sklearn_is_fitted__") or not hasattr(last, "get_params"):
            return False
        parameters = last.get_params(deep=False)
        return any(name not in parameters for name in vars(last) if not name.startswith("_"))
    return True


def class_name(estimator):
    return estimator if isinstance(estimator, str) else type(estimator).__name__


def final_step(estimator):
    """The predictor at the end of `estimator` when it is a (nested) Pipeline, else itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def inner_estimators(estimator):
    """Yield `estimator` and every estimator it is built around, outermost first.

    Follows the last step of a Pipeline and the parameters `estimator`, `regressor` and
    `base_estimator` of meta-estimators: the places where scikit-learn keeps the predictor.
    """
    seen = set()
    while estimator is not None and id(estimator) not in seen:
        seen.add(id(estimator))
        yield estimator
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
            continue
        for name in ("estimator", "regressor", "base_estimator"):
            inner = vars(estimator).get(name) if hasattr(estimator, "__dict__") else None
            if inner is not None and hasattr(inner, "fit"):
                estimator = inner
                break
        else:
            return


def marks_unlabeled(estimator):
    """Whether the last step of `estimator` takes -1 for a missing label: scikit-learn's habit."""
    known = (SelfTrainingClassifier, LabelPropagation, LabelSpreading)
    return isinstance(final_step(estimator), known)


def declared_classes(estimator, labels):
    """Return the classes that `estimator` is limited to by its parameters, and whose they are.

    None and None where there are none, or where they are not of the kind of `labels`.
    """
    labels = set(np.asarray(labels).ravel().tolist())
    for inner in inner_estimators(estimator):
        classes = getattr(inner, "classes", None)
        if classes is None or isinstance(classes, str) or not hasattr(inner, "get_params"):
            continue
        if labels <= set(np.asarray(classes).ravel().tolist()):
            return classes, f"{class_name(inner)}(classes=...)"
    return None, None


def check_warm_start(estimator):
    """Raise ValueError where ``warm_start=True`` could have no effect."""
    for inner in inner_estimators(estimator):
        if inner is final_step(estimator):
            break
        if not isinstance(inner, Pipeline):
            raise ValueError(_no_effect_inside(inner))
    last = final_step(estimator)
    if "warm_start" in last.get_params(deep=False):
        if _grows(last):
            raise ValueError(
                f"warm_start=True of {type(last).__name__} leaves the members it has as they are "
                "and adds none unless their number is raised: new labels would not be learnt. Use "
                "warm_start=False."
            )
        return
    wraps = sum(1 for _ in inner_estimators(last)) > 1
    raise ValueError(
        _no_effect_inside(last)
        if wraps
        else f"warm_start=True needs a predictor with a warm_start of its own. "
        f"{type(last).__name__} has none: use warm_start=False."
    )


def _grows(estimator):
    """Whether a warm start of `estimator` appends members and learns nothing with those it has."""
    parameters = estimator.get_params(deep=False)
    boosts_histograms = {"max_iter", "max_leaf_nodes", "learning_rate"} <= parameters.keys()
    return "n_estimators" in parameters or boosts_histograms


def _no_effect_inside(estimator):
    name = type(estimator).__name__
    inner = "regressor" if hasattr(estimator, "regressor") else "estimator"
    advice = (
        "Use standardize_y=True on the net instead."
        if inner == "regressor"
        else "Use warm_start=False."
    )
    return (
        f"warm_start=True has no effect inside {name}, which clones its {inner} at every fit. "
        f"{advice}"
    )


def enable_warm_start(estimator):
    """Let the predictor at the end of an unfitted `estimator` keep its weights between fits."""
    final_step(estimator).set_params(warm_start=True)
