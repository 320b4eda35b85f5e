"""A store keeps what it was given, or says in one sentence that it did not."""

import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skal.labeling import LabelStore, LabelStoreError, PoolChangedError, _database, _schema
from skal.labeling._digest import row_digests
from skal.labeling._files import file_system_of
from skal.labeling._log import new_batch, new_event
from skal.labeling._schema import Ask

ROOT = Path(__file__).resolve().parents[2]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "labels.skal")


def answer(store, row, value, annotator="", **more):
    event = new_event("label", str(row), annotator, value=value, **more)
    store.log.append_events([event], f"The label of row {row}")
    return event


def ask(store, rows, X=None, purpose="query"):
    digests = [b"d" * 16] * len(rows) if X is None else row_digests(X, rows)
    asks = [
        Ask(None, rank, str(row), purpose, digest, None)
        for rank, (row, digest) in enumerate(zip(rows, digests, strict=True))
    ]
    assert store.log.add_batch(new_batch(0, "random", 0, 0, None), asks, store.fold().last_batch)
    return store.fold().last_batch


def fill(path, n=400):
    """A store of several pages."""
    with LabelStore(path) as store:
        events = [new_event("label", str(i), value=f'"label {i}"') for i in range(n)]
        store.log.append_events(events, "The labels")
    return events


def test_what_is_stored_comes_back_in_another_process(path):
    with LabelStore(path) as store:
        answer(store, 3, '"cat"', "ann", seconds=2)
        answer(store, 4, '{"type":"float32","value":"0.1"}', "ann")
    here, there = FORK.Pipe()

    def read():
        with LabelStore(path) as store:
            there.send(list(store.labels()["label"]))

    child = FORK.Process(target=read)
    child.start()
    assert here.recv() == ["cat", np.float32(0.1)]
    child.join()


def test_odd_names_of_files(tmp_path):
    path = tmp_path / "läbels ?mode=ro#1 %20 'x'.skal"
    with LabelStore(path) as store:
        answer(store, 1, "1")
        store.backup(f"{path}.copy")
    assert path.exists() and len(os.listdir(tmp_path)) == 2
    with LabelStore(f"{path}.copy", read_only=True) as store:
        assert len(store.labels()) == 1


def test_an_answer_sent_twice_is_stored_once(path):
    with LabelStore(path) as store:
        event = new_event("label", "1", value="1", uid="of the sender")
        assert store.log.append_events([event], "It") == 1
        assert store.log.append_events([event, event], "It") == 0
        assert len(store.events()) == 1


@pytest.mark.parametrize("table", _schema.RECORDS)
def test_nothing_is_ever_changed_or_deleted(path, table):
    with LabelStore(path) as store:
        store.log.set_meta({"a": 1})
        store.log.begin_training(0, 0, True)
        store.log.end_training(1, 0.1, None, {})
        ask(store, [1])
        answer(store, 1, "1")
    with sqlite3.connect(path) as connection:
        for sql in (f"UPDATE {table} SET crc = 0", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever appended to"):
                connection.execute(sql)
    connection.close()


def test_settings_of_the_connection(path):
    with LabelStore(path) as store, store.log.reading() as connection:
        pragma = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        }
    assert pragma == {
        "journal_mode": "delete",
        "synchronous": 3,
        "foreign_keys": 1,
        "trusted_schema": 0,
    }


def test_somebody_elses_wal_mode_is_undone(path):
    fill(path, 3)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with LabelStore(path) as store, store.log.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


# ---------------------------------------------------------------------------------- damage


def _zeroed_page(raw, page):
    start = raw.index(b"label 123") // page * page
    raw[start : start + page] = bytes(page)


def _cut(raw, page):
    del raw[len(raw) - page - 100 :]


def _bad_header(raw, page):
    raw[:16] = b"no store at all."


def _flipped_byte(raw, page):
    raw[raw.index(b"label 123")] ^= 1


@pytest.mark.parametrize("damage", [_zeroed_page, _cut, _bad_header, _flipped_byte])
def test_a_damaged_file_is_neither_used_nor_written_to(path, damage):
    fill(path)
    raw = bytearray(Path(path).read_bytes())
    damage(raw, int.from_bytes(raw[16:18], "big"))
    Path(path).write_bytes(raw)
    with pytest.raises(LabelStoreError, match="damaged.*read_only=True to export") as error:
        LabelStore(path)
    assert "\n" not in str(error.value)
    assert Path(path).read_bytes() == bytes(raw)


