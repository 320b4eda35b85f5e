"""compare_strategies(checkpoint=...): nothing that is finished is lost or done again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit

from skal import ActiveLearner
from skal.model_selection import compare_strategies
from skal.model_selection._checkpoint import describe
from skal.strategies import MarginSampling, RandomSampling

TIMES = ["fit_time", "query_time"]
PLAN = {"n_instances": 5, "budget": 20, "n_repeats": 3}


class Marked(MarginSampling):
    """Margin that notes every query in a file, and may do something else first."""

    log, act = None, staticmethod(lambda count: None)

    def _choose(self, *arguments, **options):
        with open(Marked.log, "a") as file:
            file.write("q")
        Marked.act(os.path.getsize(Marked.log))
        return super()._choose(*arguments, **options)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """How often the strategy was asked, as a function."""
    log = tmp_path / "asked"
    log.touch()
    monkeypatch.setattr(Marked, "log", str(log))
    return lambda: log.stat().st_size


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "checkpoint"


def compare(checkpoint=None, *, X=None, y=None, learner=None, strategies=None, **options):
    iris = load_iris(return_X_y=True)
    return compare_strategies(
        ActiveLearner(LogisticRegression(max_iter=500)) if learner is None else learner,
        strategies or {"random": RandomSampling(), "margin": Marked()},
        iris[0] if X is None else X,
        iris[1] if y is None else y,
        checkpoint=checkpoint,
        **{"random_state": 0, **PLAN, **options},
    )


def same(results, expected):
    pd.testing.assert_frame_equal(results.drop(columns=TIMES), expected.drop(columns=TIMES))


def test_results_are_those_without_and_nothing_is_done_again(folder, asked):
    plain = compare(return_queried=True)
    before = asked()
    first = compare(folder)
    same(first, plain.drop(columns="queried"))
    assert asked() == 2 * before
    again = compare(folder)
    pd.testing.assert_frame_equal(again, first)  # the times, too
    assert asked() == 2 * before
    # What was asked about is kept whether or not it was wanted at first.
    queried = compare(folder, return_queried=True)
    for row, expected in zip(queried["queried"], plain["queried"], strict=True):
        np.testing.assert_array_equal(row, expected)
        assert row.dtype == np.int64


def test_more_repeats_and_more_strategies_only_do_what_is_new(folder, asked):
    compare(folder, n_repeats=2)
    before = asked()
    more = {"random": RandomSampling(), "margin": Marked(), "a/b: c": RandomSampling()}
    results = compare(folder, strategies=more)
    assert asked() == before * 3 // 2
    same(results, compare(strategies=more))


def test_an_interrupt_returns_what_is_finished(folder, asked, monkeypatch):
    expected = compare()
    interrupt_at = 2 * asked()  # in the last run of three

    def act(count):
        if count == interrupt_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Marked, "act", staticmethod(act))
    with pytest.warns(UserWarning, match="Interrupted: .* 5 of 6 runs .*the same call goes on"):
        partial = compare(folder)
    unfinished = (expected["strategy"] == "margin") & (expected["repeat"] == 2)
    same(partial, expected[~unfinished].reset_index(drop=True))
    monkeypatch.setattr(Marked, "act", staticmethod(lambda count: None))
    before = asked()
    same(compare(folder), expected)
    assert asked() - before == 2  # one run of two queries


def test_an_interrupt_without_a_checkpoint_and_before_anything(asked, monkeypatch):
    def act(count):
        raise KeyboardInterrupt

    monkeypatch.setattr(Marked, "act", staticmethod(act))
    with pytest.warns(UserWarning, match=r"1 of 6 runs .*A checkpoint= would keep them"):
        assert set(compare()["strategy"]) == {"random"}
    with pytest.raises(KeyboardInterrupt):
        compare(strategies={"margin": Marked()})


def test_a_failure_names_the_run_and_loses_no_other(folder, asked, monkeypatch):
    def act(count):
        if count == 3:
            raise ZeroDivisionError("out of luck")

    monkeypatch.setattr(Marked, "act", staticmethod(act))
    with pytest.raises(RuntimeError, match=r"'margin', repeat 1 \(at 15 labels\).*luck") as info:
        compare(folder)
    assert "kept in" in info.value.__notes__[0] and "goes on" in info.value.__notes__[0]
    assert not info.value.__cause__.__notes__  # nothing about labels of a clone
    assert len(list(folder.glob("run-*.json"))) == 3
    monkeypatch.setattr(Marked, "act", staticmethod(lambda count: None))
    same(compare(folder), compare())


def test_a_failed_run_is_not_kept_as_finished(folder, asked, monkeypatch):
    def act(count):
        raise ZeroDivisionError("out of luck")

    monkeypatch.setattr(Marked, "act", staticmethod(act))
    with pytest.warns(UserWarning, match="out of luck"):
        failed = compare(folder, error_score=np.nan)
    assert failed["score"].isna().any()
    monkeypatch.setattr(Marked, "act", staticmethod(lambda count: None))
    assert compare(folder, error_score=np.nan)["score"].notna().all()


def test_the_seed_is_kept_where_none_was_given(folder, asked):
    first = compare(folder, random_state=None, n_repeats=1)
    more = compare(folder, random_state=None)
    same(more[more["repeat"] == 0].reset_index(drop=True), first)
    with pytest.raises(ValueError, match="another random_state"):
        compare(folder, random_state=1)


@pytest.mark.parametrize(
    "change, name",
    [
        ({"budget": 25}, "budget"),
        ({"n_initial": 12}, "n_initial"),
        ({"scoring": "f1_macro"}, "scores"),
        ({"learner": ActiveLearner(LogisticRegression(max_iter=9))}, "learner__estimator__max"),
        ({"learner": ActiveLearner(LogisticRegression(max_iter=500), random_state=1)}, "learner__"),
        ({"strategies": {"margin": Marked(random_state=3)}}, "strategy__random_state"),
        ({"cv": ShuffleSplit(3, test_size=0.3, random_state=0)}, "rows of the split"),
        ({"stratify_initial": False}, "stratify_initial"),
        ({"X": load_iris().data * 2}, "X"),
        ({"y": load_iris().target[::-1]}, "y"),
    ],
)
def test_runs_of_another_comparison_are_refused(folder, asked, change, name):
    compare(folder)
    with pytest.raises(ValueError, match=f"checkpoint holds another comparison: {name}"):
        compare(folder, **change)


def test_without_a_finished_run_anything_may_change(folder):
    with pytest.raises(ValueError, match="budget must be at most"):
        compare(folder, budget=5000)
    assert len(compare(folder, strategies={"random": RandomSampling()})) == 9


def test_frames_sparse_rows_and_texts_are_told_apart(folder):
    frame, target = load_iris(return_X_y=True, as_frame=True)
    frame = frame.assign(place=np.where(target > 0, "here", None))
    texts = frame["place"].fillna("there").tolist()
    for i, X in enumerate([frame, frame.iloc[:, :4].to_numpy(), texts]):
        path = folder / str(i)
        learner = ActiveLearner(_Majority())
        random = {"random": RandomSampling()}
        options = {"X": X, "y": target, "learner": learner, "strategies": random}
        pd.testing.assert_frame_equal(compare(path, **options), compare(path, **options))
        other = X[::-1] if isinstance(X, (list, np.ndarray)) else X.assign(place="x")
        with pytest.raises(ValueError, match="another comparison: X"):
            compare(path, **{**options, "X": other})


class _Majority(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.best_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.best_)


def test_parameters_are_described_by_values_not_by_addresses():
    learner = ActiveLearner(
        LogisticRegression(C=np.float64(2)), random_state=np.random.RandomState(0)
    )
    texts = describe("learner", learner)
    assert texts == describe("learner", learner)
    assert not any(" at 0x" in text for text in texts.values())
    other = describe("learner", learner.set_params(random_state=np.random.RandomState(1)))
    assert {name for name in texts if texts[name] != other[name]} == {"learner__random_state"}
    long = describe("x", list(range(1000)))["x"]
    assert len(long) < 300 and long != describe("x", list(range(1001)))["x"]


def test_damaged_files_and_strangers(folder, asked, tmp_path):
    expected = compare(folder)
    damaged = next(folder.glob("run-0001-margin-*.json"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is damaged; its run is done again"):
        same(compare(folder), expected)
    (folder / "comparison.json").write_text("{")
    with pytest.raises(ValueError, match=r"comparison.json' cannot be read.*Delete the folder"):
        compare(folder)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="new or empty folder.*holds "):
        compare(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be a folder.*is a file"):
        compare(tmp_path / "thesis.tex")


def test_a_run_that_cannot_be_stored_still_counts(folder, asked, monkeypatch):
    expected = compare()

    def full(source, target):
        if "run-" in str(target):
            raise OSError(28, "No space left on device")
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="could not be kept in.*No space left"):
        same(compare(folder), expected)
    assert [path.name for path in folder.iterdir()] == ["comparison.json"]  # nor a half one


class Dies(RandomSampling):
    """Kills its process, once."""

    def __init__(self, mark, estimator=None, *, random_state=None):
        super().__init__(estimator, random_state=random_state)
        self.mark = mark

    def _choose(self, *arguments, **options):
        if not os.path.exists(self.mark):
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._choose(*arguments, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_killed_worker_is_reported_and_the_next_call_goes_on(folder, tmp_path):
    strategies = {"random": RandomSampling(), "dies": Dies(str(tmp_path / "mark"))}
    with pytest.raises(RuntimeError, match=r"A worker process was killed.*strategy 'dies'") as info:
        compare(folder, strategies=strategies, n_jobs=2)
    assert "the same call goes on from them" in str(info.value)
    assert len(compare(folder, strategies=strategies)) == 2 * 3 * 3


# Run in a process of its own, and killed there.
SCRIPT = """
import sys
from tests.model_selection.test_checkpoint import compare
from skal.strategies import MarginSampling, RandomSampling
compare(sys.argv[1], strategies={"random": RandomSampling(), "margin": MarginSampling()},
        budget=40, n_repeats=4)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_kills_lose_nothing(folder):
    """Two kills here; benchmarks/robustness/kill_comparison.py does hundreds."""
    kept = {}
    for n_finished in (0, 4):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder)],
            cwd=Path(__file__).resolve().parents[2],
        )
        deadline = time.monotonic() + 240
        while len(list(folder.glob("run-*.json"))) <= n_finished and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.wait()
        files = {path.name: path.read_bytes() for path in folder.glob("run-*.json")}
        assert len(files) > n_finished
        assert kept.items() <= files.items()  # none lost, none done again
        kept = files
    options = {"strategies": {"random": RandomSampling(), "margin": MarginSampling()}}
    options |= {"budget": 40, "n_repeats": 4}
    same(compare(folder, **options), compare(**options))
