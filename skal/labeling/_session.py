"""A labelling session: rows to ask about, answers that stay, and the model between."""

from scipy import sparse
from sklearn.base import clone

from skal.labeling._answers import Answers
from skal.labeling._checks import check_annotator, check_parameters
from skal.labeling._codec import encode
from skal.labeling._identity import RowNames
from skal.labeling._overview import Overview
from skal.labeling._rounds import Rounds
from skal.labeling._start import begin_or_resume, check_pool, import_labels
from skal.labeling._store import open_store

# Seconds for which `next` waits for a batch that is made behind the caller.
_PATIENCE = 0.1


class LabelingSession(Answers, Overview):
    """Ask people for labels, lose none of them, and train between.

    A session asks for batches of rows, stores each answer before anything else happens, and trains
    a learner when a batch is done. With ``store=`` a path it can be killed at any moment: the same
    call goes on where it stopped, and asks what it would have asked.

    Parameters
    ----------
    learner : ActiveLearner
        The model and its query strategy; cloned.

    X : array-like of shape (n_rows, ...)
        The pool: all rows that may be asked about.

    store : str, path-like, :class:`LabelStore` or None, default=None
        Where labels are kept. None is memory. A store with a session in it is gone on with.

    y : array-like of shape (n_rows,) or None, default=None
        Labels that are known already; missing ones (NaN, None) are open. They are stored once;
        where the store has another answer, that one stays.

    key : str, array-like of shape (n_rows,) or None, default=None
        A column of `X`, or values, that name the rows, so that labels follow them wherever they
        go. None names them by position; rows whose content has changed are noticed then. A column
        stays part of `X`: a model should leave it out.

    classes : list or None, default=None
        The classes, in the order of their buttons. Other labels are refused then.

    n_instances, n_initial : int, default=10, 20
        Rows of a batch, and of the first one, in all.

    audit : float, default=0.1
        Share of all asked rows that are drawn at random for the estimate of accuracy. They are
        never trained on. With 0 there is no estimate, and no row is held back.

    again : float, default=0.0
        Share of asked rows that are asked a second time, at least 20 answers later, to see how
        far people agree with themselves and each other.

    refit : "batch", int or None, default="batch"
        When to train: before every batch, every so many labels, or only in :meth:`refit`. A
        session is reproducible with "batch".

    background : bool, default=False
        Whether to train behind the caller, in one thread, from when half a batch is left.

    annotator : str or None, default=None
        Who answers, if nobody else is said to.

    lease : float, default=600.0
        Seconds for which a row given to one annotator is not given to another.

    stopping : stopping criterion or None, default=None
        Looked at after each training; `stop_` says what it advises. One of :mod:`skal.stopping`.

    resolve : {"latest", "majority"} or callable, default="latest"
        The label of a row that several people answered; see :meth:`LabelStore.labels`.

    on_change : {"raise", "find", "trust"}, default="raise"
        What to do if rows, named by position, hold other data than when they were asked about:
        refuse, look for their content elsewhere in `X`, or take the new content for theirs.

    random_state : int, RandomState or None, default=None
        Seeds everything; None takes that of the learner. A store keeps the seed it began with.

    Attributes
    ----------
    learner_ : ActiveLearner
        The learner as last trained.

    y_ : ndarray of shape (n_rows,)
        The labels; NaN (numbers) or None (anything else) where there is none.

    labeled_ : ndarray of int
        Positions of the rows with a label.

    open_ : ndarray of int
        Positions of the rows that wait for an answer, in the order they are asked.

    round_ : int
        The round of the last batch, -1 before the first.

    audit_ : Estimate
        How good `learner_` is on rows drawn at random, with a 95 % interval: accuracy of a
        classifier, mean absolute error of a regressor.

    stop_ : Stop or None
        What `stopping` advised after the last training.

    state_ : {"asking", "waiting", "training", "failed", "finished"}
        What there is to do: answer; wait for other people's rows, or for the model; look at
        `error_`; nothing.

    error_ : Exception or None
        What the last training raised.

    counts_ : tuple of int
        Answered rows of the present batch, its size, and labelled rows in all.

    Raises
    ------
    LabelStoreError
        If the store cannot be used.
    PoolChangedError
        If rows hold other data than when they were asked about.
    ValueError
        If a parameter will not do, or is not what the session was begun with.

    See Also
    --------
    LabelStore : The file, its checks, copies and exports.
    serve : Labels in the browser.

    Notes
    -----
    A resumed session trains on the same labels in the same order, by batch and rank, from the same
    seed as one that was not interrupted. A training that begins stores the last event it has seen,
    so that this holds for a training that was killed, too. It does not hold for learners with
    ``warm_start=True``, whose weights depend on the path.

    One permutation of all rows is drawn at the beginning; its first 200 rows, or 20 % if that is
    less, are kept for the estimate: never chosen, never learnt from. They are asked in this order,
    at random places of the batches, so that those answered at any time are a simple random sample.
    An estimate on rows drawn from what the strategy leaves is too good, since the hard rows are
    gone.

    Storing a label costs some 40 ms, see :class:`LabelStore`; a label that was taught is on disk
    when the call returns.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.labeling import LabelingSession
    >>> from skal.strategies import MarginSampling
    >>> X, y = load_digits(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=2000), MarginSampling())
    >>> session = LabelingSession(learner, X, random_state=0)  # store="digits.skal" to keep it
    >>> for _ in range(3):
    ...     rows = session.query()
    ...     session.teach(rows, y[rows])  # here a person answers
    >>> session.undo()
    array([...])
    >>> len(session.labeled_), len(session.query())
    (39, 1)
    """

    def __init__(
        self,
        learner,
        X,
        *,
        store=None,
        y=None,
        key=None,
        classes=None,
        n_instances=10,
        n_initial=20,
        audit=0.1,
        again=0.0,
        refit="batch",
        background=False,
        annotator=None,
        lease=600.0,
        stopping=None,
        resolve="latest",
        on_change="raise",
        random_state=None,
    ):
        settings = {
            "n_instances": n_instances,
            "n_initial": n_initial,
            "audit": audit,
            "again": again,
            "refit": refit,
        }
        check_parameters(learner, settings, lease, resolve, on_change)
        self.X = X.tocsr() if sparse.issparse(X) else X
        self.classes_given = None if classes is None else list(classes)
        self.annotator, self.lease = check_annotator(annotator), float(lease)
        self.store, self._owns_store = open_store(store)
        try:
            self._open(
                learner, y, key, settings, resolve, on_change, random_state, stopping, background
            )
        except BaseException:
            if self._owns_store:
                self.store.close()
            raise

    def _open(
        self, learner, y, key, settings, resolve, on_change, random_state, stopping, background
    ):
        log, fold = self.store.log, self.store.fold()
        names = RowNames(self.X, key, log.meta().get("columns"))
        classes = self.classes_given
        settings = settings | {
            "resolve": resolve if isinstance(resolve, str) else "a callable",
            "key": key if isinstance(key, str) else None if key is None else "values",
            "classes": None if classes is None else [encode(label) for label in classes],
        }
        meta = begin_or_resume(log, names, settings, learner, random_state)
        check_pool(log, names, fold, meta["reserve"], on_change, meta["root_seed"])
        reserve = [name for name, _ in meta["reserve"]]
        self._names = names
        self._rounds = Rounds(
            clone(learner),
            self.store,
            fold,
            names,
            settings,
            resolve,
            reserve,
            meta["root_seed"],
            stopping,
            background,
        )
        self._final = None
        if y is not None:
            import_labels(log, names, fold, y, meta["id"], resolve, self._checked_labels)
            self._rounds.sync()

    # ------------------------------------------------------------------ asking

    def query(self):
        """Return the rows that wait for an answer, asking for a batch if none does.

        Asking again before an answer gives the same rows, in this process or another.

        Returns
        -------
        rows : ndarray of int
            Positions in `X`, in order; empty if no row is left.
        """
        self._rounds.ask()
        return self.open_

    def next(self, annotator=None):
        """Return the next row for one annotator, and keep it from others for a while.

        Parameters
        ----------
        annotator : str or None, default=None
            Who will answer; None is the session's annotator.

        Returns
        -------
        task : Task or None
            None if no row is open for them now; `state_` says why.
        """
        annotator = self._who(annotator)
        self._rounds.keep_going()
        if not self._rounds.waiting():
            if self.background:
                # A batch that takes no time is better than a word about waiting.
                self._rounds.worker.wait(_PATIENCE)
            else:
                self._rounds.ask()
        return self._leased(annotator)

    # ------------------------------------------------------------------ training

    @property
    def background(self):
        """Whether trainings run behind the caller."""
        return self._rounds.worker.threaded

    @background.setter
    def background(self, background):
        self._rounds.worker.threaded = bool(background)

    def refit(self):
        """Train on all labels of now, and wait for it.

        Returns
        -------
        self : LabelingSession
            The session.

        Raises
        ------
        Exception
            What the training raises; the model before stays in use.
        """
        self._final = None
        self._rounds.refit()
        return self

    def final_fit(self):
        """Train on all labels, those of the estimate too, and wait for it.

        For the model to keep when labelling is over. `audit_` says nothing about it and is NaN
        until the next training.

        Returns
        -------
        self : LabelingSession
            The session; `learner_` is the new model.
        """
        rounds = self._rounds
        rounds.wait_and_raise()
        fold = rounds.sync()
        labels = fold.taught(rounds.resolve)
        labels |= {one.row: one.label for one in self._resolved() if one.row not in labels}
        self._final = rounds.worker.call(
            lambda: rounds.trainer.train(
                labels, {*fold.answered_rows()} - labels.keys(), fold.n_rounds()
            )
        )
        return self

    def wait(self, timeout=None):
        """Wait for the training behind the caller.

        Parameters
        ----------
        timeout : float or None, default=None
            Seconds to wait at most.

        Returns
        -------
        done : bool
            Whether nothing is running any more.

        Raises
        ------
        Exception
            What the last training raised.
        """
        return self._rounds.wait_and_raise(timeout)

    # ------------------------------------------------------------------ housekeeping

    def close(self):
        """Wait for a running training and close the store if the session opened it."""
        self._rounds.worker.close()
        if self._owns_store:
            self.store.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return (
            f"{type(self).__name__}({self._rounds.trainer.strategy_name()}, {self._names.n} rows, "
            f"{len(self.labeled_)} labelled, store={self.store.path!r})"
        )
