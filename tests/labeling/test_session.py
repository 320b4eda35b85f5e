"""A session loses nothing, and asks what it would have asked."""

import multiprocessing
import os
import random
import signal
import threading
import time
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import cohen_kappa_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from skal import ActiveLearner
from skal.labeling import LabelingSession, LabelStore, LabelStoreError, PoolChangedError
from skal.labeling._rounds import Rounds
from skal.neural_network import NeuralNetClassifier
from skal.strategies import BADGE, CoreSet, MarginSampling, RandomSampling

FORK = multiprocessing.get_context("fork")
X, Y = (part[:300] for part in load_digits(return_X_y=True))
X = X / 16

LOGISTIC = ActiveLearner(LogisticRegression(max_iter=50), MarginSampling(), random_state=0)
# All classes are known to the net from the start, as its layers would else change in size.
NET = NeuralNetClassifier(max_epochs=1, classes=np.arange(10))
LEARNERS = {
    "logistic, margin": LOGISTIC,
    "net, BADGE": ActiveLearner(NET, BADGE(), random_state=0),
    "net, CoreSet": ActiveLearner(NET, CoreSet(), random_state=0),
}
QUICK = ActiveLearner(DummyClassifier(), RandomSampling(), random_state=0)


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is stored."""


class Fragile(ClassifierMixin, BaseEstimator):
    """Fails where told, and can wait for a sign."""

    fails, gate = False, None

    def fit(self, X, y):
        if Fragile.gate is not None:
            Fragile.gate.wait(20)
        if Fragile.fails:
            raise ZeroDivisionError("no model")
        self.classes_, counts = np.unique(y, return_counts=True)
        self.best_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.best_)


@pytest.fixture
def fragile(monkeypatch):
    monkeypatch.setattr(Fragile, "fails", False)
    monkeypatch.setattr(Fragile, "gate", None)
    return ActiveLearner(Fragile(), RandomSampling(), random_state=0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "labels.skal")


def label_all(session, y=Y):
    rows = session.query()
    session.teach(rows, y[rows])
    return rows.tolist()


# ---------------------------------------------------------------------------------- P3: resuming


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_session_interrupted_everywhere_asks_the_same(learner, background, path):
    learner = LEARNERS[learner]
    options = {"n_initial": 12, "n_instances": 4, "background": background}

    def answer_one(session):
        """Skip, take back and put off on the way, as people do."""
        place = int(session.query()[0])
        n = len(session.labeled_)
        if place % 7 == 3:
            session.skip(place)
        elif place % 7 == 5 and place not in put_off:
            put_off.append(place)
            session.skip(place, "later")
        else:
            session.teach(place, Y[place])
            if place % 5 == 1 and place not in taken_back:
                taken_back.append(place)
                assert session.undo().tolist() == [place] and session.open_[0] == place
        session.wait()
        return place, n

    put_off, taken_back = [], []
    with LabelingSession(learner, X, **options) as session:
        lived = [answer_one(session) for _ in range(18)]
        rows, y, audit = session.query(), session.y_, session.audit_
        prediction = session.learner_.predict(X)
    put_off, taken_back, resumed = [], [], []
    for number in range(18):
        if number % 3 == 0:
            session = LabelingSession(learner, X, store=path, **options)
        resumed.append(answer_one(session))
        if number % 3 == 2:
            session.close()
    assert resumed == lived and put_off + taken_back
    with LabelingSession(learner, X, store=path, **options) as session:
        assert_array_equal(session.query(), rows)
        assert_array_equal(session.y_, y)
        assert_array_equal(session.learner_.predict(X), prediction)
        assert session.audit_.n == audit.n
        assert session.round_ >= 1


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_training_that_was_killed_is_repeated_on_what_it_saw(learner, path, monkeypatch):
    """Answers that came while it ran, and one taken back, are left to the next one."""
    learner = LEARNERS[learner]
    options = {"n_initial": 12, "n_instances": 4, "background": True}

    def half(session):
        rows = session.query()
        for place in rows[: len(rows) // 2]:
            session.teach(place, Y[place])
        return rows

    with LabelingSession(learner, X, **options) as session:
        half(session)
        session.wait()
        second = [ask.row for ask in session._rounds.fold.asks.values() if ask.batch == 2]

    session = LabelingSession(learner, X, store=path, **options)
    train = Rounds._train

    def killed(self, job):
        raise Killed

    monkeypatch.setattr(Rounds, "_train", killed)
    rows = half(session)
    session._rounds.worker.wait()
    # The thread died with the process; the caller had gone on a little.
    session.undo()
    for place in rows[len(rows) // 2 : -1]:
        session._rounds.worker.threaded = None  # no second start
        session.teach(place, Y[place])
    session.close()
    monkeypatch.setattr(Rounds, "_train", train)
    with LabelingSession(learner, X, store=path, **options) as session:
        session.next()
        session.wait()
        asks = session._rounds.sync().asks.values()
        assert [ask.row for ask in asks if ask.batch == 2] == second
        assert session._rounds.last_training().id == 1


def test_a_session_is_the_plain_loop():
    """Without an estimate, the rows asked are those of fit, query and teach."""
    with LabelingSession(LOGISTIC, X, n_initial=15, n_instances=5, audit=0) as session:
        rows = session.query()
        y = np.full(len(X), None)
        y[rows] = Y[rows]
        session.teach(rows, Y[rows])
        plain = clone(LOGISTIC).fit(X, y)
        plain.restore(X, rows, Y[rows], 0, session._rounds.root_seed)
        for _ in range(3):
            asked = plain.query(n_instances=5)
            assert_array_equal(session.query(), asked)
            session.teach(asked, Y[asked])
            plain.teach(None, Y[asked], rows=asked)


def test_order_of_answers_does_not_matter():
    asked = []
    for order in (1, -1):
        session = LabelingSession(LEARNERS["net, BADGE"], X, n_initial=12, n_instances=4)
        for place in session.query()[::order]:
            session.teach(place, Y[place])
        asked.append(session.query().tolist())
    assert asked[0] == asked[1]


def _label_thirty(path, options):
    session = LabelingSession(LOGISTIC, X, store=path, **options)
    while len(session.labeled_) < 30:
        task = session.next()
        session.teach([task.position], [Y[task.position]])
    os._exit(0)


def test_a_session_killed_again_and_again_ends_as_one_never_killed(path):
    options = {"n_initial": 12, "n_instances": 4, "random_state": 1}
    # The same without a kill, which also tells how long it takes on this machine.
    started = time.perf_counter()
    with LabelingSession(LOGISTIC, X, **options) as session:
        while len(session.labeled_) < 30:
            task = session.next()
            session.teach([task.position], [Y[task.position]])
        expected = session.store.events()
    whole = time.perf_counter() - started
    rng, n_killed = random.Random(0), 0
    while True:
        child = FORK.Process(target=_label_thirty, args=(path, options))
        child.start()
        child.join(rng.uniform(0.1, 0.5) * whole if n_killed < 5 else 60)
        if child.exitcode is not None:
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        n_killed += 1
    assert child.exitcode == 0 and n_killed > 0
    with LabelStore(path) as store:
        events = store.events()
        assert store.verify(X) == []
    for name in ("row", "value", "kind"):
        assert events[name].tolist() == expected[name].tolist()


def test_settings_must_agree_and_the_seed_is_kept(path):
    with LabelingSession(QUICK, X, store=path, n_initial=5, random_state=3, classes=[0, 1]):
        pass
    with pytest.raises(ValueError, match="begun with n_initial=5. Got 20 instead. Pass the same"):
        LabelingSession(QUICK, X, store=path, classes=[0, 1])
    with pytest.raises(ValueError, match=r"begun with classes=\[0, 1\]. Got None instead"):
        LabelingSession(QUICK, X, store=path, n_initial=5)
    with pytest.raises(ValueError, match="begun with another random_state. Got 4 instead"):
        LabelingSession(QUICK, X, store=path, n_initial=5, classes=[0, 1], random_state=4)
    session = LabelingSession(
        QUICK, X, store=path, n_initial=5, classes=[0, 1], annotator="ann", lease=1, background=True
    )
    assert session._rounds.root_seed == LabelingSession(QUICK, X, random_state=3)._rounds.root_seed
    session.close()


# ---------------------------------------------------------------------------------- answers


def test_answers_are_on_disk_when_the_call_returns(path):
    session = LabelingSession(QUICK, X, store=path)
    rows = session.query()
    session.teach(rows[:3], [1, None, 2], seconds=[1, 2, 3])
    with LabelStore(path, read_only=True) as store:
        assert store.labels()["label"].tolist() == [1, 2]
        assert store.events()["seconds"].tolist() == [1, 2, 3]
    assert session.counts_ == (3, 20, 2) and len(session.query()) == 17
    session.close()


def test_later_cannot_tell_and_undo(path):
    options = {"n_initial": 4, "n_instances": 3, "audit": 0}
    session = LabelingSession(QUICK, X, store=path, **options)
    a, b, c, d = session.query()
    session.skip(a, "later")
    session.skip(b)
    assert session.open_.tolist() == [c, d, a]
    session.teach([c], 1)
    session.close()
    session = LabelingSession(QUICK, X, store=path, **options)
    assert session.undo(2).tolist() == [c, b]
    assert session.open_.tolist() == [c, b, d, a]
    session.teach([c, b, d, a], [1, 2, 1, 2])
    assert session.correct(b, 3) is None
    assert session.y_[[a, b, c, d]].tolist() == [2, 3, 1, 1]
    assert session.undo().tolist() == [b] and session.y_[b] == 2 and len(session.open_) == 0
    assert session.undo(9).tolist() == [a, d, b, c, a] and session.undo().tolist() == []
    session.skip([a, b, c, d])
    assert not {a, b, c, d} & set(session.query()) and len(session.labeled_) == 0
    assert session.progress()["n_skipped"].tolist() == [4, 0]
    session.close()


def test_bad_answers_store_nothing():
    session = LabelingSession(QUICK, X, classes=["a", "b"], n_initial=4, audit=0)
    rows = session.query()
    other = next(place for place in range(300) if place not in rows)
    for bad, error, match in [
        (lambda: session.teach(rows, ["a", "b", "c", "a"]), ValueError, "one of the classes.*'c'"),
        (lambda: session.teach([rows[0], other], ["a", "a"]), ValueError, "was not asked about"),
        (lambda: session.teach(rows, ["a"]), ValueError, "inconsistent numbers of samples"),
        (lambda: session.teach([rows[0]] * 2, ["a", "a"]), ValueError, "distinct positions"),
        (lambda: session.teach([300], ["a"]), ValueError, "from 0 to 299"),
        (lambda: session.teach([-1], ["a"]), ValueError, "from 0 to 299"),
        (lambda: session.teach([0.5], ["a"]), TypeError, "positions in X, ints"),
        (lambda: session.teach([rows[0]], [{"a": 1}]), TypeError, "A label must be"),
        (lambda: session.teach([rows[0]], ["a"], annotator=3), TypeError, "annotator must be"),
        (lambda: session.skip([rows[0], other]), ValueError, "wait for an answer"),
        (lambda: session.skip(rows, "bored"), ValueError, "reason must be"),
        (lambda: session.correct(rows[:1], ["a"]), ValueError, "has no label to correct"),
        (lambda: session.undo(0), ValueError, "n must be"),
    ]:
        with pytest.raises(error, match=match):
            bad()
    assert len(session.store.events()) == 0
    session.teach(rows, ["a", "b", "a", "b"])
    session.teach(rows[:2], ["a", "b"])  # a cell that was run again
    with pytest.raises(ValueError, match="has the label 'a' already.*use correct"):
        session.teach(rows[:1], ["b"])
    with pytest.raises(ValueError, match="correct needs a label for each row"):
        session.correct(rows[:1], [None])
    assert len(session.store.events()) == 4


@pytest.mark.parametrize("bad", [True, "3", np.inf, [1.0, "x"]])
def test_regressors_need_numbers(bad):
    session = LabelingSession(ActiveLearner(Ridge()), X)
    place = session.query()[0]
    with pytest.raises(ValueError, match="must be a finite number.*Nothing was stored"):
        session.teach([place], [bad])


def test_an_answer_sent_twice_is_stored_once():
    session = LabelingSession(QUICK, X)
    a, b = session.query()[:2]
    for _ in range(2):
        session.teach([a], [1], uid="from the page")
        session.skip([b], uid="another")
    assert session.store.events()["uid"].tolist() == ["from the page", "another"]


def test_a_full_disk_is_told_and_the_session_goes_on(path):
    session = LabelingSession(QUICK, X, store=path)
    rows = session.query()
    session.teach(rows[:1], [1])
    with session.store.log.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LabelStoreError, match=f"label of row {rows[1]} was NOT saved.*The 1 befo"):
        session.teach(rows[1:2], ["x" * 5000])
    assert session.open_[0] == rows[1]
    with session.store.log.reading() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    session.teach(rows[1:2], ["x" * 5000])
    session.close()


PARAMETERS = [
    ({"n_instances": 0}, "n_instances must be"),
    ({"n_initial": 1.5}, "n_initial must be"),
    ({"audit": 1}, "audit must be a share"),
    ({"again": -0.1}, "again must be a share"),
    ({"refit": "often"}, "refit, if neither"),
    ({"refit": 0}, "refit, if neither"),
    ({"lease": 0}, "lease must be"),
    ({"resolve": "mean"}, "resolve must be"),
    ({"on_change": "ignore"}, "on_change must be"),
    ({"key": "id"}, "key must be a column"),
    ({"y": [1, 2]}, "same number of rows"),
]


@pytest.mark.parametrize(("options", "match"), PARAMETERS)
def test_parameters_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        LabelingSession(QUICK, X, **options)


def test_the_learner_is_checked():
    with pytest.raises(TypeError, match="learner must be an ActiveLearner.*Wrap the estimator"):
        LabelingSession(LogisticRegression(), X)
    with pytest.raises(TypeError, match="annotator must be a str"):
        LabelingSession(QUICK, X, annotator=3)


# ---------------------------------------------------------------------------------- known labels


def test_known_labels_are_stored_once_and_differing_answers_stay(path):
    y = np.full(300, None)
    y[:40] = Y[:40]
    with LabelingSession(LOGISTIC, X, store=path, y=y) as session:
        assert len(session.labeled_) == 40
        rows = session.query()  # no first batch at random: there is something to learn from
        assert session.progress()["strategy"].tolist() == ["MarginSampling"]
        assert not set(rows) & set(range(40)) and len(rows) == 10
        session.correct([3], [9])
        session.teach(rows, Y[rows])
        n_events = len(session.store.events())
    with pytest.warns(UserWarning, match="1 labels of y differ from the answers in the store"):
        session = LabelingSession(LOGISTIC, X, store=path, y=y)
    assert len(session.store.events()) == n_events and session.y_[3] == 9
    assert session.undo(11).tolist()[-1] == 3  # imports are not taken back
    assert session.y_[3] == Y[3] and session.undo().tolist() == []
    session.close()


# ---------------------------------------------------------------------------------- P2: moved rows


def test_moved_rows(path):
    frame = pd.DataFrame(X).rename(columns=str)
    with LabelingSession(LOGISTIC, frame, store=path) as session:
        first = session.query()
        session.teach(first, Y[first])
        expected = frame.iloc[session.query()].index.tolist()
        reserve = session._rounds.reserve
    moved = frame.sample(frac=1, random_state=0)
    with pytest.raises(PoolChangedError, match="30 of 30 labelled rows|2[0-9] of 30 labelled rows"):
        LabelingSession(LOGISTIC, moved, store=path)
    with LabelingSession(LOGISTIC, moved, store=path, on_change="find") as session:
        assert moved.iloc[session.query()].index.tolist() == expected
        labels = session.y_[session.labeled_]
        assert_array_equal(labels, Y[moved.index[session.labeled_]])
        held = [moved.index[session._names.position(name)] for name in reserve]
        assert held == [int(name) for name in reserve]
        rows = session.query()
        session.teach(rows, Y[moved.index[rows]])
        assert not set(moved.index[session.query()]) & set(moved.index[session.labeled_])


def test_an_inserted_row_is_noticed_and_appended_ones_are_not(path):
    with LabelingSession(QUICK, X, store=path) as session:
        session.query()
    with pytest.raises(PoolChangedError):
        LabelingSession(QUICK, np.vstack([X[:1] + 1, X]), store=path)
    with LabelingSession(QUICK, np.vstack([X, X[:1] + 1]), store=path) as session:
        assert len(session.query()) == 20


def test_changed_features_are_trusted_once(path):
    with LabelingSession(QUICK, X, store=path) as session:
        rows = session.query()
        session.teach(rows, Y[rows])
    with pytest.raises(PoolChangedError, match="on_change='trust'"):
        LabelingSession(QUICK, X + 1, store=path)
    with LabelingSession(QUICK, X + 1, store=path, on_change="trust") as session:
        assert len(session.labeled_) == 20
    with LabelingSession(QUICK, X + 1, store=path) as session:
        session.query()
    with pytest.raises(PoolChangedError):
        LabelingSession(QUICK, X, store=path)


def test_rows_that_are_gone_keep_their_labels(path):
    with LabelingSession(QUICK, X, store=path) as session:
        rows = session.query()
        session.teach(rows, Y[rows])
    fewer = np.delete(X, rows[:5], axis=0)
    with pytest.warns(UserWarning, match="rows on record were not found"):
        session = LabelingSession(QUICK, fewer, store=path, on_change="find")
    assert len(session.labeled_) == 15 and len(session.store.labels()) == 20
    session.query()
    session.close()


def test_open_rows_that_are_gone_are_not_waited_for(path):
    with LabelingSession(QUICK, X, store=path) as session:
        rows = session.query()
    with pytest.warns(UserWarning, match="rows on record were not found"):
        session = LabelingSession(
            QUICK, np.delete(X, rows[:5], axis=0), store=path, on_change="find"
        )
    assert session.counts_[1] == 20 and len(session.open_) == 15
    label_all(session)
    assert session.state_ == "training" and len(session.query()) == 10
    session.close()


def test_rows_asked_in_two_files_are_answered_once(path, tmp_path):
    options = {"n_initial": 40, "audit": 0, "random_state": 0}
    for file in (path, tmp_path / "bob.skal"):
        with LabelingSession(QUICK, X, store=file, **options) as session:
            rows = session.query()  # the same rows, in a batch of each file
            if file == path:
                session.teach(rows[:30], Y[rows[:30]])
    with LabelStore(path) as store:
        store.merge(tmp_path / "bob.skal")
    with LabelingSession(QUICK, X, store=path, **options) as session:
        assert sorted(session.query()) == sorted(rows[30:])
        assert session.undo().tolist() == [rows[29]]
        session.teach(session.query(), Y[session.query()])
        assert len(session.labeled_) == 40 and session.open_.tolist() == []


def test_labels_that_become_known_close_open_rows(path):
    with LabelingSession(QUICK, X, store=path) as session:
        rows = session.query()
    y = np.full(300, None)
    y[rows[:15]] = Y[rows[:15]]
    with LabelingSession(QUICK, X, store=path, y=y) as session:
        assert session.query().tolist() == rows[15:].tolist()


def test_a_key_follows_rows(path):
    frame = pd.DataFrame(X).rename(columns=str).assign(name=[f"n{i}" for i in range(300)])
    numbers = make_column_transformer(("passthrough", [str(i) for i in range(64)]))
    learner = ActiveLearner(
        make_pipeline(numbers, LogisticRegression(max_iter=50)), MarginSampling(), random_state=0
    )
    with LabelingSession(learner, frame, key="name", store=path) as session:
        rows = session.query()
        session.teach(rows, Y[rows])
        assert session.next().row == f"n{session.open_[0]}"
        names = frame["name"].iloc[session.query()].tolist()
    moved = frame.iloc[::-1].drop(index=rows[0])
    with pytest.warns(UserWarning, match="1 are no longer there"):
        session = LabelingSession(learner, moved, key="name", store=path)
    assert moved["name"].iloc[session.query()].tolist() == names
    assert len(session.labeled_) == 19
    session.close()


# ---------------------------------------------------------------------------------- P4: people


def test_no_row_is_given_to_two_people():
    session = LabelingSession(QUICK, X, n_initial=3, audit=0, lease=60)
    ann, bob, cy = (session.next(name) for name in ("ann", "bob", "cy"))
    assert len({ann.position, bob.position, cy.position}) == 3
    assert session.next("ann") == ann
    assert session.next("dan") is None
    session.annotator = "dan"
    assert session.state_ == "waiting"
    session.teach([bob.position], [1], annotator="bob")
    assert session.next("bob") is None
    assert session.undo(annotator="bob").tolist() == [bob.position]
    assert session.next("bob")[:2] == bob[:2] and session.next("bob").token != bob.token


def test_a_lease_ends_and_late_answers_are_kept(monkeypatch):
    session = LabelingSession(QUICK, X, n_initial=2, audit=0, lease=5)
    ann = session.next("ann")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 6)
    assert session.next("bob").position == ann.position
    session.teach([ann.position], [2], annotator="bob")
    session.teach([ann.position], [1], annotator="ann")
    labels = session.store.labels()
    assert labels["n_answers"].tolist() == [2] and labels["label"].tolist() == [1]
    assert session.agreement()[["annotator", "other", "n_rows"]].values.tolist() == [
        ["ann", "bob", 1]
    ]


def _annotate(path, name, start):
    session = LabelingSession(QUICK, X, store=path, n_initial=40, annotator=name)
    start.wait(60)
    while session.round_ < 1 and (task := session.next()) is not None:
        time.sleep(0.03)  # people are slower still
        if session.round_ < 1:
            session.teach([task.position], [Y[task.position]])
    os._exit(0)


def test_people_in_processes_answer_each_row_once(path):
    with LabelingSession(QUICK, X, store=path, n_initial=40) as session:
        session.query()
    start = FORK.Barrier(3)
    people = [FORK.Process(target=_annotate, args=(path, f"p{i}", start)) for i in range(3)]
    for one in people:
        one.start()
    for one in people:
        one.join(60)
        assert one.exitcode == 0
    with LabelStore(path) as store:
        events = store.events()
        assert len(events) >= 40 and events["row"].is_unique
        assert events["annotator"].nunique() == 3
        assert Counter(batch.round for batch in store.fold().batches.values())[1] == 1


def test_majority_and_disputes_in_training():
    session = LabelingSession(LOGISTIC, X, n_initial=12, audit=0, resolve="majority")
    rows = session.query()
    session.teach(rows, Y[rows], annotator="ann")
    session.teach(rows[:1], [99], annotator="bob")
    assert len(session.labeled_) == 11 and session.y_[rows[0]] is None
    session.query()
    assert 99 not in session.learner_.classes_ and session.learner_.n_labeled_ == 11
    session.teach(rows[:1], [99], annotator="cy")
    assert session.y_[rows[0]] == 99


def test_merged_stores_train_together(path, tmp_path):
    with LabelingSession(LOGISTIC, X, store=path, n_initial=20) as session:
        session.query()
    with LabelStore(path) as store:
        store.backup(tmp_path / "bob.skal")
    for name, file in (("ann", path), ("bob", tmp_path / "bob.skal")):
        with LabelingSession(LOGISTIC, X, store=file, annotator=name) as session:
            rows = session.query()
            wrong = name == "bob"
            session.teach(rows, np.where(np.arange(20) < 4 * wrong, (Y[rows] + 1) % 10, Y[rows]))
    with LabelStore(path) as store:
        assert dict(store.merge(tmp_path / "bob.skal")) == {
            "n_new": 20,
            "n_same": 0,
            "n_conflicts": 4,
        }
    with LabelingSession(LOGISTIC, X, store=path) as session:
        pair = session.agreement().iloc[0]
        a, b = Y[rows], np.where(np.arange(20) < 4, (Y[rows] + 1) % 10, Y[rows])
        assert pair["n_rows"] == 20 and pair["agreement"] == 0.8
        assert pair["kappa"] == pytest.approx(cohen_kappa_score(a, b))
        assert len(session.query()) == 10


# ---------------------------------------------------------------------------------- P5: estimate


def test_reserved_rows_are_neither_chosen_nor_learnt_from():
    session = LabelingSession(LOGISTIC, X, n_initial=20, n_instances=10, audit=0.3)
    for _ in range(8):
        label_all(session)
    session.query()
    fold, reserve = session._rounds.fold, session._rounds.reserve
    assert len(reserve) == 60 and len(set(reserve)) == 60
    audited = [ask.row for ask in fold.asks.values() if ask.purpose == "audit"]
    chosen = [ask.row for ask in fold.asks.values() if ask.purpose != "audit"]
    assert not set(chosen) & set(reserve)
    assert set(audited) == set(reserve[: len(audited)])
    assert len(audited) == round(0.3 * len(fold.asks))
    learner = session.learner_
    assert learner.n_labeled_ == len(session.labeled_) - 27
    assert not learner._answered[[int(name) for name in chosen[-7:]]].all()
    assert learner._answered[[int(name) for name in reserve]].all()
    found = session.audit_
    places = [int(name) for name in audited if int(name) in session.labeled_]
    assert found.n == len(places) == 27
    assert found.value == np.mean(learner.predict(X[places]) == Y[places])
    assert session.progress()["audit_value"].notna().sum() >= 2
    ranks = {ask.rank for ask in fold.asks.values() if ask.purpose == "audit"}
    assert len(ranks) > 5  # no place tells them
    assert all(ask.proposal is None for ask in fold.asks.values() if ask.purpose == "audit")
    assert any(ask.proposal is not None for ask in fold.asks.values())


def test_final_fit_learns_from_everything_and_voids_the_estimate():
    session = LabelingSession(LOGISTIC, X, audit=0.3)
    for _ in range(3):
        label_all(session)
    before = session.query()
    assert session.final_fit() is session
    assert session.learner_.n_labeled_ == 40 and np.isnan(session.audit_.value)
    session.teach(before, Y[before])
    session.refit()
    assert session.learner_.n_labeled_ == 35 and session.audit_.n == 15


def test_without_an_estimate_no_row_is_held_back():
    session = LabelingSession(QUICK, X[:30], n_initial=25, n_instances=10, audit=0)
    assert len(label_all(session)) == 25 and len(label_all(session)) == 5
    assert session.query().tolist() == [] and session.state_ == "finished"
    assert session.next() is None and session.audit_.n == 0


@pytest.mark.slow
def test_the_estimate_is_not_biased():
    """Digits, margin sampling, 60 reserved rows: estimate minus accuracy on held-out rows."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling())
    differences = []
    for seed in range(40):
        order = np.random.RandomState(seed).permutation(len(X))
        pool, test = order[:1000], order[1000:]
        session = LabelingSession(
            learner, X[pool], n_initial=40, n_instances=44, audit=60 / 260, random_state=seed
        )
        for _ in range(6):
            label_all(session, y[pool])
        session.refit()
        differences.append(session.audit_.value - session.learner_.score(X[test], y[test]))
    assert session.audit_.n == 60
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences))


