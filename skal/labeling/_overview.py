"""The half of a session that tells: the model, the labels, what is open, how it goes."""

import math

import numpy as np

from skal.labeling._codec import decode
from skal.labeling._estimate import Estimate
from skal.labeling._progress import pairs, progress_frame


class Overview:
    """Tells what a session has come to.

    The class it is part of has `annotator`, `classes_given`, `store`, `_names`, `_rounds` and
    `_final`.
    """

    _last_resolved = None

    def estimate(self, metric=None):
        """Return how good `learner_` is on rows that no strategy chose.

        Parameters
        ----------
        metric : callable or None, default=None
            Gets the answers and the predictions, two lists, and returns the loss of each row. None
            is accuracy for classifiers, absolute error for regressors.

        Returns
        -------
        estimate : Estimate
            The mean with its 95 % interval; NaN below 20 answers and after :meth:`final_fit`.
        """
        rounds = self._rounds
        answers = rounds.audit_answers(rounds.sync())
        if self._final is not None:
            none = math.nan
            return Estimate(none, none, none, 0, 0, "void after final_fit", (none, none))
        learner = self.learner_
        return rounds.worker.call(lambda: rounds.measures.estimate(learner, answers, metric))

    @property
    def learner_(self):
        if self._final is not None:
            return self._final
        rounds = self._rounds
        model = rounds.model or rounds.worker.call(rounds.current_model)
        if model is None:
            raise AttributeError(
                "learner_ is there after the first training: answer the rows of query(), then "
                "call query() again or refit()."
            )
        return model.learner

    @property
    def classes(self):
        """The classes given, else the labels seen so far, sorted; None if there is none."""
        if self.classes_given is not None or self._rounds.trainer.is_regressor:
            return self.classes_given
        labels = {decode(one.label) for one in self._resolved() if not one.label.startswith("{")}
        return sorted(labels) or None

    @property
    def y_(self):
        labels = {self._names.position(one.row): decode(one.label) for one in self._resolved()}
        labels.pop(-1, None)
        values = list(labels.values())
        width = len(values[0]) if values and isinstance(values[0], list) else None
        shape = self._names.n if width is None else (self._names.n, width)
        if self._rounds.trainer.is_regressor or (values and _all_floats(values)):
            y = np.full(shape, np.nan)
        else:
            y = np.full(shape, None, dtype=object)
        for position, label in labels.items():
            y[position] = label
        return y

    @property
    def labeled_(self):
        places = (self._names.position(one.row) for one in self._resolved())
        return np.array(sorted(place for place in places if place >= 0), dtype=np.int64)

    @property
    def open_(self):
        return np.array([place for place, _ in self._open_rows()], dtype=np.int64)

    @property
    def round_(self):
        return max((batch.round for batch in self._rounds.sync().batches.values()), default=-1)

    @property
    def audit_(self):
        return self.estimate()

    @property
    def stop_(self):
        return self._rounds.advice()

    @property
    def error_(self):
        return self._rounds.error

    @property
    def state_(self):
        if self._rounds.waiting():
            return "asking" if self._first_free(self.annotator) is not None else "waiting"
        if self._rounds.worker.busy:
            return "training"
        if self.error_ is not None:
            return "failed"
        return "training" if self._rounds.has_more() else "finished"

    @property
    def counts_(self):
        fold = self._rounds.sync()
        waiting = self._rounds.waiting()
        batch = waiting[0].batch if waiting else fold.last_batch
        size = sum(number == batch for number, _ in fold.asks)
        n_open = sum(ask.batch == batch for ask in waiting)
        return size - n_open, size, len(self.labeled_)

    def progress(self):
        """Return one row per batch.

        Returns
        -------
        progress : DataFrame
            By batch: round, strategy, n_asked, n_labeled, n_skipped, n_undone, median_seconds (of
            an answer), audit_value, audit_low and audit_high (the estimate of the model that chose
            the batch), kappa_to_previous (Cohen's kappa of the predictions of that model and the
            one before, on 500 fixed rows; of regressors 1 - RMS change / standard deviation),
            agreement (share of equal answers where a row has several) and error (of a training that
            failed after this batch). ``progress.attrs["agreement"]`` is :meth:`agreement`.
        """
        return progress_frame(self._rounds.sync(), self.store.log)

    def agreement(self):
        """Return how far people agree with each other, and with themselves.

        Returns
        -------
        agreement : DataFrame
            One row per pair: annotator, other (the same, for rows asked again), n_rows, agreement
            (share of equal labels) and kappa (Cohen's).
        """
        import pandas as pd

        columns = ["annotator", "other", "n_rows", "agreement", "kappa"]
        return pd.DataFrame(pairs(self._rounds.sync()), columns=columns)

    # ------------------------------------------------------------------ for the session

    def _open_rows(self):
        """The open asks whose row is in `X`, with its position, in order."""
        rows = {}
        for ask in self._rounds.waiting():
            rows.setdefault(self._names.position(ask.row), ask)
        return list(rows.items())

    def _resolved(self):
        """The label of each labelled row, disputes left out."""
        fold = self._rounds.sync()
        if self._last_resolved is None or self._last_resolved[0] != fold.last_event:
            found = (fold.resolve(name, self._rounds.resolve) for name in fold.answered_rows())
            found = [one for one in found if one is not None and not one.disputed]
            self._last_resolved = fold.last_event, found
        return self._last_resolved[1]


def _all_floats(values):
    return all(isinstance(value, float) for value in values)
