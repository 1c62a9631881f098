"""The app is left alone under every server: bare and observed, the same bytes and the same messages in the same order."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from served import APPS, DEADLINE, GUNICORN, UVICORN, Emitted, Server, least, wait_until, websocket

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

SITE = "recording_site:app"
SERVERS = {
    "uvicorn, h11": [*UVICORN, SITE, "--http", "h11"],
    "uvicorn, httptools": [*UVICORN, SITE, "--http", "httptools"],
    "hypercorn": ["hypercorn", "--bind", "fd://{fd}", SITE],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "--working-dir", str(APPS), SITE],
    "daphne": ["daphne", "--fd", "{fd}", SITE],
    "gunicorn, uvicorn's worker": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", SITE],
    "gunicorn, its own": [*GUNICORN, "-k", "asgi", SITE],
}
SIDES = ("bare", "observed")
ENDS = b"connection: close\r\n"
MEGABYTES = 16
UPGRADE = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
#: A client's close frame with the code 1000, masked with zeros.
CLOSE = b"\x88\x82\0\0\0\0" + (1000).to_bytes(2)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: Any, agent: LocalAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for both sides and all that is asked of it."""
    if "httptools" in request.param and importlib.util.find_spec("httptools") is None:
        pytest.skip("httptools is not installed")
    emitted = Emitted(agent)
    paths = {"PYTHONPATH": f"{APPS}:{emitted.environment().get('PYTHONPATH', '')}"}
    found = Server(SERVERS[request.param], tmp_path_factory.mktemp("site"), emitted.environment(**paths))
    wait_until(lambda: _listens(found), "the server")

    yield found
    found.kill()


def _name(server: Server) -> str:
    return server.process.args[2]  # type: ignore[index, no-any-return]  # after the interpreter and `-m`


def _listens(server: Server) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1).close()
        return True
    assert server.process.poll() is None, server.err
    return False


def ask(
    server: Server, side: str, kind: str, method: bytes = b"GET", head: bytes = ENDS, body: bytes = b""
) -> socket.socket:
    """Send the head of a request that the application writes down as `bare-page`, `observed-page`."""
    connection = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
    path = f"/{side}/{kind}?{side}-{kind}".encode()
    connection.sendall(b"%b %b HTTP/1.1\r\nhost: x\r\n%b\r\n%b" % (method, path, head, body))
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the server closes, without what is different each second."""
    data = b""
    with connection, contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return re.sub(rb"(?i)date: [^\r]*\r\n", b"", data)


def until_it_reads(server: Server, side: str, kind: str) -> None:
    """Wait until the application has the request: of one that has ended before, it learns no more than that."""

    def reads() -> bool:
        notes = json.loads(server.get("/seen")[1]).get(f"{side}-{kind}", [])
        return any(note[1] == "http.request" for note in notes)

    wait_until(reads, f"the application to read {kind}")


def same(server: Server, kind: str, notes: int) -> list[Any]:
    """Wait until both sides have written down so much, and return it: it is the same."""

    found: list[list[Any]] = []

    def both_are_there() -> bool:
        seen = json.loads(server.get("/seen")[1])
        found[:] = (seen.get(f"{side}-{kind}", []) for side in SIDES)
        return all(len(written) >= notes for written in found) and found[1] == found[0]

    with contextlib.suppress(AssertionError):  # what differs says more than that it does
        wait_until(both_are_there, f"{notes} notes on {kind}")
    assert all(len(written) >= notes for written in found), found
    assert found[1] == found[0]
    return found[0]


@pytest.mark.parametrize(
    ("kind", "notes"),
    [("page", 3), ("empty", 3), ("hinted", 3), ("raises", 2), ("fails", 0), ("stranger", 2)],
)
def test_a_request(server: Server, kind: str, notes: int) -> None:
    """What goes over the wire, and what the application learns; also of one that fails."""
    if _name(server) == "daphne" and kind in ("raises", "fails", "stranger"):
        pytest.skip("daphne leaves the connection of an application that failed open")
    bare, observed = (rest(ask(server, side, kind)) for side in SIDES)
    assert bare
    assert observed == bare
    same(server, kind, notes)


def test_an_upload_that_nobody_reads(server: Server) -> None:
    """The answer goes out, and nobody reads in the application's place."""
    answers = []
    for side in SIDES:
        connection = ask(server, side, "unread", b"POST", ENDS + b"content-length: 3\r\n", b"abc")
        answers.append(rest(connection))
    assert answers[0].split()[1] == b"413"
    assert answers[1] == answers[0]
    same(server, "unread", 2)


