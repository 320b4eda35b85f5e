"""Rows of whatever holds the data: how many, which ones, and one table after another.

Arrays of any number of dimensions, sparse matrices, pandas, polars, lists, skorch's ``SliceDict``
and torch tensors keep their kind. A frame is recognised through the modules already imported, so
that neither pandas nor polars is imported for its own sake.

What has only ``__len__`` and ``__getitem__`` is never handed to NumPy, which reads on until an
IndexError that may not come; what lies on disk or elsewhere is not read without being asked.
"""

import numbers
import sys
from collections.abc import Sequence

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


def is_collection(X):
    """Whether `X` is a one-dimensional collection of objects, each of them a row.

    Texts with or without gaps, records, paths, lists of tokens, signals or images of unequal
    length, objects of one's own. Lists of equally many numbers are a table; lists of texts stay as
    they are, since they may be a table or tokens: the estimator knows.
    """
    if is_frame(X) or is_mapping(X) or sparse.issparse(X) or is_tensor(X):
        return False
    if is_pandas(X):
        return X.dtype.kind not in "biufc" and _any_object(X)
    if is_polars(X):
        return not (X.dtype.is_numeric() or X.dtype.is_(_polars_type("Boolean")))
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and (X.dtype.kind in "US" or (X.dtype.kind == "O" and _any_object(X)))
    return isinstance(X, (list, tuple)) and len(X) > 0 and _holds_objects(X)


def _polars_type(name):
    return getattr(sys.modules["polars"], name)


def _any_object(rows):
    """Whether there is a row that is no number: None and NaN are missing ones."""
    return not all(row is None or isinstance(row, numbers.Number) for row in rows)


def _holds_objects(rows):
    """Whether a list does not hold numbers, nor rows of equally many numbers."""
    kinds = {type(row) for row in rows}
    if any(issubclass(kind, (str, bytes, dict)) for kind in kinds):
        return True
    if not all(issubclass(kind, _READ_BY_NUMPY) or _is_array_like(kind) for kind in kinds):
        return True
    try:
        values = np.asarray(rows)
    except ValueError:
        return True  # of unequal lengths
    if values.dtype.kind in "US":
        return True
    if values.dtype.kind != "O":
        return False
    return (
        values.ndim == 1
        and _any_object(values)
        or any(isinstance(value, (str, bytes)) for value in values.ravel())
    )


_READ_BY_NUMPY = (numbers.Number, np.generic, np.ndarray, list, tuple, type(None))


def _is_array_like(X):
    """Whether NumPy is told how to read `X`, an object or a class."""
    return any(
        hasattr(X, name) for name in ("__array__", "__array_interface__", "__array_struct__")
    )


def as_container(X, name="X"):
    """Return `X` as a container whose rows can be taken, or say in one sentence how to get one.

    Raises
    ------
    TypeError
        If `X` would have to be read from elsewhere, or may have no end.
    """
    root = type(X).__module__.partition(".")[0]
    if _is_instance_of(X, "torch.utils.data", "TensorDataset"):
        return X.tensors[0]
    if _is_instance_of(X, "skorch.helper", "SliceDataset") or (
        isinstance(X, Sequence) and not isinstance(X, (str, bytes, list, tuple, range))
    ):
        return [X[position] for position in range(len(X))]
    remedy = _REMEDIES.get(root)
    if _is_instance_of(X, "polars", "LazyFrame"):
        remedy = "Pass X.collect()"
    elif _is_instance_of(X, "torch.utils.data", "Dataset", "DataLoader"):
        remedy = "Pass its rows, np.stack([dataset[i][0] for i in range(len(dataset))]) for pairs"
    elif remedy is None and not _is_known(X) and hasattr(X, "__getitem__"):
        remedy = "Pass an array, a frame or a list of its rows, [X[i] for i in range(len(X))]"
    if remedy is None or (root in _REMEDIES and not hasattr(X, "__getitem__")):
        return X
    raise TypeError(
        f"{name} must be held in memory: an array, a frame, a sparse matrix, a tensor or a list. "
        f"Got {type(X).__name__} ({type(X).__module__}) instead. {remedy.replace('X', name)}."
    )


# What these packages hold lies elsewhere.
_REMEDIES = {
    "dask": "Pass X.compute(), or sample it first",
    "dask_expr": "Pass X.compute(), or sample it first",
    "h5py": "Pass X[:], or some of its rows",
    "zarr": "Pass X[:], or some of its rows",
    "datasets": "Pass X.to_pandas(), or np.asarray of one of its columns",
    "tensorflow": "Pass np.stack(list(X.as_numpy_iterator()))",
    "pyspark": "Pass X.toPandas(), or sample it first",
}


def _is_known(X):
    known = (np.ndarray, list, tuple, str, bytes, dict, range)
    if isinstance(X, known) or is_pandas(X) or is_polars(X) or is_tensor(X) or sparse.issparse(X):
        return True
    return _is_array_like(X) or hasattr(X, "__array_namespace__")


def n_rows(X):
    """Return the number of rows of `X`.

    Raises
    ------
    TypeError
        If `X` has no rows to count.
    """
    if is_mapping(X) and not hasattr(X, "shape"):
        lengths = {n_rows(value) for value in X.values()}
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


def copy_rows(X):
    """Return `X` with memory of its own, so that a buffer used again changes nothing.

    Memory-mapped arrays stay where they are, and polars frames cannot be changed.
    """
    if is_mapping(X):
        return type(X)(**{key: copy_rows(value) for key, value in X.items()})
    if is_polars(X) or _is_memory_mapped(X):
        return X
    if is_tensor(X):
        return X.detach().clone()
    if isinstance(X, (list, tuple)):
        return [_copy_row(row) for row in X]
    if isinstance(X, np.ndarray) and X.dtype.kind == "O" and X.ndim == 1:
        return object_array([_copy_row(row) for row in X])
    return X.copy() if hasattr(X, "copy") else X


def _copy_row(row):
    if is_tensor(row):
        return row.detach().clone()
    return row.copy() if isinstance(row, (np.ndarray, list, dict)) else row


def _is_memory_mapped(X):
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def object_array(rows):
    """Return a one-dimensional array whose elements are the rows, whatever these are."""
    rows = list(rows)
    array = np.empty(len(rows), dtype=object)
    for position, row in enumerate(rows):
        array[position] = row
    return array


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

        if len(top.shape) == 1 and top.dtype != bottom.dtype:
            frames = [series.to_frame("") for series in (top, bottom)]
            return polars.concat(frames, how="vertical_relaxed")[""].rename(top.name)
        how = "vertical" if len(top.shape) == 1 else "vertical_relaxed"
        return polars.concat([top, bottom], how=how)
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
