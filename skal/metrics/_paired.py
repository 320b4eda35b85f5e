"""How much better than a baseline, over runs that share their splits and their first labels."""

from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy import stats

# With fewer runs only a difference of more than two standard deviations (between runs) is found
# in four cases of five at the 5 % level: a test that hardly ever says anything.
ENOUGH_RUNS = 5


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


class PairedTest(NamedTuple):
    """A mean paired difference, its interval and its test by Student's t.

    Parameters
    ----------
    difference : float
        Mean over the runs of the difference to the baseline, in the unit of the score; above 0 is
        better.

    low, high : float
        Confidence interval of that mean.

    statistic : float
        The mean over its standard error, as :func:`paired_z`.

    pvalue : float
        Two-sided probability under chance of a statistic at least as far from 0.

    n_runs : int
        Number of runs.
    """

    difference: float
    low: float
    high: float
    statistic: float
    pvalue: float
    n_runs: int

    @property
    def too_few(self):
        """Whether the runs are too few (under 5) to find any but huge differences."""
        return self.n_runs < ENOUGH_RUNS


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
        ``sqrt(n_runs) * mean / std`` of the differences (n - 1 in the denominator). Under chance
        it follows Student's t with n_runs - 1 degrees of freedom, not the normal law: beyond 2 in
        size come 29 % of the values with 2 runs, 12 % with 5, 8 % with 10. :func:`paired_test`
        does the reading.
        When every run differs by the same amount (no spread beyond rounding), 0 if that amount is
        zero, else plus or minus infinity. NaN if a run has a NaN.

    Raises
    ------
    ValueError
        If the two differ in shape, or there are fewer than two runs.

    See Also
    --------
    paired_test : The same with its p-value and an interval.
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
    gains = _gains(scores, baseline, greater_is_better)
    if np.isnan(gains).any():
        return float("nan")
    mean, spread = gains.mean(), gains.std(ddof=1)
    rounding = 8 * np.finfo(np.float64).eps * max(np.abs(scores).max(), np.abs(baseline).max())
    if spread <= rounding:
        return 0.0 if abs(mean) <= rounding else float(np.copysign(np.inf, mean))
    return float(np.sqrt(len(gains)) * mean / spread)


def paired_test(scores, baseline, *, greater_is_better=True, confidence=0.95):
    """Test by Student's t whether runs differ from the baseline's, and by how much.

    Parameters
    ----------
    scores : array-like of shape (n_runs,)
        One value per run, for instance its area under the budget curve.

    baseline : array-like of shape (n_runs,)
        The baseline's value in the same run: same split, same initial labels, same seed.

    greater_is_better : bool, default=True
        False for losses: the sign is turned, so that **positive always means better**.

    confidence : float, default=0.95
        Level of the interval, between 0 and 1.

    Returns
    -------
    result : PairedTest
        Named tuple ``(difference, low, high, statistic, pvalue, n_runs)``. Its `too_few` says
        whether the runs are under 5: the p-value then holds, but only huge differences are found.
        NaN throughout if a run has a NaN. Where every run differs by the same amount, the interval
        is that amount, and the p-value is 0, or 1 for no difference at all.

    Raises
    ------
    ValueError
        If the two differ in shape, there are fewer than two runs, or `confidence` is not between
        0 and 1.

    See Also
    --------
    paired_z : The statistic alone.
    holm_correction : For the p-values of several strategies at once.

    Notes
    -----
    Exact where the differences are normal and the runs independent. Random splits of one data set
    overlap, which makes intervals somewhat too narrow for claims about other data.

    References
    ----------
    Student (1908). The probable error of a mean. Biometrika, 6(1), 1-25.

    Examples
    --------
    >>> from skal.metrics import paired_test
    >>> result = paired_test([0.8, 0.9, 0.7, 0.8, 0.9], [0.7, 0.7, 0.6, 0.6, 0.7])
    >>> round(result.difference, 2), round(result.low, 3), round(result.high, 3)
    (0.16, 0.092, 0.228)
    >>> result.pvalue < 0.01, result.too_few
    (True, False)
    """
    check_confidence(confidence)
    scores, baseline = _check_pairs(scores, baseline)
    gains = _gains(scores, baseline, greater_is_better)
    statistic = paired_z(scores, baseline, greater_is_better=greater_is_better)
    mean, n = float(gains.mean()), len(gains)
    half = float(half_width(standard_error(gains), n, confidence))
    pvalue = float(2 * stats.t.sf(abs(statistic), n - 1))
    return PairedTest(mean, mean - half, mean + half, statistic, pvalue, n)


def half_width(error, n_runs, confidence=0.95):
    """Half of Student's interval of a mean over `n_runs` with this standard error."""
    if n_runs < 2:
        return float("nan")
    return stats.t.ppf((1 + confidence) / 2, n_runs - 1) * error


def check_confidence(confidence):
    """Check the level of an interval."""
    if isinstance(confidence, bool) or not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be a number between 0 and 1. Got {confidence!r} instead."
        )


def standard_error(values):
    """Standard error of the mean (n - 1 in the denominator); NaN for a single value."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _gains(scores, baseline, greater_is_better):
    if len(scores) < 2:
        raise ValueError(f"A paired comparison needs at least 2 runs. Got {len(scores)} instead.")
    return scores - baseline if greater_is_better else baseline - scores


def _check_pairs(scores, baseline):
    scores = np.asarray(scores, dtype=np.float64)
    baseline = np.asarray(baseline, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0 or scores.shape != baseline.shape:
        raise ValueError(
            "scores and baseline must both have shape (n_runs,), one value per run in the same "
            f"order. Got shapes {scores.shape} and {baseline.shape} instead."
        )
    return scores, baseline
