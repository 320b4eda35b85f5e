"""Areas, crossings and paired statistics against hand computation, NumPy and SciPy."""

import pickle

import numpy as np
import pytest
from scipy import stats

from skal.metrics import (
    area_under_budget_curve,
    auca_ratio,
    holm_correction,
    labels_saved,
    labels_to_reach,
    make_budget_scorer,
    paired_test,
    paired_z,
    ratio_to_baseline,
)


def test_area_by_hand():
    # 10 labels at mean height 0.6, 30 labels at mean height 0.9, over a span of 40.
    area = area_under_budget_curve([10, 20, 50], [0.4, 0.8, 1.0])
    assert area == pytest.approx((10 * 0.6 + 30 * 0.9) / 40)
    assert isinstance(area, float)


def test_area_is_numpys_trapezoid_over_the_span():
    rng = np.random.default_rng(0)
    n_labels = np.cumsum(rng.integers(1, 30, size=12))
    scores = rng.normal(size=(7, 12))
    expected = np.trapezoid(scores, n_labels) / (n_labels[-1] - n_labels[0])
    np.testing.assert_allclose(area_under_budget_curve(n_labels, scores), expected, rtol=1e-12)


def test_area_mean_rule_ignores_the_spacing():
    assert area_under_budget_curve([1, 2, 100], [1.0, 2.0, 6.0], rule="mean") == 3.0


@pytest.mark.parametrize("rule", ["trapezoid", "mean"])
def test_area_of_one_round_is_its_score(rule):
    assert area_under_budget_curve([10], [0.25], rule=rule) == 0.25
    np.testing.assert_array_equal(area_under_budget_curve([10], [[1.0], [2.0]], rule=rule), [1, 2])


def test_area_of_a_constant_is_the_constant_and_nan_shows():
    assert area_under_budget_curve([5, 6, 90], [2.0, 2.0, 2.0]) == pytest.approx(2.0)
    areas = area_under_budget_curve([5, 6], [[1.0, 1.0], [1.0, np.nan]])
    assert areas[0] == 1.0 and np.isnan(areas[1])


@pytest.mark.parametrize("n_labels", [[10, 30, 20], [10, 10, 20], [10, np.nan, 20]])
@pytest.mark.parametrize("function", [area_under_budget_curve, labels_to_reach])
def test_budgets_must_increase(function, n_labels):
    arguments = (0.5,) if function is labels_to_reach else ()
    with pytest.raises(ValueError, match="finite and strictly increasing"):
        function(n_labels, [0.1, 0.2, 0.3], *arguments)


def test_area_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"scores must have shape \(2,\) or \(n_runs, 2\).*\(3,\)"):
        area_under_budget_curve([1, 2], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="at least one round"):
        area_under_budget_curve([], [])
    with pytest.raises(ValueError, match="rule must be one of .*'simpson'"):
        area_under_budget_curve([1, 2], [1.0, 2.0], rule="simpson")


def test_labels_to_reach_paid_and_interpolated():
    n_labels, scores = [10, 20, 40], [0.2, 0.6, 0.8]
    assert labels_to_reach(n_labels, scores, 0.6) == 20
    assert labels_to_reach(n_labels, scores, 0.7) == 40
    assert labels_to_reach(n_labels, scores, 0.7, interpolate=True) == pytest.approx(30)
    assert labels_to_reach(n_labels, scores, 0.1, interpolate=True) == 10
    assert labels_to_reach(n_labels, scores, 0.9) == np.inf


def test_labels_to_reach_takes_the_first_crossing():
    assert labels_to_reach([1, 2, 3, 4], [0.0, 1.0, 0.0, 1.0], 0.5, interpolate=True) == 1.5


def test_labels_to_reach_losses_and_runs():
    losses = [[9.0, 5.0, 1.0], [9.0, np.nan, 2.0], [9.0, 8.0, 7.0]]
    reached = labels_to_reach([10, 20, 30], losses, 3.0, greater_is_better=False, interpolate=True)
    np.testing.assert_allclose(reached, [25.0, 30.0, np.inf])
    # Turning every sign changes nothing.
    turned = labels_to_reach([10, 20, 30], -np.array(losses), -3.0, interpolate=True)
    np.testing.assert_array_equal(reached, turned)
    with pytest.raises(ValueError, match="target must be a number"):
        labels_to_reach([1, 2], [1.0, 2.0], np.nan)


def test_ratio_by_hand_and_to_itself():
    result = ratio_to_baseline([1.0, 3.0, 2.0], [1.0, 2.0, 4.0])
    assert result.ratio == pytest.approx((1 + 1.5 + 0.5) / 3)
    assert result.standard_error == pytest.approx(stats.sem([1, 1.5, 0.5]))
    assert ratio_to_baseline([0.3, 0.7], [0.3, 0.7]) == (1.0, 0.0)


