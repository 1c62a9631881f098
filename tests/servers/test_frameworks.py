"""One table for every framework: outcomes, routes without ids, streams, WebSockets, what comes later, the lifespan."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
from typing import Any

import pytest
from served import DEADLINE, UVICORN, Emitted, Server, Stream, websocket
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.process

#: Name -> the module that it needs.
FRAMEWORKS = {
    "fastapi": "fastapi",
    "litestar": "litestar",
    "quart": "quart",
    "blacksheep": "blacksheep",
    "rest": "rest_framework",
    "ninja": "ninja",
}
DJANGOS = ("rest", "ninja")
#: Background work of the framework's own is `http.background`; a task of the application's a `task.run`.
BACKGROUND = ("fastapi", "litestar")
NO_405 = ("blacksheep",)


def asked(server: Server, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework(name: str, serve: Any, emitted: Emitted) -> None:
    """The same table for all of them; ids are in no tag and in no span's resource."""
    if importlib.util.find_spec(FRAMEWORKS[name]) is None:
        pytest.skip(f"{FRAMEWORKS[name]} is not installed")
    server: Server = serve(
        [*UVICORN, f"framework_{name}:app"], emitted.environment(STREAMING_FLUSH_INTERVAL="0.1")
    )
    wrong = 404 if name in NO_405 else 405
    wrong_route = "unmatched" if name in NO_405 else "/v1/:tenant/items/:number"
    expected = {
        ("GET", "/v1/acme/items/7"): (200, "/v1/:tenant/items/:number", "completed", None),
        ("POST", "/v1/acme/items/7"): (wrong, wrong_route, "completed", None),
        ("GET", "/v1/acme/nothing/7"): (404, "unmatched", "completed", None),
        ("GET", "/v1/acme/fails/7"): (500, "/v1/:tenant/fails/:number", "error", "LookupError"),
        ("GET", "/v1/acme/events/3"): (200, "/v1/:tenant/events/:number", "completed", None),
    }  # fmt: skip
    for (method, path), (status, *_) in expected.items():
        assert asked(server, method, path) == status, (method, path)
    server_sent = Stream(server.port, "/v1/acme/events/100000")
    server_sent.response.readline()
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 1)
    server_sent.leave()
    if name not in DJANGOS:
        assert asked(server, "GET", "/v1/acme/later/7") == 200
        with websocket(server.port, "/v1/acme/echo/7") as socket:
            socket.send("x")
            assert socket.recv(DEADLINE) == "x"
        with pytest.raises(InvalidStatus), websocket(server.port, "/v1/acme/nowhere/7"):
            pass
        emitted.wait_for(lambda: emitted.count("streaming.ws.closed", route="/v1/:tenant/echo/:number"))
        if name in BACKGROUND:
            emitted.wait_for(
                lambda: emitted.timings("streaming.http.background", route="/v1/:tenant/later/:number")
            )
        else:
            emitted.wait_for(
                lambda: emitted.count("streaming.tasks.completed", app="framework", model="work")
            )
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 0)
    left = Stream(server.port, "/v1/acme/events/100001")
    left.response.readline()
    server.end(15)
    left.leave()
    emitted.wait_for(lambda: emitted.count("streaming.streams.closed") == 3)
    for outcome in ("completed", "client_disconnect", "server_shutdown"):
        route = "/v1/:tenant/events/:number"
        assert emitted.count("streaming.streams.closed", outcome=outcome, route=route) == 1
    for (method, path), (status, route, outcome, kind) in expected.items():
        emitted.wait_for(lambda method=method, path=path: emitted.logs(http__method=method, http__url=path))
        (line,) = emitted.logs(http__method=method, http__url=path)
        found = line["http.status_code"], line["http.route"], line["outcome"], line.get("error.kind")
        assert found == (status, route, outcome, kind), line
    assert not [span.resource for span in emitted.spans() if "acme" in span.resource or "7" in span.resource]
    assert {bool(span.error) for span in emitted.spans() if "fails" in span.resource} == {True}
    assert {bool(span.error) for span in emitted.spans() if "fails" not in span.resource} == {False}
    if name not in DJANGOS:
        assert [line for line in server.out.splitlines() if line in ("started", "ended")] == [
            "started",
            "ended",
        ]
