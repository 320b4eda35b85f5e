"""What a stopping criterion sees of a session after a training, and what it says."""

from typing import NamedTuple

import numpy as np

from skal.labeling._codec import decode


class Stop(NamedTuple):
    """Advice to stop labelling: which criterion, its value, and when."""

    criterion: str
    value: float | None
    round: int
    n_labels: int


class Round:
    """One training of a session, as a stopping criterion sees it; all rows are positions.

    Attributes
    ----------
    n_labels : int
        How many labels the model was trained on.

    unlabeled : ndarray of int
        Rows that may still be asked about.

    queried : ndarray of int
        Rows that the model before had not seen a label of.

    labels : list
        Their labels.

    audit : Estimate
        How good the model is on rows that no strategy chose.
    """

    def __init__(self, trainer, model, previous, n_labels, unlabeled, new, audit):
        self._trainer, self._model, self._previous = trainer, model, previous
        self.n_labels, self.unlabeled, self.audit = n_labels, unlabeled, audit
        found = {trainer.names.position(name): text for name, text in new.items()}
        found.pop(-1, None)
        self.queried = np.array(list(found), dtype=np.intp)
        self.labels = [decode(text) for text in found.values()]

    def predict(self, rows):
        """Return the predictions of the model."""
        return self._trainer.predict(self._model.learner, rows)

    def predict_proba(self, rows):
        """Return the class probabilities of the model."""
        return self._trainer.predict(self._model.learner, rows, "predict_proba")

    def previous_predictions(self, rows):
        """Return the predictions of the model before, None if there was none."""
        if self._previous is None:
            return None
        return self._trainer.predict(self._previous.learner, rows)
