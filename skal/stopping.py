"""When to stop labelling.

A criterion looks at every round: ``update(round)`` says whether it is time to stop. A round offers
`n_labels`, `predict(rows)`, `predict_proba(rows)`, `previous_predictions(rows)`, `unlabeled`,
`queried`, `labels` and `audit`; rows are positions in the data, and what is not asked for is not
computed. In a :class:`~skal.labeling.LabelingSession` a criterion gives advice.
"""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from time import monotonic

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

from skal.utils._compat import Interval, validate_parameter_constraints

__all__ = [
    "AllOf",
    "AnyOf",
    "AuditTarget",
    "BatchAccuracy",
    "ConfidenceDrop",
    "MaxLabels",
    "MaxSeconds",
    "MaxUncertainty",
    "OverallUncertainty",
    "StablePredictions",
    "StoppingCriterion",
    "UnchangedPredictions",
]

_SHARE = Interval(Real, 0, 1, closed="both")
_COUNT = Interval(Integral, 1, None, closed="left")


class StoppingCriterion(BaseEstimator, ABC):
    """Base class of criteria: `_measure` gives a number for a round, `_stops` judges it.

    Attributes
    ----------
    value_ : float
        The number of the last round; NaN where it has none yet.

    history_ : list of float
        The numbers of all rounds.
    """

    _parameter_constraints: dict = {}

    def update(self, round):
        """Look at a round.

        Parameters
        ----------
        round : object
            The round, after its training.

        Returns
        -------
        stop : bool
            Whether it is time to stop.
        """
        if not hasattr(self, "history_"):
            validate_parameter_constraints(
                self._parameter_constraints, self.get_params(deep=False), type(self).__name__
            )
            self.history_ = []
            self._begin(round)
        value = self._measure(round)
        self.value_ = float("nan") if value is None else float(value)
        self.history_.append(self.value_)
        return bool(self._stops())

    def _begin(self, round):
        """Prepare for the first round."""

    @abstractmethod
    def _measure(self, round):
        """Return the number of a round, or None where it has none."""

    @abstractmethod
    def _stops(self):
        """Whether `value_` and `history_` say that it is time."""


class _OnStopSet(StoppingCriterion):
    """A criterion that looks at the same random rows in every round."""

    def _begin(self, round):
        rows = np.asarray(round.unlabeled)
        rng = check_random_state(self.random_state)
        n = min(self.n_stop, len(rows))
        self.stop_set_ = np.sort(rng.choice(rows, n, replace=False)) if n else rows


class StablePredictions(_OnStopSet):
    """Stop when successive models agree: the mean of the last kappas reaches a threshold.

    The advice to start from: it does not depend on how well probabilities are calibrated.

    Parameters
    ----------
    threshold : float, default=0.99
        Mean agreement to reach. For regressors it is 1 less the root mean square change of the
        predictions over their standard deviation (our extension).

    window : int, default=3
        Number of kappas in the mean.

    n_stop : int, default=2000
        Most rows in the stop set, drawn once from the rows without a label.

    random_state : int, RandomState or None, default=None
        Seeds the draw.

    Attributes
    ----------
    value_, history_ : float and list of float
        Cohen's kappa of the last two models, and of all pairs so far; NaN for the first model.

    stop_set_ : ndarray of int64
        Positions of the rows that are looked at.

    Notes
    -----
    A kappa of at least T bounds the change of the F score by 4 (1 - T) / T (Bloodgood and
    Grothendieck, 2013). Two models that both give one and the same class everywhere have kappa 1.

    References
    ----------
    Bloodgood, Vijay-Shanker (2009). A method for stopping active learning based on stabilizing
    predictions and the need for user-adjustable stopping. CoNLL.

    Examples
    --------
    >>> from skal.stopping import StablePredictions
    >>> StablePredictions(threshold=0.95)
    StablePredictions(threshold=0.95)
    """

    _parameter_constraints = {
        "threshold": [_SHARE],
        "window": [_COUNT],
        "n_stop": [_COUNT],
        "random_state": ["random_state"],
    }

    def __init__(self, threshold=0.99, window=3, n_stop=2000, random_state=None):
        self.threshold = threshold
        self.window = window
        self.n_stop = n_stop
        self.random_state = random_state

    def _measure(self, round):
        return _agreement(round, self.stop_set_)

    def _stops(self):
        known = [value for value in self.history_ if not np.isnan(value)]
        recent = known[-self.window :]
        # A sum of ones over their number may fall short of 1 by rounding.
        return len(recent) == self.window and np.mean(recent) >= self.threshold - 1e-12


