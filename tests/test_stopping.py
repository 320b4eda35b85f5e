"""Stopping criteria against computation by hand, SciPy and scikit-learn."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.metrics import cohen_kappa_score

from skal import stopping
from skal.stopping import (
    AllOf,
    AnyOf,
    AuditTarget,
    BatchAccuracy,
    ConfidenceDrop,
    MaxLabels,
    MaxSeconds,
    MaxUncertainty,
    OverallUncertainty,
    StablePredictions,
    UnchangedPredictions,
)


class Round:
    """A round made by hand: predictions and probabilities of all rows."""

    def __init__(
        self, predictions=None, previous=None, P=None, n_labels=10, unlabeled=None, **more
    ):
        known = predictions if predictions is not None else P
        n = 0 if known is None else len(known)
        self.unlabeled = np.arange(n) if unlabeled is None else np.asarray(unlabeled, dtype=int)
        self.queried, self.labels, self.audit, self.n_labels = np.array([], int), [], None, n_labels
        self._now, self._before, self._P = predictions, previous, P
        vars(self).update(more)

    def predict(self, rows):
        return np.asarray(self._now)[rows]

    def predict_proba(self, rows):
        return np.asarray(self._P)[rows]

    def previous_predictions(self, rows):
        return None if self._before is None else np.asarray(self._before)[rows]


def rounds(models):
    return [Round(now, before) for before, now in zip([None, *models], models, strict=False)]


def test_kappa_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 50))
        b[rng.random(50) < 0.6] = a[:1]
        criterion = StablePredictions()
        criterion.update(Round(b, a))
        assert criterion.value_ == pytest.approx(cohen_kappa_score(a, b))


def test_kappa_by_hand_and_of_constants():
    # Agreement 3/4; by chance 1/2 x 1/4 + 1/2 x 3/4 = 1/2: kappa 1/2.
    a, b = np.array(["x", "x", "y", "y"]), np.array(["x", "y", "y", "y"])
    assert stopping.cohen_kappa(a, b) == pytest.approx(0.5)
    same = np.array(["x"] * 4)
    assert stopping.cohen_kappa(same, same) == 1


def test_stable_predictions_stop_at_the_mean_of_the_window():
    rng = np.random.default_rng(0)
    start, end = rng.integers(0, 2, (2, 100))
    models = [start, end, end, end, end]
    criterion = StablePredictions(threshold=0.99, window=3)
    stops = [criterion.update(r) for r in rounds(models)]
    # Kappas: none, low, 1, 1, 1.
    assert stops == [False, False, False, False, True]
    assert np.isnan(criterion.history_[0]) and criterion.history_[2:] == [1, 1, 1]
    # A steady low kappa is no stability.
    flip = [np.where(np.arange(100) % 5 == i % 2, 1 - start, start) for i in range(8)]
    assert not any(StablePredictions().update(r) for r in rounds(flip))


def test_the_stop_set_is_fixed_and_seeded():
    criterion = StablePredictions(n_stop=10, random_state=0)
    criterion.update(Round(np.zeros(100, dtype=int)))
    rows = criterion.stop_set_
    criterion.update(Round(np.zeros(100, dtype=int), np.zeros(100, dtype=int), unlabeled=[1]))
    assert criterion.stop_set_ is rows and len(set(rows.tolist())) == 10
    again = clone(criterion)
    again.update(Round(np.zeros(100, dtype=int)))
    np.testing.assert_array_equal(again.stop_set_, rows)


def test_regressors_by_the_change_of_their_predictions():
    before = np.array([0.0, 1.0, 2.0, 3.5])
    now = before + [0.1, -0.1, 0.1, 0.1]
    criterion, changed = StablePredictions(window=1, threshold=0.9), UnchangedPredictions(0.1)
    assert criterion.update(Round(now, before)) and changed.update(Round(now, before))
    assert criterion.value_ == pytest.approx(1 - 0.1 / now.std())
    assert changed.value_ == pytest.approx(0.1 / now.std())


def test_unchanged_predictions_by_hand():
    criterion = UnchangedPredictions(0.25)
    assert not criterion.update(Round([0, 1, 0, 1]))
    assert not criterion.update(Round([0, 1, 1, 0], [0, 1, 0, 1]))
    assert criterion.value_ == 0.5
    assert criterion.update(Round([0, 1, 1, 1], [0, 1, 1, 0])) and criterion.value_ == 0.25


def test_uncertainty_is_scipys_entropy():
    P = np.random.default_rng(0).dirichlet([0.2] * 4, 30)
    entropy = stats.entropy(P, axis=1) / np.log(4)
    mean, largest = OverallUncertainty(1.0), MaxUncertainty(0.0)
    assert mean.update(Round(P=P)) and not largest.update(Round(P=P))
    assert mean.value_ == pytest.approx(entropy.mean())
    assert largest.value_ == pytest.approx(entropy.max())
    sure = np.eye(4)[[0, 1, 2]]
    assert MaxUncertainty(0.0).update(Round(P=sure)) and OverallUncertainty().update(Round(P=sure))
    assert not OverallUncertainty().update(Round(P=np.ones((3, 1))))  # one class so far


def test_batch_accuracy_is_of_the_model_before():
    criterion = BatchAccuracy(0.5, window=2)
    previous = np.array(["a", "b", "a", "b"])
    right = Round(previous, previous, queried=np.array([0, 1]), labels=["a", "b"])
    half = Round(previous, previous, queried=np.array([2, 3]), labels=["a", "a"])
    wrong = Round(previous, previous, queried=np.array([0]), labels=["b"])
    first = Round(previous, queried=np.array([0, 1]), labels=["a", "b"])
    assert [criterion.update(r) for r in (first, right, wrong, right, half)] == [
        False,
        False,
        False,
        False,
        True,
    ]
    assert criterion.history_[1:] == [1, 0, 1, 0.5]


def test_confidence_must_fall_three_times_running():
    def at(confidence):
        return Round(P=np.tile([confidence, 1 - confidence], (5, 1)))

    criterion = ConfidenceDrop(3)
    confidences = [0.7, 0.8, 0.75, 0.72, 0.73, 0.7, 0.69, 0.68]
    assert [criterion.update(at(c)) for c in confidences] == [False] * 7 + [True]


@pytest.mark.parametrize("right, n", [(0, 20), (18, 20), (40, 40), (57, 60)])
def test_clopper_pearson_is_scipys(right, n):
    expected = stats.binomtest(right, n, alternative="greater").proportion_ci(0.97, "exact").low
    assert stopping.clopper_pearson_low(right, n, 0.03) == pytest.approx(expected, abs=1e-12)


def audited(right, n):
    return Round(audit=SimpleNamespace(value=right / n if n else float("nan"), n=n))


def test_audit_looks_at_fixed_sizes_only():
    criterion = AuditTarget(0.5, looks=2, first=20)
    assert not criterion.update(audited(10, 10)) and np.isnan(criterion.value_)
    assert criterion.update(audited(22, 22))
    level = 1 - 0.05 / 2
    expected = stats.binomtest(22, 22, alternative="greater").proportion_ci(level, "exact").low
    assert criterion.value_ == pytest.approx(expected)
    assert not criterion.update(audited(25, 25))  # no look is due
    criterion.update(audited(10, 60))
    assert criterion.n_looks_ == 2
    assert not criterion.update(audited(1000, 1000))  # all looks are spent


def test_audit_hardly_ever_stops_wrongly():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        right = np.cumsum(rng.random(200) < 0.9)
        criterion = AuditTarget(0.9)
        wrong += any(criterion.update(audited(right[n - 1], n)) for n in range(5, 201, 5))
    assert wrong / 400 <= 0.05


def test_limits():
    assert [MaxLabels(20).update(Round(n_labels=n)) for n in (19, 20, 21)] == [False, True, True]
    assert not MaxSeconds(1000).update(Round())
    assert MaxSeconds(1e-12).update(Round()) in (True, False)


def test_any_and_all():
    parts = [MaxLabels(10), MaxLabels(20)]
    for n, some, every in [(5, False, False), (15, True, False), (25, True, True)]:
        assert AnyOf(parts).update(Round(n_labels=n)) is some
        assert AllOf(parts).update(Round(n_labels=n)) is every
    assert not hasattr(parts[0], "history_")  # clones did the work
    both = AnyOf(parts)
    both.update(Round(n_labels=15))
    assert both.value_ == 0.5 and both.criteria_[0].history_ == [15]
    with pytest.raises(ValueError, match="at least one criterion"):
        AnyOf([]).update(Round())


@pytest.mark.parametrize(
    "criterion, message",
    [
        (StablePredictions(threshold=2), "'threshold' parameter of StablePredictions"),
        (AuditTarget(1.0), "'target' parameter of AuditTarget"),
        (MaxLabels(0), "'n_labels' parameter of MaxLabels"),
        (BatchAccuracy(window=0), "'window' parameter of BatchAccuracy"),
    ],
)
def test_parameters_are_checked(criterion, message):
    with pytest.raises(ValueError, match=message):
        criterion.update(Round())


@pytest.mark.parametrize("name", [n for n in stopping.__all__ if n != "StoppingCriterion"])
def test_clones_forget_and_pickles_keep(name):
    needed = {"AuditTarget": [0.5], "MaxLabels": [5], "MaxSeconds": [5.0]}
    made = getattr(stopping, name)(*needed.get(name, [[MaxLabels(5)]] if "Of" in name else []))
    P = np.full((4, 2), 0.5)
    made.update(Round([0, 1, 0, 1], [0, 1, 0, 1], P, n_labels=3))
    assert len(made.history_) == 1
    assert not hasattr(clone(made), "history_")
    assert len(pickle.loads(pickle.dumps(made)).history_) == 1
