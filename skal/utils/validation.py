"""Checks of what users pass in, with errors that say what to do."""

import numbers
import warnings

import numpy as np
from sklearn.utils.validation import validate_data

from skal.utils._tables import (
    as_container,
    is_collection,
    is_frame,
    is_mapping,
    is_pandas,
    is_polars,
    is_tensor,
    n_rows,
    take_rows,
)

__all__ = ["check_n_instances", "is_labeled"]

# What `validate_rows` keeps of the rows of `fit`.
COLUMN_ATTRIBUTES = ("n_features_in_", "feature_names_in_", "_column_labels")


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
    """Return `y` as an array whose missing labels are NaN or None: masked ones, too.

    Raises
    ------
    ValueError
        If `y` is None or has no rows to iterate over.
    TypeError
        If it would have to be read from elsewhere.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None.")
    y = as_container(y, "y")
    if np.ma.isMaskedArray(y):
        return unmasked(y)
    if is_pandas(y):
        if y.ndim == 1 and y.dtype.kind not in "fiub":
            return np.asarray(y, dtype=object)
        return y.to_numpy()
    if is_polars(y):
        return y.to_numpy()
    if is_tensor(y):
        y = y.detach().cpu()
        # NumPy has no bfloat16.
        return (y.float() if y.is_floating_point() and y.itemsize < 4 else y).numpy()
    if isinstance(y, (list, tuple)) and _mixes_text(y):
        return np.array(y, dtype=object)
    values = np.asarray(y)
    if values.ndim == 0:
        raise ValueError(f"y must have one value per row. Got the scalar {y!r} instead.")
    return values


def _mixes_text(y):
    """Whether NumPy would make text of numbers or missing labels in a list, perhaps of lists."""
    cells = [cell for row in y for cell in (row if isinstance(row, (list, tuple)) else [row])]
    text = [isinstance(cell, str) or cell is None for cell in cells]
    return any(text) and (not all(text) or any(cell is None for cell in cells))


def unmasked(values):
    """Return a masked array as one in which what was masked is missing: NaN, or None."""
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return np.asarray(values.data)
    if values.dtype.kind == "f":
        return values.filled(np.nan)
    objects = values.data.astype(object)
    objects[mask] = None
    return objects


def as_target(y):
    """Return `y` as it is if it is an array, tensor, Series or frame; anything else as an array.

    Warns
    -----
    UserWarning
        If labels spell out what a missing value looks like when NumPy makes text of it.
    """
    known = is_pandas(y) or is_polars(y) or is_tensor(y) or isinstance(y, np.ndarray)
    if not known or np.ma.isMaskedArray(y):
        y = target_values(y)
    _warn_of_spelt_gaps(y)
    return y


def _warn_of_spelt_gaps(y):
    if is_tensor(y) or getattr(getattr(y, "dtype", None), "kind", "O") in "biufcMm":
        return
    values = target_values(y)
    if values.dtype.kind not in "UO":
        return
    spelt = [text for text in _SPELT_GAPS if (values == text).any()]
    if spelt:
        warnings.warn(
            f"The text {spelt[0]!r} is a label like any other, and looks as if it stood "
            "for a missing one, of which NumPy makes text in an array of texts. Mark missing "
            "labels by None or NaN in an array of objects: np.array([...], dtype=object).",
            UserWarning,
            stacklevel=3,
        )


_SPELT_GAPS = ("nan", "None", "<NA>", "NaT")


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


def check_positions(rows, answered, where, *, name="rows"):
    """Return `rows` as an array of distinct positions that are not answered."""
    rows, given = np.asarray(rows), rows
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"'{name}' must be a 1-D array of int positions. Got {given!r} instead.")
    if len(np.unique(rows)) < len(rows) or not np.isin(rows, np.flatnonzero(~answered)).all():
        raise ValueError(
            f"'{name}' must be distinct positions of rows of {where}. Got {rows.tolist()[:10]} "
            "instead."
        )
    return rows


def check_same_length(X, y, name="y"):
    """Raise ValueError unless `X` and `y` have equally many rows.

    Warns
    -----
    UserWarning
        If both are of pandas and have the same index in another order: positions count.
    """
    if n_rows(X) != n_rows(y):
        raise ValueError(
            f"X and {name} must have the same number of rows: found input variables with "
            f"inconsistent numbers of samples: [{n_rows(X)}, {n_rows(y)}]."
        )
    if is_pandas(X) and is_pandas(y) and _in_other_order(X.index, y.index):
        warnings.warn(
            f"X and {name} have the same index in another order. Rows and labels are paired by "
            f"position, not by index: if that is not meant, pass {name}.loc[X.index].",
            UserWarning,
            stacklevel=3,
        )


def _in_other_order(index, other):
    if index.equals(other) or not (index.is_unique and other.is_unique):
        return False
    return index.isin(other).all()


def validate_rows(estimator, X, *, reset):
    """Check the rows of `X` without converting what only the user's own pipeline understands.

    Frames, sparse matrices, arrays of any number of dimensions, one-dimensional collections of
    objects (texts, paths, signals of unequal length), dicts of arrays and torch tensors pass as
    they are; other sequences become arrays, other sparse formats CSR. What is masked becomes
    missing. Whether values are finite or numeric is the business of the estimator that computes
    with them.

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
    X = as_container(X)
    if np.ma.isMaskedArray(X):
        X = unmasked(X)
    if reset:
        for name in COLUMN_ATTRIBUTES:
            vars(estimator).pop(name, None)
    if is_mapping(X) or is_tensor(X) or is_collection(X):
        if n_rows(X) == 0:
            raise ValueError("Found data with 0 sample(s) while a minimum of 1 is required.")
        return X
    if is_frame(X):
        if n_rows(X) == 0:
            raise ValueError(
                f"Found a frame with 0 sample(s) (shape={X.shape}) while a minimum of 1 is "
                f"required by {type(estimator).__name__}."
            )
        validate_data(estimator, X=X, skip_check_array=True, reset=reset)
        _check_unnamed_columns(estimator, X, reset=reset)
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


def _check_unnamed_columns(estimator, X, *, reset):
    """Refuse another order of columns whose names are no strings, which scikit-learn ignores."""
    columns = list(X.columns)
    if any(isinstance(column, str) for column in columns):
        return
    if reset:
        estimator._column_labels = columns
    elif vars(estimator).get("_column_labels", columns) != columns:
        raise ValueError(
            f"X must have the columns of fit in their order, {estimator._column_labels[:10]}. "
            f"Got {columns[:10]} instead. Pass X[{estimator._column_labels[:10]}]."
        )


def missing_target(labels, n_missing):
    """Return `labels` followed by `n_missing` missing labels, marked as their dtype allows."""
    if labels.dtype.kind in "biuf":
        labels, mark = labels.astype(np.float64), np.nan
    else:
        labels, mark = labels.astype(object), None
    return np.concatenate([labels, np.full((n_missing, *labels.shape[1:]), mark, labels.dtype)])
