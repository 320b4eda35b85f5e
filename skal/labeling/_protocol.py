"""What the labeller and Python say to each other; the widget and the local page share it.

The front end sends a message, ``{"act", "uid", "token", "seconds", ...}``, and gets the whole next
view back. `act` is hello, label (with `choice`, or `choices` where many may hold), number (with
`text`), skip, later or undo. Labels never pass through JavaScript, whose numbers end at 2^53: it
sends positions of classes, or the typed text of a number.

A view goes out after the answer is on disk, never before. A message whose token is not that of the
row on show stores nothing, and one that was carried out already is not carried out again.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from threading import RLock

import numpy as np

from skal.labeling._show import Shower, as_text, cut, text_item

ANSWERS = ("one", "many", "number")
# Keys that mean something else: cannot tell, later, undo.
_TAKEN = frozenset("slu")
# Messages remembered, so that one sent twice is carried out once.
_REMEMBERED = 1000


class Refused(ValueError):
    """The answer will not do; the message says why, and nothing was stored."""


class Conversation:
    """One annotator labelling the rows of a session, message by message.

    Parameters
    ----------
    session : LabelingSession
        Where rows come from and answers go.

    show, columns : see Shower
        How a row is shown; a :class:`Shower` made before is taken as it is.

    answer : {"one", "many", "number"}, default="one"
        One class, any number of classes, or a number.

    classes : list or None, default=None
        The classes in the order of their buttons; None takes those of the session.

    shortcuts : dict or None, default=None
        Keys of classes, ``{class: "k"}``; see :func:`keys_of`.

    proposal : bool, default=False
        Whether the model's guess is marked.

    guide : str, default=""
        What the annotator should know, shown above the row.
    """

    def __init__(
        self,
        session,
        *,
        show="row",
        columns=None,
        answer="one",
        classes=None,
        shortcuts=None,
        proposal=False,
        guide="",
    ):
        if answer not in ANSWERS:
            raise ValueError(f"'answer' must be one of {ANSWERS}. Got {answer!r} instead.")
        self.session = session
        self.answer, self.proposal, self.guide = answer, proposal, cut(str(guide))
        self.classes = [] if answer == "number" else _classes(session, classes)
        self.keys = keys_of(self.classes, shortcuts)
        self._shower = show if isinstance(show, Shower) else Shower(session.X, show, columns)
        self._lock = RLock()
        self._task = None
        self._shown = (None, None)  # a position and its item: pictures are made once
        self._done = OrderedDict()

    def handle(self, message):
        """Carry out a message and return the next view, a dict of JSON values."""
        with self._lock:
            uid, text, is_error = None, "", False
            try:
                uid, act = _checked(message)
                if uid not in self._done:
                    text = self._acts[act](self, message)
                    self._done[uid] = text
                    while len(self._done) > _REMEMBERED:
                        self._done.popitem(last=False)
                text = self._done[uid]
            except Exception as error:  # whatever it is, the annotator reads it and may go on
                text, is_error = _in_words(error), True
            return self.view(text, is_error=is_error, uid=uid)

    def view(self, message="", *, is_error=False, uid=None):
        """Return what the labeller shows now."""
        with self._lock:
            try:
                self._task = self.session.next()
                state = "asking" if self._task is not None else self.session.state_
                done, total, labeled = self.session.counts_
                if state == "failed":
                    message = f"{message} {_in_words(self.session.error_)}".strip()
                    is_error = True
            except Exception as error:
                self._task, state, done, total, labeled = None, "broken", 0, 0, 0
                message, is_error = f"{message} {_in_words(error)}".strip(), True
            return {
                "uid": uid,
                "token": None if self._task is None else str(self._task.token),
                "state": state,
                "item": self._item(),
                "answer": self.answer,
                "classes": [cut(str(label)) for label in self.classes],
                "keys": self.keys,
                "proposal": self._proposal(),
                "guide": self.guide,
                "done": done,
                "total": total,
                "count": f"{done} of {total} in this batch, {labeled} labelled in all",
                "message": message,
                "error": is_error,
            }

    # ------------------------------------------------------------------ acts

    def _hello(self, message):
        return ""

    def _label(self, message):
        task = self._current(message)
        if self.answer == "one":
            place = _place(message.get("choice"), len(self.classes))
            label, said = self.classes[place], str(self.classes[place])
        elif self.answer == "many":
            choices = message.get("choices")
            if not isinstance(choices, list):
                raise Refused("'choices' must be a list of positions of classes.")
            places = sorted({_place(choice, len(self.classes)) for choice in choices})
            label = [int(place in places) for place in range(len(self.classes))]
            said = ", ".join(str(self.classes[place]) for place in places) or "none of them"
        else:
            raise Refused("A number is asked for here.")
        return self._teach(task, label, said, message)

    def _number(self, message):
        task = self._current(message)
        if self.answer != "number":
            raise Refused("A class is asked for here.")
        label = parse_number(message.get("text"))
        return self._teach(task, label, as_text(label), message)

    def _teach(self, task, label, said, message):
        seconds, uid = _seconds(message), message["uid"]
        self.session.teach([task.position], [label], seconds=seconds, uid=uid)
        return f"Saved: {cut(said)}."

    def _skip(self, message):
        self.session.skip([self._current(message).position], "cannot tell", uid=message["uid"])
        return "Saved: cannot tell."

    def _later(self, message):
        self.session.skip([self._current(message).position], "later", uid=message["uid"])
        return "Put off to the end of the batch."

    def _undo(self, message):
        if not len(self.session.undo()):
            return "There is no answer to take back."
        return "Taken back: the last answer."

    _acts = {
        "hello": _hello,
        "label": _label,
        "number": _number,
        "skip": _skip,
        "later": _later,
        "undo": _undo,
    }

    # ------------------------------------------------------------------ plumbing

    def _current(self, message):
        if self._task is None or message.get("token") != str(self._task.token):
            now = "no row" if self._task is None else "another row"
            raise Refused(f"The last answer was NOT saved: {now} is on show by now. Look again.")
        return self._task

    def _item(self):
        if self._task is None:
            return None
        position = int(self._task.position)
        if self._shown[0] != position:
            try:
                item = self._shower(position)
            except Exception as error:
                item = text_item(f"This row cannot be shown. {_in_words(error)}")
            self._shown = (position, item)
        return self._shown[1]

    def _proposal(self):
        """The proposed class as its position, several as a list, a number as text, or None."""
        guess = None if self._task is None or not self.proposal else self._task.proposal
        if guess is None:
            return None
        if self.answer == "number":
            return as_text(guess)
        if self.answer == "many":
            return [place for place, holds in enumerate(np.ravel(guess)) if holds]
        return next((place for place, label in enumerate(self.classes) if label == guess), None)


def keys_of(classes, shortcuts=None):
    """Return the keys of each class, a list of lists of lower-case characters.

    `shortcuts` gives a key, or a list of them, for some or all of the classes. Without it, classes
    that are single characters have themselves for a key (unless one of them is S, L or U, which
    mean something else); otherwise the first nine have 1 to 9.

    Raises
    ------
    ValueError
        If a key is no single character, is taken, or stands twice.
    """
    names = [str(label).lower() for label in classes]
    if shortcuts is None:
        alone = all(len(name) == 1 for name in names) and len(set(names)) == len(names)
        if alone and not _TAKEN & set(names):
            return [[name] for name in names]
        return [[str(place + 1)] if place < 9 else [] for place in range(len(names))]
    if not isinstance(shortcuts, Mapping):
        raise ValueError(f"'shortcuts' must be a dict of keys by class. Got {shortcuts!r} instead.")
    unknown = [label for label in shortcuts if label not in classes]
    if unknown:
        raise ValueError(
            f"'shortcuts' must hold classes, {cut(repr(classes))}. Got {unknown[0]!r} instead."
        )
    keys = [list(map(str, np.ravel(shortcuts.get(label, [])))) for label in classes]
    flat = [key for some in keys for key in some]
    for key in flat:
        if len(key) != 1 or key.isspace() or key.lower() in _TAKEN:
            raise ValueError(
                "'shortcuts' must hold single characters other than S (cannot tell), L (later) "
                f"and U (undo). Got {key!r} instead."
            )
    if len({key.lower() for key in flat}) < len(flat):
        raise ValueError(f"'shortcuts' must give no key twice. Got {shortcuts!r} instead.")
    return [[key.lower() for key in some] for some in keys]


def parse_number(text):
    """Return the number that was typed: an int where it is one, else a float.

    Raises
    ------
    Refused
        If it is none, is not finite, or its comma may mean two things.
    """
    if not isinstance(text, str) or not text.strip():
        raise Refused("Type a number first. Nothing was saved.")
    plain = text.strip().replace("\u2212", "-")
    whole, comma, decimals = plain.partition(",")
    if comma:
        if "," in decimals or "." in plain or len(decimals) == 3:
            raise Refused(
                f"Nothing was saved: {cut(text)!r} may be two numbers. Write 1234.5 with a point "
                "and without separators of thousands."
            )
        plain = f"{whole}.{decimals}"
    try:
        if "_" in plain:
            raise ValueError
        try:
            return int(plain)
        except ValueError:
            value = float(plain)
    except ValueError:
        raise Refused(f"Nothing was saved: {cut(text)!r} is no number.") from None
    if not math.isfinite(value):
        raise Refused(f"Nothing was saved: {cut(text)!r} is not finite.")
    return value


def _classes(session, classes):
    if classes is None:
        classes = session.classes
    if classes is None:
        raise ValueError(
            "The labeller needs the classes for its buttons. Pass classes=[...] here or to the "
            "session, or answer='number'."
        )
    classes = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
    if not classes or any(classes.count(label) > 1 for label in classes):
        raise ValueError(f"'classes' must be distinct, at least one. Got {classes!r} instead.")
    return classes


def _checked(message):
    if not isinstance(message, Mapping):
        raise Refused("A message must be an object.")
    uid, act = message.get("uid"), message.get("act")
    if not isinstance(act, str) or act not in Conversation._acts:
        raise Refused(f"Unknown message {cut(repr(act))}.")
    if act == "hello" and uid is None:
        return None, act
    if not isinstance(uid, str) or not 8 <= len(uid) <= 64:
        raise Refused("A message needs a uid of 8 to 64 characters. Nothing was saved.")
    return uid, act


def _place(choice, n_classes):
    if type(choice) is not int or not 0 <= choice < n_classes:
        raise Refused(f"There is no class at position {cut(repr(choice))}. Nothing was saved.")
    return choice


def _seconds(message):
    value = message.get("seconds")
    usable = type(value) in (int, float) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def _in_words(error):
    text = str(error) or repr(error)
    if isinstance(error, (Refused, ValueError)) or type(error).__module__.startswith("skal."):
        return cut(text)
    return cut(f"{type(error).__name__}: {text}")
