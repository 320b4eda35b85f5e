"""The base of every batch selector: embeddings or scores in, row numbers out."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skal.utils._memory import keep_freed_memory
from skal.utils._rows import as_rows, full_precision
from skal.utils.validation import check_n_instances


class BatchSelector(BaseEstimator):
    """Base class of batch selectors.

    Like a cross-validation splitter, a selector has parameters and no fit: `select` turns a pool
    of embeddings or scores into the positions of the rows to label next.

    A subclass writes `_select`, and `_values` where the scores of its rows are not simply their
    norms.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Seeds draws and the breaking of ties. The same integer and the same rows give the same
        batch on the same device. None uses NumPy's global generator.

    See Also
    --------
    TopK : Largest scores.
    KCenterGreedy : Rows that cover the pool.
    KMeansPlusPlus : A random batch of rows far apart.
    skal.testing.check_batch_selector : What every selector must keep.

    Notes
    -----
    The class attribute `_prefix_stable` says whether the first rows of a larger batch are the
    smaller batch, for the same seed.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import BatchSelector
    >>> class Largest(BatchSelector):
    ...     def __init__(self, *, random_state=None):
    ...         self.random_state = random_state
    ...
    ...     def _select(self, rows, n_instances, rows_labeled, scores, rng):
    ...         return np.argsort(-rows.sq_norms())[:n_instances]
    >>> Largest().select(np.array([[1.0], [3.0], [-5.0]]), 2)
    array([2, 1])
    """

    _parameter_constraints: dict = {"random_state": ["random_state"]}
    _prefix_stable = False

    def __init__(self, *, random_state=None):
        self.random_state = random_state

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        """Return `n_instances` distinct positions in `rows`, in order of choice.

        Parameters
        ----------
        rows : Rows of shape (n_pool, D)
            The pool, finite.

        n_instances : int
            In [1, n_pool].

        rows_labeled : Rows of shape (n_labeled, D) or None
            The labelled rows; never empty.

        scores : ndarray of shape (n_pool,), dtype float64, or None
            A score per row, finite.

        rng : RandomState
            The only source of random numbers.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define "
            "_select(rows, n_instances, rows_labeled, scores, rng)."
        )

    def _values(self, rows, rows_labeled, scores):
        """Return the value of every row before the first pick: ndarray (n_pool,), float64."""
        return np.sqrt(rows.sq_norms())

    def select(self, Z, n_instances, *, Z_labeled=None, scores=None, return_scores=False):
        """Choose rows of a pool.

        Parameters
        ----------
        Z : ndarray, memmap, tensor or Rows of shape (n_pool, D)
            The pool: an embedding per row, or one column of scores. Tensors are used on their
            device, memory maps are read in chunks; nothing is copied as a whole.

        n_instances : int
            How many rows to choose, in [1, n_pool].

        Z_labeled : ndarray, memmap, tensor or Rows of shape (n_labeled, D), default=None
            The rows that have a label already. What they change is said by each selector.

        scores : array-like of shape (n_pool,), default=None
            A score per row, larger first. What it changes is said by each selector.

        return_scores : bool, default=False
            Whether to return the value each row had before the first pick, too.

        Returns
        -------
        positions : ndarray of shape (n_instances,), dtype int64
            Distinct positions in `Z`, in order of choice.

        values : ndarray of shape (n_pool,), dtype float64
            Only with ``return_scores=True``. What they are is said by each selector.

        Raises
        ------
        ValueError
            If `n_instances` is not in [1, n_pool], a value is NaN or infinite, or shapes do not
            fit each other.
        TypeError
            If `n_instances` is not an integer, or an argument does not hold real numbers.
        """
        self._validate_params()
        rows = as_rows(Z, "Z")
        n_instances = check_n_instances(n_instances, len(rows), "Z")
        scores = _check_scores(scores, len(rows))
        keep_freed_memory()
        with full_precision():
            rows.sq_norms("Z")
            rows_labeled = _check_labeled(Z_labeled, rows)
            rng = check_random_state(self.random_state)
            positions = self._select(rows, n_instances, rows_labeled, scores, rng)
            positions = _check_positions(positions, n_instances, len(rows), type(self).__name__)
            if not return_scores:
                return positions
            return positions, self._values(rows, rows_labeled, scores)


def _check_labeled(Z_labeled, rows):
    """Return the labelled rows, finite and of the same columns as the pool, or None."""
    if Z_labeled is None:
        return None
    rows_labeled = as_rows(Z_labeled, "Z_labeled")
    if rows_labeled.is_factored != rows.is_factored:
        kinds = ("factored", "dense") if rows.is_factored else ("dense", "factored")
        raise ValueError(
            "Z and Z_labeled must both be dense or both be factored. Got "
            f"{kinds[0]} and {kinds[1]} rows instead."
        )
    if rows_labeled.widths != rows.widths:
        raise ValueError(
            f"Z_labeled must have the columns of Z, {_columns(rows)}. Got "
            f"{_columns(rows_labeled)} instead."
        )
    if len(rows_labeled) == 0:
        return None
    rows_labeled.sq_norms("Z_labeled")
    return rows_labeled


def _columns(rows):
    """ "5", or "3 x 4" for factored rows."""
    return " x ".join(str(width) for width in reversed(rows.widths))


def _check_scores(scores, n_pool):
    """Return `scores` as float64 of shape (n_pool,), finite, or None."""
    if scores is None:
        return None
    scores = scores.detach().cpu().numpy() if hasattr(scores, "detach") else np.asarray(scores)
    if scores.shape != (n_pool,):
        raise ValueError(
            f"scores must have one value per row of Z, shape ({n_pool},). Got shape "
            f"{scores.shape} instead."
        )
    if scores.dtype.kind not in "biuf":
        raise TypeError(f"scores must be real numbers. Got dtype {scores.dtype} instead.")
    scores = scores.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(
            f"scores must be finite. {len(bad)} of {n_pool} rows hold NaN or infinity (first: "
            f"{bad[:5].tolist()})."
        )
    return scores


def _check_positions(positions, n_instances, n_pool, owner):
    """Return what `_select` gave as int64, or say what contract it breaks."""
    positions = np.asarray(positions)
    right = positions.shape == (n_instances,) and positions.dtype.kind in "iu"
    if right:
        positions = positions.astype(np.int64)
        right = 0 <= positions.min() and positions.max() < n_pool
    if not right or len(np.unique(positions)) != n_instances:
        raise RuntimeError(
            f"{owner}._select must return {n_instances} distinct integers in [0, {n_pool}). "
            f"Got {positions!r} instead."
        )
    return positions
