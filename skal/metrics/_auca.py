"""Area under the accuracy curve, and its ratio to random's over paired trials."""

from typing import NamedTuple

import numpy as np

from skal.metrics._budget import check_curves
from skal.metrics._paired import (
    check_confidence,
    half_width,
    ratio_to_baseline,
    standard_error,
)


class AUCARatio(NamedTuple):
    """A ratio of areas, over trials.

    Parameters
    ----------
    ratio : float
        Mean over the trials.

    std : float
        Standard deviation over the trials.

    standard_error : float
        Standard error of the mean (n - 1 in the denominator); NaN for a single trial.

    trials : ndarray of shape (n_trials,), dtype float64
        The ratio of each trial.
    """

    ratio: float
    std: float
    standard_error: float
    trials: np.ndarray

    def confidence_interval(self, confidence=0.95):
        """Return the interval ``(low, high)`` of the mean ratio, by Student's t over the trials.

        Parameters
        ----------
        confidence : float, default=0.95
            Its level, between 0 and 1.

        Returns
        -------
        interval : tuple of float
            NaN for a single trial.

        Raises
        ------
        ValueError
            If `confidence` is not between 0 and 1.
        """
        check_confidence(confidence)
        half = float(half_width(self.standard_error, len(self.trials), confidence))
        return self.ratio - half, self.ratio + half


def auca(curve, x=None):
    """Return the trapezoidal area under an accuracy curve.

    Parameters
    ----------
    curve : array-like of shape (n_rounds,) or (n_trials, n_rounds)
        Accuracy (or another score) at each round; one row per trial if there are several.

    x : array-like of shape (n_rounds,) or None, default=None
        Number of labels at each round, strictly increasing; pass it where rounds are unevenly
        spaced. None is the number of the round, 0, 1, ...

    Returns
    -------
    area : float or ndarray of shape (n_trials,), dtype float64
        In units of the score times that of `x`. A single round has no width: its score is
        returned, so that ratios of areas keep a meaning. A trial with a NaN has a NaN area.

    Raises
    ------
    ValueError
        If `x` is not strictly increasing and finite, or its length is not that of a curve.

    See Also
    --------
    auca_ratio : Relative to random, the form in which areas are comparable.
    area_under_budget_curve : The same divided by the span, in the unit of the score.

    References
    ----------
    Xia, Henao (2023). Reliable active learning via influence functions. Transactions on Machine
    Learning Research, https://openreview.net/forum?id=dN9YICB6hN, section 5.

    Examples
    --------
    >>> from skal.metrics import auca
    >>> auca([0.5, 0.75, 1.0])
    1.5
    >>> auca([0.5, 0.75, 1.0], x=[10, 20, 40])
    23.75
    """
    curve, x = _as_curve(curve, x)
    weights = trapezoid_weights(x)
    area = curve @ weights
    return float(area) if curve.ndim == 1 else area


def auca_ratio(
    curve, random_curve, x=None, *, include_initial=False, greater_is_better=True, ddof=1
):
    """Return the area under an accuracy curve relative to random's, paired per trial.

    Parameters
    ----------
    curve : array-like of shape (n_rounds,) or (n_trials, n_rounds)
        Accuracy (or another score) of a strategy at each round; one row per trial.

    random_curve : array-like of the same shape
        The curve of random sampling. Row l of both is the same trial: same split, same initial
        labels, same seed.

    x : array-like of shape (n_rounds,) or None, default=None
        Number of labels at each round, strictly increasing; pass it where rounds are unevenly
        spaced. None is the number of the round.

    include_initial : bool, default=False
        Whether the area begins with the first round, the model before any query. The published
        areas do not: the first model is nobody's merit, and draws ratios towards 1. A curve of a
        single round is taken as it is.

    greater_is_better : bool, default=True
        False for losses: the ratio is then turned over, so that above 1 always means better than
        random.

    ddof : int, default=1
        Standard deviations have ``n_trials - ddof`` in the denominator.

    Returns
    -------
    result : AUCARatio
        Named tuple ``(ratio, std, standard_error, trials)``: mean over the trials of the ratio
        within each trial, its standard deviation, the standard error of the mean, and the ratios
        themselves. `std` is NaN where trials are no more than `ddof`.

    Raises
    ------
    ValueError
        If the two differ in shape, `x` does not fit, or areas are zero or of both signs.

    See Also
    --------
    auca : One area.
    permutation_test : Whether two classifiers differ on one test set.
    ratio_to_baseline : The ratio of any paired numbers.

    Notes
    -----
    .. math:: \\frac{1}{T} \\sum_{l=1}^{T} \\frac{A(c_l)}{A(r_l)}

    with A the trapezoidal area. A curve has ratio 1 to itself with no spread, and scaling the
    scores (per cent, say) changes nothing.

    References
    ----------
    Xia, Henao (2023). Reliable active learning via influence functions. Transactions on Machine
    Learning Research, https://openreview.net/forum?id=dN9YICB6hN, section 5.

    Examples
    --------
    >>> from skal.metrics import auca_ratio
    >>> random = [[0.2, 0.4, 0.6], [0.2, 0.5, 0.5]]
    >>> result = auca_ratio([[0.2, 0.5, 0.7], [0.2, 0.5, 0.6]], random)
    >>> round(result.ratio, 4), result.trials.round(4).tolist()
    (1.15, [1.2, 1.1])
    >>> tuple(round(end, 2) for end in result.confidence_interval())
    (0.51, 1.79)
    >>> auca_ratio(random, random)[:3]
    (1.0, 0.0, 0.0)
    """
    curve, x = _as_curve(curve, x)
    random_curve, _ = _as_curve(random_curve, x)
    if curve.shape != random_curve.shape:
        raise ValueError(
            "curve and random_curve must have the same shape, trial by trial. "
            f"Got {curve.shape} and {random_curve.shape} instead."
        )
    if not include_initial and len(x) > 1:
        curve, random_curve, x = curve[..., 1:], random_curve[..., 1:], x[1:]
    areas = np.atleast_1d(auca(curve, x)), np.atleast_1d(auca(random_curve, x))
    mean = ratio_to_baseline(*areas, greater_is_better=greater_is_better).ratio
    trials = np.array(
        [
            ratio_to_baseline([a], [b], greater_is_better=greater_is_better).ratio
            for a, b in zip(*areas, strict=True)
        ]
    )
    std = float(trials.std(ddof=ddof)) if len(trials) > ddof else float("nan")
    return AUCARatio(mean, std, standard_error(trials), trials)


def trapezoid_weights(x):
    """Weight of each ordinate in the trapezoidal area; 1 for a single one."""
    if len(x) == 1:
        return np.ones(1)
    half = np.diff(x) / 2
    return np.concatenate([half, [0.0]]) + np.concatenate([[0.0], half])


def _as_curve(curve, x):
    curve = np.asarray(curve, dtype=np.float64)
    if x is None:
        x = np.arange(curve.shape[-1] if curve.ndim else 0)
    x, curve = check_curves(x, curve)
    return curve, x
