"""The local page keeps strangers out: the list of its refusals, one by one."""

import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from skal.labeling import _server
from skal.labeling._server import serve
from tests.labeling._watched import watched


@pytest.fixture
def place():
    """A served session, its port and the secret part of its path."""
    session = watched([f"text {i}" for i in range(50)], ["cat", "dog"], 50)
    with serve(session, open_browser=False) as page:
        head, _, rest = page.url.removeprefix("http://").partition("/")
        yield SimpleNamespace(session=session, port=int(head.split(":")[1]), path="/" + rest)


def request(place, method="GET", path=None, body=None, headers=(), host=None):
    """One request with exactly these headers; the status, the headers and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    connection.putrequest(
        method, place.path if path is None else path, skip_host=True, skip_accept_encoding=True
    )
    hosts = [f"127.0.0.1:{place.port}"] if host is None else host
    for name, value in [*(("Host", value) for value in hosts), *headers]:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def post(place, message, headers=None, **more):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    if headers is None:
        headers = own(place)
    return request(place, "POST", more.pop("path", place.path + "api"), body, headers, **more)


def own(place):
    return [("Origin", f"http://127.0.0.1:{place.port}"), ("Content-Type", "application/json")]


def test_the_page_and_its_files(place):
    for name, start in (
        ("", b"<!doctype html>"),
        ("page.js", b"//"),
        ("labeler.js", b"//"),
        ("labeler.css", b"/*"),
    ):
        status, headers, body = request(place, path=place.path + name)
        assert status == 200 and body.startswith(start)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    assert request(place, path="/favicon.ico")[0] == 204


def test_an_answer_is_stored(place):
    status, _, body = post(place, {"act": "hello", "uid": "a" * 8})
    view = json.loads(body)
    assert status == 200 and view["item"]["text"] == "text 0"
    message = {"act": "label", "uid": "b" * 8, "token": view["token"], "choice": 1}
    view = json.loads(post(place, message)[2])
    assert view["message"] == "Saved: dog." and place.session.labels == {0: "dog"}


def test_localhost_is_this_machine_too(place):
    name = f"localhost:{place.port}"
    headers = [("Origin", f"http://{name}"), ("Content-Type", "application/json")]
    assert request(place, host=[name])[0] == 200
    assert post(place, {"act": "hello"}, headers, host=[name])[0] == 200
    # The two names are two origins.
    assert post(place, {"act": "hello"}, own(place), host=[name])[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/page.js",
        "{short}",
        "{wrong}",
        "{noslash}",
        "{path}../",
        "{path}..%2f..%2f",
        "{path}../../setup.cfg",
        "{path}labeler.js/",
        "{path}%2e%2e/_server.py",
        "{path}?x",
        "http://elsewhere{path}",
        "*",
        "/\xe4\xf6/",
    ],
)
def test_every_other_path_is_404(place, path):
    secret = place.path.strip("/")
    path = path.format(
        path=place.path, short=f"/{secret[:-1]}/", wrong=f"/{secret[:-1]}~/", noslash=f"/{secret}"
    ).encode("latin-1")
    with socket.create_connection(("127.0.0.1", place.port), timeout=30) as line:
        line.sendall(b"GET " + path + f" HTTP/1.1\r\nHost: 127.0.0.1:{place.port}\r\n\r\n".encode())
        assert line.recv(99).split()[1] == b"404"
    with socket.create_connection(("127.0.0.1", place.port), timeout=30) as line:
        head = f"Host: 127.0.0.1:{place.port}\r\nOrigin: http://127.0.0.1:{place.port}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        line.sendall(b"POST " + path + b" HTTP/1.1\r\n" + head.encode())
        assert line.recv(99).split()[1] == b"404"


@pytest.mark.parametrize(
    "host",
    [
        [],
        ["127.0.0.1"],
        ["evil.example"],
        ["evil.example:{port}"],
        ["127.0.0.1:1"],
        ["127.0.0.1:{port}", "127.0.0.1:{port}"],
        ["127.0.0.1:{port}", "evil.example"],
        ["localhost.evil.example:{port}"],
        ["LOCALHOST@evil:{port}"],
        ["0.0.0.0:{port}"],
    ],
)
def test_a_name_bound_to_this_address_is_421(place, host):
    host = [name.format(port=place.port) for name in host]
    assert request(place, host=host)[0] == 421
    assert post(place, {"act": "hello"}, host=host)[0] == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site", "elsewhere"])
def test_another_site_is_403(place, site):
    assert request(place, headers=[("Sec-Fetch-Site", site)])[0] == 403
    assert post(place, {"act": "hello"}, [*own(place), ("Sec-Fetch-Site", site)])[0] == 403
    assert request(place, headers=[("Sec-Fetch-Site", "same-origin")])[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        [],
        ["null"],
        ["http://evil.example"],
        ["http://127.0.0.1:1"],
        ["https://127.0.0.1:{port}"],
        ["http://127.0.0.1:{port}", "http://evil.example"],
        ["http://localhost:{port}"],
    ],
)
def test_a_foreign_origin_stores_nothing(place, origin):
    headers = [("Origin", value.format(port=place.port)) for value in origin]
    headers.append(("Content-Type", "application/json"))
    assert post(place, {"act": "skip"}, headers)[0] == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_can_send_is_403(place, kind):
    headers = own(place)[:1] + ([("Content-Type", kind)] if kind else [])
    assert post(place, {"act": "skip"}, headers)[0] == 403


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 200_000, b"9" * 10_000])
def test_what_is_no_json_is_400(place, body):
    assert post(place, body)[0] == 400


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"NaN", b'{"act": "label"}'])
def test_what_is_no_message_is_a_view_that_says_so(place, body):
    status, _, answer = post(place, body)
    assert status == 200 and json.loads(answer)["error"]
    assert len(place.session.events) == 0


def test_large_and_unmeasured_bodies(place):
    # Refused by what it says it will send: nobody waits for it.
    headers = [*own(place), ("Content-Length", str((1 << 20) + 1))]
    assert request(place, "POST", place.path + "api", None, headers)[0] == 413
    assert post(place, b" " * ((1 << 20) - 2) + b"{}")[0] == 200
    headers = [*own(place), ("Transfer-Encoding", "chunked")]
    assert request(place, "POST", place.path + "api", None, headers)[0] == 411
    assert request(place, "POST", place.path + "api", None, own(place))[0] == 411
    for length in ("-1", "1e3", "many", "9" * 30):
        headers = [*own(place), ("Content-Length", length)]
        status = request(place, "POST", place.path + "api", None, headers)[0]
        assert status == (413 if length.startswith("9") else 411)


def test_other_methods_do_nothing(place):
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        assert request(place, method)[0] == 501


def test_half_a_request_is_closed(place, monkeypatch):
    monkeypatch.setattr(_server._Handler, "timeout", 0.2)
    head = f"POST {place.path}api HTTP/1.1\r\nHost: 127.0.0.1:{place.port}\r\n"
    whole = head + "\r\n".join(f"{k}: {v}" for k, v in own(place)) + "\r\nContent-Length: 9\r\n\r\n"
    for text in ("GET", head, whole + '{"a'):
        with socket.create_connection(("127.0.0.1", place.port), timeout=30) as line:
            line.sendall(text.encode())
            assert line.recv(99) == b""


def test_idle_connections_do_not_delay_the_page(place):
    lines = [socket.create_connection(("127.0.0.1", place.port), timeout=30) for _ in range(60)]
    started = time.monotonic()
    assert request(place)[0] == 200
    assert time.monotonic() - started < 5
    for line in lines:
        line.close()


def test_secrets_differ_and_are_not_shown(place, capfd):
    session = watched(["a"], ["x"])
    with serve(session, open_browser=False) as one, serve(session, open_browser=False) as other:
        assert len({one.url.split("/")[3], other.url.split("/")[3], place.path.strip("/")}) == 3
        assert len(one.url.split("/")[3]) >= 43  # 256 bits
        request(place, path="/wrong")
    assert capfd.readouterr() == ("", "")


def test_the_browser_is_opened_and_the_page_closed(monkeypatch):
    opened = []
    monkeypatch.setattr(_server.webbrowser, "open", opened.append)
    page = serve(watched(["a"], ["x"]))
    assert opened == [page.url] and page.url in repr(page)
    waiter = threading.Thread(target=page.wait)
    waiter.start()
    page.close()
    waiter.join(30)
    assert not waiter.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(page.url.split(":")[2].split("/")[0])), 5)


def test_only_this_machine_is_listened_to(place):
    with pytest.raises(ValueError, match="'answer' must be one of"):
        serve(watched(["a"], ["x"]), open_browser=False, answer="two")
    with pytest.raises(OSError):
        serve(watched(["a"], ["x"]), open_browser=False, port=place.port)