def test_ratio_above_one_means_better_for_every_kind_of_score():
    better, worse = np.array([2.0, 3.0]), np.array([4.0, 5.0])
    loss = ratio_to_baseline(better, worse, greater_is_better=False)
    negated = ratio_to_baseline(-better, -worse)
    accuracy = ratio_to_baseline(worse, better)
    assert loss == negated == accuracy
    assert loss.ratio > 1
    assert ratio_to_baseline(-worse, -better, greater_is_better=False) == loss


def test_ratio_of_one_run_and_of_a_missing_run():
    ratio, error = ratio_to_baseline([2.0], [1.0])
    assert ratio == 2.0 and np.isnan(error)
    assert np.isnan(ratio_to_baseline([2.0, np.nan], [1.0, 1.0])).all()


@pytest.mark.parametrize("scores", [[0.5, -0.1], [0.5, 0.0]])
def test_ratio_refuses_mixed_signs(scores):
    with pytest.raises(ValueError, match="all above zero or all below it.*paired_z"):
        ratio_to_baseline(scores, [0.4, 0.4])


def test_paired_z_is_the_paired_t_statistic():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 9))
    expected = stats.ttest_rel(a, b).statistic
    assert paired_z(a, b) == pytest.approx(expected)
    assert paired_z(b, a) == pytest.approx(-expected)
    assert paired_z(a, b, greater_is_better=False) == pytest.approx(-expected)


def test_paired_z_without_spread():
    base = np.array([0.1, 0.2, 0.7])
    assert paired_z(base, base) == 0.0
    # 0.1 is no binary fraction: the differences vary by rounding alone.
    assert paired_z(base + 0.1, base) == np.inf
    assert paired_z(base - 0.1, base) == -np.inf
    assert paired_z(base - 0.1, base, greater_is_better=False) == np.inf


def test_paired_errors():
    with pytest.raises(ValueError, match="at least 2 runs. Got 1 instead"):
        paired_z([1.0], [2.0])
    for function in (paired_z, ratio_to_baseline):
        with pytest.raises(ValueError, match=r"Got shapes \(2,\) and \(3,\)"):
            function([1.0, 2.0], [1.0, 2.0, 3.0])
    assert np.isnan(paired_z([1.0, np.nan], [1.0, 2.0]))


class _Staged:
    n_labels_ = np.array([10, 20, 50])

    def staged_score(self, X, y, scoring=None):
        yield from ([0.4, 0.8, 1.0] if scoring is None else [0.0, 0.0, 1.0])


def test_budget_scorer_averages_the_stages_and_pickles():
    scorer = pickle.loads(pickle.dumps(make_budget_scorer()))
    assert scorer(_Staged(), None, None) == pytest.approx((10 * 0.6 + 30 * 0.9) / 40)
    assert make_budget_scorer("r2", rule="mean")(_Staged(), None, None) == pytest.approx(1 / 3)
    assert repr(make_budget_scorer("r2")) == "make_budget_scorer('r2', rule='trapezoid')"


def test_budget_scorer_errors():
    with pytest.raises(ValueError, match="rule must be one of"):
        make_budget_scorer(rule="max")
    with pytest.raises(ValueError, match="nonsense"):
        make_budget_scorer("nonsense")
    with pytest.raises(TypeError, match="name of a score.*Got 3 instead"):
        make_budget_scorer(3)
    with pytest.raises(TypeError, match="Wrap the learner in a BudgetedActiveLearner"):
        make_budget_scorer()(object(), None, None)


def test_paired_test_is_scipys():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 7))
    expected = stats.ttest_rel(a, b)
    result = paired_test(a, b, confidence=0.9)
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.pvalue == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.9)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.difference == pytest.approx((a - b).mean()) and result.n_runs == 7
    turned = paired_test(a, b, greater_is_better=False, confidence=0.9)
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low))


def test_paired_test_without_spread_and_with_few_runs():
    base = np.array([0.1, 0.2, 0.7])
    assert paired_test(base, base)[:5] == (0, 0, 0, 0, 1)
    assert paired_test(base + 0.25, base).pvalue == 0
    assert [paired_test(np.arange(n), np.zeros(n)).too_few for n in (2, 4, 5)] == [
        True,
        True,
        False,
    ]
    assert np.isnan(paired_test([1.0, np.nan], [1.0, 2.0])[:5]).all()
    with pytest.raises(ValueError, match="at least 2 runs. Got 1 instead"):
        paired_test([1.0], [2.0])
    for confidence in (0, 1, 95, True, "95 %"):
        with pytest.raises(ValueError, match="confidence must be a number between 0 and 1"):
            paired_test(base, base, confidence=confidence)


