"""Messages and views: what is stored, what is refused, and what is said about it."""

import json

import numpy as np
import pytest

from skal.labeling import LabelStoreError
from skal.labeling._protocol import Conversation, Refused, keys_of, parse_number
from tests.labeling._watched import watched

TEXTS = [f"text {i}" for i in range(12)]


def start(classes=("cat", "dog"), n_instances=4, proposal=None, **options):
    session = watched(TEXTS, list(classes), n_instances, proposal=proposal)
    return session, Conversation(session, **options)


class Front:
    """The front end without a browser: a fresh uid for each message, the token of the last view."""

    def __init__(self, conversation, name=""):
        self.conversation, self.name, self.count = conversation, name, 0
        self.send("hello")

    def send(self, act, **more):
        self.count += 1
        uid = f"uid-{self.name}{self.count:04}"
        message = {"act": act, "uid": uid, "token": None, "seconds": 1.5} | more
        if "token" not in more and act != "hello":
            message["token"] = self.view["token"]
        # What passes is JSON, both ways.
        message = json.loads(json.dumps(message))
        self.view = json.loads(json.dumps(self.conversation.handle(message), allow_nan=False))
        return self.view


def test_a_view_has_all_that_is_shown():
    session, conversation = start(guide="Is it <b>?")
    view = Front(conversation).view
    assert view == {
        "uid": "uid-0001",
        "token": view["token"],
        "state": "asking",
        "item": {"kind": "text", "text": "text 0"},
        "answer": "one",
        "classes": ["cat", "dog"],
        "keys": [["1"], ["2"]],
        "proposal": None,
        "guide": "Is it <b>?",
        "done": 0,
        "total": 4,
        "count": "0 of 4 in this batch, 0 labelled in all",
        "message": "",
        "error": False,
    }


def test_answers_skips_and_undo():
    session, conversation = start()
    front = Front(conversation)
    view = front.send("label", choice=1)
    assert (view["message"], view["item"]["text"], view["done"]) == ("Saved: dog.", "text 1", 1)
    assert front.send("skip")["message"] == "Saved: cannot tell."
    assert front.send("later")["item"]["text"] == "text 3"
    assert session.labels == {0: "dog"} and session.skipped == [1]
    assert session.seconds == [1.5]
    for row in (2, 1, 0):
        assert front.send("undo")["item"]["text"] == f"text {row}"
    assert session.labels == {} and session.skipped == []
    view = front.send("undo")
    assert view["message"] == "There is no answer to take back." and not view["error"]
    for _ in range(4):
        view = front.send("label", choice=0)
    assert (view["state"], view["item"], view["token"]) == ("finished", None, None)
    assert session.labels == dict.fromkeys(range(4), "cat")
    assert front.send("label", choice=0, token=None)["error"]


def test_a_message_sent_twice_is_carried_out_once():
    session, conversation = start()
    front = Front(conversation)
    token = front.view["token"]
    first = front.send("label", choice=1, uid="the same uid")
    again = front.send("label", choice=1, uid="the same uid", token=token)
    assert session.labels == {0: "dog"} and first == again
    front.send("undo", uid="undo undo")
    assert front.send("undo", uid="undo undo")["message"] == "Taken back: the last answer."


def test_a_stale_token_stores_nothing_and_says_so():
    session, conversation = start()
    one, other = Front(conversation), Front(conversation, "other")
    stale = other.view["token"]
    one.send("label", choice=0)
    for act in ("label", "skip", "later"):
        view = other.send(act, choice=1, token=stale)
        assert view["error"] and "NOT saved" in view["message"]
    assert session.labels == {0: "cat"} and view["item"]["text"] == "text 1"


def test_an_error_of_the_store_is_a_message_and_the_row_stays(monkeypatch):
    session, conversation = start()
    front = Front(conversation)

    def append_events(events, what):
        raise LabelStoreError(f"{what} was NOT saved: the disk is full.")

    monkeypatch.setattr(session.store.log, "append_events", append_events)
    view = front.send("label", choice=1, uid="uid of the row")
    assert view["error"] and "NOT saved: the disk is full" in view["message"]
    assert view["item"]["text"] == "text 0" and not session.labels
    monkeypatch.undo()
    assert front.send("label", choice=1, uid="uid of the row")["message"] == "Saved: dog."


def test_a_broken_session_is_a_view_too():
    session, conversation = start()
    front = Front(conversation)
    session.next = None
    view = front.send("hello")
    assert view["state"] == "broken" and view["error"] and "TypeError" in view["message"]


def test_a_row_that_cannot_be_shown_can_be_skipped():
    def show(row):
        raise KeyError("no such <picture>")

    session, conversation = start(show=show)
    front = Front(conversation)
    assert "cannot be shown. KeyError: 'no such <picture>'" in front.view["item"]["text"]
    assert front.send("skip")["message"] == "Saved: cannot tell." and session.skipped == [0]


def test_many_are_stored_as_zeros_and_ones():
    session, conversation = start(["a", "b", "c"], answer="many", proposal=[0, 1, 1])
    front = Front(conversation)
    front.send("label", choices=[2, 0])
    assert front.send("label", choices=[])["message"] == "Saved: none of them."
    assert session.labels == {0: [1, 0, 1], 1: [0, 0, 0]}
    assert front.send("label", choice=1)["error"]
    assert front.view["proposal"] is None


