"""How good is the model: estimates from rows that no strategy chose, with intervals."""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from scipy import stats

# With fewer answers an interval says nothing that is worth reading.
FEWEST = 20


@dataclass(frozen=True)
class Estimate:
    """An average over randomly chosen rows, with a confidence interval.

    Attributes
    ----------
    value : float
        Accuracy, mean absolute error or mean loss; NaN below 20 answers.

    low, high : float
        The 95 % confidence interval.

    n : int
        How many answered rows it rests on.

    n_skipped : int
        Randomly chosen rows that got no answer ("cannot tell"). They are hardly missing at random:
        what is hard for people is hard for models.

    metric : str
        "accuracy", "mean absolute error" or the name of the loss.

    worst : tuple of float
        What the average over all these rows is at least and at most, whatever the rows without an
        answer are: all wrong or all right, an error of 0 or of any size.
    """

    value: float
    low: float
    high: float
    n: int
    n_skipped: int
    metric: str
    worst: tuple


def accuracy_estimate(n_right, n, n_skipped=0, *, confidence=0.95, interval="wilson"):
    """Return the accuracy with its Wilson or Clopper-Pearson interval.

    Parameters
    ----------
    n_right, n : int
        How many of how many answers the model got right.

    n_skipped : int, default=0
        How many more rows got no answer.

    confidence : float, default=0.95
        Probability, over samples, that the interval holds the accuracy. Wilson's does so on
        average over accuracies, Clopper-Pearson's at least.

    interval : {"wilson", "clopper"}, default="wilson"
        The kind of interval.

    Returns
    -------
    estimate : Estimate
        The accuracy among the rows with an answer.

    References
    ----------
    L. D. Brown, T. T. Cai and A. DasGupta (2001). Interval estimation for a binomial proportion.
    Statistical Science 16(2), 101-133.
    """
    if n < FEWEST:
        value = low = high = nan
    else:
        bounds = {"wilson": _wilson, "clopper": _clopper}[interval]
        value, (low, high) = n_right / n, bounds(n_right, n, confidence)
    drawn = max(n + n_skipped, 1)
    worst = (n_right / drawn, (n_right + n_skipped) / drawn)
    return Estimate(value, low, high, n, n_skipped, "accuracy", worst)


def _wilson(n_right, n, confidence):
    z = stats.norm.ppf((1 + confidence) / 2)
    share = n_right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _clopper(n_right, n, confidence):
    tail = (1 - confidence) / 2
    low = 0.0 if n_right == 0 else float(stats.beta.ppf(tail, n_right, n - n_right + 1))
    high = 1.0 if n_right == n else float(stats.beta.ppf(1 - tail, n_right + 1, n - n_right))
    return low, high


def mean_estimate(losses, n_skipped=0, *, metric="mean absolute error", confidence=0.95):
    """Return a mean loss with its t interval.

    Parameters
    ----------
    losses : array-like of shape (n,)
        The loss of each row with an answer, not negative.

    n_skipped : int, default=0
        How many more rows got no answer.

    metric : str, default="mean absolute error"
        What the loss is called.

    confidence : float, default=0.95
        Probability, over samples, that the interval holds the mean, if the mean of that many
        losses is about normal.

    Returns
    -------
    estimate : Estimate
        The mean among the rows with an answer.
    """
    losses = np.asarray(losses, dtype=np.float64)
    n = len(losses)
    if n < FEWEST:
        value = low = high = nan
    else:
        value = float(losses.mean())
        half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * losses.std(ddof=1) / sqrt(n))
        low, high = value - half, value + half
    least = float(losses.sum()) / max(n + n_skipped, 1)
    most = inf if n_skipped else (float(losses.mean()) if n else nan)
    return Estimate(value, low, high, n, n_skipped, metric, (least, most))


def estimate(y_true, y_pred, n_skipped=0, metric="accuracy"):
    """Return the estimate of a metric from the answers to random rows and the predictions there.

    Parameters
    ----------
    y_true, y_pred : sequence of n labels
        The answers and the predictions.

    n_skipped : int, default=0
        How many more random rows got no answer.

    metric : {"accuracy", "mean absolute error"} or callable, default="accuracy"
        A callable gets the two sequences and returns the loss of each row.

    Returns
    -------
    estimate : Estimate
        The average, its interval and what it rests on.
    """
    if callable(metric):
        losses = metric(y_true, y_pred) if len(y_true) else ()
        name = getattr(metric, "__name__", type(metric).__name__)
        return mean_estimate(losses, n_skipped, metric=name)
    if metric == "accuracy":
        right = sum(bool(np.all(np.equal(a, b))) for a, b in zip(y_true, y_pred, strict=True))
        return accuracy_estimate(right, len(y_true), n_skipped)
    errors = [np.mean(np.abs(np.subtract(a, b))) for a, b in zip(y_true, y_pred, strict=True)]
    return mean_estimate(errors, n_skipped)


def kappa(one, other):
    """Return Cohen's kappa of two sequences of labels; 1 where both are constant and equal.

    References
    ----------
    J. Cohen (1960). A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20(1), 37-46, equation 1.
    """
    if len(one) == 0:
        return nan
    codes = {}
    a, b = (np.array([codes.setdefault(x, len(codes)) for x in side]) for side in (one, other))
    shares = [np.bincount(side, minlength=len(codes)) / len(a) for side in (a, b)]
    observed, expected = float(np.mean(a == b)), float(shares[0] @ shares[1])
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
