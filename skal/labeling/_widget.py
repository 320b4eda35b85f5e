"""The labeller in a notebook, an anywidget: JupyterLab, marimo, and what else shows these."""

from html import escape
from importlib.resources import files
from threading import Event, Thread

from skal.labeling._protocol import Conversation

try:
    import anywidget
except ImportError as error:
    raise ImportError(
        'Labeler needs anywidget: pip install "skal[notebook]". Without it, '
        "skal.labeling.serve(session) opens the same labeller as a page of the browser."
    ) from error

# Seconds between looks for the next row while a model trains.
_POLL = 0.5


def _front(name):
    return files("skal.labeling").joinpath("front", name).read_text(encoding="utf-8")


class Labeler(anywidget.AnyWidget):
    """A widget that shows the rows of a session one after another and takes their labels.

    Show it as the last line of a cell. An answer is on disk before the next row appears; running
    the cell again, also after a restart, goes on where it stopped.

    Parameters
    ----------
    session : LabelingSession
        Where rows come from and answers go. From now on it trains behind whoever labels.

    show : {"row", "text", "image"} or callable, default="row"
        How a row is shown. "row": its cells, by name. "text": its cells as running text.
        "image": its numbers as pixels; a flat row must be a square. A callable gets the row as it
        lies in its container and returns a str, a dict, an array of pixels, a PIL image or a
        matplotlib figure; never HTML, which is shown as the text that it is.

    columns : list or None, default=None
        The columns of a frame to show, in this order; None shows all.

    answer : {"one", "many", "number"}, default="one"
        One class; any number of classes, stored as a list of 0 and 1, one for each class; or a
        number that is typed.

    classes : list or None, default=None
        The classes, in the order of their buttons; None takes those of the session.

    shortcuts : dict or None, default=None
        Keys of classes, such as ``{"cat": "c", "dog": "d"}``. None gives 1 to 9 to the first nine
        classes, or, where all classes are single characters such as digits, each class itself. S
        (cannot tell), L (later), U and Backspace (undo) are taken.

    proposal : bool, default=False
        Whether the model's guess is marked. People accept wrong guesses: leave it off unless
        speed matters more. Rows that serve the honest estimate never have one.

    guide : str, default=""
        What the annotator should know, shown above the row.

    Raises
    ------
    ImportError
        If anywidget is not installed (the extra ``skal[notebook]``).
    ValueError
        If an option will not do.

    See Also
    --------
    serve : The same labeller as a page of the browser, without a notebook.

    Notes
    -----
    Keys work while the labeller has the focus: click it, or reach it with Tab. Nothing in the data
    runs as code, and a notebook saved with the widget in it holds the progress but no row.

    Examples
    --------
    >>> from skal.labeling import Labeler
    >>> Labeler(session, guide="Is the review positive?")  # doctest: +SKIP
    """

    _esm = _front("labeler.js")
    _css = _front("labeler.css")
    _closed = None  # of a widget whose options would not do

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
        self._watching, self._closed = False, Event()
        self._conversation = Conversation(
            session,
            show=show,
            columns=columns,
            answer=answer,
            classes=classes,
            shortcuts=shortcuts,
            proposal=proposal,
            guide=guide,
        )
        session.background = True  # an answer is replied to before anything trains
        super().__init__()
        self.on_msg(self._receive)

    def _receive(self, widget, message, buffers):
        self._push(self._conversation.handle(message))

    def _push(self, view):
        self.send(view)
        if view["state"] in ("training", "waiting") and not self._watching:
            self._watching = True
            Thread(target=self._watch, name="skal labeller", daemon=True).start()

    def _watch(self):
        """Send the next row as soon as there is one."""
        view = None
        while (view is None or view["state"] in ("training", "waiting")) and not self._closed.wait(
            _POLL
        ):
            view = self._conversation.view()
        self._watching = False
        if view is not None and not self._closed.is_set():
            self._push(view)

    def close(self):
        """Close the widget. The session stays open, and all answers are on disk."""
        if self._closed is not None:
            self._closed.set()
        super().close()

    def _repr_mimebundle_(self, **kwargs):
        """Add what a saved notebook shows without a kernel: the progress, and no data."""
        bundle, metadata = super()._repr_mimebundle_(**kwargs)
        text = f"Labeller: {self._conversation.view()['count']}."
        html = f"<p>{escape(text)} Run the cell to label.</p>"
        return bundle | {"text/plain": text, "text/html": html}, metadata

    def __repr__(self):
        return f"<Labeler: {self._conversation.view()['count']}>"
