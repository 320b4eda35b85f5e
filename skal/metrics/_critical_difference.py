"""Many strategies over many settings: mean ranks, and which of them differ (Demsar's tests)."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from skal.metrics._budget import area_under_budget_curve
from skal.metrics._correction import holm_correction
from skal.metrics._settings import check_option, read_settings, strategies_of

POST_HOC = ("nemenyi", "wilcoxon-holm")


class CriticalDifference(NamedTuple):
    """Mean ranks over settings, and which strategies cannot be told apart.

    Parameters
    ----------
    ranks : pandas.Series of shape (n_strategies,), dtype float64
        Mean rank of each strategy over the blocks, the best first.

    pvalue : float
        Of Friedman's test that all strategies are equal. NaN for two strategies.

    critical_difference : float
        Nemenyi's: mean ranks that are further apart differ significantly. NaN with
        ``post_hoc="wilcoxon-holm"``.

    pvalues : pandas.DataFrame of shape (n_strategies, n_strategies), dtype float64
        Of each pair, adjusted for the number of pairs; 1 on the diagonal. In the order of `ranks`.

    groups : list of tuple of str
        The largest groups of neighbours in `ranks` no two of which differ significantly; groups
        of one are left out.

    n_blocks : int
        Number of settings (or, for a single setting, repeats) that were ranked.
    """

    ranks: object
    pvalue: float
    critical_difference: float
    pvalues: object
    groups: list
    n_blocks: int


def critical_difference(
    results, *, score=None, greater_is_better=True, post_hoc="nemenyi", alpha=0.05
):
    """Rank strategies over settings by area, and test which differ.

    Parameters
    ----------
    results : pandas.DataFrame, or list or dict of pandas.DataFrame
        From :func:`~skal.model_selection.compare_strategies`, one frame per setting. Each setting
        is one block: the strategies are ranked in it by their mean area under the budget curve.
        For a single frame the blocks are its repeats; what is found then holds for that data set.

    score : str or None, default=None
        The column to rank by. None is the only score there is.

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    post_hoc : {"nemenyi", "wilcoxon-holm"}, default="nemenyi"
        How pairs are compared: by the distance of their mean ranks, or by Wilcoxon's signed-rank
        test of their areas, with Holm's correction for the number of pairs. The first depends on
        which other strategies are there; the second does not, but for the correction, and it sees
        the size of differences: areas of different settings should then be on one scale.

    alpha : float, default=0.05
        Level of significance of `critical_difference` and `groups`.

    Returns
    -------
    result : CriticalDifference
        Named tuple ``(ranks, pvalue, critical_difference, pvalues, groups, n_blocks)``.

    Raises
    ------
    ValueError
        If there are fewer than two strategies or blocks, if a setting lacks a strategy or a score,
        or an option is unknown.

    See Also
    --------
    skal.inspection.CriticalDifferenceDisplay : The same as a figure.
    average_rank : Ranks round by round.

    Notes
    -----
    With k strategies and N blocks, Nemenyi's critical difference is
    :math:`q_\\alpha \\sqrt{k (k + 1) / (6 N)}`, where :math:`q_\\alpha` is the quantile of the
    Studentised range of k normal variables (infinitely many degrees of freedom) over
    :math:`\\sqrt 2`. Strategies that tie share the mean of their ranks.

    References
    ----------
    Demsar (2006). Statistical comparisons of classifiers over multiple data sets. Journal of
    Machine Learning Research, 7, 1-30.

    Benavoli, Corani, Mangili (2016). Should we really use post-hoc tests based on mean-ranks?
    Journal of Machine Learning Research, 17, 1-10.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skal.metrics import critical_difference
    >>> rng = np.random.default_rng(0)
    >>> gains = {"random": 0.0, "margin": 0.2, "entropy": 0.19}
    >>> settings = [
    ...     pd.DataFrame({
    ...         "strategy": name, "repeat": 0, "n_labels": [10], "score": rng.normal(gain, 0.05)
    ...     })
    ...     for name, gain in gains.items() for _ in range(12)
    ... ]
    >>> frames = [pd.concat(settings[i::12]) for i in range(12)]
    >>> result = critical_difference(frames)
    >>> result.ranks.round(2).to_dict()
    {'margin': 1.42, 'entropy': 1.58, 'random': 3.0}
    >>> result.groups
    [('margin', 'entropy')]
    """
    import pandas as pd

    check_option("post_hoc", post_hoc, POST_HOC)
    areas, names = _areas_by_block(results, score, greater_is_better)
    ranks = stats.rankdata(-areas, axis=1)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    areas, ranks, names = areas[:, order], ranks[:, order], [names[i] for i in order]
    means, (n_blocks, k) = ranks.mean(axis=0), areas.shape
    if post_hoc == "nemenyi":
        pvalues, distance = _nemenyi(means, n_blocks, alpha)
    else:
        pvalues, distance = _wilcoxon_holm(areas), float("nan")
    return CriticalDifference(
        pd.Series(means, index=pd.Index(names, name="strategy"), name="mean_rank"),
        _friedman(ranks) if k > 2 else float("nan"),
        distance,
        pd.DataFrame(pvalues, index=pd.Index(names, name="strategy"), columns=names),
        _groups(pvalues > alpha, names),
        n_blocks,
    )


def _areas_by_block(results, score, greater_is_better):
    """Areas (n_blocks, n_strategies), greater being better, and the names of the columns."""
    settings = read_settings(results, score)
    names = strategies_of(settings)
    blocks = []
    for setting in settings:
        missing = [name for name in names if name not in setting.curves]
        if missing:
            raise ValueError(
                f"Every setting must have every strategy. Setting {setting.name!r} lacks {missing}."
            )
        areas = np.array(
            [area_under_budget_curve(setting.n_labels, setting.curves[name]) for name in names]
        )
        if np.isnan(areas).any():
            raise ValueError(f"Setting {setting.name!r} has missing scores. Leave it out.")
        blocks.append(areas.T if len(settings) == 1 else areas.mean(axis=1)[None])
    areas = np.concatenate(blocks) * (1.0 if greater_is_better else -1.0)
    if min(areas.shape) < 2:
        raise ValueError(
            "Ranks are tested over at least 2 settings (or repeats of one) of at least 2 "
            f"strategies. Got {areas.shape[0]} and {areas.shape[1]} instead."
        )
    return areas, names


def _friedman(ranks):
    """p-value of Friedman's test; 1 where everybody ties everywhere."""
    if (ranks == ranks[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*ranks.T).pvalue)