def test_numbers_are_typed():
    session = watched(TEXTS, None, 4, proposal=np.float64(2.5))
    front = Front(Conversation(session, answer="number", proposal=True))
    assert front.view["proposal"] == "2.5" and front.view["classes"] == []
    front.send("number", text=f" {2**60 + 1} ")
    front.send("number", text="12,5")
    view = front.send("number", text="about 3")
    assert view["error"] and "'about 3' is no number" in view["message"]
    assert session.labels == {0: 2**60 + 1, 1: 12.5}
    assert type(session.labels[0]) is int
    assert front.send("label", choice=0)["error"]


def test_labels_keep_their_type():
    session, conversation = start([2**60 + 1, True, "x"])
    front = Front(conversation)
    for choice in (0, 1, 2):
        front.send("label", choice=choice)
    assert list(session.labels.values()) == [2**60 + 1, True, "x"]
    assert type(session.labels[1]) is bool


def test_proposals_are_shown_only_where_asked_for():
    assert start(proposal="dog")[1].view()["proposal"] is None
    assert start(proposal="dog", **{})[1].view()["proposal"] is None
    session = watched(TEXTS, ["cat", "dog"], 3, proposal="dog")
    assert Conversation(session, proposal=True).view()["proposal"] == 1
    session.proposal = "a class that is gone"
    assert Conversation(session, proposal=True).view()["proposal"] is None


def test_a_picture_is_made_once():
    calls = []
    session, conversation = start(show=lambda row: calls.append(row) or row)
    for _ in range(5):
        conversation.view()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "message",
    [
        None,
        3,
        "label",
        [],
        {},
        {"act": "delete"},
        {"act": ["label"]},
        {"act": "label"},
        {"act": "label", "uid": 3},
        {"act": "label", "uid": "short"},
        {"act": "label", "uid": "x" * 65},
        {"act": "undo"},
        *({"choice": choice} for choice in (None, -1, 2, 1.0, True, "1", [0], 2**70)),
        {"choices": [0]},
        {"act": "number", "text": "3"},
    ],
)
def test_wrong_messages_store_nothing(message):
    session, conversation = start()
    token = conversation.view()["token"]
    if isinstance(message, dict) and ("choice" in message or "choices" in message):
        message = {"act": "label", "uid": "uid-0001"} | message
    if isinstance(message, dict):
        message = {"token": token} | message
    view = conversation.handle(message)
    assert view["error"] and view["message"]
    assert len(session.events) == 0
    assert view["token"] == token


@pytest.mark.parametrize("seconds", [None, "3", -1, float("nan"), float("inf"), True, [1]])
def test_times_that_are_none_are_left_out(seconds):
    session, conversation = start()
    token = conversation.view()["token"]
    message = {"act": "label", "choice": 0, "uid": "uid-0001", "token": token, "seconds": seconds}
    conversation.handle(message)
    assert session.seconds == [None] and session.labels == {0: "cat"}


@pytest.mark.parametrize(
    "classes, shortcuts, keys",
    [
        (["cat", "dog"], None, [["1"], ["2"]]),
        (range(10), None, [[str(i)] for i in range(10)]),
        (["P", "n"], None, [["p"], ["n"]]),
        (["a", "s"], None, [["1"], ["2"]]),
        (["a", "A"], None, [["1"], ["2"]]),
        (range(8, 20), None, [[str(i)] for i in range(1, 10)] + [[]] * 3),
        (["cat", "dog", "cow"], {"cat": "c", "dog": ["d", "?"]}, [["c"], ["d", "?"], []]),
    ],
)
def test_keys(classes, shortcuts, keys):
    assert keys_of(list(classes), shortcuts) == keys


@pytest.mark.parametrize(
    "shortcuts, message",
    [
        ({"cow": "c"}, "Got 'cow'"),
        ({"cat": "s"}, "other than S"),
        ({"cat": "U"}, "other than S"),
        ({"cat": "ca"}, "single characters"),
        ({"cat": " "}, "single characters"),
        ({"cat": "c", "dog": "C"}, "no key twice"),
        (["c", "d"], "must be a dict"),
    ],
)
def test_wrong_shortcuts(shortcuts, message):
    with pytest.raises(ValueError, match=message):
        keys_of(["cat", "dog"], shortcuts)


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("-4", -4),
        ("\u22124", -4),
        ("1.50", 1.5),
        ("1,5", 1.5),
        ("1e3", 1000.0),
        ("0,1234", 0.1234),
        (".5", 0.5),
        ("123456789012345678901", 123456789012345678901),
    ],
)
def test_numbers(text, value):
    number = parse_number(text)
    assert number == value and type(number) is type(value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "Type a number"),
        ("  ", "Type a number"),
        (None, "Type a number"),
        (3, "Type a number"),
        ("1,234", "may be two numbers"),
        ("1,234.5", "may be two"),
        ("1,2,3", "may be two"),
        ("cat", "no number"),
        ("1_000", "no number"),
        ("nan", "finite"),
        ("inf", "finite"),
        ("1e999", "finite"),
        ("0x10", "no number"),
    ],
)
def test_no_numbers(text, message):
    with pytest.raises(Refused, match=message):
        parse_number(text)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"answer": "two"}, "'answer' must be one of"),
        ({"classes": []}, "must be distinct, at least one"),
        ({"classes": ["a", "a"]}, "must be distinct"),
        ({"show": "html"}, "'show' must be"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Conversation(watched(TEXTS, ["a"]), **options)


def test_classes_are_needed_for_buttons():
    with pytest.raises(ValueError, match="needs the classes.*answer='number'"):
        Conversation(watched(TEXTS, None))