class UnchangedPredictions(_OnStopSet):
    """Stop when no more than a share of the predictions changes from one model to the next.

    Parameters
    ----------
    threshold : float, default=0.0
        Share of changed predictions. For regressors: the root mean square change over the
        standard deviation of the predictions.

    n_stop : int, default=2000
        Most rows that are looked at, drawn once from the rows without a label.

    random_state : int, RandomState or None, default=None
        Seeds the draw.

    References
    ----------
    Zhu, Wang, Hovy (2008). Multi-criteria-based strategy to stop active learning for data
    annotation. COLING.
    """

    _parameter_constraints = {
        "threshold": [_SHARE],
        "n_stop": [_COUNT],
        "random_state": ["random_state"],
    }

    def __init__(self, threshold=0.0, n_stop=2000, random_state=None):
        self.threshold = threshold
        self.n_stop = n_stop
        self.random_state = random_state

    def _measure(self, round):
        before = round.previous_predictions(self.stop_set_)
        if before is None or len(self.stop_set_) == 0:
            return None
        now = np.asarray(round.predict(self.stop_set_))
        before = np.asarray(before)
        return _relative_change(before, now) if _is_continuous(now) else np.mean(before != now)

    def _stops(self):
        return self.value_ <= self.threshold


class _Uncertainty(StoppingCriterion):
    _parameter_constraints = {"threshold": [_SHARE]}

    def _measure(self, round):
        if len(round.unlabeled) == 0:
            return 0.0
        P = np.asarray(round.predict_proba(round.unlabeled), dtype=np.float64)
        if P.shape[1] < 2:
            # A model that knows one class is sure of everything, and of nothing.
            return None
        entropy = -np.where(P > 0, P * np.log(np.where(P > 0, P, 1)), 0).sum(axis=1)
        return self._reduce(entropy / np.log(P.shape[1]))

    def _stops(self):
        return self.value_ <= self.threshold


class OverallUncertainty(_Uncertainty):
    """Stop when the mean uncertainty of the rows without a label is small.

    Parameters
    ----------
    threshold : float, default=0.05
        Mean entropy of the class probabilities, over the logarithm of the number of classes.

    Notes
    -----
    It hangs on calibration: nets that are too sure stop early, forests may never stop.

    References
    ----------
    Zhu, Wang, Hovy (2008). Multi-criteria-based strategy to stop active learning for data
    annotation. COLING.
    """

    _reduce = staticmethod(np.mean)

    def __init__(self, threshold=0.05):
        self.threshold = threshold


class MaxUncertainty(_Uncertainty):
    """Stop when no row without a label is very uncertain.

    Parameters
    ----------
    threshold : float, default=0.5
        Largest entropy of the class probabilities, over the logarithm of the number of classes.

    References
    ----------
    Zhu, Wang, Hovy (2008). Multi-criteria-based strategy to stop active learning for data
    annotation. COLING.
    """

    _reduce = staticmethod(np.max)

    def __init__(self, threshold=0.5):
        self.threshold = threshold


class BatchAccuracy(StoppingCriterion):
    """Stop when the model was right about the rows just labelled, before it saw their labels.

    Parameters
    ----------
    threshold : float, default=0.9
        Accuracy of the previous model on each batch.

    window : int, default=2
        Number of batches in a row that must reach it.

    References
    ----------
    Zhu, Hovy (2007). Active learning for word sense disambiguation with methods for addressing
    the class imbalance problem. EMNLP-CoNLL.
    """

    _parameter_constraints = {"threshold": [_SHARE], "window": [_COUNT]}

    def __init__(self, threshold=0.9, window=2):
        self.threshold = threshold
        self.window = window

    def _measure(self, round):
        if len(round.queried) == 0:
            return None
        before = round.previous_predictions(round.queried)
        if before is None:
            return None
        return np.mean([a == b for a, b in zip(before, round.labels, strict=True)])

    def _stops(self):
        known = [value for value in self.history_ if not np.isnan(value)]
        recent = known[-self.window :]
        return len(recent) == self.window and min(recent) >= self.threshold


class ConfidenceDrop(_OnStopSet):
    """Stop when the mean confidence on fixed rows has fallen several times running.

    Parameters
    ----------
    n_drops : int, default=3
        Number of falls in a row.

    n_stop : int, default=2000
        Most rows that are looked at, drawn once from the rows without a label.

    random_state : int, RandomState or None, default=None
        Seeds the draw.

    References
    ----------
    Vlachos (2008). A stopping criterion for active learning. Computer Speech and Language, 22(3).
    """

    _parameter_constraints = {
        "n_drops": [_COUNT],
        "n_stop": [_COUNT],
        "random_state": ["random_state"],
    }

    def __init__(self, n_drops=3, n_stop=2000, random_state=None):
        self.n_drops = n_drops
        self.n_stop = n_stop
        self.random_state = random_state

    def _measure(self, round):
        if len(self.stop_set_) == 0:
            return None
        return np.mean(np.max(round.predict_proba(self.stop_set_), axis=1))

    def _stops(self):
        recent = self.history_[-self.n_drops - 1 :]
        return len(recent) > self.n_drops and bool((np.diff(recent) < 0).all())


