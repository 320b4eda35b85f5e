"""The SQLite file of a store: opened with care, one connection per process, errors in one sentence.

A rollback journal with ``synchronous=EXTRA`` rather than a write-ahead log: slower by 30 ms a
label, but the file is whole at any moment, so that it can be copied, mailed and opened from a
read-only folder, and the folder is synced too, so that no power cut brings an old journal back.
"""

import os
import sqlite3
import threading
import warnings
import weakref
from contextlib import contextmanager
from pathlib import Path

from skal.labeling import _schema
from skal.labeling._files import REMOTE, file_system_of, identity, is_full, sync

IN_MEMORY = ":memory:"
_PRAGMAS = (
    "synchronous = EXTRA",
    "fullfsync = ON",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
)


class LabelStoreError(RuntimeError):
    """A store that cannot be opened, read or written; says whether the label in hand was saved."""


class Database:
    """One store's connection, shared by the threads of a process and reopened after a fork.

    Parameters
    ----------
    path : str or path-like
        The file, or ":memory:".

    read_only : bool, default=False
        Whether to open an existing file without writing to it, damaged ones too.

    timeout : float, default=10.0
        Seconds to wait for other programs that are writing.
    """

    def __init__(self, path, *, read_only=False, timeout=10.0):
        path = os.fspath(path)
        self.path = path if path == IN_MEMORY else os.path.abspath(path)
        self.read_only = read_only
        self.timeout = float(timeout)
        # What `_schema.problems` found; only a store opened to read may have any.
        self.problems = []
        # What that read of the file, for whoever reads first.
        self._found = {}
        self._connection, self._forked = None, False
        self._lock = threading.RLock()
        _DATABASES.add(self)
        self._open()

    # ------------------------------------------------------------------ opening

    def _open(self):
        _check_place(self.path, self.read_only)
        try:
            self._connection = self._connect()
            fresh = self._is_fresh()
            if fresh and self.read_only:
                raise LabelStoreError(f"{self.path!r} is empty: no store was ever made in it.")
            if fresh:
                self._create()
            self._check_version()
            self.problems, self._found = _schema.problems(self._connection)
        except sqlite3.Error as error:
            self.close()
            raise LabelStoreError(self._why_not_opened(error)) from error
        except BaseException:
            self.close()
            raise
        if self.problems:
            self._report_problems()
        self._file = identity(self.path)
        _warn_if_remote(self.path)

    def _connect(self):
        if self.path == IN_MEMORY:
            target, uri = self.path, False
        else:
            target = f"{Path(self.path).as_uri()}?mode={'ro' if self.read_only else 'rwc'}"
            uri = True
        connection = sqlite3.connect(
            target, self.timeout, isolation_level=None, check_same_thread=False, uri=uri
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if not self.read_only and _pragma(connection, "journal_mode") not in ("delete", "memory"):
            connection.execute("PRAGMA journal_mode = DELETE")
        return connection

    def _is_fresh(self):
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return tables == 0 and _pragma(self._connection, "application_id") == 0

    def _create(self):
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if self._is_fresh():  # another process may have been faster
                _schema.create(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _check_version(self):
        if _pragma(self._connection, "application_id") != _schema.APPLICATION_ID:
            raise LabelStoreError(
                f"{self.path!r} is a database of another program, not a store of labels. It was "
                "left as it is: choose another path."
            )
        version = _pragma(self._connection, "user_version")
        if version > _schema.VERSION:
            raise LabelStoreError(
                f"{self.path!r} was written by a newer skal (format {version}; this one knows up "
                f"to {_schema.VERSION}). It was left as it is: update skal."
            )
        if version < _schema.VERSION:
            self._migrate(version)

    def _migrate(self, version):
        """Bring an older store up to date, one version at a time, after a copy of it."""
        if self.read_only:
            raise LabelStoreError(
                f"{self.path!r} has the older format {version}: open it once without read_only, "
                "which keeps a copy and brings it up to date."
            )
        for step in range(version, _schema.VERSION):
            if self.path != IN_MEMORY:
                self.copy_to(f"{self.path}.v{step}.bak")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if _pragma(self._connection, "user_version") == step:
                    _schema.MIGRATIONS[step](self._connection)
                    self._connection.execute(f"PRAGMA user_version = {step + 1}")
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _report_problems(self):
        message = f"{self.path!r} is damaged: {'; '.join(self.problems[:3])}. "
        if not self.read_only:
            self.close()
            raise LabelStoreError(
                message + "Nothing was written to it. Go on from a backup, or open it with "
                "read_only=True to export what is left."
            )
        warnings.warn(message + "What can still be read is given.", UserWarning, stacklevel=5)

    # ------------------------------------------------------------------ use

    @contextmanager
    def reading(self):
        """Give the connection to read from: fetch all, then let go."""
        with self._lock:
            try:
                yield self._alive()
            except sqlite3.Error as error:
                cause = _cause(error, self.path, self.timeout)
                raise LabelStoreError(f"{self.path!r} cannot be read: {cause}.") from error

    @contextmanager
    def writing(self, what):
        """Give the connection inside a transaction that is committed at the end, or undone.

        Parameters
        ----------
        what : str
            What the error says was not saved: "The label of row 12".
        """
        with self._lock:
            connection = self._alive()
            try:
                self._check_writable()
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except (sqlite3.Error, _NotWritable) as error:
                self._roll_back()
                raise LabelStoreError(self._why_not_saved(what, error)) from error
            except BaseException:
                self._roll_back()
                raise

    def _alive(self):
        if self._forked:
            self._connection, self._forked = self._connect(), False
        if self._connection is None:
            raise LabelStoreError(f"The store {self.path!r} is closed: open it again.")
        return self._connection

    def _check_writable(self):
        if self.read_only:
            raise _NotWritable("the store was opened with read_only=True")
        if self.path != IN_MEMORY and identity(self.path) != self._file:
            raise _NotWritable(
                "the file was moved, deleted or replaced while it was in use: put it back, or "
                "open the store again"
            )

    def _roll_back(self):
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the error that led here is the one to report; SQLite has rolled back itself

    def copy_to(self, path):
        """Copy the store while others use it; the copy is there whole or not at all."""
        part = f"{os.fspath(path)}.part"
        Path(part).unlink(missing_ok=True)
        try:
            with self.reading() as connection:
                copy = sqlite3.connect(part, isolation_level=None)
                try:
                    connection.backup(copy)
                    problems, _ = _schema.problems(copy)
                finally:
                    copy.close()
            if problems:
                raise LabelStoreError(
                    f"No copy of {self.path!r} was made: it would be damaged ({problems[0]})."
                )
            sync(part)
            os.replace(part, path)
            sync(os.path.dirname(os.path.abspath(path)))
        except OSError as error:
            raise LabelStoreError(f"No copy was made at {os.fspath(path)!r}: {error}.") from error
        finally:
            Path(part).unlink(missing_ok=True)

    def close(self):
        """Close the connection. Closing twice does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._forked = None, False

    def _after_fork(self):
        """In the child of a fork: SQLite's connections must not be carried across, nor closed."""
        self._lock = threading.RLock()
        if self._connection is None or self.path == IN_MEMORY:
            return
        _LEFT_BEHIND.append(self._connection)
        self._connection, self._forked = None, True

    # ------------------------------------------------------------------ pickle

    def __getstate__(self):
        if self.path == IN_MEMORY:
            raise TypeError("A store in memory cannot be pickled: give it a path.")
        return {"path": self.path, "read_only": self.read_only, "timeout": self.timeout}

    def __setstate__(self, state):
        path = state.pop("path")
        self.__init__(path, **state)

    # ------------------------------------------------------------------ errors

    def _why_not_saved(self, what, error):
        saved = ""
        try:
            n_events = self._connection.execute("SELECT count(*) FROM event").fetchone()[0]
            saved = f" The {n_events} before it are safe." if n_events else ""
        except (sqlite3.Error, AttributeError):
            pass  # a count is a courtesy
        return f"{what} was NOT saved: {_cause(error, self.path, self.timeout)}.{saved}"

    def _why_not_opened(self, error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return (
                f"{self.path!r} is damaged, or no store of labels ({error}). Nothing was written "
                "to it. Go on from a backup, or try read_only=True to export what is left."
            )
        return f"{self.path!r} cannot be opened: {_cause(error, self.path, self.timeout)}."


class _NotWritable(Exception):
    """Why nothing may be written."""


def _pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _cause(error, path=None, timeout=0.0):
    """Say in a few words why SQLite could not do it."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and path and is_full(path):
        code = sqlite3.SQLITE_FULL
    if extended == sqlite3.SQLITE_READONLY_ROLLBACK:
        return "a write to it was interrupted: open it once without read_only, which puts it right"
    return {
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_BUSY: f"another program has kept the file locked for {timeout:g} s",
        sqlite3.SQLITE_READONLY: "the file, or the folder it is in, is read-only",
        sqlite3.SQLITE_CANTOPEN: "the file cannot be opened (may its folder be written to?)",
        sqlite3.SQLITE_CORRUPT: "the file is damaged",
        sqlite3.SQLITE_NOTADB: "the file is damaged, or no store of labels",
        sqlite3.SQLITE_IOERR: "the disk reports an error",
    }.get(code, str(error))


def _check_place(path, read_only):
    """Raise LabelStoreError where no file can be."""
    if path == IN_MEMORY:
        return
    if os.path.isdir(path):
        raise LabelStoreError(f"{path!r} is a folder. A store is one file: add a name to it.")
    if not os.path.isdir(os.path.dirname(path)):
        raise LabelStoreError(f"The folder of {path!r} does not exist: make it first.")
    if read_only and not os.path.exists(path):
        raise LabelStoreError(f"There is no store at {path!r} to read.")


def _warn_if_remote(path):
    kind = file_system_of(path)
    if kind in REMOTE and path not in _WARNED:
        _WARNED.add(path)
        warnings.warn(
            f"{path!r} lies on a network file system ({kind}). Use it from one process at a time, "
            "and do not count on labels surviving a power cut there; a local disk keeps both.",
            UserWarning,
            stacklevel=5,
        )


_DATABASES = weakref.WeakSet()
_LEFT_BEHIND = []
_WARNED = set()


def _after_fork():
    for database in list(_DATABASES):
        database._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
