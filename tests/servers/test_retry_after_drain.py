"""Who opens an event stream of a process that is about to end: told to come back, if that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import signal
import socket
from typing import Any

import pytest
from served import DEADLINE, GUNICORN, Emitted, Server, wait_until

from streaming_dd import recorder
from streaming_dd.middleware import DatadogMiddleware

STREAM = [(b"accept", b"text/event-stream")]
TOLD = re.compile(rb"retry: (\d+)\n\n")


def refused(port: int) -> bool:
    """Tell whether nobody listens any more."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    return True


@pytest.mark.process
@pytest.mark.parametrize("seconds", ["0", "3"])
def test_a_connection_that_stays_open_after_the_signal(seconds: str, serve: Any, emitted: Emitted) -> None:
    """gunicorn's ASGI worker answers it: with the application's stream, or with one that says when to come back."""
    # Time enough after the signal for all that is asked below.
    patient = ["--keep-alive", "120", "--graceful-timeout", "120"]
    command = [*GUNICORN, "-w", "1", "-k", "asgi", *patient, "observed_starlette_site:app"]
    server: Server = serve(command, emitted.environment(STREAMING_RETRY_AFTER_DRAIN=seconds))
    server.stream("/clock")
    kept = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE) for _ in range(2)]
    for connection in kept:
        connection.request("GET", "/hello")
        assert connection.getresponse().read() == b"hello"
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: refused(server.port), "the server to listen no more")
    kept[0].request("GET", "/hello", headers={"accept": "text/html"})
    assert kept[0].getresponse().read() == b"hello"
    kept[1].request("GET", "/clock", headers={"accept": "text/event-stream"})
    response = kept[1].getresponse()
    assert (response.status, response.getheader("content-type", "")[:17]) == (200, "text/event-stream")
    if seconds == "0":
        assert response.readline() == b"event: tick\n"
    else:
        found = TOLD.fullmatch(response.read())
        assert found is not None
        assert 3000 <= int(found[1]) <= 6000
        assert response.getheader("connection") == "close"
    for connection in kept:
        connection.close()


@pytest.mark.parametrize(
    ("asked", "stopping", "told"),
    [
        ({"headers": STREAM}, True, True),
        ({"headers": STREAM}, False, False),
        ({"headers": [(b"accept", b"text/html, */*")]}, True, False),
        ({"headers": []}, True, False),
        ({"headers": STREAM, "method": "POST"}, True, False),
    ],
)
def test_who_is_told(
    asked: Any, stopping: bool, told: bool, configure: Any, exchange: Any, flush: Any, event_app: Any
) -> None:
    """Only a GET for an event stream, and only after the signal; it counts as a stream without events that completed."""
    configure(retry_after_drain=2)
    recorder.get().stopping = stopping
    request = exchange("/s", **asked)
    asyncio.run(request.run(DatadogMiddleware(event_app(b"data: 1\n\n"))))
    body = b"".join(message.get("body", b"") for message in request.sent)
    assert (TOLD.fullmatch(body) is not None) is told
    sender = flush()
    assert sender.total("streaming.streams.closed", outcome="completed") == 1
    assert sender.total("streaming.stream.events") == (0 if told else 1)