@pytest.mark.parametrize(("damage", "at_least"), [(_zeroed_page, 300), (_flipped_byte, 399)])
def test_what_is_left_of_a_damaged_file_can_be_exported(path, damage, at_least):
    fill(path)
    raw = bytearray(Path(path).read_bytes())
    damage(raw, int.from_bytes(raw[16:18], "big"))
    Path(path).write_bytes(raw)
    with pytest.warns(UserWarning, match="is damaged.*What can still be read"):
        store = LabelStore(path, read_only=True)
    labels = store.labels()
    assert at_least <= len(labels) < 400
    assert (labels["label"] == "label " + labels["row"].astype(str)).all()
    store.close()


def test_other_files_are_refused_and_left_alone(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = Path(path).read_bytes()
    with pytest.raises(LabelStoreError, match="database of another program"):
        LabelStore(path)
    assert Path(path).read_bytes() == before
    Path(path).write_text("row,label\n1,cat\n" * 100)
    with pytest.raises(LabelStoreError, match="no store of labels"):
        LabelStore(path)


def test_paths_that_cannot_be(tmp_path):
    with pytest.raises(LabelStoreError, match="is a folder"):
        LabelStore(tmp_path)
    with pytest.raises(LabelStoreError, match="folder of .* does not exist"):
        LabelStore(tmp_path / "no" / "a.skal")
    with pytest.raises(LabelStoreError, match="no store at"):
        LabelStore(tmp_path / "a.skal", read_only=True)
    assert os.listdir(tmp_path) == []


def test_a_newer_store_is_refused(path):
    fill(path, 3)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LabelStoreError, match=r"newer skal \(format 7; .* up to 1\).*update skal"):
        LabelStore(path)


def test_an_older_store_is_brought_up_to_date_after_a_copy(path, monkeypatch):
    fill(path, 3)
    old = Path(path).read_bytes()
    monkeypatch.setattr(_schema, "VERSION", 2)
    monkeypatch.setitem(
        _schema.MIGRATIONS, 1, lambda connection: connection.execute("CREATE TABLE extra (a)")
    )
    with pytest.raises(LabelStoreError, match="older format 1: open it once without read_only"):
        LabelStore(path, read_only=True)
    with LabelStore(path) as store:
        assert len(store.labels()) == 3
        with store.log.reading() as connection:
            assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    monkeypatch.undo()
    with LabelStore(f"{path}.v1.bak") as copy:
        assert len(copy.labels()) == 3
    assert Path(path).read_bytes() != old


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    fill(path, 3)

    def broken(connection):
        connection.execute("CREATE TABLE extra (a)")
        raise ZeroDivisionError

    monkeypatch.setattr(_schema, "VERSION", 2)
    monkeypatch.setitem(_schema.MIGRATIONS, 1, broken)
    with pytest.raises(ZeroDivisionError):
        LabelStore(path)
    monkeypatch.undo()
    with LabelStore(path) as store:
        assert len(store.labels()) == 3


# ---------------------------------------------------------------------------------- no room


