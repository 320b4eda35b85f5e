"""One store takes over the answers of another."""

import json

from sklearn.utils import Bunch

from skal.labeling._codec import decode
from skal.labeling._digest import PoolChangedError
from skal.labeling._fold import Fold
from skal.labeling._log import _append, append_batch, append_events
from skal.labeling._schema import Meta

# Settings that say which rows and columns the names and digests are about.
_SAME = ("key", "columns")


def merge(log, other):
    """Append what `other` has and `log` lacks, in one transaction; see `LabelStore.merge`."""
    asks = {}
    for ask in other.records("ask"):
        asks.setdefault(ask.batch, []).append(ask)
    batches, events = other.records("batch"), other.records("event")
    with log.writing("The merge") as connection:
        _adopt_settings(connection, log, other)
        _check_same_rows(log, asks)
        known = {batch.uid: batch.id for batch in log.records("batch")}
        numbers = {None: None}
        for batch in batches:
            if batch.uid not in known:
                # The model that chose these rows is the other store's, and stays there.
                own = batch._replace(training=None)
                known[batch.uid] = append_batch(connection, own, asks.get(batch.id, []))
            numbers[batch.id] = known[batch.uid]
        uids = log.known_uids()
        new = [event for event in events if event.uid not in uids]
        append_events(connection, [e._replace(batch=numbers[e.batch]) for e in new])
    rows = {event.row for event in new if event.kind == "label"}
    return Bunch(n_new=len(new), n_same=len(events) - len(new), n_conflicts=_n_conflicts(log, rows))


def _adopt_settings(connection, log, other):
    """An empty store becomes one of the other's kind; any other one must be of that kind."""
    mine, theirs = log.meta(), other.meta()
    if not mine:
        for key, value in theirs.items():
            _append(connection, "meta", Meta(key, json.dumps(value)))
        return
    for name in _SAME:
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"Only stores with the same {name} can be merged. Got {mine.get(name)!r} here and "
                f"{theirs.get(name)!r} in {other.path!r}."
            )


def _check_same_rows(log, asks):
    mine = {ask.row: ask.digest for ask in log.records("ask")}
    common = [ask for batch in asks.values() for ask in batch if ask.row in mine]
    differ = sorted({ask.row for ask in common if mine[ask.row] != ask.digest})
    if differ:
        raise PoolChangedError(
            f"{len(differ)} rows asked about in both stores hold different data, first "
            f"{decode(differ[0])!r}: they are not of the same pool. Nothing was merged."
        )


def _n_conflicts(log, rows):
    fold = Fold()
    for event in log.records("event"):
        if event.row in rows or event.kind == "undo":
            fold.add_event(event)
    n = 0
    for row in rows:
        values = [e.value for e in fold.current(row).values() if e.kind == "label"]
        n += len(set(values)) > 1
    return n
