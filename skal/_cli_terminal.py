"""The labeller in a terminal: the same messages as those of the page, typed."""

import time
import uuid

HELP = "s: cannot tell, l: later, u: undo, q: quit"
_ACTS = {"s": "skip", "l": "later", "u": "undo"}
# Seconds between looks for the next row while a model trains elsewhere.
_POLL = 1.0


def label_in_terminal(conversation, read=input, write=print, sleep=time.sleep):
    """Ask row by row until there is none left or the annotator quits.

    Parameters
    ----------
    conversation : Conversation
        What answers.

    read, write : callable
        What reads a line after a prompt, and writes one.

    sleep : callable
        What waits for some seconds.
    """
    write(f"\n{HELP}. An answer is on disk before the next row appears.")
    view, shown = _send(conversation, "hello"), None
    while True:
        if view["message"]:
            write(f"{'! ' if view['error'] else ''}{view['message']}")
        if view["state"] in ("training", "waiting"):
            sleep(_POLL)
            view = _send(conversation, "hello")
            continue
        if view["state"] != "asking":
            write("There is no row left to ask about.")
            return
        if view["token"] != shown:
            write(f"\n{view['count']}\n{_as_lines(view['item'])}")
        shown, started = view["token"], time.monotonic()
        try:
            text = read(f"{_choices(view)}: ").strip()
        except EOFError:
            return
        if text.lower() in ("q", "quit"):
            return
        message = _message(text, view)
        if message is None:
            write(f"! {text!r} is no answer. Type {_choices(view)}, or {HELP}.")
            view = dict(view, message="")
            continue
        view = _send(
            conversation, token=view["token"], seconds=time.monotonic() - started, **message
        )


def _send(conversation, act, **more):
    return conversation.handle({"act": act, "uid": uuid.uuid4().hex, **more})


def _message(text, view):
    """What was typed as a message, or None. The name of a class goes before its key."""
    if not text:
        return None
    if text in view["classes"]:
        return {"act": "label", "choice": view["classes"].index(text)}
    if text.lower() in _ACTS:
        return {"act": _ACTS[text.lower()]}
    if view["answer"] == "number":
        return {"act": "number", "text": text}
    for place, keys in enumerate(view["keys"]):
        if text.lower() in keys:
            return {"act": "label", "choice": place}
    return None


def _choices(view):
    if view["answer"] == "number":
        return "a number"
    named = zip(view["classes"], view["keys"], strict=True)
    return ", ".join(
        name if not keys or keys[0] == name.lower() else f"{keys[0]}: {name}"
        for name, keys in named
    )


def _as_lines(item):
    if item["kind"] == "row":
        width = min(max((len(name) for name, _ in item["cells"]), default=0), 40)
        return "\n".join(
            f"  {_printable(name):<{width}}  {_printable(text) if text is not None else '-'}"
            for name, text in item["cells"]
        )
    return f"  {_printable(item['text'])}" if item["kind"] == "text" else "  (a picture)"


def _printable(text):
    """Without what would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
