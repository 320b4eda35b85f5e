"""Mean ranks and who differs: against SciPy, published tables and hand computation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skal.metrics import critical_difference, holm_correction

NAMES = ("random", "margin", "entropy", "coreset")


def settings_of(areas, names=NAMES):
    """One frame per row of `areas`, each of one round and one repeat."""
    return [
        pd.DataFrame({"strategy": names, "repeat": 0, "n_labels": 10, "accuracy": row})
        for row in areas
    ]


@pytest.fixture
def areas():
    return np.random.default_rng(0).normal([0.0, 0.1, 0.12, 0.02], 0.05, (14, 4))


def test_ranks_and_friedman_are_scipys(areas):
    result = critical_difference(settings_of(areas))
    ranks = stats.rankdata(-areas, axis=1).mean(axis=0)
    assert result.ranks.to_dict() == pytest.approx(dict(zip(NAMES, ranks, strict=True)))
    assert result.ranks.is_monotonic_increasing
    assert result.pvalue == pytest.approx(stats.friedmanchisquare(*areas.T).pvalue)
    assert result.n_blocks == 14
    losses = critical_difference(settings_of(1 - areas), greater_is_better=False)
    pd.testing.assert_series_equal(losses.ranks, result.ranks)


@pytest.mark.parametrize("k, q05, q10", [(2, 1.960, 1.645), (5, 2.728, 2.459), (10, 3.164, 2.920)])
def test_nemenyi_has_the_published_critical_values(k, q05, q10):
    """Demsar (2006), table 5(a)."""
    names = [f"s{i}" for i in range(k)]
    areas = np.random.default_rng(k).normal(size=(20, k))
    for alpha, q in [(0.05, q05), (0.1, q10)]:
        result = critical_difference(settings_of(areas, names), alpha=alpha)
        assert result.critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / 120), rel=3e-4)
        # The p-values say the same as the distance.
        ranks = result.ranks.to_numpy()
        apart = np.abs(ranks[:, None] - ranks) > result.critical_difference
        np.testing.assert_array_equal(result.pvalues.to_numpy() <= alpha, apart)


def test_wilcoxon_holm_is_scipys(areas):
    result = critical_difference(settings_of(areas), post_hoc="wilcoxon-holm")
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    column = dict(zip(NAMES, areas.T, strict=True))
    raw = [stats.wilcoxon(column[a], column[b]).pvalue for a, b in pairs]
    for (a, b), expected in zip(pairs, holm_correction(raw), strict=True):
        assert result.pvalues.loc[a, b] == result.pvalues.loc[b, a] == pytest.approx(expected)
    assert np.isnan(result.critical_difference)


def test_groups_are_the_largest_runs_of_alike_neighbours():
    # Ranks 1, 2, 3, 4 in each of n settings: the distance shrinks with n.
    for n, groups in [(4, [(0, 1, 2), (1, 2, 3)]), (9, [(0, 1), (1, 2), (2, 3)]), (30, [])]:
        areas = np.tile([4.0, 3.0, 2.0, 1.0], (n, 1))
        result = critical_difference(settings_of(areas))
        assert result.groups == [tuple(NAMES[i] for i in group) for group in groups]


def test_one_setting_is_ranked_by_repeat_and_ties_share_ranks():
    frame = pd.DataFrame(
        {"strategy": name, "repeat": i, "n_labels": 10, "accuracy": float(name == "b")}
        for name in "abc"
        for i in range(6)
    )
    result = critical_difference(frame, post_hoc="wilcoxon-holm")
    assert result.n_blocks == 6
    assert result.ranks.to_dict() == {"b": 1.0, "a": 2.5, "c": 2.5}
    assert result.pvalues.loc["a", "c"] == 1
    same = critical_difference(frame.assign(accuracy=1.0))
    assert same.pvalue == 1 and same.groups == [("a", "b", "c")]


def test_errors(areas):
    frames = settings_of(areas)
    with pytest.raises(ValueError, match=r"post_hoc must be one of .*Got 'tukey' instead"):
        critical_difference(frames, post_hoc="tukey")
    with pytest.raises(ValueError, match=r"Setting 1 lacks \['random'\]"):
        critical_difference([frames[0], frames[1][1:]])
    with pytest.raises(ValueError, match="at least 2 settings.* Got 1 and 4 instead"):
        critical_difference(frames[0])
    with pytest.raises(ValueError, match="Setting 0 has missing scores"):
        critical_difference([frames[0].assign(accuracy=np.nan), frames[1]])
