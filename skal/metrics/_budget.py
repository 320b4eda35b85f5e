"""What a learning curve over a labelling budget is worth, in one number."""

import numpy as np

_RULES = ("trapezoid", "mean")


def area_under_budget_curve(n_labels, scores, *, rule="trapezoid"):
    """Average a learning curve over the labelling budget.

    The area under the scores as a function of the number of labels, divided by the span of the
    budget: a single number in the unit of the score, which a strategy raises by being good early.

    Parameters
    ----------
    n_labels : array-like of shape (n_rounds,)
        Number of labelled rows at each round, strictly increasing.

    scores : array-like of shape (n_rounds,) or (n_runs, n_rounds)
        Score reached with that many labels; one row per run if there are several. Losses are
        welcome: the area is then an average loss.

    rule : {"trapezoid", "mean"}, default="trapezoid"
        "trapezoid" joins the points by straight lines and weights each round by the labels
        between its neighbours. "mean" is the plain mean over the rounds, whatever their spacing.

    Returns
    -------
    area : float or ndarray of shape (n_runs,), dtype float64
        Average score over the budget. A run with a NaN score has a NaN area.

    Raises
    ------
    ValueError
        If `n_labels` is not strictly increasing and finite, or its length is not that of a curve.

    See Also
    --------
    labels_to_reach : Number of labels at which a score is reached.
    make_budget_scorer : The same number as the objective of a grid search.

    Notes
    -----
    With L_t labels and score s_t at round t = 1..R,

    .. math:: \\frac{1}{L_R - L_1} \\sum_{t=1}^{R-1} (L_{t+1} - L_t) \\frac{s_t + s_{t+1}}{2}

    A single round (R = 1) gives s_1. Report the mean over runs with its standard deviation or
    error; :func:`skal.model_selection.summarize_comparison` does. Cost: O(n_runs n_rounds).

    References
    ----------
    Zhan, Wang, Huang, Xiong, Dou, Chan (2022). A comparative survey of deep active learning.
    arXiv:2203.13450, where the quantity is called AUBC.

    Examples
    --------
    >>> from skal.metrics import area_under_budget_curve
    >>> area_under_budget_curve([10, 20, 50], [0.25, 0.75, 1.0])
    0.78125
    >>> round(area_under_budget_curve([10, 20, 50], [0.25, 0.75, 1.0], rule="mean"), 4)
    0.6667
    """
    if rule not in _RULES:
        raise ValueError(f"rule must be one of {_RULES}. Got {rule!r} instead.")
    n_labels, scores = check_curves(n_labels, scores)
    if rule == "mean" or len(n_labels) == 1:
        area = scores.mean(axis=-1)
    else:
        steps = np.diff(n_labels)
        heights = (scores[..., 1:] + scores[..., :-1]) / 2
        area = heights @ steps / (n_labels[-1] - n_labels[0])
    return float(area) if scores.ndim == 1 else area


def labels_to_reach(n_labels, scores, target, *, greater_is_better=True, interpolate=False):
    """Return the number of labels after which a learning curve first reaches a target.

    Parameters
    ----------
    n_labels : array-like of shape (n_rounds,)
        Number of labelled rows at each round, strictly increasing.

    scores : array-like of shape (n_rounds,) or (n_runs, n_rounds)
        Score reached with that many labels; one row per run if there are several.

    target : float
        The score to reach, in the unit of `scores`.

    greater_is_better : bool, default=True
        Whether reaching means at or above the target. False for losses: at or below it.

    interpolate : bool, default=False
        False: the budget of the first round that reaches the target, a number of labels that was
        truly paid. True: the point where the straight line from the round before crosses it,
        which is finer when batches are large.

    Returns
    -------
    labels : float or ndarray of shape (n_runs,), dtype float64
        Number of labels; ``inf`` where the target is never reached, so that a median over runs
        stays meaningful. A NaN score reaches nothing.

    Raises
    ------
    ValueError
        If `n_labels` is not strictly increasing and finite, its length is not that of a curve, or
        `target` is NaN.

    See Also
    --------
    area_under_budget_curve : The whole curve in one number.

    Notes
    -----
    The first crossing counts, even if the curve falls below the target again later.

    Examples
    --------
    >>> from skal.metrics import labels_to_reach
    >>> labels_to_reach([10, 20, 40], [0.25, 0.5, 0.75], 0.625)
    40.0
    >>> labels_to_reach([10, 20, 40], [0.25, 0.5, 0.75], 0.625, interpolate=True)
    30.0
    >>> labels_to_reach([10, 20, 40], [0.25, 0.5, 0.75], 0.9)
    inf
    """
    n_labels, scores = check_curves(n_labels, scores)
    target = float(target)
    if np.isnan(target):
        raise ValueError("target must be a number. Got nan instead.")
    sign = 1.0 if greater_is_better else -1.0
    curves = np.atleast_2d(sign * scores)
    labels = [_first_crossing(n_labels, curve, sign * target, interpolate) for curve in curves]
    return labels[0] if scores.ndim == 1 else np.array(labels)


def _first_crossing(n_labels, curve, target, interpolate):
    reached = np.flatnonzero(curve >= target)
    if len(reached) == 0:
        return np.inf
    t = reached[0]
    # No line leads to the first round, nor out of a round whose score is unknown or infinite.
    if not interpolate or t == 0 or not np.isfinite(curve[t - 1 : t + 1]).all():
        return float(n_labels[t])
    part = (target - curve[t - 1]) / (curve[t] - curve[t - 1])
    return float(n_labels[t - 1] + part * (n_labels[t] - n_labels[t - 1]))


def check_curves(n_labels, scores):
    """Return both as float64 arrays, after checking that they make curves."""
    n_labels = np.asarray(n_labels, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    if n_labels.ndim != 1 or len(n_labels) == 0:
        raise ValueError(
            "n_labels must have shape (n_rounds,) with at least one round. "
            f"Got shape {n_labels.shape} instead."
        )
    if not np.isfinite(n_labels).all() or (np.diff(n_labels) <= 0).any():
        raise ValueError(
            "n_labels must be finite and strictly increasing: one score per budget, sorted by "
            f"budget. Got {n_labels.tolist()} instead."
        )
    if scores.ndim not in (1, 2) or scores.shape[-1] != len(n_labels):
        raise ValueError(
            f"scores must have shape ({len(n_labels)},) or (n_runs, {len(n_labels)}), one value "
            f"per entry of n_labels. Got shape {scores.shape} instead."
        )
    return n_labels, scores