def test_a_talk(server: Server) -> None:
    """Pieces of an upload arrive one by one while the response streams: neither merged nor ahead of the application."""
    if _name(server) == "daphne":
        pytest.skip("daphne reads an upload to its end before it calls the application")
    answers = []
    for side in SIDES:
        connection = ask(server, side, "talk", b"POST", ENDS + b"transfer-encoding: chunked\r\n")
        got = b""
        for number in range(5):
            connection.sendall(b"5\r\npart%d\r\n" % number)
            while b"part%d" % number not in got:
                piece = connection.recv(65536)
                assert piece, got
                got += piece
        connection.sendall(b"0\r\n\r\n")
        answers.append(re.sub(rb"(?i)date: [^\r]*\r\n", b"", got) + rest(connection))
    assert answers[1] == answers[0]
    same(server, "talk", 14)


def test_a_client_that_leaves(server: Server) -> None:
    """The application learns of it as before, and its next send() does what it did: return, or raise."""
    for side in SIDES:
        connection = ask(server, side, "left", head=b"")
        got = b""
        while b"data: 1" not in got:
            got += connection.recv(65536)
        until_it_reads(server, side, "left")
        connection.close()
    notes = same(server, "left", 5)
    assert "http.disconnect" in [note[1] for note in notes]


def test_an_upload_at_full_speed_while_the_response_streams(server: Server) -> None:
    """Whole, and not several times slower than without."""

    def seconds(side: str) -> float:
        began = time.monotonic()
        size = MEGABYTES * 2**20
        connection = ask(server, side, "ticking", b"POST", ENDS + b"content-length: %d\r\n" % size)
        for _ in range(MEGABYTES):
            connection.sendall(b"x" * 2**20)
        assert b"data: got %d\n" % size in rest(connection)
        return time.monotonic() - began

    enough = 4 * seconds("bare") + 2  # reading ahead made it eight times as long
    assert least(lambda: seconds("observed"), enough) < enough


def test_a_socket(server: Server) -> None:
    """Messages, and the code of the end (hypercorn makes 1006 of any)."""
    for side in SIDES:
        with websocket(server.port, f"/{side}/socket?{side}-socket") as talking:
            for number in range(3):
                talking.send(str(number))
                assert talking.recv() == str(number)
            talking.close(4001, "enough")
    notes = same(server, "socket", 9)
    assert notes[-1][1] == "websocket.disconnect"


def test_an_upload_that_is_cut(server: Server) -> None:
    """The application learns of it in the middle of its body, as before."""
    reads_ahead = _name(server) == "daphne"  # to the upload's end, before it calls the application
    for side in SIDES:
        connection = ask(server, side, "cut", b"POST", ENDS + b"content-length: 100\r\n", b"abc")
        if not reads_ahead:
            until_it_reads(server, side, "cut")
        connection.shutdown(socket.SHUT_WR)
        rest(connection)
    if reads_ahead:
        return
    assert same(server, "cut", 1)[-1][1] == "http.disconnect"


@pytest.mark.parametrize("kind", ["denied", "crashed"])
def test_a_handshake_that_is_refused(server: Server, kind: str) -> None:
    """With an answer of the application's own, where the server takes one, or with its exception."""
    answers = []
    for side in SIDES:
        connection = ask(server, side, kind, head=UPGRADE)
        answers.append(rest(connection))
    assert answers[0].split()[1] in (b"418", b"403", b"500")
    assert answers[1] == answers[0]
    same(server, kind, 2 if kind == "denied" else 1)


def test_a_handshake_with_choices(server: Server) -> None:
    """Subprotocol, headers, and the code and reason of the application's close."""
    answers = []
    for side in SIDES:
        connection = ask(server, side, "chosen", head=UPGRADE + b"sec-websocket-protocol: one, two\r\n")
        got = b""
        while not _closes(got) and (piece := connection.recv(65536)):
            got += piece
        connection.sendall(CLOSE)
        answers.append(re.sub(rb"(?i)date: [^\r]*\r\n", b"", got) + rest(connection))
    assert b"sec-websocket-protocol: two\r\n" in answers[0].lower()
    assert answers[1] == answers[0]
    same(server, "chosen", 3)


def _closes(got: bytes) -> bool:
    """Say whether a whole close frame has come after the answer's head."""
    frame = got.partition(b"\r\n\r\n")[2]
    return frame[:1] == b"\x88" and len(frame) >= 2 + frame[1]


def test_an_application_that_sends_after_the_close(server: Server) -> None:
    """Its send() returns, or raises, as without."""
    for side in SIDES:
        with websocket(server.port, f"/{side}/late?{side}-late"):
            pass
    same(server, "late", 4)
