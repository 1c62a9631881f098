"""The same ends under every server: WebSockets whose client leaves, files, what follows a response, no response at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import time
from typing import Any

import pytest
from served import APPS, DEADLINE, UVICORN, Emitted, Server
from websockets.sync.client import connect

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
    address = f"ws://127.0.0.1:{server.port}"
    with connect(f"{address}/push") as pushed, connect(f"{address}/silent"):
        pushed.recv()
        emitted.wait_for(lambda: emitted.level("streaming.ws.active") == 2)
    left = time.monotonic()
    emitted.wait_for(lambda: emitted.level("streaming.ws.active") == 0)
    assert time.monotonic() - left < 4, "two seconds; the rest is for a loaded machine"
    server.end(15)
    emitted.wait_for(lambda: emitted.count("streaming.ws.closed") == 2)
    assert emitted.count("streaming.ws.closed", outcome="client_disconnect") == 2
    assert {span.error for span in emitted.spans("ws.request")} <= {0}


def test_what_a_request_came_to(server: Server, emitted: Emitted) -> None:
    """A file is whole, background work is none of its duration, and an app without a response has failed."""
    for path in ("/file", "/late"):
        assert (server.get(path)[0], len(server.get(path)[1])) == (200, 200_000)
    with contextlib.suppress(AssertionError, http.client.HTTPException):
        server.get("/nothing")
    emitted.wait_for(lambda: len(emitted.logs(outcome="completed")) == 4)
    emitted.wait_for(lambda: emitted.logs(outcome="error"))
    lines = emitted.logs(outcome="completed")
    assert {line["network.bytes_written"] for line in lines} == {200_000}
    assert max(line["duration"] for line in lines) < 1e9
    (failed,) = emitted.logs(outcome="error")
    assert (failed["http.status_code"], failed["error.kind"]) == (500, "NoResponse")
    emitted.wait_for(lambda: emitted.timings("streaming.http.background"))
    emitted.wait_for(lambda: emitted.level("streaming.http.active") == 0)
