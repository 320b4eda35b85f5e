"""The half of a session that people talk to: answers, skips, corrections, answers taken back."""

import numbers
import time
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length

from skal.labeling._checks import check_annotator
from skal.labeling._codec import decode, encode, is_missing
from skal.labeling._fold import CANNOT_TELL, LATER
from skal.labeling._log import new_event
from skal.labeling._start import python_labels

_REASONS = {"cannot tell": CANNOT_TELL, "later": LATER}


class Task(NamedTuple):
    """One row to be answered.

    `row` is its name (the key, or the position it had), `position` where it is in `X`, `token`
    changes as soon as another answer than the next one is due, and `proposal` is the model's
    guess or None.
    """

    row: object
    position: int
    token: str
    proposal: object


class Answers:
    """Takes answers and stores each before anything else happens.

    The class it is part of has `X`, `annotator`, `classes_given`, `lease`, `store`, `_names` and
    `_rounds`.
    """

    def teach(self, rows, labels, *, annotator=None, seconds=None, uid=None, source="human"):
        """Store labels of asked rows; all of them are on disk when the call returns, or none.

        Parameters
        ----------
        rows : int or array-like of shape (n,)
            Positions in `X` of rows that were asked about.

        labels : label or array-like of shape (n,)
            Their labels. A missing one (None, NaN) means "cannot tell".

        annotator : str or None, default=None
            Who answers; None is the session's annotator.

        seconds : float, array-like of shape (n,) or None, default=None
            How long each answer took.

        uid : str or None, default=None
            A name of this answer, made by whoever sends it, so that one sent twice is stored once.

        source : {"human", "sheet"}, default="human"
            Where the answer comes from.

        Raises
        ------
        ValueError
            If a row was not asked about or has another label of this annotator already, or a label
            will not do. Nothing is stored then.
        LabelStoreError
            If the labels could not be stored; the message says so.
        """
        labels, rows = _as_list(labels, rows), self._checked_rows(rows)
        check_consistent_length(rows, labels)
        annotator, labels = self._who(annotator), self._checked_labels(labels)
        spent = [seconds] * len(rows) if seconds is None or np.ndim(seconds) == 0 else seconds
        check_consistent_length(rows, spent)
        with self._rounds.lock:
            self._rounds.sync()
            if uid is not None and self._is_stored(uid, len(rows)):
                return
            events, waiting = [], dict(self._open_rows())
            for place, label, took in zip(rows, labels, spent, strict=True):
                missing = is_missing(label)
                kind, value = ("skip", CANNOT_TELL) if missing else ("label", encode(label))
                batch = self._batch_to_answer(place, waiting, annotator, kind, value)
                if batch is not None:
                    events.append(
                        self._event(
                            kind,
                            place,
                            annotator,
                            value,
                            batch,
                            seconds=took,
                            source=source,
                            uid=_uid(uid, len(events), len(rows)),
                        )
                    )
            self._store(events, _said(rows, "label"))
        self._rounds.keep_going()

    def skip(self, rows, reason="cannot tell", *, annotator=None, uid=None, source="human"):
        """Answer that rows have no label, or not yet.

        Parameters
        ----------
        rows : int or array-like of shape (n,)
            Positions in `X` of rows that wait for an answer.

        reason : {"cannot tell", "later"}, default="cannot tell"
            "cannot tell": the row is never asked again nor learnt from. "later": it goes to the
            end of its batch.

        annotator : str or None, default=None
            Who answers; None is the session's annotator.

        uid : str or None, default=None
            A name of this answer, so that one sent twice is stored once.

        source : {"human", "sheet"}, default="human"
            Where the answer comes from.

        Raises
        ------
        ValueError
            If a row does not wait for an answer.
        LabelStoreError
            If this could not be stored; the message says so.
        """
        if reason not in _REASONS:
            raise ValueError(f"reason must be 'cannot tell' or 'later'. Got {reason!r} instead.")
        rows, annotator = self._checked_rows(rows), self._who(annotator)
        with self._rounds.lock:
            self._rounds.sync()
            if uid is not None and self._is_stored(uid, len(rows)):
                return
            waiting = dict(self._open_rows())
            closed = [place for place in rows if place not in waiting]
            if closed:
                raise ValueError(
                    f"Only rows that wait for an answer can be skipped. Got {closed[:5]} instead. "
                    "Use undo() to take an answer back."
                )
            events = [
                self._event(
                    "skip",
                    place,
                    annotator,
                    _REASONS[reason],
                    waiting[place].batch,
                    source=source,
                    uid=_uid(uid, i, len(rows)),
                )
                for i, place in enumerate(rows)
            ]
            self._store(events, _said(rows, "answer"))
        self._rounds.keep_going()

    def undo(self, n=1, *, annotator=None):
        """Take back the last answers of an annotator, in this run or an earlier one.

        The rows wait for an answer again, the last one first. What a training has seen changes
        with the next one.

        Parameters
        ----------
        n : int, default=1
            How many.

        annotator : str or None, default=None
            Whose; None is the session's annotator.

        Returns
        -------
        rows : ndarray of int
            Positions in `X`, the last answer first; fewer than `n` if there were fewer.
        """
        if not isinstance(n, numbers.Integral) or isinstance(n, bool) or n < 1:
            raise ValueError(f"n must be an int of at least 1. Got {n!r} instead.")
        annotator = self._who(annotator)
        with self._rounds.lock:
            last = self._rounds.sync().last_answers(annotator, int(n))
            # The last one gets the last id: it comes first again.
            events = [
                new_event("undo", one.row, annotator, batch=one.batch, ref=one.uid)
                for one in reversed(last)
            ]
            self._store(events, "Taking back the answer")
        return np.array([self._names.position(one.row) for one in last], dtype=np.int64)

    def correct(self, rows, labels, *, annotator=None):
        """Change labels that were given before.

        Parameters
        ----------
        rows : int or array-like of shape (n,)
            Positions in `X` of labelled rows.

        labels : label or array-like of shape (n,)
            Their new labels.

        annotator : str or None, default=None
            Who corrects; None is the session's annotator.

        Raises
        ------
        ValueError
            If a row was never labelled, or a label will not do. Nothing is stored then.
        """
        labels, rows = _as_list(labels, rows), self._checked_rows(rows)
        check_consistent_length(rows, labels)
        annotator = self._who(annotator)
        if any(is_missing(label) for label in labels):
            raise ValueError("correct needs a label for each row. To take one back, use undo().")
        labels = self._checked_labels(labels)
        with self._rounds.lock:
            fold, events = self._rounds.sync(), []
            for place, label in zip(rows, labels, strict=True):
                standing = fold.current(self._names.name(place))
                given = [one for one in standing.values() if one.kind == "label"]
                if not given:
                    raise ValueError(
                        f"Row {place} has no label to correct. Nothing was changed; answer it with "
                        "teach()."
                    )
                own = standing.get(annotator, given[-1])
                events.append(self._event("label", place, annotator, encode(label), own.batch))
            self._store(events, _said(rows, "corrected label"))
        self._rounds.keep_going()

    # ------------------------------------------------------------------ leases

    def _leased(self, annotator):
        """Return the first row that nobody else has been given, now given to this annotator."""
        log, rounds = self.store.log, self._rounds
        with rounds.lock:
            ask = self._first_free(annotator)
            if ask is None:
                return None
            holder, until = log.leases().get(ask.row, (None, 0.0))
            if holder != annotator or until < time.time() + self.lease / 2:

                def choose(leases):
                    rounds.sync()  # another process may have answered it meanwhile
                    free = self._first_free(annotator, leases)
                    return None if free is None else free.row

                row = log.lease(choose, annotator, self.lease)
                found = (one for _, one in self._open_rows() if one.row == row)
                ask = next(found, None)
            return None if ask is None else self._task(ask, annotator)

    def _first_free(self, annotator, leases=None):
        leases = self.store.log.leases() if leases is None else leases
        now = time.time()
        for _, ask in self._open_rows():
            holder, until = leases.get(ask.row, (annotator, 0.0))
            if holder == annotator or until < now:
                return ask
        return None

    def _task(self, ask, annotator):
        said = self._rounds.fold.n_said(ask.batch, ask.row, annotator)
        token = f"{ask.batch}.{ask.rank}.{said}"
        guess = None if ask.proposal is None else decode(ask.proposal)
        return Task(decode(ask.row), self._names.position(ask.row), token, guess)

    # ------------------------------------------------------------------ checks

    def _batch_to_answer(self, place, waiting, annotator, kind, value):
        """Return the batch that an answer belongs to, None if it is there already.

        Raises
        ------
        ValueError
            If the row was not asked about, or has another label of this annotator.
        """
        if place in waiting:
            return waiting[place].batch
        fold, name = self._rounds.fold, self._names.name(place)
        asked = [batch for batch, row in fold.asks if row == name]
        if not asked:
            raise ValueError(
                f"Row {place} was not asked about: teach takes rows of query() or next(). Nothing "
                "was stored. Labels that are known already go into y=."
            )
        own = fold.current(name, asked[-1]).get(annotator)
        if own is None or own.kind == "skip":
            return asked[-1]
        if own.kind == kind and decode(own.value) == decode(value):
            return None
        raise ValueError(
            f"Row {place} has the label {decode(own.value)!r} already. Nothing was stored: use "
            "correct() to change it."
        )

    def _checked_rows(self, rows):
        rows, given = np.atleast_1d(np.asarray(rows)), rows
        if rows.ndim != 1 or (rows.dtype.kind not in "iu" and rows.size):
            raise TypeError(f"rows must be positions in X, ints. Got {given!r} instead.")
        n = self._names.n
        if len(np.unique(rows)) < len(rows) or (
            rows.size and not 0 <= rows.min() <= rows.max() < n
        ):
            raise ValueError(
                f"rows must be distinct positions in X, from 0 to {n - 1}. Got "
                f"{rows.tolist()[:10]} instead. Nothing was stored."
            )
        return [int(place) for place in rows]

    def _checked_labels(self, labels):
        """Return labels as the classes they are; missing ones stay missing.

        Raises
        ------
        ValueError
            If one is none of the classes, or no number for a regressor.
        """
        return [label if is_missing(label) else self._checked_label(label) for label in labels]

    def _checked_label(self, label):
        classes, several = self.classes_given, isinstance(label, list)
        encode(label)
        parts = label if several else [label]
        if self._rounds.trainer.is_regressor and not all(map(_is_finite_number, parts)):
            raise ValueError(
                f"A label for a regressor must be a finite number. Got {label!r} instead. Nothing "
                "was stored."
            )
        if classes is None:
            return label
        if several and not (len(label) == len(classes) and all(part in (0, 1) for part in label)):
            raise ValueError(
                f"A list of labels must say yes or no (1 or 0) to each of {len(classes)} classes. "
                f"Got {label!r} instead. Nothing was stored."
            )
        if not several and label not in classes:
            raise ValueError(
                f"A label must be one of the classes {classes[:20]!r}. Got {label!r} instead. "
                "Nothing was stored."
            )
        # The class itself: 1 where 1.0 or True was said.
        return label if several else classes[classes.index(label)]

    def _who(self, annotator):
        return self.annotator if annotator is None else check_annotator(annotator)

    # ------------------------------------------------------------------ storing

    def _is_stored(self, uid, n):
        return self._rounds.fold.has_uid(_uid(uid, 0, n))

    def _event(self, kind, place, annotator, value, batch, **more):
        return new_event(kind, self._names.name(place), annotator, value=value, batch=batch, **more)

    def _store(self, events, what):
        if events:
            self.store.log.append_events(events, what)
            self._rounds.sync()


def _as_list(labels, rows):
    """Return labels as a list, one for each row; `rows` is what the caller gave."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu()
    if hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    if hasattr(labels, "numpy"):
        labels = labels.numpy()
    several = not isinstance(labels, (str, bytes, dict)) and np.iterable(labels)
    if not several or (np.ndim(rows) == 0 and len(labels) != 1):
        labels = [labels]  # of one row, perhaps with several outputs
    return python_labels(labels)


def _uid(uid, number, n):
    return uid if uid is None or n == 1 else f"{uid}-{number}"


def _said(rows, noun):
    return f"The {noun} of row {rows[0]}" if len(rows) == 1 else f"None of the {len(rows)} {noun}s"


def _is_finite_number(value):
    return (isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))) and bool(
        np.isfinite(float(value))
    )