def test_rows_asked_again_and_kappa_by_hand():
    session = LabelingSession(QUICK, X, n_initial=30, n_instances=20, audit=0, again=0.1)
    first = session.query()
    session.teach(first, Y[first] % 2, annotator="ann")
    second = session.query()
    asks = [ask for ask in session._rounds.fold.asks.values() if ask.batch == 2]
    again = [int(ask.row) for ask in asks if ask.purpose == "again"]
    assert len(again) == 5 and set(again) <= set(first) & set(second) and len(second) == 20
    # 20 answers lie between.
    assert set(again) <= set(first[:10])
    for number, place in enumerate(second):
        label = 1 - Y[place] % 2 if place == again[0] else Y[place] % 2
        session.teach([place], [label], annotator="bob" if number % 2 else "ann")
    assert_array_equal(session.y_[first], Y[first] % 2)  # the second answer replaces nothing
    table = session.agreement().set_index(["annotator", "other"])
    assert table["n_rows"].sum() == 5 and set(table.index) <= {("ann", "ann"), ("ann", "bob")}
    assert (table["n_rows"] * table["agreement"]).sum() == pytest.approx(4)
    assert session.progress()["agreement"].tolist()[1:] == [pytest.approx(0.8)]
    assert session.progress().attrs["agreement"] == session.agreement().to_dict("records")
    assert len(session.query()) == 20 and session.learner_.n_labeled_ == 45


# ---------------------------------------------------------------------------------- training


def test_one_class_is_not_enough_to_choose_with():
    session = LabelingSession(LOGISTIC, X, n_initial=5, n_instances=5)
    for _ in range(2):
        rows = session.query()
        session.teach(rows, np.zeros(len(rows), dtype=int))
    assert session.progress()["strategy"].tolist() == ["random", "random"]
    with pytest.raises(ValueError, match="too little to learn from"):
        session.refit()
    with pytest.raises(AttributeError, match="after the first training"):
        session.learner_  # noqa: B018
    label_all(session)
    session.query()
    assert session.progress()["strategy"].tolist()[-1] == "MarginSampling"
    assert session.progress()["round"].tolist() == [0, 1, 2, 3]


def test_a_strategy_that_answers_cold_asks_first():
    learner = ActiveLearner(LogisticRegression(), CoreSet(space="inputs"), random_state=0)
    session = LabelingSession(learner, X, n_initial=6)
    again = LabelingSession(learner, X, n_initial=6)
    assert_array_equal(session.query(), again.query())
    assert session.progress()["strategy"].tolist() == ["CoreSet"]


def test_refit_every_so_many_labels():
    session = LabelingSession(LOGISTIC, X, n_initial=20, audit=0, refit=8)
    rows = session.query()
    for place in rows[:16]:
        session.teach([place], [Y[place]])
    trainings = session.store.log.records("training")
    assert [one.event for one in trainings] == [8, 16]
    session.teach(rows[16:], Y[rows[16:]])
    session.query()  # asks with the model there is
    assert len(session.store.log.records("training")) == 2 and session.learner_.n_labeled_ == 16


def test_refit_by_hand_only():
    session = LabelingSession(LOGISTIC, X, n_initial=20, audit=0, refit=None)
    label_all(session)
    second = session.query()  # no model yet: one training
    session.teach(second, Y[second])
    third = session.query()
    assert len(session.store.log.records("training")) == 1 and session.learner_.n_labeled_ == 20
    assert not set(second) & set(third)
    session.refit()
    assert session.learner_.n_labeled_ == 30


def test_a_failed_training_keeps_the_old_model(fragile, monkeypatch):
    session = LabelingSession(fragile, X)
    label_all(session)
    label_all(session)
    old = session.learner_
    monkeypatch.setattr(Fragile, "fails", True)
    with pytest.warns(UserWarning, match="ZeroDivisionError: no model.*All labels are kept"):
        assert len(session.query()) == 10
    assert session.learner_ is old
    assert session.progress()["error"].tolist()[1:] == ["ZeroDivisionError: no model", None]
    with pytest.raises(ZeroDivisionError):
        session.refit()
    with pytest.raises(ZeroDivisionError):
        session.wait()
    monkeypatch.setattr(Fragile, "fails", False)
    session.refit()
    assert session.wait() and session.error_ is None and session.learner_.n_labeled_ == 27


@pytest.mark.parametrize("background", [False, True])
def test_a_first_training_that_fails_is_told(fragile, monkeypatch, background):
    monkeypatch.setattr(Fragile, "fails", True)
    session = LabelingSession(fragile, X, background=background)
    rows = session.query()
    session.teach(rows, Y[rows])
    with pytest.raises(ZeroDivisionError):
        session.query()
    if background:
        assert session.next() is None and session.state_ == "failed"
    assert len(session.labeled_) == 20
    monkeypatch.setattr(Fragile, "fails", False)
    assert len(session.query()) == 10
    session.close()


def test_labels_are_stored_while_a_model_trains(fragile, monkeypatch, path):
    monkeypatch.setattr(Fragile, "gate", threading.Event())
    session = LabelingSession(fragile, X, store=path, background=True)
    rows = session.query()
    for place in rows:
        session.teach([place], [Y[place]])
    assert session.next() is None and session.state_ == "training"
    assert session.wait(timeout=0.01) is False
    with LabelStore(path, read_only=True) as store:
        assert len(store.labels()) == 20
    Fragile.gate.set()
    assert session.wait() and len(session.open_) == 10
    # It began when half of the batch was left.
    assert session.store.log.records("training")[0].event == 10
    assert session.learner_.n_labeled_ <= 10
    session.close()


def test_warm_learners_go_on_from_their_weights():
    model = SGDClassifier(max_iter=1, tol=None, random_state=0)
    coefs = []
    for warm in (False, True):
        learner = ActiveLearner(model, RandomSampling(), warm_start=warm, random_state=0)
        session = LabelingSession(learner, X, audit=0)
        label_all(session)
        label_all(session)
        session.query()
        coefs.append(session.learner_.estimator_.coef_)
    assert not np.array_equal(*coefs)


class _AfterTwo(BaseEstimator):
    """Advises to stop once it has seen two models."""

    def update(self, round):
        self.seen_ = [*getattr(self, "seen_", []), round]
        self.value_ = float(len(self.seen_))
        return len(self.seen_) >= 2


def test_stopping_is_advice(path):
    criterion = _AfterTwo()
    session = LabelingSession(LOGISTIC, X, store=path, stopping=criterion, audit=0)
    rows = label_all(session)
    assert session.stop_ is None
    second = label_all(session)
    assert session.stop_ is None
    session.query()
    assert tuple(session.stop_) == ("_AfterTwo", 2.0, 1, 30)
    first, now = session._rounds.measures.stopping.seen_
    assert not hasattr(criterion, "seen_")
    assert (first.n_labels, now.n_labels) == (20, 30)
    assert first.queried.tolist() == rows and sorted(now.queried) == sorted(second)
    assert now.labels == Y[now.queried].tolist()
    assert first.previous_predictions([1, 2]) is None
    assert_array_equal(now.previous_predictions(now.unlabeled), first.predict(now.unlabeled))
    assert now.predict_proba([0]).shape == (1, len(set(Y[[*rows, *second]])))
    assert now.audit.n == 0
    assert len(now.unlabeled) == 270
    session.close()
    with LabelingSession(LOGISTIC, X, store=path, audit=0) as session:
        assert session.stop_.n_labels == 30


# ---------------------------------------------------------------------------------- containers


def test_numbers_as_labels():
    X, y = load_diabetes(return_X_y=True)
    session = LabelingSession(ActiveLearner(Ridge(), CoreSet(space="inputs")), X, audit=0.4)
    for _ in range(5):
        rows = session.query()
        session.teach(rows, y[rows])
    session.query()
    learner, places = session.learner_, session.labeled_
    assert session.y_.dtype == np.float64 and np.isnan(session.y_).sum() == len(y) - 60
    found = session.audit_
    reserve = [int(name) for name in session._rounds.reserve[: found.n]]
    assert found.metric == "mean absolute error" and set(reserve) <= set(places)
    assert found.value == pytest.approx(np.abs(learner.predict(X[reserve]) - y[reserve]).mean())
    squared = session.estimate(lambda truth, guess: np.square(np.subtract(truth, guess)))
    assert squared.value == pytest.approx(
        np.square(learner.predict(X[reserve]) - y[reserve]).mean()
    )
    assert session.progress()["kappa_to_previous"].notna().any()


def test_several_labels_per_row():
    labels = np.c_[Y % 2, Y > 4].astype(int)
    learner = ActiveLearner(MultiOutputClassifier(LogisticRegression()), RandomSampling())
    session = LabelingSession(learner, X, audit=0.4, classes=["odd", "large"])
    for _ in range(5):
        rows = session.query()
        session.teach(rows, labels[rows])
    with pytest.raises(ValueError, match="yes or no .* each of 2"):
        session.teach([session.query()[0]], [[1, 0, 1]])
    assert session.y_.shape == (300, 2)
    assert_array_equal(session.y_[session.labeled_], labels[session.labeled_])
    assert 0 < session.audit_.value <= 1


@pytest.mark.parametrize("kind", ["frame", "sparse", "texts", "coo", "images"])
def test_other_containers(kind, path):
    texts = [" ".join(f"w{j}" for j in np.flatnonzero(row > 0.5)) for row in X]
    made = {
        "frame": pd.DataFrame(X).rename(columns=str),
        "sparse": sparse.csr_array(X),
        "coo": sparse.coo_array(X),
        "texts": texts,
        "images": X.reshape(-1, 8, 8),
    }[kind]
    model = LogisticRegression(max_iter=20)
    if kind == "texts":
        model = make_pipeline(CountVectorizer(), model)
    learner = ActiveLearner(DummyClassifier() if kind == "images" else model, RandomSampling())
    names = np.array(["even", "odd"])
    for _ in range(2):
        with LabelingSession(learner, made, store=path, random_state=0) as session:
            rows = session.query()
            session.teach(rows, names[Y[rows] % 2])
            session.query()
    assert session.store.path == path


