"""Who beats whom, how often: the pairwise penalty matrix."""

from itertools import combinations

import numpy as np

from skal.metrics._paired import paired_z
from skal.metrics._settings import (
    LABEL_BUDGETS,
    budget_rounds,
    check_any_rounds,
    check_option,
    check_runs,
    check_test,
    complete_rounds,
    critical_value,
    read_settings,
    strategies_of,
)


def pairwise_penalty_matrix(
    results,
    *,
    score=None,
    greater_is_better=True,
    threshold=1.96,
    test="t",
    label_budgets="doubling",
    include_initial=False,
    baseline="random",
):
    """Count the settings in which one strategy beats another significantly.

    Entry (i, j) is the number of settings in which strategy i beats strategy j; a setting in which
    it does so at a part of the label budgets counts with that part. A low column average is the
    mark of a good strategy: few others beat it anywhere.

    Parameters
    ----------
    results : pandas.DataFrame, or list or dict of pandas.DataFrame
        From :func:`~skal.model_selection.compare_strategies`. Each frame is one setting (a data
        set, batch size and architecture); the keys of a dict name them in messages. Rows with
        equal `repeat` are paired.

    score : str or None, default=None
        The column to compare. None is the only score there is.

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    threshold : float, default=1.96
        Size of the paired statistic beyond which a difference counts, strictly. A larger one
        leaves fewer and surer wins.

    test : {"t", "z"}, default="t"
        "t" compares the statistic with the quantile of Student's t (n_repeats - 1 degrees of
        freedom) that has the tail probability which `threshold` has under the normal law: 2.777
        for 1.96 and five repeats. "z" compares it with `threshold` itself, as published, and calls
        about 12 % of equal pairs different with five repeats, where "t" does 5 %.

    label_budgets : {"doubling", "all"}, default="doubling"
        "doubling" looks at M + B, M + 2 B, M + 4 B, ... labels, as long as the baseline is still
        learning (see Notes): late rounds, where everyone is alike, do not count, nor do the many
        similar ones. "all" is every round after the initial one.

    include_initial : bool, default=False
        Whether the initial labels M are a budget too. Strategies that share their first model tie
        there, which makes every entry smaller.

    baseline : str, default="random"
        The strategy whose curve says how long learning lasts ("doubling" only): its name, or the
        beginning of its name in any case.

    Returns
    -------
    matrix : pandas.DataFrame of shape (n_strategies, n_strategies), dtype float64
        Row i: where i wins; column j: where j loses. In number of settings, from 0 to the number
        of settings with at least one label budget. The diagonal is 0. ``matrix.mean()`` are the
        column averages of the publication (its zero diagonal included).

    Raises
    ------
    ValueError
        If a frame lacks columns, has fewer than two repeats or, with "doubling", unequal batches;
        if no setting has a label budget; if an option is unknown.
    TypeError
        If `results` holds something that is no frame.

    Warns
    -----
    UserWarning
        If a setting has no label budget, or some strategy has no score (NaN, or absent from a
        setting) at a budget: that budget is then left out for every strategy.

    See Also
    --------
    skal.inspection.PenaltyMatrixDisplay : The matrix as a figure.
    normalized_error_cdf : How large the differences are.
    paired_z : The test of one pair.

    Notes
    -----
    Label budgets of a setting with M initial labels and batches of B: let :math:`n_0` be the
    smallest number of labels at which the baseline's mean score is at least 99 % of its final mean
    score (for losses and negated losses: at which the final loss is at least 99 % of it). Then

    .. math:: L_i = M + 2^{i-1} B, \\quad i = 1, \\dots, \\lfloor \\log_2 ((n_0 - M) / B) \\rfloor

    which is empty for :math:`n_0 < M + 2 B`. With accuracies the rule is the published one; error
    rates give a stricter one, so pass accuracies.

    At each of the n budgets of a setting, with the paired differences :math:`\\delta_l` of errors
    over R repeats, :math:`z = \\sqrt{R}\\, \\bar\\delta / s`, s with R - 1 in the denominator, and
    :math:`P_{ij}` grows by 1/n if z < -threshold, :math:`P_{ji}` by 1/n if z > threshold.
    With test "t", ``threshold`` gives way to the quantile of Student's t.
    Differences without any spread are a win of the better strategy, or a tie where they are zero.
    Hence :math:`P_{ij} + P_{ji}` is at most the number of settings.

    The publication states the signs the other way round, by a slip; its code does as above. The
    code also has M and one more doubling among the budgets, and a t test at 5 %.

    Cost: O(n_settings n_budgets n_strategies^2 n_repeats).

    References
    ----------
    Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020). Deep batch active learning by diverse,
    uncertain gradient lower bounds. ICLR, arXiv:1906.03671, section 4 ("Pairwise comparisons").

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.metrics import pairwise_penalty_matrix
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 6 + ["margin"] * 6,
    ...     "repeat": [0, 0, 0, 1, 1, 1] * 2,
    ...     "n_labels": [10, 20, 30] * 4,
    ...     "accuracy": [0.5, 0.7, 0.9, 0.5, 0.6, 0.9, 0.5, 0.8, 0.9, 0.5, 0.7, 0.9],
    ... })
    >>> pairwise_penalty_matrix(results)
              random  margin
    strategy
    random       0.0     0.0
    margin       1.0     0.0
    >>> pairwise_penalty_matrix(results, label_budgets="all").loc["margin", "random"].item()
    0.5
    """
    import pandas as pd

    matrix, names, _ = count_wins(
        results,
        score=score,
        greater_is_better=greater_is_better,
        threshold=threshold,
        test=test,
        label_budgets=label_budgets,
        include_initial=include_initial,
        baseline=baseline,
    )
    return pd.DataFrame(matrix, index=pd.Index(names, name="strategy"), columns=names)


def count_wins(
    results, *, score, greater_is_better, threshold, test, label_budgets, include_initial, baseline
):
    """Return the matrix, the names of its rows, and the number of settings that count."""
    check_test(threshold, test)
    check_option("label_budgets", label_budgets, LABEL_BUDGETS)
    settings = read_settings(results, score)
    names = strategies_of(settings)
    critical = [critical_value(threshold, test, check_runs(setting)) for setting in settings]
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
    check_any_rounds(settings, rounds, stacklevel=4)
    complete = complete_rounds(settings, rounds, names, stacklevel=4)

    matrix = np.zeros((len(names), len(names)))
    for setting, budgets, known, limit in zip(settings, rounds, complete, critical, strict=True):
        wins = np.zeros_like(matrix)
        for t in known:
            for i, j in combinations(range(len(names)), 2):
                a, b = setting.curves[names[i]][:, t], setting.curves[names[j]][:, t]
                z = paired_z(a, b, greater_is_better=greater_is_better)
                wins[i, j] += z > limit
                wins[j, i] += z < -limit
        matrix += wins / max(len(budgets), 1)
    return matrix, names, sum(len(budgets) > 0 for budgets in rounds)
