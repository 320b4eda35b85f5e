"""The widget without a browser: messages in, views out, and what a saved notebook keeps."""

import subprocess
import sys
import time

import pytest

from skal.labeling import Labeler
from tests.labeling._watched import GATE, Gated, watched

SECRET = ["<b>row one</b>", "row two", "row three", "row four"]


def sent_by(labeler, monkeypatch):
    """The views that the widget sends, as they come."""
    views = []
    monkeypatch.setattr(labeler, "send", views.append)
    return views


def answer(labeler, view, act="label", **more):
    message = {"act": act, "uid": f"{len(more)}-{time.monotonic_ns()}", "token": view["token"]}
    labeler._receive(labeler, message | more, [])


def wait_for(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to pass")


def test_an_answer_is_stored_and_answered_with_the_next_row(monkeypatch):
    session = watched(SECRET, ["cat", "dog"], 4)
    labeler = Labeler(session, guide="Which?")
    views = sent_by(labeler, monkeypatch)
    labeler._receive(labeler, {"act": "hello", "uid": "hello-hello"}, [])
    assert views[0]["item"]["text"] == SECRET[0] and views[0]["guide"] == "Which?"
    answer(labeler, views[0], choice=1)
    assert views[1]["item"]["text"] == "row two" and session.labels == {0: "dog"}
    assert "1 of 4 in this batch, 1 labelled" in repr(labeler)
    labeler.close()


def test_the_next_rows_are_pushed_after_a_training(monkeypatch):
    session = watched(SECRET, ["cat", "dog"], 2, model=Gated(), background=True)
    labeler = Labeler(session)
    views = sent_by(labeler, monkeypatch)
    labeler._receive(labeler, {"act": "hello", "uid": "hello-hello"}, [])
    wait_for(lambda: views[-1]["state"] == "asking")  # the first batch is chosen behind it, too
    GATE.clear()
    try:
        for choice in (0, 1):
            answer(labeler, views[-1], choice=choice)
        assert views[-1]["state"] == "training" and views[-1]["message"] == "Saved: dog."
    finally:
        GATE.set()
    wait_for(lambda: views[-1]["state"] == "asking")
    assert views[-1]["item"]["text"] == "row three"
    labeler.close()
    session.close()


def test_a_saved_notebook_holds_the_progress_and_no_row():
    session = watched(SECRET, ["cat", "dog"], 4)
    labeler = Labeler(session, guide="<i>Which?</i>")
    bundle, _ = labeler._repr_mimebundle_()
    assert bundle["text/plain"] == "Labeller: 0 of 4 in this batch, 0 labelled in all."
    assert "0 of 4 in this batch" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    kept = str(bundle) + str(labeler.get_state())
    assert "row" not in str(bundle) and SECRET[0] not in kept and "row two" not in kept
    labeler.close()


def test_wrong_options_are_told_before_anything_is_shown():
    session = watched(SECRET, ["cat"], 2)
    with pytest.raises(ValueError, match="'show' must be"):
        Labeler(session, show="html")
    with pytest.raises(TypeError, match="unexpected keyword"):
        Labeler(session, colour="red")


def test_without_anywidget_the_page_is_named():
    code = (
        "import sys; sys.modules['anywidget'] = None\n"
        "import skal.labeling\n"
        "skal.labeling.serve, skal.labeling.LabelingSession\n"
        "try:\n    skal.labeling.Labeler\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "skal[notebook]"' in done.stdout and "serve(session)" in done.stdout


def test_importing_the_room_does_not_import_the_widget():
    code = "import sys, skal.labeling as room; print('anywidget' in sys.modules, bool(room.serve))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
