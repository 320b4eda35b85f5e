"""Areas, crossings and paired statistics against hand computation, NumPy and SciPy."""

import pickle

import numpy as np
import pytest
from scipy import stats

from skal.metrics import (
    area_under_budget_curve,
    labels_to_reach,
    make_budget_scorer,
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
