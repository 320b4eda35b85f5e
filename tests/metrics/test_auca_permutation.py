"""AUCA ratios and permutation tests against NumPy, enumeration and McNemar's exact test."""

import itertools

import numpy as np
import pytest
from scipy import stats

from skal.metrics import area_under_budget_curve, auca, auca_ratio, permutation_test


def test_auca_is_numpys_trapezoid():
    rng = np.random.default_rng(0)
    x, curves = np.cumsum(rng.integers(1, 9, size=6)), rng.random((3, 6))
    np.testing.assert_allclose(auca(curves, x), np.trapezoid(curves, x), rtol=1e-13)
    assert auca(curves[0]) == pytest.approx(np.trapezoid(curves[0]))
    assert isinstance(auca(curves[0]), float)
    np.testing.assert_allclose(
        auca(curves, x) / (x[-1] - x[0]), area_under_budget_curve(x, curves), rtol=1e-13
    )


def test_auca_of_one_round_is_its_score():
    assert auca([0.25]) == 0.25
    assert auca([0.25], x=[100]) == 0.25


def test_ratio_by_hand_leaves_out_the_first_model():
    # Without the first round the areas are 0.7 and 0.5, 0.6 and 0.75.
    curve = [[0.9, 0.6, 0.8], [0.1, 0.5, 0.7]]
    random = [[0.9, 0.4, 0.6], [0.1, 0.7, 0.8]]
    result = auca_ratio(curve, random)
    np.testing.assert_allclose(result.trials, [1.4, 0.8])
    assert result.ratio == pytest.approx(1.1)
    assert result.std == pytest.approx(np.std([1.4, 0.8], ddof=1))
    assert result.standard_error == pytest.approx(stats.sem([1.4, 0.8]))
    assert auca_ratio(curve, random, ddof=0).std == pytest.approx(0.3)
    whole = auca_ratio(curve, random, include_initial=True)
    np.testing.assert_allclose(whole.trials, [1.45 / 1.15, 0.9 / 1.15])
    uneven = auca_ratio(
        [0.1, 0.2, 0.4, 0.9], [0.1, 0.2, 0.3, 0.4], x=[0, 1, 2, 12], include_initial=False
    )
    assert uneven.ratio == pytest.approx((0.3 + 6.5) / (0.25 + 3.5))


def test_ratio_invariances():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 5, 7))
    assert auca_ratio(a, a)[:3] == (1.0, 0.0, 0.0)
    np.testing.assert_allclose(auca_ratio(100 * a, 100 * b).trials, auca_ratio(a, b).trials)
    np.testing.assert_allclose(
        auca_ratio(a, b, greater_is_better=False).trials, 1 / auca_ratio(a, b).trials
    )
    # Not the ratio of means: pairing comes first.
    assert auca_ratio(a, b).ratio != pytest.approx(auca(a[:, 1:]).mean() / auca(b[:, 1:]).mean())


def test_ratio_of_one_point_and_one_trial():
    result = auca_ratio([0.6], [0.5])
    assert result.ratio == pytest.approx(1.2)
    assert np.isnan(result.std) and np.isnan(result.standard_error)
    assert auca_ratio([0.6], [0.5], ddof=0).std == 0


def test_ratio_errors():
    with pytest.raises(ValueError, match=r"same shape, trial by trial. Got \(2,\) and \(1, 2\)"):
        auca_ratio([1, 2], [[1, 2]])
    with pytest.raises(ValueError, match="all above zero or all below it"):
        auca_ratio([[1, 1], [1, -1]], [[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="finite and strictly increasing"):
        auca([1, 2], x=[2, 1])
    with pytest.raises(ValueError, match="scores must have shape"):
        auca_ratio([1, 2], [1, 2, 3])


def exact_flips(gains):
    """p-value over all sign flips."""
    total = abs(np.sum(gains))
    sums = [abs(np.dot(s, gains)) for s in itertools.product([1, -1], repeat=len(gains))]
    return np.mean(np.array(sums) >= total - 1e-12)


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 1), (6, 0), (5, 3), (2, 2)])
def test_paired_accuracy_is_mcnemar(n_a, n_b):
    y = np.array(["cat", "dog", "eel"])[np.arange(40) % 3]
    a, b = y.copy(), y.copy()
    b[:n_a] = "wrong"
    a[n_a : n_a + n_b] = "wrong"
    # Rows where both are wrong, even in different ways, do not matter.
    a[30:], b[30:] = "wrong", "bad"
    exact = stats.binomtest(n_a, n_a + n_b).pvalue
    assert exact == pytest.approx(exact_flips([1] * n_a + [-1] * n_b))
    n_perm = 20_000
    result = permutation_test(y, a, b, n_perm=n_perm, random_state=0)
    assert result.statistic == pytest.approx((n_a - n_b) / 40)
    assert abs(result.pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / n_perm) + 1 / n_perm
    assert 0 < result.pvalue <= 1
    swapped = permutation_test(y, b, a, n_perm=n_perm, random_state=0)
    assert swapped == (-result.statistic, result.pvalue)


def curves_of_predictions(seed, n_rounds=3, n_test=8):
    rng = np.random.default_rng(seed)
    y = np.arange(n_test) % 2
    a, b, r = np.where(rng.random((3, n_rounds, n_test)) < 0.7, y, 1 - y)
    return y, a, b, r