@pytest.mark.parametrize("n_runs", [2, 3, 5, 10])
def test_chance_is_significant_as_often_as_the_level_says(n_runs):
    """The normal reading of the same statistic is wrong in 29, 18, 11 and 8 % of cases."""
    gains = np.random.default_rng(n_runs).normal(size=(2000, n_runs))
    results = [paired_test(gain, np.zeros(n_runs)) for gain in gains]
    assert np.mean([r.pvalue <= 0.05 for r in results]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([r.low <= 0 <= r.high for r in results]) == pytest.approx(0.95, abs=0.015)
    assert np.mean([abs(r.statistic) > 2 for r in results]) > 0.06


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_step_down_procedure(seed):
    rng = np.random.default_rng(seed)
    pvalues = rng.uniform(size=6) ** 3
    adjusted = holm_correction(pvalues)
    for level in rng.uniform(size=50):
        # Reject from the smallest on, until one fails: Holm (1979), not as a formula.
        rejected = set()
        for step, i in enumerate(np.argsort(pvalues)):
            if pvalues[i] > level / (6 - step):
                break
            rejected.add(int(i))
        assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected
    assert (adjusted >= pvalues).all() and (adjusted <= np.minimum(6 * pvalues, 1)).all()


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm_correction([np.nan, 0.02, 0.03])
    assert np.isnan(adjusted[0]) and adjusted[1:].tolist() == [0.04, 0.04]
    assert len(holm_correction([])) == 0
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]. Got 1.5 instead"):
        holm_correction([0.5, 1.5])
    with pytest.raises(ValueError, match=r"shape \(n_tests,\). Got shape \(1, 2\)"):
        holm_correction([[0.1, 0.2]])


def test_labels_saved_by_hand():
    random = np.array([[0.5, 0.6, 0.7], [0.5, 0.6, 0.7]])
    result = labels_saved([20, 40, 80], random + [[0, 0.2, 0.2], [0, 0.2, 0.2]], random)
    # From 0.5 at 20 to 0.8 at 40, 0.7 is passed after two thirds of the way. No spread: a point.
    assert result.needed == pytest.approx(20 + 20 * 2 / 3)
    assert result.share == pytest.approx(1 - result.needed / 80)
    assert result.low == pytest.approx(result.share, abs=0.5 / 80)
    assert result.high == pytest.approx(result.share, abs=0.5 / 80)
    assert result.low <= result.share <= result.high
    losses = labels_saved(
        [20, 40, 80], 1 - random - [[0, 0.2, 0.2]], 1 - random, greater_is_better=False
    )
    assert losses == pytest.approx(result)


def test_labels_saved_of_the_baseline_of_a_worse_one_and_of_one_run():
    random = np.array([[0.5, 0.6, 0.7], [0.4, 0.6, 0.8]])
    same = labels_saved([20, 40, 60], random, random)
    assert same.share == 0 and same.low == -np.inf and same.needed == 60
    never = labels_saved([20, 40, 60], random - 0.3, random)
    assert never.needed == np.inf and never.share == never.low == -np.inf
    single = labels_saved([20, 40, 60], random[:1] + 0.1, random[:1])
    assert single.share > 0 and np.isnan([single.low, single.high]).all()
    assert np.isnan(labels_saved([20, 40, 60], random * np.nan, random)).all()
    with pytest.raises(ValueError, match=r"same shape.*Got \(2, 3\) and \(1, 3\)"):
        labels_saved([20, 40, 60], random, random[:1])


def test_interval_of_labels_saved_holds_the_truth():
    """Curves that rise in a straight line: the true number is known."""
    rng = np.random.default_rng(0)
    n_labels, n_runs = np.array([10, 20, 30, 40, 50]), 6
    held = 0
    for _ in range(400):
        luck = rng.normal(0, 0.02, (n_runs, 1))  # of the split, shared by both
        random = 0.01 * n_labels + luck + rng.normal(0, 0.02, (n_runs, 5))
        better = 0.0125 * n_labels + luck + rng.normal(0, 0.02, (n_runs, 5))
        result = labels_saved(n_labels, better, random)
        held += result.low <= 1 - 40 / 50 <= result.high
    assert 0.93 <= held / 400


def test_interval_of_auca_ratio_is_students():
    rng = np.random.default_rng(0)
    random = rng.uniform(0.5, 0.6, (6, 4))
    result = auca_ratio(random + rng.uniform(0, 0.2, (6, 4)), random)
    expected = stats.t.interval(0.9, 5, loc=result.trials.mean(), scale=stats.sem(result.trials))
    assert result.confidence_interval(0.9) == pytest.approx(expected)
    assert np.isnan(auca_ratio(random[:1], random[:1]).confidence_interval()).all()
    with pytest.raises(ValueError, match="confidence must be a number"):
        result.confidence_interval(95)