def _nemenyi(means, n_blocks, alpha):
    """p-values of the pairs (already joint), and the distance that is significant."""
    k = len(means)
    unit = np.sqrt(k * (k + 1) / (6 * n_blocks)) / np.sqrt(2)
    distances = np.abs(means[:, None] - means)
    pvalues = stats.studentized_range.sf(distances / unit, k, np.inf)
    np.fill_diagonal(pvalues, 1.0)
    return pvalues, float(unit * stats.studentized_range.isf(alpha, k, np.inf))


def _wilcoxon_holm(areas):
    """p-values of the pairs by Wilcoxon's signed ranks, after Holm's correction."""
    pairs = list(combinations(range(areas.shape[1]), 2))
    raw = [
        1.0
        if (areas[:, i] == areas[:, j]).all()
        else stats.wilcoxon(areas[:, i], areas[:, j], zero_method="zsplit").pvalue
        for i, j in pairs
    ]
    pvalues = np.eye(areas.shape[1])
    for (i, j), adjusted in zip(pairs, holm_correction(raw), strict=True):
        pvalues[i, j] = pvalues[j, i] = adjusted
    return pvalues


def _groups(alike, names):
    """The largest runs of neighbours all pairs of which are alike."""
    groups, reached = [], 0
    for i in range(len(names)):
        j = i + 1
        while j < len(names) and alike[i : j + 1, i : j + 1].all():
            j += 1
        if j - i > 1 and j > reached:
            groups.append(tuple(names[i:j]))
        reached = max(reached, j)
    return groups
