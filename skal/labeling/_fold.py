"""From the events of a store to what they come to: which rows are open, who said what, the labels.

Nothing here reads, writes or draws. A `Fold` is fed batches and events in the order of their ids
and can be fed up to any of them, so that a training can be repeated on what it saw then.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

from skal.labeling._codec import decode, encode, is_missing
from skal.labeling._frames import answers_frame

LATER, CANNOT_TELL = '"later"', '"cannot tell"'
# Purposes whose labels a model may learn from.
TAUGHT = ("first", "query")


class Resolved(NamedTuple):
    """One row's label; `label` is None (as JSON) where answers tie, and `disputed` then True."""

    row: str
    label: str | None
    annotator: str
    at: float
    seconds: float | None
    n_answers: int
    disputed: bool


class Fold:
    """The state of a labelling session after some of its events.

    Attributes
    ----------
    batches : dict
        :class:`Batch` by id.

    asks : dict
        :class:`Ask` by (batch, row), in the order of batch and rank.

    last_event, last_batch : int
        The greatest ids seen.
    """

    def __init__(self):
        self.batches, self.asks = {}, {}
        self.last_event = self.last_batch = 0
        # Answers that were not taken back, by row and uid, in the order of their ids.
        self._answers = defaultdict(dict)
        self._by_uid, self._undone = {}, set()
        self._by_annotator = defaultdict(dict)
        # The asks of each row, and, of those that wait for an answer, the place in the queue.
        self._places, self._open = defaultdict(list), {}
        self._n_undone, self._said = Counter(), Counter()
        self._n_answers, self._number = 0, {}

    # ------------------------------------------------------------------ feeding

    def add_batch(self, batch, asks):
        """Take in a batch and its rows."""
        self.batches[batch.id] = batch
        self.last_batch = max(self.last_batch, batch.id)
        for ask in asks:
            place = (ask.batch, ask.row)
            self.asks[place] = ask
            self._places[ask.row].append(place)
            if ask.row not in self._answers or not self._is_answered(place):
                self._open[place] = (ask.batch, 0, ask.rank)

    def add_event(self, event):
        """Take in an answer, or an answer taken back."""
        self.last_event = max(self.last_event, event.id)
        self._said[event.batch, event.row, event.annotator] += 1
        if event.kind == "undo":
            self._take_back(event)
            return
        self._by_uid[event.uid] = event
        self._n_answers += 1
        self._number[event.uid] = self._n_answers
        if event.uid in self._undone:
            return
        self._answers[event.row][event.uid] = event
        if event.source != "import":
            self._by_annotator[event.annotator][event.uid] = event
        for place in self._places.get(event.row, ()):
            if place in self._open:
                if not _is_later(event):
                    if self._is_answered(place):
                        del self._open[place]
                elif place[0] == event.batch:
                    self._open[place] = (event.batch, 1, event.id)

    def _take_back(self, undo):
        self._undone.add(undo.ref)
        answer = self._by_uid.get(undo.ref)
        if answer is None or undo.ref not in self._answers.get(answer.row, {}):
            return
        del self._answers[answer.row][answer.uid]
        self._by_annotator[answer.annotator].pop(answer.uid, None)
        self._n_undone[answer.batch] += 1
        for place in self._places.get(answer.row, ()):
            if not self._is_answered(place):
                # First of all, the last one taken back before the others.
                self._open[place] = (-1, -undo.id, 0)

    def _is_answered(self, place):
        """Whether an ask needs no answer: of several for one row (merged stores) one will do."""
        answers = (e for e in self._answers.get(place[1], {}).values() if not _is_later(e))
        if self.asks[place].purpose == "again":
            return any(event.batch == place[0] for event in answers)
        return any(not self._is_again(event) for event in answers)

    # ------------------------------------------------------------------ asking

    def open_asks(self):
        """Return the asks that wait for an answer, in the order they are to be shown."""
        return [self.asks[place] for place in sorted(self._open, key=self._open.get)]

    def asked_rows(self):
        """Return the names of all rows asked about, a set."""
        return {row for _, row in self.asks}

    def last_answers(self, annotator, n):
        """Return the last `n` answers of an annotator that were not taken back, newest first."""
        return list(self._by_annotator.get(annotator, {}).values())[: -n - 1 : -1]

    def n_said(self, batch, row, annotator):
        """Return how many events of an annotator an ask has had."""
        return self._said[batch, row, annotator]

    def has_uid(self, uid):
        """Whether an answer of that uid was ever stored."""
        return uid in self._by_uid

    def n_answers_since(self, row):
        """Return how many answers came after the last one to a row, -1 if it has no label."""
        labels = [event for event in self.current(row).values() if event.kind == "label"]
        if not labels:
            return -1
        return self._n_answers - max(self._number[event.uid] for event in labels)

    # ------------------------------------------------------------------ answers

    def answered_rows(self):
        """Return the names of the rows that have any answer, imports included, in order."""
        return [row for row, answers in self._answers.items() if answers]

    def current(self, row, batch=None):
        """Return each annotator's standing answer about a row, a dict of events.

        The second, blind answer to a row (purpose "again") is not among them: `batch` asks for
        the answers to the ask of that batch alone.
        """
        standing = {}
        for event in self._answers.get(row, {}).values():
            if _is_later(event):
                continue
            if self._is_again(event) if batch is None else event.batch != batch:
                continue
            standing[event.annotator] = event
        return standing

    def _is_again(self, event):
        ask = self.asks.get((event.batch, event.row))
        return ask is not None and ask.purpose == "again"

    def resolve(self, row, how="latest"):
        """Return the :class:`Resolved` label of a row, or None if nobody gave one.

        Parameters
        ----------
        row : str
            Its name.

        how : {"latest", "majority"} or callable
            The last answer; the most frequent one, none if several are; or what a function of a
            frame of the answers returns.
        """
        answers = [event for event in self.current(row).values() if event.kind == "label"]
        if not answers:
            return None
        newest = max(answers, key=lambda event: (event.at, event.id))
        if len(answers) == 1 or how == "latest":
            label, names = newest.value, newest.annotator
        else:
            label = _majority(answers) if how == "majority" else _called(how, answers)
            names = ", ".join(sorted(event.annotator for event in answers))
        return Resolved(
            row, label, names, newest.at, newest.seconds, len(answers), disputed=label is None
        )

    # ------------------------------------------------------------------ training

    def taught(self, how, reserve=frozenset()):
        """Return the rows and labels to learn from, in an order that is not that of time.

        Imports first, in the order they were stored, then by batch and rank. Rows of `reserve`
        and rows asked for the estimate of accuracy are left out.

        Returns
        -------
        labels : dict
            JSON of the label by row.
        """
        held_back = set(reserve) | {row for (_, row), ask in self.asks.items() if _audits(ask)}
        imported = (row for row, found in self._answers.items() if _has_import(found))
        asked = (row for (_, row), ask in self.asks.items() if ask.purpose in TAUGHT)
        rows = [row for row in dict.fromkeys([*imported, *asked]) if row not in held_back]
        resolved = (self.resolve(row, how) for row in rows)
        return {one.row: one.label for one in resolved if one and not one.disputed}

    def n_rounds(self):
        """Return the last round that has a label, 0 if none has."""
        rounds = [0]
        for batch, row in self.asks:
            if self.batches[batch].round > rounds[-1]:
                if any(
                    event.batch == batch and event.kind == "label"
                    for event in self._answers.get(row, {}).values()
                ):
                    rounds.append(self.batches[batch].round)
        return rounds[-1]

    def n_undone(self, batch):
        """Return how many answers to the asks of a batch were taken back."""
        return self._n_undone[batch]


def _is_later(event):
    return event.kind == "skip" and event.value == LATER


def _audits(ask):
    return ask.purpose == "audit"


def _has_import(answers):
    return any(event.source == "import" for event in answers.values())


def _majority(answers):
    """The most frequent answer, None on a tie. Equal values count together: 1, 1.0, np.int64(1)."""
    counts = Counter(_hashable(decode(event.value)) for event in answers)
    (label, most), *others = counts.most_common()
    if others and others[0][1] == most:
        return None
    return next(e.value for e in answers if _hashable(decode(e.value)) == label)


def _called(how, answers):
    """What a user's function makes of one row's answers."""
    label = how(answers_frame(answers))
    return None if is_missing(label) else encode(label)


def _hashable(value):
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
