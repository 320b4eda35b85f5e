"""Rows as nets take them: an array, or a dict of arrays for modules with several inputs."""

import numbers
from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array

from skal.utils._tables import n_rows


def as_numpy(values):
    """Return a tensor as an array, anything else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def shape_of(values):
    """Return the shape of an array, tensor, frame or list; () where nothing has been said of it."""
    if isinstance(values, (list, tuple)):
        try:
            return np.shape(values)
        except ValueError:  # ragged: whoever needs an array says so
            return (len(values),)
    return tuple(getattr(values, "shape", ()))


def row_shape(X):
    """Return the shape of a row, or a dict of them."""
    if isinstance(X, Mapping):
        return {name: part.shape[1:] for name, part in X.items()}
    return X.shape[1:]


def n_values(shape):
    """Return how many values a row of this shape (or dict of shapes) holds."""
    return sum(map(prod, shape.values())) if isinstance(shape, Mapping) else prod(shape)


def parts_of_rows(X):
    """Return the arrays that rows are made of."""
    return list(X.values()) if isinstance(X, Mapping) else [X]


def validate_parts(X, dtype, owner):
    """Return a dict of arrays as a module with several inputs is called with it.

    Parameters
    ----------
    X : dict of str to array-like of shape (n_samples, ...)
        What the arguments of the module's ``forward`` are.

    dtype : dtype
        Of the parts that hold floats. Integers (positions in a table of embeddings) become int64;
        truth values (masks) stay.

    owner : str
        Who is given them, for errors.

    Returns
    -------
    parts : dict of str to ndarray or CSR matrix
        All of one length.

    Raises
    ------
    TypeError
        If a name is no text.
    ValueError
        If there is none, they differ in length, or one holds anything but finite numbers.
    """
    unnamed = [name for name in X if not isinstance(name, str)]
    if unnamed:
        raise TypeError(
            f"{owner} calls its module with a dict of inputs by the names of the arguments of its "
            f"forward, which must be str. Got {unnamed[0]!r} instead."
        )
    parts = {name: _part(values, f"X[{name!r}]", dtype, owner) for name, values in X.items()}
    if n_rows(parts) == 0:
        raise ValueError(
            f"Found array with 0 sample(s) while a minimum of 1 is required by {owner}."
        )
    return parts


def _part(values, name, dtype, owner):
    values = as_numpy(values)
    if not sparse.issparse(values):
        values = np.asarray(values)
    kind = values.dtype.kind
    if kind == "b":
        return values
    if kind in "iu":
        return values.tocsr() if sparse.issparse(values) else values.astype(np.int64, copy=False)
    if kind not in "fO" or values.ndim == 0:
        raise ValueError(
            f"{name} of {owner} must be an array of numbers with a row per sample. Got dtype "
            f"{values.dtype} and shape {values.shape} instead."
        )
    return check_array(
        values, accept_sparse="csr", dtype=dtype, ensure_2d=False, allow_nd=True, input_name=name
    )


def check_row_shape(X, expected, owner):
    """Raise ValueError unless rows are as in the first fit (None: of any shape)."""
    found = row_shape(X)
    if expected is None or found == expected:
        return
    if isinstance(found, Mapping) != isinstance(expected, Mapping):
        kinds = ("an array", "a dict of arrays")
        wanted, got = kinds[isinstance(expected, Mapping)], kinds[isinstance(found, Mapping)]
        raise ValueError(f"{owner} was fitted on {wanted}. Got {got} instead.")
    raise ValueError(
        f"X has rows of shape {found}, but {owner} is expecting rows of shape {expected} as input."
    )


def check_sample_weight(sample_weight, n):
    """Return the weights as float64 (n,), or None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Number):
        sample_weight = np.full(n, sample_weight, dtype=np.float64)
    weight = check_array(
        as_numpy(sample_weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar. Got {weight.ndim}D array instead."
        )
    if len(weight) != n:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n,)}: one weight per row of X."
        )
    if (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`. Use weights >= 0.")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight
