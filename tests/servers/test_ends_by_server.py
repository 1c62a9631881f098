"""The same ends under every server: WebSockets whose client leaves, files, what follows a response, no response at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from typing import Any

import pytest
from served import APPS, DEADLINE, UVICORN, Emitted, Server, least, websocket

pytestmark = pytest.mark.process

SITE = "push_site:app"
SERVERS = {
    "uvicorn, websockets": [*UVICORN, SITE, "--ws", "websockets"],
    "uvicorn, sansio": [*UVICORN, SITE, "--ws", "websockets-sansio"],
    "uvicorn, wsproto": [*UVICORN, SITE, "--ws", "wsproto"],
    "hypercorn": ["hypercorn", "--bind", "fd://{fd}", SITE],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "--working-dir", str(APPS), SITE],
    "daphne": ["daphne", "--fd", "{fd}", SITE],
    "gunicorn": ["gunicorn", "-b", "fd://{fd}", "--chdir", str(APPS), "-k", "asgi", SITE],
}  # fmt: skip


@pytest.fixture(params=SERVERS.values(), ids=SERVERS)
def server(request: Any, serve: Any, emitted: Emitted) -> Server:
    path = os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = emitted.environment(STREAMING_FLUSH_INTERVAL="0.1", PYTHONPATH=path)
    found: Server = serve(request.param, environment)
    deadline = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", found.port), 1):
            break
        assert time.monotonic() < deadline, found.err
        time.sleep(0.05)
    return found


def test_a_socket_whose_client_leaves(server: Server, emitted: Emitted) -> None:
    """Gone from the gauge soon, whether the app only sends or does neither; no error on any of them."""
    opened = 0

    def until_they_are_gone() -> float:
        nonlocal opened
        opened += 2
        with websocket(server.port, "/push") as pushed, websocket(server.port, "/silent"):
            pushed.recv()
            emitted.wait_for(lambda: emitted.level("streaming.ws.active") == 2)
        left = time.monotonic()
        emitted.wait_for(lambda: emitted.level("streaming.ws.active") == 0)
        return time.monotonic() - left

    assert least(until_they_are_gone, 4) < 4, "two seconds; the rest is for a loaded machine"
    server.end(15)
    emitted.wait_for(lambda: emitted.count("streaming.ws.closed") == opened)
    assert emitted.count("streaming.ws.closed", outcome="client_disconnect") == opened
    assert {span.error for span in emitted.spans("ws.request")} <= {0}


def test_what_a_request_came_to(server: Server, emitted: Emitted) -> None:
    """A file is whole, background work is none of its duration, and an app without a response has failed."""
    for _ in range(2):
        status, body = server.get("/file")
        assert (status, len(body)) == (200, 200_000)
    late = itertools.count(1)

    def seconds() -> float:
        """What a request took of which the application is not done for a second yet, by its line."""
        number = next(late)
        status, body = server.get("/late")
        assert (status, len(body)) == (200, 200_000)
        emitted.wait_for(lambda: len(emitted.logs(http__url="/late")) == number)
        return float(emitted.logs(http__url="/late")[-1]["duration"]) / 1e9

    assert least(seconds, 1) < 1
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")  # daphne never answers it
        emitted.wait_for(lambda: emitted.logs(outcome="error"))
    completed = 1 + next(late)
    emitted.wait_for(lambda: len(emitted.logs(outcome="completed")) == completed)
    lines = emitted.logs(outcome="completed")
    assert {line["network.bytes_written"] for line in lines} == {200_000}
    (failed,) = emitted.logs(outcome="error")
    assert (failed["http.status_code"], failed["error.kind"]) == (500, "NoResponse")
    emitted.wait_for(lambda: emitted.timings("streaming.http.background"))
    emitted.wait_for(lambda: emitted.level("streaming.http.active") == 0)
