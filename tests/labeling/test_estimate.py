"""Intervals and kappas against other people's."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from skal.labeling._estimate import accuracy_estimate, estimate, kappa, mean_estimate


def test_the_wilson_interval_of_95_of_100():
    found = accuracy_estimate(95, 100)
    assert (round(found.low, 3), found.value, round(found.high, 3)) == (0.888, 0.95, 0.978)


@pytest.mark.parametrize(("interval", "method"), [("wilson", "wilson"), ("clopper", "exact")])
@pytest.mark.parametrize("n_right", [0, 1, 13, 24, 25])
def test_intervals_of_scipy(interval, method, n_right):
    found = accuracy_estimate(n_right, 25, confidence=0.9, interval=interval)
    expected = stats.binomtest(n_right, 25).proportion_ci(0.9, method)
    assert_allclose((found.low, found.high), expected, atol=1e-12)


def test_the_t_interval_of_scipy():
    losses = np.random.RandomState(0).exponential(size=40)
    found = mean_estimate(losses)
    expected = stats.ttest_1samp(losses, 0).confidence_interval(0.95)
    assert_allclose((found.low, found.high), expected)
    assert found.value == losses.mean()


@pytest.mark.parametrize(("interval", "at_least"), [("wilson", 0.93), ("clopper", 0.95)])
def test_intervals_hold_the_truth_as_often_as_they_say(interval, at_least):
    # By enumeration of all outcomes, averaged over accuracies.
    n, covered = 40, []
    for accuracy in np.linspace(0.5, 0.99, 25):
        bounds = [accuracy_estimate(k, n, interval=interval) for k in range(n + 1)]
        held = [b.low <= accuracy <= b.high for b in bounds]
        covered.append(stats.binom.pmf(range(n + 1), n, accuracy) @ held)
    assert np.mean(covered) >= at_least
    assert interval == "wilson" or min(covered) >= 0.95


def test_skipped_rows_give_bounds():
    found = accuracy_estimate(30, 40, 10)
    assert found.worst == (0.6, 0.8) and found.n_skipped == 10
    assert mean_estimate(np.ones(30), 10).worst == (0.75, math.inf)
    assert mean_estimate(np.ones(30)).worst == (1.0, 1.0)


def test_few_answers_are_no_estimate():
    assert math.isnan(accuracy_estimate(19, 19).value) and accuracy_estimate(19, 19).n == 19
    assert math.isnan(estimate([1.0], [2.0], metric="mean absolute error").value)
    assert math.isnan(estimate([], []).value)


def test_labels_of_every_kind():
    assert estimate(list("ab") * 10, list("ab") * 9 + list("aa")).value == 0.95
    assert estimate([[1, 0]] * 20, [[1, 0]] * 15 + [[1, 1]] * 5).value == 0.75
    assert estimate([1, 3] * 10, [2, 2] * 10, metric="mean absolute error").value == 1

    def squared(truth, guess):
        return (np.array(truth) - np.array(guess)) ** 2

    found = estimate([1, 3] * 10, [2, 2] * 10, metric=squared)
    assert (found.value, found.metric) == (1, "squared")


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.RandomState(0)
    a, b = rng.choice(list("xyz"), (2, 50))
    assert_allclose(kappa(a.tolist(), b.tolist()), cohen_kappa_score(a, b))
    # By hand: 3 of 4 agree, by chance 5/8.
    assert_allclose(kappa([1, 1, 1, 0], [1, 1, 0, 0]), (3 / 4 - 1 / 2) / (1 - 1 / 2))
    assert kappa([1, 1], [1, 1]) == 1 and math.isnan(kappa([], []))
