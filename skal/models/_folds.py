"""Folds of labelled rows."""

import numpy as np

N_FOLDS = 5


def deal_folds(key, rng, n_folds=N_FOLDS):
    """Deal rows into folds so that each gets its share of small and large (or of each class).

    Parameters
    ----------
    key : ndarray of shape (n_samples,)
        The target, or positions of classes.

    rng : RandomState
        Decides among neighbours.

    n_folds : int, default=5
        As many where there are as many rows.

    Returns
    -------
    fold : ndarray of shape (n_samples,), dtype int
        The fold of each row, from 0; no fold is empty.
    """
    n = len(key)
    n_folds = min(n_folds, n)
    order = np.lexsort((rng.random_sample(n), key))
    fold = np.empty(n, dtype=int)
    for start in range(0, n, n_folds):
        rows = order[start : start + n_folds]
        fold[rows] = rng.permutation(n_folds)[: len(rows)]
    return fold