@pytest.mark.parametrize("seed", range(3))
def test_paired_area_is_the_enumeration_of_common_flips(seed):
    y, a, b, r = curves_of_predictions(seed)
    x = [0, 1, 5]
    weights = np.array([0.5, 2.5, 2.0])
    gains = weights @ ((a == y).astype(float) - (b == y))
    exact, n_perm = exact_flips(gains), 20_000
    result = permutation_test(y, a, b, "auca", n_perm, x=x, random_state=0)
    observed = auca((a == y).mean(axis=1), x) - auca((b == y).mean(axis=1), x)
    assert result.statistic == pytest.approx(observed)
    assert abs(result.pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / n_perm) + 1 / n_perm
    ratio = permutation_test(y, a, b, "auca_ratio", n_perm, x=x, pred_random=r, random_state=0)
    assert ratio.statistic == pytest.approx(observed / auca((r == y).mean(axis=1), x))
    assert ratio.pvalue == result.pvalue


@pytest.mark.parametrize("statistic", ["accuracy", "auca", "auca_ratio"])
def test_label_kind_is_the_enumeration_of_label_permutations(statistic):
    rng = np.random.default_rng(5)
    y = np.array([0, 0, 0, 1, 1, 2])
    shape = (6,) if statistic == "accuracy" else (2, 6)
    a, b, r = (
        np.where(rng.random(shape) < p, y, rng.integers(0, 3, shape)) for p in (0.8, 0.2, 0.3)
    )
    extra = {"pred_random": r} if statistic == "auca_ratio" else {}

    def difference(labels):
        areas = [auca(np.atleast_2d(p == labels).mean(axis=1)) for p in (a, b, r)]
        if statistic != "auca_ratio":
            return areas[0] - areas[1]
        if areas[0] == areas[1]:
            return 0.0
        return (areas[0] - areas[1]) / areas[2] if areas[2] else np.inf

    permuted = np.array([abs(difference(np.array(p))) for p in itertools.permutations(y)])
    exact = np.mean(permuted >= abs(difference(y)) - 1e-12)
    assert 0.01 < exact < 0.99
    n_perm = 5000
    result = permutation_test(y, a, b, statistic, n_perm, kind="label", random_state=0, **extra)
    assert result.statistic == pytest.approx(difference(y))
    assert abs(result.pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / n_perm)
    swapped = permutation_test(y, b, a, statistic, n_perm, kind="label", random_state=0, **extra)
    assert swapped == (-result.statistic, result.pvalue)


@pytest.mark.parametrize("kind", ["paired", "label"])
def test_identical_predictions_and_seeds(kind):
    y, a, b, _ = curves_of_predictions(0, n_test=50)
    assert permutation_test(y, a, a, "auca", 50, kind=kind) == (0.0, 1.0)
    first, again, other = (
        permutation_test(y, a, b, "auca", 200, kind=kind, random_state=s) for s in (0, 0, 1)
    )
    assert first == again
    assert other.statistic == first.statistic


def test_pvalues_of_what_chance_never_does():
    y = np.arange(200) % 10
    assert permutation_test(y, y, y[::-1], n_perm=9, random_state=0).pvalue == 0.1
    assert permutation_test(y, y, y[::-1], n_perm=9, kind="label", random_state=0).pvalue == 0.0


def test_a_paired_test_keeps_its_level():
    # Two classifiers of equal skill: p-values below 0.05 come at most 5 % of the time.
    rng = np.random.default_rng(2)
    y = np.arange(60) % 10
    ps = []
    for _ in range(300):
        a, b = np.where(rng.random((2, 60)) < 0.7, y, 99)
        ps.append(permutation_test(y, a, b, n_perm=400, random_state=rng.integers(1 << 30)).pvalue)
    assert np.mean(np.array(ps) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(np.array(ps) <= 0.5) > 0.2


def test_permutation_errors():
    y, a, b, r = curves_of_predictions(0)
    with pytest.raises(ValueError, match="statistic must be one of .*Got 'f1'"):
        permutation_test(y, a, b, "f1")
    with pytest.raises(ValueError, match="kind must be one of .*Got 'rows'"):
        permutation_test(y, a[0], b[0], kind="rows")
    with pytest.raises(ValueError, match="n_perm must be an int of at least 1. Got 0"):
        permutation_test(y, a[0], b[0], n_perm=0)
    with pytest.raises(ValueError, match="pred_random must be given.*Got None for 'auca_ratio'"):
        permutation_test(y, a, b, "auca_ratio")
    with pytest.raises(ValueError, match="only there. Got predictions for 'auca'"):
        permutation_test(y, a, b, "auca", pred_random=r)
    with pytest.raises(ValueError, match="3 rounds instead. Use statistic='auca'"):
        permutation_test(y, a, b)
    with pytest.raises(ValueError, match="at least 2 classes. Got only 1"):
        permutation_test(np.ones(8, dtype=int), a[0], b[0])
    with pytest.raises(ValueError, match=r"at least one row. Got shape \(0,\)"):
        permutation_test([], [], [])
    with pytest.raises(ValueError, match=r"pred_b must have shape \(8,\).*Got shape \(1, 7\)"):
        permutation_test(y, a[0], b[0, :7])
    with pytest.raises(ValueError, match="must have the same rounds"):
        permutation_test(y, a, b[:2], "auca")
    with pytest.raises(ValueError, match="Random's area is 0"):
        permutation_test(y, a, b, "auca_ratio", pred_random=np.full_like(a, 7))
