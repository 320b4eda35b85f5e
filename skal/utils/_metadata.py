"""Arguments of `fit` beside X and y: cut and extended along with the rows, and passed on."""

from inspect import Parameter, signature

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from skal.utils._nesting import class_name
from skal.utils._tables import concat_rows, n_rows, take_rows


def take_params(params, mask):
    """Cut the per-row values among `params` to the rows in `mask`."""
    weights = params.get("sample_weight")
    if weights is not None and np.shape(weights) != (len(mask),):
        raise ValueError(
            f"sample_weight must be of shape ({len(mask)},), a weight per row. "
            f"Got {np.shape(weights)} instead."
        )
    per_row = _per_row(params, len(mask))
    return {k: take_rows(v, mask) if k in per_row else v for k, v in params.items()}


def params_of_rows(params, rows, n_samples):
    """Return `params` with the per-row values at the positions `rows`, of `n_samples` in all."""
    per_row = _per_row(params, n_samples)
    return {k: take_rows(v, rows) if k in per_row else v for k, v in params.items()}


def append_params(old, new, n_old):
    """Append per-row metadata of new rows to that of the rows before them."""
    per_row = _per_row(old, n_old)
    missing = sorted(per_row - new.keys())
    unknown = sorted(new.keys() - old.keys())
    if missing or unknown:
        raise ValueError(
            "teach must be given the same per-row arguments as fit, for the new rows: "
            f"{sorted(per_row)}. Got {sorted(new)} instead."
        )
    return {
        k: concat_rows(np.asarray(v), np.asarray(new[k])) if k in per_row else new.get(k, v)
        for k, v in old.items()
    }


def _per_row(params, n_samples):
    """Names of the parameters that hold one value per row."""
    return {
        name
        for name, value in params.items()
        if hasattr(value, "__len__")
        and not isinstance(value, (str, bytes, dict))
        and n_rows(value) == n_samples
    }


def fit_arguments(estimator, params):
    """Name `sample_weight` as the `fit` of `estimator` takes it: the predictor at its end learns.

    Raises
    ------
    ValueError
        If the predictor takes no weights.
    """
    params = {name: value for name, value in params.items() if value is not None}
    if "sample_weight" not in params:
        return params
    prefix, inner = "", estimator
    while True:
        if isinstance(inner, Pipeline):
            name, inner = inner.steps[-1]
            prefix += f"{name}__"
        elif isinstance(inner, TransformedTargetRegressor) and inner.regressor is not None:
            inner = inner.regressor
        elif hasattr(inner, "best_estimator_") or _searches(inner):
            inner = inner.estimator
        else:
            break
    _check_takes_weights(inner, "fit")
    return {f"{prefix}{name}": value for name, value in params.items()}


def score_arguments(estimator, params):
    """Return the arguments of `score`, without those that are None."""
    params = {name: value for name, value in params.items() if value is not None}
    if "sample_weight" in params:
        _check_takes_weights(estimator, "score")
    return params


def _searches(estimator):
    return hasattr(estimator, "estimator") and hasattr(estimator, "refit")


def _check_takes_weights(estimator, method):
    parameters = signature(getattr(estimator, method)).parameters
    rest = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    if "sample_weight" not in parameters and not rest:
        raise ValueError(
            f"{class_name(estimator)}.{method} takes no sample_weight. Leave it out, or use an "
            "estimator that does."
        )
