"""Reading and appending the records of a store."""

import json
import sqlite3
import time
import uuid

from skal.labeling import _schema
from skal.labeling._database import Database, LabelStoreError
from skal.labeling._schema import Batch, Event, Meta, Outcome, Training

_KEYS = {"ask": "batch", "outcome": "training", "meta": "rowid"}


class Log(Database):
    """What is in a store, as records of `_schema`, and the only ways to add to it."""

    # ------------------------------------------------------------------ reading

    def records(self, table, after=0):
        """Return the records of `table` whose id is above `after`, in order.

        Of a damaged store (opened to be read), those that can be read and were not altered.
        """
        if self.problems:
            return self._salvaged(table, after)
        first = self._found.pop(table, []) if after == 0 and table != "meta" else []
        if first:
            after = getattr(first[-1], _KEYS.get(table, "id"))
        key = _KEYS.get(table, "id")
        with self.reading() as connection:
            found, altered = _schema.read(connection, table, f"WHERE {key} > ?", (after,))
        if altered:
            raise LabelStoreError(
                f"{self.path!r} is damaged: {len(altered)} records of {table!r} were altered while "
                "it was in use. Go on from a backup."
            )
        return first + found

    def _salvaged(self, table, after):
        """Read forwards up to the damage, then backwards down to it."""
        kind, key = _schema.RECORDS[table], _KEYS.get(table, "id")
        found = {}
        with self.reading() as connection:
            for order in ("ASC", "DESC"):
                sql = _schema.select_sql(table, f"WHERE {key} > ?", f"rowid {order}")
                try:
                    for *fields, crc in connection.execute(sql, (after,)):
                        if _schema.crc(tuple(fields)) == crc:
                            found[tuple(fields[:2])] = kind._make(fields)
                except sqlite3.DatabaseError:
                    continue
        return [found[key] for key in sorted(found)]

    def meta(self):
        """Return the settings of the store, a dict."""
        return {record.key: json.loads(record.value) for record in self.records("meta")}

    def leases(self):
        """Return who has been given which row until when: row -> (annotator, until)."""
        with self.reading() as connection:
            found = connection.execute("SELECT row, annotator, until FROM lease").fetchall()
        return {row: (annotator, until) for row, annotator, until in found}

    # ------------------------------------------------------------------ appending

    def set_meta(self, settings):
        """Store settings, unless the store has them; return the settings it has then."""
        with self.writing("The settings of the session") as connection:
            known = self.meta()
            for key, value in settings.items():
                if key not in known:
                    _append(connection, "meta", Meta(key, json.dumps(value)))
        return self.meta()

    def append_events(self, events, what):
        """Store answers in one transaction; one whose uid is there already is not stored again.

        Parameters
        ----------
        events : list of Event
            Their `id` is None.

        what : str
            What the error says was not saved.

        Returns
        -------
        n_new : int
            How many were new.
        """
        try:
            with self.writing(what) as connection:
                return append_events(connection, events)
        except LabelStoreError as error:
            # A commit may fail after it took effect (a folder that cannot be synced).
            if isinstance(error.__cause__, sqlite3.Error) and self._holds(events):
                return len(events)
            raise

    def _holds(self, events):
        try:
            known = self.known_uids()
        except LabelStoreError:
            return False
        return all(event.uid in known for event in events)

    def known_uids(self):
        """Return the uids of all events, a set."""
        with self.reading() as connection:
            return {uid for (uid,) in connection.execute("SELECT uid FROM event")}

    def begin_training(self, round, event, asks):
        """Note that a training begins, and what it has seen; return the record."""
        with self.writing("The start of the training") as connection:
            record = Training(_next(connection, "training"), round, event, int(asks), time.time())
            _append(connection, "training", record)
        return record

    def end_training(self, training, seconds, error, result, batch=None, asks=()):
        """Note how a training ended, with the batch that its model asks, all or nothing.

        Returns
        -------
        done : bool
            False if another process had noted it before; nothing is stored then.
        """
        with self.writing("The end of the training") as connection:
            if connection.execute(
                "SELECT 1 FROM outcome WHERE training = ?", (training,)
            ).fetchone():
                return False
            outcome = Outcome(training, time.time(), seconds, error, json.dumps(result))
            _append(connection, "outcome", outcome)
            if batch is not None:
                append_batch(connection, batch, asks)
        return True

    def add_batch(self, batch, asks, last):
        """Store a batch, unless another process has stored one after the batch `last`.

        Parameters
        ----------
        batch : Batch
            Its `id` is None.

        asks : list of Ask
            Their `batch` is None.

        last : int
            The id of the last batch known, 0 if none is.

        Returns
        -------
        done : bool
            Whether it was stored.
        """
        with self.writing("The batch") as connection:
            if _next(connection, "batch") != last + 1:
                return False
            append_batch(connection, batch, asks)
        return True

    def lease(self, choose, annotator, seconds):
        """Give `annotator` the row that `choose` returns, None being no row.

        `choose` gets the leases that hold now and runs inside the transaction, so that no other
        process can be given the row meanwhile.
        """
        with self.writing("The lease of a row") as connection:
            row = choose(self.leases())
            if row is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO lease (row, annotator, until) VALUES (?, ?, ?)",
                    (row, annotator, time.time() + seconds),
                )
        return row


def append_events(connection, events):
    """Append events inside the caller's transaction; return how many were new."""
    first = number = _next(connection, "event")
    for event in events:
        known = connection.execute("SELECT 1 FROM event WHERE uid = ?", (event.uid,)).fetchone()
        if known is None:
            _append(connection, "event", event._replace(id=number))
            number += 1
    return number - first


def append_batch(connection, batch, asks):
    number = _next(connection, "batch")
    _append(connection, "batch", batch._replace(id=number))
    for ask in asks:
        _append(connection, "ask", ask._replace(batch=number))
    return number


def _append(connection, table, record):
    connection.execute(_schema.insert_sql(table), (*record, _schema.crc(record)))


def _next(connection, table):
    return connection.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()[0]


def new_event(
    kind,
    row,
    annotator="",
    *,
    value=None,
    seconds=None,
    batch=None,
    ref=None,
    source="human",
    uid=None,
):
    """Return an event of now, with a uid of its own unless the answerer made one."""
    return Event(
        None,
        uid or uuid.uuid4().hex,
        time.time(),
        kind,
        row,
        annotator,
        value,
        None if seconds is None else float(seconds),
        batch,
        ref,
        source,
    )


def new_batch(round, strategy, seed, n_labels, training):
    """Return a batch of now, without an id."""
    return Batch(None, uuid.uuid4().hex, round, strategy, seed, n_labels, training, time.time())
