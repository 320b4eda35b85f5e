"""The labeller as a page of this machine: 127.0.0.1 only, behind a secret address.

Other programs and other pages of the same browser are kept out: the path begins with a secret of
256 bits; a request must name this very host (against DNS rebinding), must not come from another
site, and, to store an answer, must come from the page itself. The page loads nothing from the net.
"""

import json
import secrets
import webbrowser
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Thread

from skal.labeling._protocol import Conversation

_MOST_BYTES = 1 << 20
_FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "labeler.js": ("labeler.js", "text/javascript; charset=utf-8"),
    "labeler.css": ("labeler.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve(session, *, port=0, open_browser=True, **options):
    """Open the labeller of a session as a page in the browser, and return at once.

    Parameters
    ----------
    session : LabelingSession
        Where rows come from and answers go.

    port : int, default=0
        The port at 127.0.0.1; 0 takes a free one.

    open_browser : bool, default=True
        Whether to open the page. Its address is `url` of what is returned, and a secret: whoever
        has it may label, on this machine.

    **options : dict
        How rows are shown and answered, as in :class:`Labeler`: `show`, `columns`, `answer`,
        `classes`, `shortcuts`, `proposal`, `guide`.

    Returns
    -------
    page : LabelingPage
        With `url`, `close()` and `wait()`; a context manager, too.

    Raises
    ------
    ValueError
        If an option will not do.
    OSError
        If the port is taken.

    Examples
    --------
    >>> from skal.labeling import serve
    >>> page = serve(session)  # doctest: +SKIP
    >>> page.close()  # doctest: +SKIP
    """
    page = LabelingPage(Conversation(session, **options), port)
    session.background = True  # an answer is replied to before anything trains
    if open_browser:
        webbrowser.open(page.url)
    return page


class LabelingPage:
    """A page that labels the rows of one session until it is closed.

    Parameters
    ----------
    conversation : Conversation
        What answers the page.

    port : int, default=0
        The port at 127.0.0.1; 0 takes a free one.

    Attributes
    ----------
    url : str
        The secret address of the page.
    """

    def __init__(self, conversation, port=0):
        self._secret = secrets.token_urlsafe(32)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.secret, self._server.conversation = self._secret, conversation
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self._secret}/"
        # The pause after which a close is noticed, in seconds.
        run = partial(self._server.serve_forever, poll_interval=0.1)
        self._thread = Thread(target=run, name="skal page", daemon=True)
        self._thread.start()

    def wait(self):
        """Wait until the page is closed, or Ctrl+C."""
        self._thread.join()

    def close(self):
        """Stop the page. The session stays open, and all answers are on disk."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"LabelingPage({self.url!r})"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    # The default, 5, makes the page wait for seconds behind idle connections of the browser.
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Say nothing where a browser has gone away in the middle."""


class _Refusal(Exception):
    """An HTTP status that ends the request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "skal", ""
    timeout = 10  # seconds for a request to come in, then the connection is closed

    def do_GET(self):
        self._answer(self._file)

    def do_POST(self):
        self._answer(self._reply)

    def _answer(self, make):
        try:
            self._check_origin()
            status, body, kind = make()
        except _Refusal as refusal:
            status, body, kind = refusal.args[0], b"", None
            self.close_connection = True  # what is left of the request is not read
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if kind is not None:
            self.send_header("Content-Type", kind)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hosts(self):
        port = self.server.server_port
        return [f"127.0.0.1:{port}", f"localhost:{port}"]

    def _check_origin(self):
        """Refuse what another site, or a name that was bound to this address, asks for."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts():
            raise _Refusal(421)
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise _Refusal(403)

    def _name(self):
        """The part of the path behind the secret."""
        secret, slash, name = self.path.removeprefix("/").partition("/")
        known = secrets.compare_digest(secret.encode(), self.server.secret.encode())
        if not (known and slash and self.path.startswith("/")):
            raise _Refusal(404)
        return name

    def _file(self):
        if self.path == "/favicon.ico":
            return 204, b"", None
        name = self._name()
        if name not in _FILES:
            raise _Refusal(404)
        file, kind = _FILES[name]
        return 200, files("skal.labeling").joinpath("front", file).read_bytes(), kind

    def _reply(self):
        if self._name() != "api":
            raise _Refusal(404)
        origins = self.headers.get_all("Origin", [])
        if origins != [f"http://{self.headers['Host']}"]:
            raise _Refusal(403)
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(403)
        try:
            message = json.loads(self._body())
        except (ValueError, RecursionError) as error:  # of JSON and of UTF-8; brackets in brackets
            raise _Refusal(400) from error
        view = self.server.conversation.handle(message)
        return 200, json.dumps(view).encode(), "application/json"

    def _body(self):
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not lengths[0].isdecimal():
            raise _Refusal(411)
        if int(lengths[0]) > _MOST_BYTES:
            raise _Refusal(413)
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise _Refusal(400)
        return body

    def log_message(self, format, *arguments):
        """Keep quiet: the path is a secret."""
