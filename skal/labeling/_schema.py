"""Tables of a store: append-only records, each with a checksum, and the leases.

Everything but a lease is written once. Triggers keep it so; `crc` tells a flipped byte, which
SQLite's own check does not see.
"""

import gc
import sqlite3
import zlib
from contextlib import contextmanager
from typing import NamedTuple

APPLICATION_ID = 0x736B616C  # "skal"
VERSION = 1

TABLES = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE training (
    id INTEGER PRIMARY KEY, round INTEGER NOT NULL, event INTEGER NOT NULL,
    asks INTEGER NOT NULL, at REAL NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE outcome (
    training INTEGER PRIMARY KEY REFERENCES training (id), at REAL NOT NULL, seconds REAL,
    error TEXT, result TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, round INTEGER NOT NULL,
    strategy TEXT NOT NULL, seed INTEGER NOT NULL, n_labels INTEGER NOT NULL,
    training INTEGER REFERENCES training (id), at REAL NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE ask (
    batch INTEGER NOT NULL REFERENCES batch (id), rank INTEGER NOT NULL, row TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('first', 'query', 'audit', 'again')),
    digest BLOB NOT NULL, proposal TEXT, crc INTEGER NOT NULL, PRIMARY KEY (batch, rank));
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')), row TEXT NOT NULL,
    annotator TEXT NOT NULL, value TEXT, seconds REAL, batch INTEGER REFERENCES batch (id),
    ref TEXT, source TEXT NOT NULL CHECK (source IN ('human', 'sheet', 'import')),
    crc INTEGER NOT NULL);
CREATE TABLE lease (
    row TEXT PRIMARY KEY, annotator TEXT NOT NULL, until REAL NOT NULL);
"""

TRIGGER = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'a store is only ever appended to'); END;
"""


class Meta(NamedTuple):
    """One setting of the store, as JSON."""

    key: str
    value: str


class Training(NamedTuple):
    """A training that began: which round, the last event it saw, whether a batch follows."""

    id: int
    round: int
    event: int
    asks: int
    at: float


class Outcome(NamedTuple):
    """How a training ended: seconds, the error if it failed, and what was measured, as JSON."""

    training: int
    at: float
    seconds: float | None
    error: str | None
    result: str


class Batch(NamedTuple):
    """Rows that were asked together; `training` made the model that chose them, if one did."""

    id: int
    uid: str
    round: int
    strategy: str
    seed: int
    n_labels: int
    training: int | None
    at: float


class Ask(NamedTuple):
    """One row of a batch. Row and proposal are JSON."""

    batch: int
    rank: int
    row: str
    purpose: str
    digest: bytes
    proposal: str | None


class Event(NamedTuple):
    """One answer, or one answer taken back (`ref` is its uid). Row and value are JSON."""

    id: int
    uid: str
    at: float
    kind: str
    row: str
    annotator: str
    value: str | None
    seconds: float | None
    batch: int | None
    ref: str | None
    source: str


# In an order in which every reference points back.
RECORDS = {
    "meta": Meta,
    "training": Training,
    "outcome": Outcome,
    "batch": Batch,
    "ask": Ask,
    "event": Event,
}
# What the rows of a table are ordered by: in time, except that asks go by batch.
ORDER = {"meta": "key", "outcome": "training", "ask": "batch, rank"}


def crc(record):
    """Return the checksum of the fields of a record."""
    # ascii, not repr: which characters repr escapes depends on the version of Python.
    # A named tuple is written with the names of its fields: as a plain one here.
    return zlib.crc32(ascii(record[:]).encode("ascii"))


def insert_sql(table):
    """Return the statement that appends a record and its checksum."""
    fields = RECORDS[table]._fields
    places = ", ".join("?" * (len(fields) + 1))
    return f"INSERT INTO {table} ({', '.join(fields)}, crc) VALUES ({places})"


def select_sql(table, where="", order=None):
    """Return the statement that reads records and their checksums, in order."""
    fields = ", ".join(RECORDS[table]._fields)
    order = ORDER.get(table, "id") if order is None else order
    return f"SELECT {fields}, crc FROM {table} {where} ORDER BY {order}"


def create(connection):
    """Make the tables of a new store, inside the caller's transaction."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    for table in RECORDS:
        for verb in ("UPDATE", "DELETE"):
            connection.execute(TRIGGER.format(table=table, verb=verb))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def read(connection, table, where="", arguments=()):
    """Return the records of a table, in order, and how many do not have their checksum.

    Returns
    -------
    records : list
        Those that have it.

    altered : list
        The first fields of those that do not.
    """
    kind, records, altered = RECORDS[table], [], []
    for row in connection.execute(select_sql(table, where), arguments).fetchall():
        fields = row[:-1]
        if crc(fields) == row[-1]:
            records.append(tuple.__new__(kind, fields))
        else:
            altered.append(row[0])
    return records, altered


@contextmanager
def no_collection():
    """Do not look for cycles while a hundred thousand records are made, of which none has any."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def problems(connection):
    """Return what is wrong with a store, a sentence each, and its records by table."""
    found, records = _page_problems(connection), {}
    if found:
        return found, records
    with no_collection():
        for table in RECORDS:
            records[table], bad = read(connection, table)
            if bad:
                found.append(f"{len(bad)} records of {table!r} were altered, the first {bad[0]!r}")
    return found, records


def _page_problems(connection):
    try:
        lines = [line for (line,) in connection.execute("PRAGMA quick_check(10)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if lines == ["ok"] else [" ".join(line.split()) for line in lines]


# MIGRATIONS[n](connection) takes a store of version n to n + 1, inside the caller's transaction.
MIGRATIONS = {}
