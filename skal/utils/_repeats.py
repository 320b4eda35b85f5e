"""Which rows are the same: 64-bit keys of their contents, in any container."""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from scipy import sparse

from skal.utils._casting import cast_rows
from skal.utils._tables import (
    concat_rows,
    is_collection,
    is_mapping,
    is_pandas,
    is_polars,
    is_tensor,
    n_rows,
)

_EXPECTED = ContextVar("repeats_are_expected", default=False)


@contextmanager
def repeats_expected():
    """Keep quiet about rows taught twice, as where simulations know that they are other rows."""
    token = _EXPECTED.set(True)
    try:
        yield
    finally:
        _EXPECTED.reset(token)


def count_repeats(X, n_seen):
    """Count the rows of `X` from `n_seen` on that equal one before; 0 where that cannot be told."""
    keys = None if _EXPECTED.get() else row_keys(X)
    return 0 if keys is None else int(np.isin(keys[n_seen:], keys[:n_seen]).sum())


def same_rows(X, other):
    """Tell row by row whether two containers of as many rows agree; all do where none can be read.

    Raises
    ------
    ValueError or TypeError
        If they are not of the same kind, or have other columns.
    """
    keys = row_keys(concat_rows(*cast_rows(other, X)))
    n = n_rows(other)
    return np.ones(n, dtype=bool) if keys is None else keys[:n] == keys[n:]


def row_keys(X):
    """Return a 64-bit number for the contents of each row of `X`, or None if it cannot be read.

    Equal rows of one type have equal keys, and other rows others but for one in 10^19 pairs.
    Missing values are equal to each other.
    """
    try:
        return _keys(X)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _keys(X):
    if is_mapping(X):
        parts = [row_keys(value) for _, value in sorted(X.items())]
        return None if any(part is None for part in parts) else _mixed(np.column_stack(parts))
    if is_pandas(X):
        from pandas.util import hash_pandas_object

        return hash_pandas_object(X, index=False).to_numpy()
    if is_polars(X):
        return (X if len(X.shape) == 2 else X.to_frame()).hash_rows().to_numpy()
    if sparse.issparse(X):
        return _sparse_keys(X.tocsr())
    if is_tensor(X):
        X = X.detach().cpu().numpy()
    if is_collection(X) or getattr(getattr(X, "dtype", None), "kind", "") == "O":
        return np.array([hash(_hashable(row)) for row in X], dtype=np.int64)
    return _mixed(_bits(np.asarray(X)).reshape(n_rows(X), -1))


def _bits(values):
    """Numbers as unsigned integers: one for every value."""
    if values.dtype.kind == "f":
        # -0 is 0, and every NaN is the same one.
        values = np.where(np.isnan(values), np.nan, values + 0.0).astype(values.dtype)
    if values.dtype.kind in "US":
        width = max(values.dtype.itemsize, 1)
        return np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, width)
    if values.dtype.kind not in "biufmM" or values.dtype.itemsize > 8:
        raise TypeError("no numbers")
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _mixed(bits):
    """One number per row: a sum of products with random odd numbers, modulo 2^64."""
    factors = np.random.RandomState(0).randint(0, 2**63, bits.shape[1], dtype=np.uint64) * 2 + 1
    keys = np.empty(len(bits), dtype=np.uint64)
    step = max(1, 2**22 // max(bits.shape[1], 1))
    for start in range(0, len(bits), step):
        part = bits[start : start + step].astype(np.uint64)
        keys[start : start + step] = (_scrambled(part) * factors).sum(1, dtype=np.uint64)
    return keys


def _scrambled(bits):
    """Spread small differences over all bits (a xorshift-multiply step)."""
    bits = (bits ^ (bits >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return bits ^ (bits >> np.uint64(29))


def _sparse_keys(X):
    X = X.copy()
    X.sum_duplicates()
    X.eliminate_zeros()
    pairs = np.column_stack([_bits(X.data).astype(np.uint64), X.indices.astype(np.uint64) + 1])
    keys = np.append(_mixed(pairs), np.uint64(0)) if len(pairs) else np.zeros(1, np.uint64)
    total = np.concatenate([[np.uint64(0)], np.cumsum(keys[:-1], dtype=np.uint64)])
    return total[X.indptr[1:]] - total[X.indptr[:-1]]


def _hashable(row):
    if isinstance(row, np.ndarray):
        return row.shape, tuple(_hashable(value) for value in row.ravel().tolist())
    if is_tensor(row):
        return _hashable(row.detach().cpu().numpy())
    if isinstance(row, (list, tuple)):
        return tuple(_hashable(value) for value in row)
    if isinstance(row, dict):
        return tuple(sorted((str(key), _hashable(value)) for key, value in row.items()))
    return "missing" if isinstance(row, float) and row != row else row
