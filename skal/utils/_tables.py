"""Rows of whatever holds the data: how many, which ones, and one table after another.

Arrays of any number of dimensions, sparse matrices, pandas, polars, lists, skorch's ``SliceDict``
and torch tensors keep their kind. A frame is recognised through the modules already imported, so
that neither pandas nor polars is imported for its own sake.
"""

import sys

import numpy as np
from scipy import sparse

from skal.utils._compat import _safe_indexing


def _is_instance_of(X, module, *names):
    """Whether `X` is one of the named classes of a module that is already imported."""
    module = sys.modules.get(module)
    return module is not None and isinstance(X, tuple(getattr(module, name) for name in names))


def is_pandas(X):
    """Whether `X` is a pandas DataFrame or Series."""
    return _is_instance_of(X, "pandas", "DataFrame", "Series")


def is_polars(X):
    """Whether `X` is a polars DataFrame or Series."""
    return _is_instance_of(X, "polars", "DataFrame", "Series")


def is_frame(X):
    """Whether `X` is a table with named columns."""
    return _is_instance_of(X, "pandas", "DataFrame") or _is_instance_of(X, "polars", "DataFrame")


def is_tensor(X):
    """Whether `X` is a torch tensor."""
    return _is_instance_of(X, "torch", "Tensor")


def is_mapping(X):
    """Whether `X` is a dict of arrays, such as skorch's ``SliceDict``."""
    # A sparse matrix by keys is a dict, but no dict of arrays.
    return isinstance(X, dict) and not sparse.issparse(X)


def is_documents(X):
    """Whether `X` is a one-dimensional collection of texts or records for a vectoriser.

    Its rows are strings (``TfidfVectorizer``) or dicts (``DictVectorizer``).
    """
    if is_frame(X) or is_mapping(X) or sparse.issparse(X) or is_tensor(X):
        return False
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__"):
        return False
    return len(X) > 0 and all(isinstance(row, (str, bytes, dict)) for row in X)


def n_rows(X):
    """Return the number of rows of `X`.

    Raises
    ------
    TypeError
        If `X` has no rows to count.
    """
    if is_mapping(X) and not hasattr(X, "shape"):
        lengths = {len(value) for value in X.values()}
        if len(lengths) == 1:
            return lengths.pop()
        raise ValueError(
            "A dict of arrays must hold at least one array, all of the same length. "
            f"Got lengths {sorted(lengths)} instead."
        )
    shape = getattr(X, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise TypeError("Expected data with rows. Got a scalar instead.")
        return int(shape[0])
    if hasattr(X, "__len__"):
        return len(X)
    raise TypeError(f"Expected data with rows. Got {type(X).__name__} instead.")


def take_rows(X, indices):
    """Return the rows of `X` at the positions `indices` (int array or bool mask), same kind.

    Labels of a pandas index are ignored: positions alone count.
    """
    indices = np.asarray(indices)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    if is_mapping(X):
        taken = {key: take_rows(value, indices) for key, value in X.items()}
        return type(X)(**taken)
    if is_tensor(X):
        return X[indices]
    return _safe_indexing(X, indices.astype(np.intp, copy=False))


def one_row(X, position):
    """Return a row of `X` as one thing: a 1-D array, a Series, a dict or a text.

    A row of a sparse matrix stays a sparse matrix of one row.
    """
    if is_mapping(X):
        return {name: value[position] for name, value in X.items()}
    if hasattr(X, "iloc"):
        return X.iloc[position]
    row = take_rows(X, [position])
    if hasattr(row, "row"):  # polars
        return row.row(0, named=True)
    return row if hasattr(row, "toarray") else row[0]


def concat_rows(top, bottom):
    """Return the rows of `top` followed by those of `bottom`, of the kind of `top`.

    Raises
    ------
    TypeError
        If the two are of different kinds.
    """
    _check_same_kind(top, bottom)
    if is_mapping(top):
        joined = {key: concat_rows(value, bottom[key]) for key, value in top.items()}
        return type(top)(**joined)
    if is_pandas(top):
        return _concat_pandas(top, bottom)
    if is_polars(top):
        import polars

        return polars.concat([top, bottom], how="vertical_relaxed")
    if sparse.issparse(top):
        return sparse.vstack([top, bottom], format=top.format)
    if is_tensor(top):
        import torch

        return torch.cat([top, bottom.to(top.device)])
    if isinstance(top, (list, tuple)):
        return type(top)([*top, *bottom])
    return np.concatenate([top, bottom])


def _check_same_kind(top, bottom):
    kinds = [_kind(X) for X in (top, bottom)]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"New rows must come in the same kind of container as the rows before them, "
            f"{kinds[0]}. Got {kinds[1]} instead. Convert one of the two."
        )
    if is_mapping(top) and top.keys() != bottom.keys():
        raise ValueError(
            f"New rows must have the keys {sorted(top)}. Got {sorted(bottom)} instead."
        )


def _kind(X):
    if is_mapping(X):
        return "dict of arrays"
    if is_pandas(X) or is_polars(X):
        return f"{type(X).__module__.split('.')[0]} {type(X).__name__}"
    if sparse.issparse(X):
        return "sparse matrix"
    if is_tensor(X):
        return "torch Tensor"
    if isinstance(X, (list, tuple)):
        return "list"
    return "array"


def _concat_pandas(top, bottom):
    import pandas as pd

    if isinstance(top, pd.Series):
        # Two batches may know different categories; their union keeps the dtype categorical.
        bottom = bottom.rename(top.name)
        frame = _concat_pandas(top.to_frame(name=0), bottom.to_frame(name=0))
        return frame[0].rename(top.name)
    bottom = bottom[top.columns]
    for position, dtype in enumerate(top.dtypes):
        other = bottom.dtypes.iloc[position]
        if isinstance(dtype, pd.CategoricalDtype) and isinstance(other, pd.CategoricalDtype):
            if dtype != other:
                name = top.columns[position]
                union = pd.api.types.union_categoricals([top[name], bottom[name]]).dtype
                top, bottom = top.astype({name: union}), bottom.astype({name: union})
    return pd.concat([top, bottom], axis=0)
