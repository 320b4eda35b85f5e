"""How many labels a strategy saves, with an interval."""

from typing import NamedTuple

import numpy as np

from skal.metrics._budget import check_curves, labels_to_reach
from skal.metrics._paired import check_confidence, half_width

# Places between two rounds at which the test looks.
_STEPS = 64


class LabelsSaved(NamedTuple):
    """The share of the labels that a strategy saves, and its uncertainty.

    Parameters
    ----------
    share : float
        One minus `needed` over the budget: 0.25 is a quarter of the labels saved; ``-inf`` where
        the strategy does not get there within the budget.

    low, high : float
        Confidence interval of the share. `low` is ``-inf`` where it may be that the strategy does
        not get there.

    needed : float
        Number of labels at which the mean curve reaches the baseline's final mean score.
    """

    share: float
    low: float
    high: float
    needed: float


def labels_saved(n_labels, scores, baseline, *, greater_is_better=True, confidence=0.95):
    """Return the share of the baseline's labels that a strategy does not need.

    Parameters
    ----------
    n_labels : array-like of shape (n_rounds,)
        Number of labels at each round, strictly increasing; the last one is the budget.

    scores : array-like of shape (n_runs, n_rounds)
        The strategy's scores.

    baseline : array-like of shape (n_runs, n_rounds)
        The baseline's scores in the same runs: same splits, same initial labels, same seeds.

    greater_is_better : bool, default=True
        False where the score is a loss.

    confidence : float, default=0.95
        Level of the interval, between 0 and 1.

    Returns
    -------
    result : LabelsSaved
        Named tuple ``(share, low, high, needed)``. `low` and `high` are NaN for a single run,
        everything is NaN if a score is.

    Raises
    ------
    ValueError
        If the curves differ in shape or do not fit `n_labels`; if `confidence` is not between 0
        and 1.

    See Also
    --------
    labels_to_reach : Labels to any target.
    paired_test : Whether the whole curve is better.

    Notes
    -----
    `needed` is where the mean curve, joined by straight lines, first reaches the final mean score
    of the baseline. The interval inverts Student's t: it reaches from the first to the last number
    of labels L at which the scores at L and the baseline's final scores, paired by run, do not
    differ significantly. For a curve that rises it holds the true number with probability
    `confidence`, at whatever number of runs; no resampling is involved.

    Where the baseline has long stopped to learn, its final score is reached early by everyone, and
    the share says little; `low` then is ``-inf``, because no curve rises above that score for sure.

    Examples
    --------
    >>> from skal.metrics import labels_saved
    >>> random = [[0.50, 0.60, 0.70], [0.52, 0.61, 0.72], [0.49, 0.61, 0.71]]
    >>> margin = [[0.50, 0.70, 0.80], [0.52, 0.73, 0.82], [0.49, 0.71, 0.80]]
    >>> result = labels_saved([20, 40, 60], margin, random)
    >>> round(result.share, 2), round(result.low, 2), round(result.high, 2)
    (0.34, 0.3, 0.36)
    """
    check_confidence(confidence)
    n_labels, scores = check_curves(n_labels, np.atleast_2d(scores))
    _, baseline = check_curves(n_labels, np.atleast_2d(baseline))
    if scores.shape != baseline.shape:
        raise ValueError(
            "scores and baseline must have the same shape, run by run. "
            f"Got {scores.shape} and {baseline.shape} instead."
        )
    if np.isnan(scores).any() or np.isnan(baseline).any():
        return LabelsSaved(*[float("nan")] * 4)
    gains = (scores - baseline[:, -1:]) * (1.0 if greater_is_better else -1.0)
    needed = labels_to_reach(n_labels, gains.mean(axis=0), 0.0, interpolate=True)
    first, last = _needed_interval(n_labels, gains, confidence)
    # The grid must not part the value from its interval; np.maximum and np.minimum keep NaN.
    ends = np.array([needed, np.maximum(last, needed), np.minimum(first, needed)])
    return LabelsSaved(*(1 - ends / n_labels[-1]).tolist(), float(needed))


def _needed_interval(n_labels, gains, confidence):
    """First and last number of labels at which the mean gain may be zero."""
    if len(gains) < 2:
        return np.nan, np.nan
    grid = _between(n_labels)
    gains = np.array([np.interp(grid, n_labels, gain) for gain in gains])
    mean = gains.mean(axis=0)
    half = half_width(1.0, len(gains), confidence) * gains.std(axis=0, ddof=1) / len(gains) ** 0.5
    may_have_reached = np.flatnonzero(mean + half >= 0)
    may_still_lack = np.flatnonzero(mean - half <= 0)
    first = grid[may_have_reached[0]] if len(may_have_reached) else np.inf
    if len(may_still_lack) == 0:
        last = grid[0]
    else:
        last = np.inf if may_still_lack[-1] == len(grid) - 1 else grid[may_still_lack[-1]]
    return first, last


def _between(n_labels):
    """The rounds, and places between them."""
    steps = [
        np.linspace(a, b, _STEPS, endpoint=False)
        for a, b in zip(n_labels[:-1], n_labels[1:], strict=True)
    ]
    return np.concatenate([*steps, n_labels[-1:]])
