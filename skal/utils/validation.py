"""Checks of what users pass in, with errors that say what to do."""

import numbers

import numpy as np
from sklearn.utils.validation import validate_data

from skal.utils._tables import (
    concat_rows,
    is_documents,
    is_frame,
    is_mapping,
    is_pandas,
    is_polars,
    is_tensor,
    n_rows,
    take_rows,
)

__all__ = ["check_n_instances", "is_labeled"]


def is_labeled(y):
    """Tell which rows of a partly labelled target have a label.

    NaN in a float target and None or NaN in an object target (pandas' and polars' missing values
    too) mark an unlabelled row. Integers, booleans and strings are always labels; -1 is a label.
    Of several outputs, one missing value makes the row unlabelled.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The target.

    Returns
    -------
    mask : ndarray of shape (n_samples,), dtype bool
        True where the row has a label.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.utils import is_labeled
    >>> is_labeled([1.0, np.nan, -1.0])
    array([ True, False,  True])
    >>> is_labeled(["spam", None, "ham"])
    array([ True, False,  True])
    """
    values = target_values(y)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.frompyfunc(_is_missing, 1, 1)(values).astype(bool)
    else:
        return np.ones(len(values), dtype=bool)
    if missing.ndim > 1:
        missing = missing.any(axis=tuple(range(1, missing.ndim)))
    return ~missing


def _is_missing(value):
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and value != value


