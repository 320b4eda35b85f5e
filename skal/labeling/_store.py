"""The store of labels: one file, append-only, that outlives whatever writes to it."""

import os

from skal.labeling._codec import decode
from skal.labeling._database import IN_MEMORY, LabelStoreError
from skal.labeling._fold import Fold
from skal.labeling._frames import events_frame, labels_frame
from skal.labeling._identity import RowNames, differing
from skal.labeling._log import Log
from skal.labeling._merge import merge
from skal.labeling._reading import digests_of, feed
from skal.labeling._schema import VERSION, problems
from skal.utils._tables import is_frame, is_polars, take_rows


class LabelStore:
    """Labels on disk: every answer that was ever given, in one SQLite file.

    A :class:`LabelingSession` writes to it; this class reads it, checks it, copies it, joins it
    with the files of other people and exports it. Nothing in the file is ever changed or deleted:
    an answer taken back or corrected is one more record.

    Parameters
    ----------
    path : str or path-like
        The file; it is made where there is none. ":memory:" keeps everything in memory.

    read_only : bool, default=False
        Whether to open an existing file without writing to it. A damaged file can only be opened
        this way, with a warning, and gives what can still be read.

    timeout : float, default=10.0
        Seconds to wait for other programs that are writing to the file.

    Attributes
    ----------
    path : str
        The absolute path.

    info : dict
        What is in it: counts, and the settings of the session.

    Raises
    ------
    LabelStoreError
        If the file cannot be opened, is damaged, was written by a newer skal or is no store.

    See Also
    --------
    LabelingSession : Asks for labels and stores them.

    Notes
    -----
    Storing one label costs about 40 ms on an ordinary disk, because it is on the disk when the call
    returns (rollback journal, ``synchronous=EXTRA``). Opening reads and checks the whole file:
    about 1 s per 100,000 events. The store may be shared by threads, by processes and across a
    fork; it is pickled by its path. Use :meth:`backup` to copy a store that is in use.

    Each record has a checksum, so that a damaged byte is noticed as well as a damaged page.

    Examples
    --------
    >>> from skal.labeling import LabelStore
    >>> with LabelStore(":memory:") as store:
    ...     len(store.labels()), store.verify()
    (0, [])
    """

    def __init__(self, path, *, read_only=False, timeout=10.0):
        # What sessions read and write through.
        self.log = Log(path, read_only=read_only, timeout=timeout)

    @property
    def path(self):
        return self.log.path

    @property
    def info(self):
        meta, fold = self.log.meta(), self.fold()
        return {
            "path": self.path,
            "version": VERSION,
            "n_batches": len(fold.batches),
            "n_asked": len(fold.asks),
            "n_events": len(self.log.records("event")),
            "n_labels": sum(1 for row in fold.answered_rows() if fold.resolve(row)),
            **meta,
        }

    def fold(self, until=None):
        """Return the state that all events come to.

        Parameters
        ----------
        until : int or None, default=None
            The last event to count; None is all of them.

        Returns
        -------
        fold : Fold
            Batches, asks and standing answers.
        """
        fold = Fold()
        feed(fold, self.log, until)
        return fold

    # ------------------------------------------------------------------ reading

    def events(self):
        """Return everything that was answered, taken back or imported, in order.

        Returns
        -------
        events : DataFrame
            Columns id, uid, at (UTC), kind (label, skip or undo), row, annotator, value, seconds
            (spent on the answer), batch, ref (the uid taken back) and source (human, sheet,
            import).
        """
        return events_frame(self.log.records("event"))

    def labels(self, resolve="latest"):
        """Return the label of each labelled row.

        Parameters
        ----------
        resolve : {"latest", "majority"} or callable, default="latest"
            What counts where several people answered: the last answer, the most frequent one
            (none where several are equally frequent: the label is missing then), or what a
            function returns of a frame with one row per annotator (columns row, label, annotator,
            at, seconds). Each annotator's standing answer counts; the second, blind answer to a row
            does not.

        Returns
        -------
        labels : DataFrame
            Columns row (the key, or the position), label, annotator, at (UTC), seconds and
            n_answers. A missing label with several answers is a dispute.
        """
        _check_resolve(resolve)
        fold = self.fold()
        resolved = (fold.resolve(row, resolve) for row in fold.answered_rows())
        return labels_frame(one for one in resolved if one is not None)

    def verify(self, X=None, key=None):
        """Check the whole file, and, given the rows, that none of them has changed.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...) or None, default=None
            The pool.

        key : str, array-like or None, default=None
            The key of the session.

        Returns
        -------
        problems : list of str
            What is wrong, a sentence each; empty if nothing is.
        """
        with self.log.reading() as connection:
            found, _ = problems(connection)
        fold = self.fold()
        uids = {event.uid for event in self.log.records("event")}
        undone = [event for event in self.log.records("event") if event.kind == "undo"]
        missing = [event.uid for event in undone if event.ref not in uids]
        if missing:
            found.append(f"{len(missing)} answers taken back are not there, first {missing[0]}")
        if X is not None:
            names = RowNames(X, key, self.log.meta().get("columns"))
            changed, lost = differing(names, digests_of(fold))
            if changed or lost:
                first = decode([*changed, *lost][0])
                found.append(
                    f"{len(changed)} of {len(fold.asked_rows())} rows asked about hold other data "
                    f"and {len(lost)} are not there, first {first!r}"
                )
        return found

    # ------------------------------------------------------------------ copying

    def backup(self, path):
        """Copy the store to another file, also while it is written to.

        The copy is checked, then put in its place at once: `path` is the old file or the whole new
        one at any moment.

        Parameters
        ----------
        path : str or path-like
            Where to. A file there is replaced.

        Raises
        ------
        LabelStoreError
            If the copy cannot be written or would be damaged.
        """
        if os.path.realpath(path) == os.path.realpath(self.path):
            raise LabelStoreError(f"{self.path!r} is the store itself: back it up elsewhere.")
        self.log.copy_to(path)

    def merge(self, other):
        """Take over the answers of another store of the same rows.

        Merging the same file again changes nothing. Its batches and trainings come along as a
        record; the sampling of the accuracy estimate stays that of this store.

        Parameters
        ----------
        other : LabelStore, str or path-like
            The other store, which is left as it is.

        Returns
        -------
        result : Bunch
            `n_new` and `n_same`, the events that were and were not new, and `n_conflicts`, the
            rows with new answers about which people disagree now.

        Raises
        ------
        PoolChangedError
            If rows asked about in both hold different data.
        ValueError
            If the two were begun with other keys or columns.
        """
        if isinstance(other, LabelStore):
            return merge(self.log, other.log)
        with LabelStore(other, read_only=True) as opened:
            return merge(self.log, opened.log)

    # ------------------------------------------------------------------ exporting

    def to_frame(self, X, key=None, resolve="latest"):
        """Return the labelled rows of `X` with their labels.

        Parameters
        ----------
        X : DataFrame or array of shape (n_rows, n_features)
            The pool.

        key : str, array-like or None, default=None
            The key of the session.

        resolve : {"latest", "majority"} or callable, default="latest"
            As in :meth:`labels`.

        Returns
        -------
        frame : DataFrame
            The rows of `X` that have a label, in the order of `X`, and the columns skal_label,
            skal_annotator and skal_at.

        Raises
        ------
        PoolChangedError
            If a labelled row holds other data than when it was asked about.
        """
        import pandas as pd

        from skal.labeling._identity import check_rows

        names = RowNames(X, key, self.log.meta().get("columns"))
        fold = self.fold()
        check_rows(names, digests_of(fold), "raise", None)
        resolved = {}
        for row in fold.answered_rows():
            one = fold.resolve(row, resolve)
            if one is not None and names.position(row) >= 0:
                resolved[names.position(row)] = one
        places = sorted(resolved)
        table = take_rows(X, places)
        if is_polars(table):
            table = table.to_pandas()
        frame = table.copy() if is_frame(table) else pd.DataFrame(table)
        labels = labels_frame(resolved[place] for place in places)
        for name in ("label", "annotator", "at"):
            frame[f"skal_{name}"] = labels[name].to_numpy()
        return frame

    def to_csv(self, path, resolve="latest"):
        """Write :meth:`labels` to a CSV file.

        Parameters
        ----------
        path : str or path-like
            Where to; a file there is replaced at once, when the new one is whole.

        resolve : {"latest", "majority"} or callable, default="latest"
            As in :meth:`labels`.
        """
        _replace(path, lambda part: self.labels(resolve).to_csv(part, index=False))

    def to_parquet(self, path, resolve="latest"):
        """Write :meth:`labels` to a Parquet file, which keeps types; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            Where to; a file there is replaced at once, when the new one is whole.

        resolve : {"latest", "majority"} or callable, default="latest"
            As in :meth:`labels`.
        """
        _replace(path, lambda part: self.labels(resolve).to_parquet(part))

    # ------------------------------------------------------------------ housekeeping

    def close(self):
        """Close the file. Closing twice does nothing."""
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"{type(self).__name__}({self.path!r})"


def open_store(store):
    """Return a store and whether it was opened here: None is memory, a path is opened."""
    if isinstance(store, LabelStore):
        return store, False
    return LabelStore(IN_MEMORY if store is None else store), True


def _check_resolve(resolve):
    if resolve not in ("latest", "majority") and not callable(resolve):
        raise ValueError(
            f"resolve must be 'latest', 'majority' or a callable. Got {resolve!r} instead."
        )


def _replace(path, write):
    part = f"{os.fspath(path)}.part"
    try:
        write(part)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
