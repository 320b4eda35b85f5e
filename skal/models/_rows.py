"""Rows that occur several times, and weights of rows: two ways to say the same."""

import numpy as np

from skal.utils._compat import _check_sample_weight


def checked_weight(sample_weight, X):
    """Weights as float64 (n_samples,), ones where there are none.

    Raises
    ------
    ValueError
        If a weight is negative, or all are 0.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def distinct_rows(Z, y, weight):
    """First positions of rows that differ in numbers or target, and the sums of their weights.

    The positions come in an order of the rows' own, whatever the order they are given in.
    """
    _, codes = np.unique(y, return_inverse=True)
    table = np.column_stack([Z, codes])
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(group.ravel(), weight)


def as_dense(Z):
    """What a preprocessor returns, frame or sparse matrix, as float64."""
    Z = Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z)
    return Z.astype(np.float64, copy=False)