def target_values(y):
    """Return `y` as an array whose missing labels are NaN or None.

    Raises
    ------
    ValueError
        If `y` is None or has no rows to iterate over.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None.")
    if is_pandas(y):
        if y.ndim == 1 and y.dtype.kind not in "fiub":
            return np.asarray(y, dtype=object)
        return y.to_numpy()
    if is_polars(y):
        return y.to_numpy()
    if hasattr(y, "detach"):
        return y.detach().cpu().numpy()
    if isinstance(y, (list, tuple)) and any(_is_missing(value) for value in y):
        if any(isinstance(value, str) or value is None for value in y):
            return np.array(y, dtype=object)
    values = np.asarray(y)
    if values.ndim == 0:
        raise ValueError(f"y must have one value per row. Got the scalar {y!r} instead.")
    return values


def as_target(y):
    """Return `y` as it is if it is an array, tensor, Series or frame; anything else as an array."""
    if is_pandas(y) or is_polars(y) or is_tensor(y) or isinstance(y, np.ndarray):
        return y
    return target_values(y)


def labeled_target(y, mask):
    """Return the labels of the rows in `mask`, with the dtype they would have on their own.

    An object array that held None beside numbers becomes a numeric array: scikit-learn does not
    accept numbers in object arrays as a target.
    """
    labels = take_rows(y, mask)
    if is_polars(labels) or hasattr(labels, "detach"):
        return labels
    if is_pandas(labels):
        if labels.ndim == 1 and not isinstance(labels.dtype, np.dtype):
            numeric = labels.dtype.kind in "iufb"
            return labels.astype(labels.dtype.numpy_dtype) if numeric and not mask.all() else labels
        return labels.infer_objects()
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "O":
        if not any(isinstance(value, str) for value in labels.ravel()):
            return np.array(labels.tolist())
    return labels


def check_n_instances(n_instances, n_pool, pool_name="X_pool"):
    """Return `n_instances` as an int if that many rows can be asked for.

    Parameters
    ----------
    n_instances : int
        How many rows are asked for.

    n_pool : int
        How many there are.

    pool_name : str, default="X_pool"
        What the error calls the pool.

    Raises
    ------
    TypeError
        If `n_instances` is not an integer.
    ValueError
        If it is less than 1 or more than `n_pool`, or the pool is empty.
    """
    if n_pool == 0:
        raise ValueError(
            f"{pool_name} has no rows (0 sample(s)) while a minimum of 1 is required: there is "
            "nothing to query."
        )
    message = (
        f"n_instances must be an int in [1, {n_pool}], the number of rows of {pool_name}. "
        f"Got {n_instances!r} instead."
    )
    if not isinstance(n_instances, numbers.Integral) or isinstance(n_instances, bool):
        raise TypeError(message)
    if not 1 <= n_instances <= n_pool:
        raise ValueError(message)
    return int(n_instances)


def check_same_length(X, y, name="y"):
    """Raise ValueError unless `X` and `y` have equally many rows."""
    if n_rows(X) != n_rows(y):
        raise ValueError(
            f"X and {name} must have the same number of rows: found input variables with "
            f"inconsistent numbers of samples: [{n_rows(X)}, {n_rows(y)}]."
        )


def validate_rows(estimator, X, *, reset):
    """Check the rows of `X` without converting what only the user's own pipeline understands.

    Frames, sparse matrices, arrays of any number of dimensions, lists of documents, dicts of arrays
    and torch tensors pass as they are; other sequences become arrays, other sparse formats CSR.
    Whether values are finite or numeric is the business of the estimator that computes with them.

    Parameters
    ----------
    estimator : estimator
        Gets (``reset=True``) or is asked for (``reset=False``) `n_features_in_` and
        `feature_names_in_`.

    X : array-like of shape (n_samples, ...)
        The rows.

    reset : bool
        True in ``fit``, False afterwards.

    Returns
    -------
    X : the same container, or ndarray
        The rows.
    """
    if is_mapping(X) or is_tensor(X) or is_documents(X):
        if n_rows(X) == 0:
            raise ValueError("Found data with 0 sample(s) while a minimum of 1 is required.")
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        return X
    if is_frame(X):
        if n_rows(X) == 0:
            raise ValueError(
                f"Found a frame with 0 sample(s) (shape={X.shape}) while a minimum of 1 is "
                f"required by {type(estimator).__name__}."
            )
        validate_data(estimator, X=X, skip_check_array=True, reset=reset)
        return X
    return validate_data(
        estimator,
        X=X,
        dtype=None,
        ensure_all_finite=False,
        accept_sparse=["csr", "csc"],
        allow_nd=True,
        reset=reset,
    )


def append_target(labels, new):
    """Return `labels` followed by `new`, in the container and of the width of `labels`.

    Raises
    ------
    ValueError
        If `new` has another number of outputs.
    """
    top, bottom = np.asarray(labels), np.asarray(new)
    if top.shape[1:] != bottom.shape[1:]:
        raise ValueError(
            f"New labels must have the shape of those before them, (n_samples, {top.shape[1:]}). "
            f"Got {bottom.shape} instead."
        )
    if is_pandas(labels):
        import pandas as pd

        if is_pandas(new):
            bottom = new
        elif labels.ndim == 1:
            bottom = pd.Series(bottom, name=labels.name)
        else:
            bottom = pd.DataFrame(bottom, columns=labels.columns)
        return concat_rows(labels, bottom)
    if is_polars(labels):
        import polars as pl

        if len(labels.shape) == 1:
            new = new.rename(labels.name) if is_polars(new) else pl.Series(labels.name, bottom)
            return pl.concat([labels, new])
        return concat_rows(labels, new if is_polars(new) else pl.DataFrame(bottom, labels.columns))
    if is_tensor(labels):
        import torch

        return torch.cat([labels, torch.as_tensor(bottom, dtype=labels.dtype)])
    if top.dtype.kind in "USO" or bottom.dtype.kind in "USO":
        if (top.dtype.kind in "US") != (bottom.dtype.kind in "US") and "O" not in (
            top.dtype.kind,
            bottom.dtype.kind,
        ):
            raise ValueError(
                f"New labels must be of the kind of those before them ({top.dtype}). "
                f"Got {bottom.dtype} instead."
            )
    return np.concatenate([top, bottom])


def missing_target(labels, n_missing):
    """Return `labels` followed by `n_missing` missing labels, marked as their dtype allows."""
    if labels.dtype.kind in "biuf":
        labels, mark = labels.astype(np.float64), np.nan
    else:
        labels, mark = labels.astype(object), None
    return np.concatenate([labels, np.full((n_missing, *labels.shape[1:]), mark, labels.dtype)])


def with_unlabeled(X, y, X_unlabeled):
    """Append rows whose label is missing, for estimators that learn from those too."""
    return concat_rows(X, X_unlabeled), missing_target(target_values(y), n_rows(X_unlabeled))
