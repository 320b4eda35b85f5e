"""How errors compare with a baseline's over many settings: the CDF of normalised errors."""

import numpy as np

from skal.metrics._settings import (
    LABEL_BUDGETS,
    baseline_of,
    budget_rounds,
    check_any_rounds,
    check_option,
    complete_rounds,
    read_settings,
    strategies_of,
)


def normalized_error_cdf(
    results,
    *,
    score=None,
    greater_is_better=True,
    best_score=None,
    label_budgets="doubling",
    include_initial=False,
    baseline="random",
):
    """Return the distribution of each strategy's error relative to a baseline's.

    In each setting and at each label budget the mean error is divided by the baseline's. A
    strategy whose curve lies to the left (higher) has smaller errors; the baseline is a single
    step at 1.

    Parameters
    ----------
    results : pandas.DataFrame, or list or dict of pandas.DataFrame
        From :func:`~skal.model_selection.compare_strategies`. Each frame is one setting (a data
        set, batch size and architecture); the keys of a dict name them in messages.

    score : str or None, default=None
        The column to compare. None is the only score there is.

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    best_score : float or None, default=None
        The score of perfect predictions, from which errors are measured. None is 0 for losses and
        for scores called ``neg_...``, and 1 for all others (accuracy, R2).

    label_budgets : {"doubling", "all"}, default="doubling"
        Which budgets count, as in :func:`pairwise_penalty_matrix`.

    include_initial : bool, default=False
        Whether the initial labels are a budget too. Strategies that share their first model have
        ratio 1 there.

    baseline : str, default="random"
        The strategy that errors are divided by: its name, or the beginning of its name in any
        case.

    Returns
    -------
    cdf : pandas.DataFrame of shape (n_values, n_strategies), dtype float64
        One column per strategy. The index, `normalized_error`, holds the distinct ratios of all
        strategies in increasing order (no unit; 1 is the baseline's error, ``inf`` an error where
        the baseline has none). The value in row x is the share of settings and budgets whose
        ratio is at most x: a step function that is constant up to the next x.

    Raises
    ------
    ValueError
        If a frame lacks columns, the baseline is not in it or, with "doubling", batches are
        unequal; if no setting has a label budget, or none has all scores; if an error is negative;
        if an option is unknown.
    TypeError
        If `results` holds something that is no frame.

    Warns
    -----
    UserWarning
        If a setting has no label budget, or some strategy has no score (NaN, or absent from a
        setting) at a budget: that budget is then left out for every strategy.

    See Also
    --------
    skal.inspection.ErrorCDFDisplay : The distribution as a figure.
    pairwise_penalty_matrix : Which differences are significant.

    Notes
    -----
    With :math:`\\bar e_i` the mean error over the repeats at one budget of a setting that has n
    budgets, :math:`\\mathrm{ne}_i = \\bar e_i / \\bar e_r` with r the baseline, and

    .. math:: \\mathrm{CDF}_i(x) = \\sum w \\, [\\mathrm{ne}_i \\le x] / \\sum w, \\quad w = 1 / n

    so that every setting has the same say. Where the baseline's error is 0 the ratio is 1 if the
    strategy's is 0 as well, else infinite. Repeats need not be paired, and one is enough. The
    published code takes the errors of the first repeat alone; here, as in the text, they are
    averaged.

    References
    ----------
    Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020). Deep batch active learning by diverse,
    uncertain gradient lower bounds. ICLR, arXiv:1906.03671, section 4 ("Cumulative distribution
    functions of normalized errors").

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.metrics import normalized_error_cdf
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 3 + ["margin"] * 3,
    ...     "repeat": 0,
    ...     "n_labels": [10, 20, 30] * 2,
    ...     "error": [0.5, 0.5, 0.25, 0.5, 0.25, 0.25],
    ... })
    >>> normalized_error_cdf(results, greater_is_better=False, label_budgets="all")
                      random  margin
    normalized_error
    0.5                  0.0     0.5
    1.0                  1.0     1.0
    """
    import pandas as pd

    check_option("label_budgets", label_budgets, LABEL_BUDGETS)
    settings = read_settings(results, score)
    names = strategies_of(settings)
    references = [baseline_of(setting, baseline) for setting in settings]
    rounds = [
        budget_rounds(
            setting,
            label_budgets,
            baseline=baseline,
            greater_is_better=greater_is_better,
            include_initial=include_initial,
        )
        for setting in settings
    ]
    check_any_rounds(settings, rounds)
    complete = complete_rounds(settings, rounds, names)
    if not any(map(len, complete)):
        raise ValueError(
            f"There is no label budget at which all strategies {names} have scores. Leave out "
            "the strategies that do not serve every setting."
        )

    ratios, weights = {name: [] for name in names}, []
    for setting, reference, budgets, known in zip(
        settings, references, rounds, complete, strict=True
    ):
        if len(known) == 0:
            continue
        errors = _mean_errors(setting, known, greater_is_better, best_score)
        for name in names:
            ratios[name].append(_ratio(errors[name], errors[reference]))
        weights.append(np.full(len(known), 1 / len(budgets)))
    ratios = {name: np.concatenate(parts) for name, parts in ratios.items()}
    weights = np.concatenate(weights)
    grid = np.unique(np.concatenate(list(ratios.values())))
    return pd.DataFrame(
        {name: _weighted_cdf(ratios[name], weights, grid) for name in names},
        index=pd.Index(grid, name="normalized_error"),
    )


def _mean_errors(setting, rounds, greater_is_better, best_score):
    """Mean error over the repeats at some rounds, by strategy."""
    if best_score is None:
        best_score = 1.0 if greater_is_better and not setting.score.startswith("neg_") else 0.0
    sign = 1.0 if greater_is_better else -1.0
    errors = {}
    for name, curves in setting.curves.items():
        errors[name] = (sign * (best_score - curves[:, rounds])).mean(axis=0)
        if (errors[name] < 0).any():
            raise ValueError(
                f"Errors must not be negative, but {name!r} in setting {setting.name!r} has "
                f"{setting.score!r} better than best_score={best_score:g}. Pass the best_score of "
                "this score, and greater_is_better=False if it is a loss."
            )
    return errors


def _ratio(errors, reference):
    """Errors over the reference's; where that is 0, 1 for no error and infinity for any."""
    perfect = reference == 0
    ratio = errors / np.where(perfect, 1.0, reference)
    return np.where(perfect, np.where(errors == 0, 1.0, np.inf), ratio)


def _weighted_cdf(values, weights, grid):
    """Share of the weight that lies at or below each grid point."""
    order = np.argsort(values, kind="stable")
    share = np.concatenate([[0.0], np.cumsum(weights[order])])
    return (share / share[-1])[np.searchsorted(values[order], grid, side="right")]