class AuditTarget(StoppingCriterion):
    """Stop when audit rows, which no strategy chose, show that the accuracy is reached.

    Parameters
    ----------
    target : float
        The accuracy.

    confidence : float, default=0.95
        Probability, whatever the true accuracy below `target`, of never stopping wrongly.

    looks : int, default=10
        How often it is looked at most; each look pays for its share of ``1 - confidence``.

    first : int, default=20
        Number of audit rows before the first look; the others follow at even steps of as many.

    Notes
    -----
    Ours. At each look the lower Clopper-Pearson bound of level ``1 - (1 - confidence) / looks`` is
    compared with the target (Bonferroni). A plain bound of 95 % looked at after every row stops
    wrongly in 16 to 21 % of cases.

    Examples
    --------
    >>> from skal.stopping import AuditTarget
    >>> AuditTarget(0.9, looks=5)
    AuditTarget(looks=5, target=0.9)
    """

    _parameter_constraints = {
        "target": [Interval(Real, 0, 1, closed="neither")],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "looks": [_COUNT],
        "first": [_COUNT],
    }

    def __init__(self, target, confidence=0.95, looks=10, first=20):
        self.target = target
        self.confidence = confidence
        self.looks = looks
        self.first = first

    def _begin(self, round):
        self.n_looks_ = 0

    def _measure(self, round):
        audit = round.audit
        self._looked = False
        if audit is None or self.n_looks_ == self.looks:
            return None
        due = min(audit.n // self.first, self.looks)
        if due <= self.n_looks_:
            return None
        self.n_looks_, self._looked = due, True
        right = round_half(audit.value * audit.n)
        return clopper_pearson_low(right, audit.n, (1 - self.confidence) / self.looks)

    def _stops(self):
        return self._looked and self.value_ >= self.target


class MaxLabels(StoppingCriterion):
    """Stop when so many labels are there.

    Parameters
    ----------
    n_labels : int
        The number.
    """

    _parameter_constraints = {"n_labels": [_COUNT]}

    def __init__(self, n_labels):
        self.n_labels = n_labels

    def _measure(self, round):
        return round.n_labels

    def _stops(self):
        return self.value_ >= self.n_labels


class MaxSeconds(StoppingCriterion):
    """Stop when so many seconds have passed since the first round.

    Parameters
    ----------
    seconds : float
        The time.
    """

    _parameter_constraints = {"seconds": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, seconds):
        self.seconds = seconds

    def _begin(self, round):
        self._began = monotonic()

    def _measure(self, round):
        return monotonic() - self._began

    def _stops(self):
        return self.value_ >= self.seconds


class _Several(StoppingCriterion):
    def __init__(self, criteria):
        self.criteria = criteria

    def _begin(self, round):
        if not self.criteria:
            raise ValueError(
                f"The 'criteria' of {type(self).__name__} must hold at least one criterion."
            )
        self.criteria_ = [clone(criterion) for criterion in self.criteria]

    def _measure(self, round):
        # All of them look at every round, for their histories.
        return np.mean([criterion.update(round) for criterion in self.criteria_])


class AnyOf(_Several):
    """Stop when one of several criteria says so.

    Parameters
    ----------
    criteria : list of criteria
        They are cloned, never changed.

    Attributes
    ----------
    value_ : float
        Share of the criteria that say so.

    criteria_ : list of criteria
        The clones, with their values and histories.
    """

    def _stops(self):
        return self.value_ > 0


class AllOf(_Several):
    """Stop when all of several criteria say so in the same round.

    Parameters
    ----------
    criteria : list of criteria
        They are cloned, never changed.

    Attributes
    ----------
    value_ : float
        Share of the criteria that say so.

    criteria_ : list of criteria
        The clones, with their values and histories.
    """

    def _stops(self):
        return self.value_ == 1


# ------------------------------------------------------------------ measures


def _agreement(round, rows):
    """Cohen's kappa of this model and the one before, or what stands for it in regression."""
    before = round.previous_predictions(rows)
    if before is None or len(rows) == 0:
        return None
    before, now = np.asarray(before), np.asarray(round.predict(rows))
    return 1 - _relative_change(before, now) if _is_continuous(now) else cohen_kappa(before, now)


def cohen_kappa(a, b):
    """Chance-corrected agreement of two labellings; 1 where both give one and the same class."""
    agreed = np.mean(a == b)
    by_chance = sum(np.mean(a == c) * np.mean(b == c) for c in set(a.tolist()) | set(b.tolist()))
    return 1.0 if by_chance >= 1 else (agreed - by_chance) / (1 - by_chance)


def _relative_change(before, now):
    """Root mean square change of predictions over their standard deviation."""
    change, spread = np.sqrt(np.mean((now - before) ** 2)), np.std(now)
    if spread == 0:
        return 0.0 if change == 0 else np.inf
    return change / spread


def _is_continuous(predictions):
    return predictions.dtype.kind == "f" and not (predictions == np.round(predictions)).all()


def round_half(value):
    """The nearest integer, as a count that was divided and multiplied again needs it."""
    return int(np.floor(value + 0.5))


def clopper_pearson_low(n_right, n, alpha):
    """Lower bound of a proportion that errs with probability at most `alpha`."""
    return 0.0 if n_right == 0 else float(stats.beta.ppf(alpha, n_right, n - n_right + 1))