def test_a_full_disk_loses_nothing_and_says_what_it_did_not_save(path):
    with LabelStore(path) as store:
        answer(store, 0, '"kept"')
        with store.log.reading() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        stored = 1
        with pytest.raises(LabelStoreError) as error:
            for row in range(1, 2000):
                answer(store, row, f'"{"x" * 200}"')
                stored += 1
        assert str(error.value) == (
            f"The label of row {stored} was NOT saved: the disk is full. "
            f"The {stored} before it are safe."
        )
        assert len(store.labels()) == stored
        with store.log.reading() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")
        answer(store, 5000, '"there is room again"')
    with LabelStore(path) as store:
        assert len(store.labels()) == stored + 1 and store.verify() == []


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root of a Linux can make a tmpfs"
)
def test_a_full_file_system_loses_nothing(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")
    try:
        with LabelStore(mount / "a.skal") as store:
            stored = 0
            with pytest.raises(LabelStoreError, match="was NOT saved: the disk is full. The"):
                for row in range(5000):
                    answer(store, row, '"some label"')
                    stored += 1
            assert stored > 100 and len(store.labels()) == stored
        subprocess.run(["mount", "-o", "remount,size=1m", str(mount)], check=True)
        with LabelStore(mount / "a.skal") as store:
            answer(store, 9999, '"there is room again"')
            assert len(store.labels()) == stored + 1 and store.verify() == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_locked_store_is_waited_for_and_named(path):
    fill(path, 2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with LabelStore(path, timeout=0.05) as store:
        with pytest.raises(LabelStoreError, match=r"row 9 was NOT saved: another program .*0.05 s"):
            answer(store, 9, "1")
        other.execute("ROLLBACK")
        other.close()
        answer(store, 9, "1")
        assert len(store.labels()) == 3


def test_read_only(path):
    fill(path, 2)
    before = os.stat(path).st_mtime_ns
    with LabelStore(path, read_only=True) as store:
        assert len(store.labels()) == 2
        with pytest.raises(LabelStoreError, match="NOT saved: .*read_only=True. The 2 before it"):
            answer(store, 9, "1")
    assert os.stat(path).st_mtime_ns == before


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs to become another user"
)
def test_a_folder_of_another_user(tmp_path):
    path = str(tmp_path / "labels.skal")
    fill(path, 2)
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    os.chmod(path, 0o644)

    def other_user(pipe):
        os.setuid(65534)
        try:
            store = LabelStore(path)
            pipe.send(len(store.labels()))
            answer(store, 9, "1")
        except LabelStoreError as error:
            pipe.send(str(error))
        pipe.close()

    here, there = FORK.Pipe()
    child = FORK.Process(target=other_user, args=(there,))
    child.start()
    assert here.recv() == 2
    assert "NOT saved" in (said := here.recv()) and "read-only" in said
    child.join()


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_file_that_went_away_is_noticed(path, what):
    with LabelStore(path) as store:
        answer(store, 1, "1")
        if what == "deleted":
            os.rename(path, f"{path}.moved")
        else:
            store.backup(f"{path}.copy")
            os.replace(f"{path}.copy", path)
        with pytest.raises(LabelStoreError, match="NOT saved: the file was moved, deleted or repl"):
            answer(store, 2, "1")


def test_a_commit_that_took_effect_before_it_failed_is_no_loss(path):
    class Connection:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def execute(self, sql, *args):
            done = self.inner.execute(sql, *args)
            if sql == "COMMIT":
                raise sqlite3.OperationalError("the folder could not be synced")
            return done

    store = LabelStore(path)
    store.log._connection = Connection(store.log._connection)
    answer(store, 1, "1")
    store.close()
    with LabelStore(path) as store:
        assert len(store.labels()) == 1


def test_a_closed_store_says_so(path):
    store = LabelStore(path)
    store.close()
    store.close()
    with pytest.raises(LabelStoreError, match="is closed: open it again"):
        store.labels()


# ---------------------------------------------------------------------------------- sharing


def test_threads_and_processes_write_at_once(path):
    def write(name):
        with LabelStore(path, timeout=60) as store:
            for row in range(5):
                answer(store, row, f'"{name}"', name)

    store = LabelStore(path, timeout=60)
    children = [FORK.Process(target=write, args=(f"process {i}",)) for i in range(3)]
    threads = [
        threading.Thread(
            target=lambda i=i: [answer(store, r, "1", f"thread {i}") for r in range(5)]
        )
        for i in range(3)
    ]
    for worker in children + threads:
        worker.start()
    for worker in children + threads:
        worker.join()
    assert store.events().groupby("annotator").size().to_dict() == {
        f"{kind} {i}": 5 for kind in ("process", "thread") for i in range(3)
    }
    store.close()


def test_a_store_survives_a_fork(path):
    store = LabelStore(path)
    answer(store, 1, "1")
    # Forked while another thread holds the lock: the child must not wait for it.
    with store.log._lock:
        child = FORK.Process(target=lambda: answer(store, 2, "2", "child"))
        child.start()
        child.join(30)
    assert child.exitcode == 0
    answer(store, 3, "3")
    assert list(store.labels()["label"]) == [1, 2, 3]
    store.close()


def test_a_store_in_memory_survives_a_fork_and_is_not_pickled():
    store = LabelStore(":memory:")
    answer(store, 1, "1")
    here, there = FORK.Pipe()
    child = FORK.Process(target=lambda: there.send(len(store.labels())))
    child.start()
    assert here.recv() == 1
    child.join()
    with pytest.raises(TypeError, match="in memory cannot be pickled"):
        pickle.dumps(store)


def test_pickled_by_path(path):
    store = LabelStore(path, timeout=3)
    answer(store, 1, "1")
    with pickle.loads(pickle.dumps(store)) as again:
        assert len(again.labels()) == 1 and again.log.timeout == 3
    store.close()


def test_network_file_systems_are_warned_about_once(path, monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:20 / / rw - ext4 /dev/a rw\n"
        f"23 22 0:21 / {str(tmp_path).replace(' ', chr(92) + '040')} rw shared:1 - nfs4 home rw\n"
    )
    assert file_system_of(path, mounts) == "nfs4"
    assert file_system_of("/elsewhere", mounts) == "ext4"
    assert file_system_of("/", tmp_path / "none") is None
    monkeypatch.setattr(_database, "file_system_of", lambda path: file_system_of(path, mounts))
    with pytest.warns(UserWarning, match=r"network file system \(nfs4\)"):
        LabelStore(path).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LabelStore(path).close()


# ---------------------------------------------------------------------------------- reading


def test_labels_of_several_people(path):
    with LabelStore(path) as store:
        for annotator, value in [("ann", '"a"'), ("bob", '"b"'), ("cy", '"b"'), ("ann", '"c"')]:
            answer(store, 7, value, annotator)
        for annotator, value in [("ann", "1"), ("bob", "2")]:
            answer(store, 8, value, annotator)
        latest = store.labels().set_index("row")
        assert latest.loc[7, ["label", "annotator", "n_answers"]].tolist() == ["c", "ann", 3]
        majority = store.labels("majority").set_index("row")
        assert majority.loc[7, ["label", "annotator"]].tolist() == ["b", "ann, bob, cy"]
        assert majority["label"].isna().tolist() == [False, True]

        def first(answers):
            assert list(answers) == ["row", "label", "annotator", "at", "seconds"]
            return answers["label"].iloc[0] if len(answers) > 2 else None

        assert store.labels(first)["label"].tolist() == ["c", None]
        with pytest.raises(ValueError, match="resolve must be.*Got 'mean' instead"):
            store.labels("mean")


def test_verify_looks_at_all_rows(path):
    X = np.arange(10.0)[:, None]
    with LabelStore(path) as store:
        ask(store, [2, 5], X)
        assert store.verify() == [] and store.verify(X) == []
        X[5] = 77
        assert "1 of 2 rows asked about hold other data" in store.verify(X)[0]
        store.log.append_events([new_event("undo", "2", ref="nobody's")], "It")
        assert "1 answers taken back are not there" in store.verify()[0]


def test_backup_while_it_is_written_to(path, tmp_path):
    copy = tmp_path / "copy.skal"
    fill(path, 50)
    with LabelStore(path) as store:
        stop = threading.Event()

        def write():
            while not stop.is_set():
                answer(store, 1, "1")

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            store.backup(copy)
            with LabelStore(copy) as other:
                assert other.verify() == [] and len(other.labels()) >= 50
        stop.set()
        writer.join()
        with pytest.raises(LabelStoreError, match="is the store itself"):
            store.backup(path)
        with pytest.raises(LabelStoreError):
            store.backup(tmp_path / "no" / "copy.skal")
    assert sorted(os.listdir(tmp_path)) == ["copy.skal", "labels.skal"]


def test_exports(path, tmp_path):
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": list("xyz")})
    with LabelStore(path) as store:
        ask(store, [2, 0], X)
        answer(store, 2, '"=1+1"')
        answer(store, 0, '"kept"')
        frame = store.to_frame(X)
        assert frame["skal_label"].tolist() == ["kept", "=1+1"] and frame["b"].tolist() == [
            "x",
            "z",
        ]
        store.to_csv(tmp_path / "a.csv")
        assert sorted(pd.read_csv(tmp_path / "a.csv")["label"]) == ["=1+1", "kept"]
        store.to_parquet(tmp_path / "a.parquet")
        assert pd.read_parquet(tmp_path / "a.parquet")["row"].tolist() == [2, 0]
        with pytest.raises(PoolChangedError):
            store.to_frame(X.iloc[::-1])


def test_merge_takes_over_each_answer_once(path, tmp_path):
    X = np.arange(6.0)[:, None]
    with LabelStore(path) as store:
        store.log.set_meta({"key": None, "columns": None})
        ask(store, [0, 1, 2], X)
        answer(store, 0, '"a"', "ann", batch=1)
        store.backup(tmp_path / "bob.skal")
        answer(store, 1, '"a"', "ann", batch=1)
    with LabelStore(tmp_path / "bob.skal") as bob:
        event = answer(bob, 1, '"b"', "bob", batch=1)
        undone = answer(bob, 2, '"b"', "bob", batch=1)
        bob.log.append_events([new_event("undo", "2", "bob", ref=undone.uid)], "It")
        ask(bob, [4, 5], X)
        answer(bob, 4, '"b"', "bob", batch=2)
    with LabelStore(path) as store:
        ask(store, [3], X)  # has the number that bob's second batch has there
        result = store.merge(tmp_path / "bob.skal")
        assert dict(result) == {"n_new": 4, "n_same": 1, "n_conflicts": 1}
        before = store.events()
        assert dict(store.merge(tmp_path / "bob.skal")) == {
            "n_new": 0,
            "n_same": 5,
            "n_conflicts": 0,
        }
        pd.testing.assert_frame_equal(store.events(), before)
        labels = store.labels().set_index("row")["label"].to_dict()
        assert labels == {0: "a", 1: "b", 4: "b"}
        assert event.uid in set(before["uid"]) and store.verify(X) == []
        fold = store.fold()
        assert [batch.round for batch in fold.batches.values()] == [0, 0, 0]
        assert fold.asks[3, "4"].digest == row_digests(X, [4])[0]
        assert {ask.row for ask in fold.open_asks()} == {"2", "3", "5"}


def test_merge_into_an_empty_store_and_refusals(path, tmp_path):
    X = np.arange(6.0)[:, None]
    with LabelStore(path) as one:
        one.log.set_meta({"key": None, "columns": None})
        ask(one, [0, 1], X)
        answer(one, 0, '"a"', batch=1)
    with LabelStore(tmp_path / "all.skal") as everything:
        assert everything.merge(path).n_new == 1
        assert everything.log.meta() == {"key": None, "columns": None}
    with LabelStore(tmp_path / "other rows.skal") as other:
        other.log.set_meta({"key": None, "columns": None})
        ask(other, [1], X + 1)
        with pytest.raises(PoolChangedError, match="1 rows asked about in both .*Nothing was merg"):
            other.merge(path)
        assert len(other.events()) == 0
    with LabelStore(tmp_path / "other key.skal") as other:
        other.log.set_meta({"key": "id", "columns": None})
        with pytest.raises(ValueError, match="same key can be merged. Got 'id' here and None"):
            other.merge(path)


def test_thirty_kills_lose_nothing(tmp_path):
    spec = spec_from_file_location("kill", ROOT / "benchmarks" / "labeling" / "kill.py")
    kill = module_from_spec(spec)
    spec.loader.exec_module(kill)
    done, n_commits, n_answers, wrong = kill.run(30, 0, str(tmp_path), at_most=0.1)
    assert wrong == []
    assert done == 30 and n_commits >= 15 and n_answers > n_commits / 2


def test_the_kill_test_can_fail(tmp_path):
    """What it looks for is found: a lost answer, an altered one, half a batch."""
    spec = spec_from_file_location("kill", ROOT / "benchmarks" / "labeling" / "kill.py")
    kill = module_from_spec(spec)
    spec.loader.exec_module(kill)
    path = str(tmp_path / "a.skal")
    with LabelStore(path) as store:
        event = answer(store, 1, "0.5", "group 2")
        store.log.add_batch(new_batch(0, "size 2", 0, 0, None), [], 0)
    wrong = kill.check(path, [{event.uid: 0.25}, {"gone": 1.0}, {"batch": "gone", "size": 1}])
    assert len(wrong) == 5
    assert kill.check(str(tmp_path / "none.skal"), [{"gone": 1.0}])
