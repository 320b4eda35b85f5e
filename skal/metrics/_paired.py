"""How much better than a baseline, over runs that share their splits and their first labels."""

from typing import NamedTuple

import numpy as np


class RatioToBaseline(NamedTuple):
    """A mean ratio and its uncertainty.

    Parameters
    ----------
    ratio : float
        Mean over the runs.

    standard_error : float
        Standard error of that mean; NaN for a single run.
    """

    ratio: float
    standard_error: float


def ratio_to_baseline(scores, baseline, *, greater_is_better=True):
    """Compare runs with the baseline's, as a ratio that is above 1 when they are better.

    Parameters
    ----------
    scores : array-like of shape (n_runs,)
        One value per run, for instance its area under the budget curve.

    baseline : array-like of shape (n_runs,)
        The baseline's value in the same run: same split, same initial labels, same seed.

    greater_is_better : bool, default=True
        False for losses. The ratio is turned over where needed so that **above 1 always means
        better than the baseline**: 1.05 is five per cent more accuracy, or a loss that the
        baseline exceeds by five per cent.

    Returns
    -------
    result : RatioToBaseline
        Named pair ``(ratio, standard_error)``: the mean over runs of the ratio within each run,
        and its standard error (n - 1 in the denominator; NaN for a single run). A run with a NaN
        makes both NaN.

    Raises
    ------
    ValueError
        If the two differ in shape, or if a value is zero or the values differ in sign: a ratio
        then means nothing (think of R2 scores around 0). Use :func:`paired_z` on the differences.

    See Also
    --------
    paired_z : Mean difference in units of its standard error; works for any sign.

    Notes
    -----
    Negated losses (``"neg_mean_squared_error"``) are greater-is-better values below zero:
    ``baseline / scores`` is taken for them, as for plain losses.

    Pairing takes the luck of the split and of the first labels out of the comparison: the ratio is
    formed run by run, then averaged, so that a curve has ratio 1 to itself with standard error 0.

    Examples
    --------
    >>> from skal.metrics import ratio_to_baseline
    >>> result = ratio_to_baseline([0.84, 0.72], [0.80, 0.60])
    >>> round(result.ratio, 3), round(result.standard_error, 3)
    (1.125, 0.075)
    >>> ratio_to_baseline([4.0, 2.0], [5.0, 3.0], greater_is_better=False).ratio
    1.375
    """
    scores, baseline = _check_pairs(scores, baseline)
    known = np.concatenate([scores, baseline])
    known = known[~np.isnan(known)]
    if not ((known > 0).all() or (known < 0).all()):
        raise ValueError(
            "A ratio needs scores and baseline that are all above zero or all below it. Got values "
            f"between {known.min():.6g} and {known.max():.6g} instead. Compare differences with "
            "paired_z, or use a score that keeps its sign."
        )
    negative = len(known) > 0 and known[0] < 0
    ratios = scores / baseline if greater_is_better != negative else baseline / scores
    return RatioToBaseline(float(ratios.mean()), standard_error(ratios))


def paired_z(scores, baseline, *, greater_is_better=True):
    """Return the mean paired difference to the baseline over its standard error.

    Parameters
    ----------
    scores : array-like of shape (n_runs,)
        One value per run, for instance its area under the budget curve.

    baseline : array-like of shape (n_runs,)
        The baseline's value in the same run.

    greater_is_better : bool, default=True
        False for losses: the sign is turned, so that **positive always means better**.

    Returns
    -------
    z : float
        ``sqrt(n_runs) * mean / std`` of the differences (n - 1 in the denominator). Beyond
        1.96 in size the difference is significant at the 5 % level when runs are many; with few
        runs compare with Student's t of n_runs - 1 degrees of freedom.
        When every run differs by the same amount (no spread beyond rounding), 0 if that amount is
        zero, else plus or minus infinity. NaN if a run has a NaN.

    Raises
    ------
    ValueError
        If the two differ in shape, or there are fewer than two runs.

    See Also
    --------
    ratio_to_baseline : The size of the difference rather than its certainty.

    References
    ----------
    Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020). Deep batch active learning by diverse,
    uncertain gradient lower bounds. ICLR, arXiv:1906.03671, section 4 (there with errors and five
    runs).

    Examples
    --------
    >>> from skal.metrics import paired_z
    >>> round(paired_z([0.8, 0.9, 0.7], [0.7, 0.7, 0.4]), 3)
    3.464
    >>> paired_z([1.0, 2.0], [1.0, 2.0])
    0.0
    """
    scores, baseline = _check_pairs(scores, baseline)
    if len(scores) < 2:
        raise ValueError(f"A paired comparison needs at least 2 runs. Got {len(scores)} instead.")
    gains = scores - baseline if greater_is_better else baseline - scores
    if np.isnan(gains).any():
        return float("nan")
    mean, spread = gains.mean(), gains.std(ddof=1)
    rounding = 8 * np.finfo(np.float64).eps * max(np.abs(scores).max(), np.abs(baseline).max())
    if spread <= rounding:
        return 0.0 if abs(mean) <= rounding else float(np.copysign(np.inf, mean))
    return float(np.sqrt(len(gains)) * mean / spread)


def standard_error(values):
    """Standard error of the mean (n - 1 in the denominator); NaN for a single value."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _check_pairs(scores, baseline):
    scores = np.asarray(scores, dtype=np.float64)
    baseline = np.asarray(baseline, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0 or scores.shape != baseline.shape:
        raise ValueError(
            "scores and baseline must both have shape (n_runs,), one value per run in the same "
            f"order. Got shapes {scores.shape} and {baseline.shape} instead."
        )
    return scores, baseline