def test_classes_and_labels_keep_their_type():
    session = LabelingSession(LOGISTIC, X, audit=0)
    rows = label_all(session)
    session.query()
    assert session.learner_.classes_.dtype.kind == "i" and session.classes == sorted(set(Y[rows]))
    assert all(type(label) is int for label in session.y_[session.labeled_])
    assert "300 rows, 20 labelled" in repr(session)


def test_labels_in_every_container():
    session = LabelingSession(QUICK, X, classes=[0, 1, 2], n_initial=30)
    rows = session.query()
    kinds = [
        lambda two: np.array(two, dtype=np.float32),
        pd.Series,
        list,
        tuple,
        lambda two: pd.Series(two, index=[7, 8]).astype("Int64"),
        torch.tensor,
        pl.Series,
    ]
    for number, kind in enumerate(kinds):
        session.teach(rows[2 * number : 2 * number + 2], kind([1, 2]))
    session.teach(rows[20], 1)
    session.teach(rows[21], [2])
    session.teach(int(rows[22]), True)
    session.teach(rows[23], [1, 0, 1])
    values = [text for text in session.store.events()["value"]]
    assert values == [1, 2] * 7 + [1, 2, 1, [1, 0, 1]]
    assert all(type(value) is int for value in values[:-1])


def test_no_warnings(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LabelingSession(QUICK, X, store=path) as session:
            label_all(session)
        with LabelingSession(QUICK, X, store=path) as session:
            session.query()
