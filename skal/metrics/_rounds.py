"""Strategies round by round: how often worse than random, and in which rank."""

import numpy as np
from scipy.stats import rankdata

from skal.metrics._paired import paired_z
from skal.metrics._settings import (
    baseline_of,
    check_runs,
    check_test,
    complete_rounds,
    critical_value,
    read_settings,
    strategies_of,
)


def rounds_below_baseline(
    results,
    *,
    score=None,
    baseline="random",
    greater_is_better=True,
    threshold=1.96,
    test="t",
    include_initial=False,
):
    """Count the rounds in which strategies are worse than random: their unreliability.

    Parameters
    ----------
    results : pandas.DataFrame, or list or dict of pandas.DataFrame
        From :func:`~skal.model_selection.compare_strategies`. Each frame is one setting; rounds of
        all settings are added up.

    score : str or None, default=None
        The column to compare. None is the only score there is.

    baseline : str, default="random"
        The strategy to be no worse than: its name, or the beginning of its name in any case.

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    threshold : float, default=1.96
        Size of the paired statistic beyond which a round is significantly worse, strictly.

    test : {"t", "z"}, default="t"
        Whether `threshold` is that of a normal variable with the same tail probability as
        Student's t, or of the statistic itself, as in :func:`pairwise_penalty_matrix`.

    include_initial : bool, default=False
        Whether the round before any query counts too.

    Returns
    -------
    table : pandas.DataFrame
        One row per strategy but the baseline, in order of appearance, with the int64 columns

        - `n_rounds`: rounds with scores of both, over all settings with the strategy;
        - `n_below`: those in which its mean score is worse than the baseline's;
        - `n_significantly_below`: those in which it is worse by the paired test.

    Raises
    ------
    ValueError
        If a frame lacks columns, the baseline, or a second repeat; if an option is unknown.
    TypeError
        If `results` holds something that is no frame.

    See Also
    --------
    paired_z : The test of one round.
    pairwise_penalty_matrix : All pairs of strategies.

    Notes
    -----
    A strategy that equals the baseline is below it in half of the rounds, and significantly in
    about 2.5 % of them with test "t", in 6 % with "z" and five repeats: rounds are tested one by
    one, without correction for their number. Rounds of one repeat are not independent. A round with
    a NaN score is not counted at all.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.metrics import rounds_below_baseline
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 6 + ["margin"] * 6,
    ...     "repeat": [0, 0, 0, 1, 1, 1] * 2,
    ...     "n_labels": [10, 20, 30] * 4,
    ...     "accuracy": [0.5, 0.7, 0.9, 0.5, 0.6, 0.9, 0.5, 0.6, 0.8, 0.5, 0.5, 1.0],
    ... })
    >>> rounds_below_baseline(results)
              n_rounds  n_below  n_significantly_below
    strategy
    margin           2        1                      1
    """
    import pandas as pd

    check_test(threshold, test)
    settings = read_settings(results, score)
    references = [baseline_of(setting, baseline) for setting in settings]
    counts = {name: [0, 0, 0] for name in strategies_of(settings) if name not in references}
    for setting, reference in zip(settings, references, strict=True):
        limit = critical_value(threshold, test, check_runs(setting))
        theirs = setting.curves[reference]
        for name in counts.keys() & setting.curves.keys():
            for t in range(0 if include_initial else 1, len(setting.n_labels)):
                ours = setting.curves[name]
                z = paired_z(ours[:, t], theirs[:, t], greater_is_better=greater_is_better)
                counts[name][0] += not np.isnan(z)
                counts[name][1] += z < 0
                counts[name][2] += z < -limit
    columns = ["n_rounds", "n_below", "n_significantly_below"]
    table = pd.DataFrame.from_dict(counts, orient="index", columns=columns)
    return table.astype("int64").rename_axis("strategy")


def average_rank(results, *, score=None, greater_is_better=True, include_initial=False):
    """Return the mean rank of each strategy over rounds and settings; 1 is the best.

    Parameters
    ----------
    results : pandas.DataFrame, or list or dict of pandas.DataFrame
        From :func:`~skal.model_selection.compare_strategies`. Each frame is one setting.

    score : str or None, default=None
        The column to rank by. None is the only score there is.

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    include_initial : bool, default=False
        Whether the round before any query counts too. Strategies that share their first model all
        have the middle rank there.

    Returns
    -------
    ranks : pandas.Series of shape (n_strategies,), dtype float64
        From 1 to the number of strategies, called `average_rank`, by strategy in order of
        appearance.

    Raises
    ------
    ValueError
        If a frame lacks columns, or no round has scores of all strategies.
    TypeError
        If `results` holds something that is no frame.

    Warns
    -----
    UserWarning
        If some strategy has no score (NaN, or absent from a setting) at a round, which is then
        left out for every strategy.

    See Also
    --------
    pairwise_penalty_matrix : Who beats whom, significantly.
    auca_ratio : How much better.

    Notes
    -----
    At each round the strategies are ranked by their mean score over the repeats, ties sharing the
    mean of their ranks. Ranks are averaged over the rounds of a setting, then over settings, so
    that a setting with small batches has no more say than another. The ranks add up to
    S (S + 1) / 2 for S strategies. A rank knows no distances, and changes with the company:
    adding a strategy moves the others.

    References
    ----------
    The mean rank over the rounds after the first is what table 3 of Noise Stability reports:
    Li, Yang, Gu, Zhan, Wang, Xu, Xu (2024). Deep active learning with noise stability. AAAI,
    arXiv:2205.13340.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.metrics import average_rank
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 3 + ["margin"] * 3 + ["entropy"] * 3,
    ...     "repeat": 0,
    ...     "n_labels": [10, 20, 30] * 3,
    ...     "accuracy": [0.5, 0.6, 0.7, 0.5, 0.8, 0.9, 0.5, 0.6, 0.8],
    ... })
    >>> average_rank(results).to_dict()
    {'random': 2.75, 'margin': 1.0, 'entropy': 2.25}
    """
    import pandas as pd

    settings = read_settings(results, score)
    names = strategies_of(settings)
    first = 0 if include_initial else 1
    rounds = [np.arange(first, len(setting.n_labels)) for setting in settings]
    ranks = [
        _ranks(setting, names, some, greater_is_better)
        for setting, some in zip(settings, complete_rounds(settings, rounds, names), strict=True)
        if len(some)
    ]
    if not ranks:
        raise ValueError(
            f"There is no round{'' if include_initial else ' after the first'} at which all "
            f"strategies {names} have scores. Leave out the strategies that do not serve every "
            "setting."
        )
    index = pd.Index(names, name="strategy")
    return pd.Series(np.mean(ranks, axis=0), index=index, name="average_rank")


def _ranks(setting, names, rounds, greater_is_better):
    """Mean rank of each strategy over some rounds of a setting."""
    means = np.array([setting.curves[name][:, rounds].mean(axis=0) for name in names])
    return rankdata(-means if greater_is_better else means, axis=0).mean(axis=1)
