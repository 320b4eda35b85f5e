"""Simulations that end when a stopping criterion says so."""

import numpy as np

from skal.model_selection._simulation import label_schedule
from skal.utils._tables import n_rows, take_rows
from skal.utils.validation import target_values


class SimulatedRound:
    """A round of a simulation, as a stopping criterion sees it; rows are positions in `X`.

    There are no audit rows: `audit` is None.
    """

    audit = None

    def __init__(self, learner, previous, X, done, taught):
        self._learner, self._previous, self._X = learner, previous, X
        self.n_labels, self.queried = done.n_labels, done.queried
        self._taught = taught

    @property
    def unlabeled(self):
        """Rows without a label."""
        return np.setdiff1d(np.arange(n_rows(self._X)), self._taught)

    @property
    def labels(self):
        """The labels of `queried`, in its order."""
        return list(np.asarray(target_values(self._learner.y_labeled_))[-len(self.queried) :])

    def predict(self, rows):
        """Return the predictions of the model."""
        return self._learner.predict(take_rows(self._X, rows))

    def predict_proba(self, rows):
        """Return the class probabilities of the model."""
        return self._learner.predict_proba(take_rows(self._X, rows))

    def previous_predictions(self, rows):
        """Return the predictions of the model before, None if there was none."""
        return None if self._previous is None else self._previous.predict(take_rows(self._X, rows))


def until_stopped(rounds, stopping, learner, X):
    """Yield rounds of a simulation of `learner`; none after the one in which `stopping` says so."""
    previous, taught = None, np.empty(0, dtype=np.int64)
    for done in rounds:
        yield done
        taught = np.concatenate([taught, done.queried])
        if stopping.update(SimulatedRound(learner, previous, X, done, taught)):
            return
        previous = learner.estimator_


def padded(records, plan):
    """Return the records of a run, flagged, with those its stop saved: the last model's scores."""
    budgets = label_schedule(plan["n_initial"], plan["n_instances"], plan["budget"])
    nothing = {"fit_time": 0.0, "query_time": 0.0, "queried": np.empty(0, dtype=np.int64)}
    more = [
        {**records[-1], "round": number, "n_labels": int(budgets[number]), **nothing}
        for number in range(len(records), len(budgets))
    ]
    flags = [False] * len(records) + [True] * len(more)
    return [{**record, "stopped": flag} for record, flag in zip(records + more, flags, strict=True)]


def check_stopping(stopping, owner):
    """Raise TypeError unless `stopping` is a criterion or None."""
    if stopping is not None and (isinstance(stopping, type) or not hasattr(stopping, "update")):
        raise TypeError(
            f"The 'stopping' parameter of {owner} must be a criterion from skal.stopping, or None. "
            f"Got {stopping!r} instead. For example: StablePredictions()."
        )
