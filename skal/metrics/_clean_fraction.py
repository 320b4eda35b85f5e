"""How much of a labelling budget went to rows that can be learnt."""

import numpy as np


def clean_fraction(queried, is_noisy):
    """Return the share of clean rows among those that were asked about.

    Parameters
    ----------
    queried : array-like of shape (n_queried,) of ints, or list of such
        Positions of the rows asked about, the initial sample left out; several rounds may be
        given as a list, such as ``BudgetedActiveLearner.queried_indices_[1:]``.

    is_noisy : array-like of shape (n_samples,) of bool
        Which rows of the pool have noisy labels.

    Returns
    -------
    fraction : float
        From 0 to 1; NaN where nothing was asked.

    Raises
    ------
    ValueError
        If `is_noisy` is not boolean, or a position lies outside it.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928, section 5.

    Examples
    --------
    >>> from skal.metrics import clean_fraction
    >>> clean_fraction([[0, 2], [3, 4]], [False, True, False, True, False])
    0.75
    """
    is_noisy = np.asarray(is_noisy)
    if is_noisy.dtype != bool or is_noisy.ndim != 1:
        raise ValueError(
            f"is_noisy must be a 1-D array of booleans. Got dtype {is_noisy.dtype} and shape "
            f"{is_noisy.shape} instead."
        )
    rounds = list(queried)
    if rounds and np.ndim(rounds[0]):
        rounds = np.concatenate(rounds)
    rows = np.asarray(rounds, dtype=np.int64)
    if len(rows) == 0:
        return float("nan")
    if rows.min() < 0 or rows.max() >= len(is_noisy):
        raise ValueError(
            f"queried must hold positions from 0 to {len(is_noisy) - 1}. Got {rows.min()} to "
            f"{rows.max()} instead."
        )
    return float(1 - is_noisy[rows].mean())
