"""How requests, streams and WebSockets end: one rule, whoever raises what."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from streaming_dd.middleware import DatadogMiddleware

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
BODY = {"type": "http.response.body", "body": b"done"}


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """End without a response."""


async def does_not_end(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({**BODY, "more_body": True})


async def status_in_text(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "status": "200"})
    await send(BODY)


async def reads_on(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({**START, "status": 500})
    await send(BODY)
    raise ClientDisconnect


async def late(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)
    raise ValueError("after the end")


async def error_page(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "status": 500})
    await send(BODY)
    raise ValueError("no")


async def pathsend(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({"type": "http.response.pathsend", "path": "/dev/null"})


async def zerocopy(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({"type": "http.response.zerocopysend", "file": 0, "count": 3, "more_body": True})
    await send({"type": "http.response.zerocopysend", "file": 0, "count": 1})


async def trailers(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "trailers": True})
    await send(BODY)
    await send({"type": "http.response.trailers", "headers": [], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": []})


async def lost_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "trailers": True})
    await send(BODY)


def raising(error: BaseException) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return app


HTTP = [
    (returns, False, "500", "error", "NoResponse"),
    (does_not_end, False, "200", "error", "UnfinishedResponse"),
    (lost_trailers, False, "200", "error", "UnfinishedResponse"),
    (reads_on, True, "499", "client_disconnect", ""),  # an upload that was aborted
    (late, False, "200", "completed", ""),
    (status_in_text, False, "200", "completed", ""),
    (error_page, False, "500", "error", "ValueError"),
    (pathsend, False, "200", "completed", ""),
    (zerocopy, False, "200", "completed", ""),
    (trailers, False, "200", "completed", ""),
    (raising(ClientDisconnect()), False, "499", "client_disconnect", ""),
    (raising(BaseExceptionGroup("", [ClientDisconnect(), asyncio.CancelledError()])), False, "499",
     "client_disconnect", ""),
    (raising(ExceptionGroup("", [ClientDisconnect(), ValueError("no")])), False, "500", "error", None),
]  # fmt: skip


@pytest.mark.parametrize(("app", "leaves", "status", "outcome", "error"), HTTP)
def test_the_end_of_a_request(
    app: Any, leaves: bool, status: str, outcome: str, error: str | None, captured: Any, exchange: Any
) -> None:
    """Status, outcome and error type on metric and span; no error but the application's."""

    async def main() -> None:
        request = exchange("/r").request()
        if leaves:
            request.disconnect()
        with contextlib.suppress(BaseException):  # what comes out is tested elsewhere
            await DatadogMiddleware(app)(request.scope, request.receive, request.send)

    asyncio.run(main())
    metrics, span = captured.metrics, captured.spans.one("asgi.request")
    assert metrics.count("http.requests", status=status) == 1
    assert metrics.count("http.requests") == 1
    assert metrics.count("http.errors") == (0 if error == "" else 1)
    if error:
        assert metrics.count("http.errors", error_type=error) == 1
    assert (span.error, span.tags["http.status_code"]) == (0 if error == "" else 1, status)


@pytest.mark.parametrize("status", ["200", "5o0", None, [], 200.5])
def test_any_status_is_the_servers_to_judge(status: Any, configure: Any, exchange: Any) -> None:
    """A status that is no number reaches the server as it is, and raises nothing of ours into the application."""
    configure()
    returned: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": status})
        await send(BODY)
        returned.append(True)

    request = exchange("/")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert returned == [True]
    assert [message.get("status") for message in request.sent] == [status, None]


class Unspeakable(Exception):
    """Its text ends the process, if it is let."""

    def __str__(self) -> str:
        raise self.args[0]

    __repr__ = __str__


@pytest.mark.parametrize("inner", [SystemExit, asyncio.CancelledError, KeyboardInterrupt, ValueError])
def test_an_exception_that_cannot_be_told_comes_out_as_it_is(
    inner: type[BaseException], captured: Any, exchange: Any
) -> None:
    """Whatever its __str__ raises: the application's own exception goes on, and the span has ended."""
    error = Unspeakable(inner())
    request = exchange("/")
    came: list[BaseException] = []

    async def main() -> None:
        try:
            await DatadogMiddleware(raising(error))(request.scope, request.receive, request.send)
        except BaseException as out:  # noqa: BLE001 - which it is, is what is tested
            came.append(out)

    asyncio.run(main())
    assert came[0] is error
    span = captured.spans.one("asgi.request")
    assert span.error == 1
    assert "raised" in span.tags["error.message"]


def test_bytes_of_files_are_counted_and_those_of_head_are_not(
    configure: Any, exchange: Any, flush: Callable[[], Any]
) -> None:
    """A file has the size that was announced, or the count that was sent; HEAD has no body, whatever the app sends."""
    configure()
    for app, method in ((pathsend, "GET"), (zerocopy, "GET"), (pathsend, "HEAD"), (late, "HEAD")):
        request = exchange("/f", method=method)
        with contextlib.suppress(ValueError):
            asyncio.run(request.run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.http.response_bytes", method="GET") == 8
    assert sender.total("streaming.http.response_bytes", method="HEAD") == 0
    assert len(sender.values("streaming.http.time_to_first_byte", method="GET")) == 2


def test_what_follows_the_last_byte_is_something_else(configure: Any, exchange: Any, flush: Any) -> None:
    """Background work is in neither the duration nor the gauge of requests; it has a sample of its own."""
    configure()
    seen: list[float] = []
    took: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        took.append((time.perf_counter() - began) * 1000)
        seen.append(flush().last("streaming.http.active"))
        await asyncio.sleep(0.2)

    began = time.perf_counter()
    asyncio.run(exchange("/b").run(DatadogMiddleware(app)))
    sender = flush()
    assert seen == [0]
    assert sender.values("streaming.http.background", outcome="completed")[0] >= 200
    assert sender.values("streaming.http.duration")[0] <= took[0]


def test_ten_thousand_methods_leave_the_routes_alone(configure: Any, exchange: Any, flush: Any) -> None:
    """A client's invented methods share one place; later routes keep their names."""
    found = configure(route_patterns=["/orders/{id}"])
    for number in range(10_100):
        found.traffic.request_cell(f"M{number}", "unmatched", 404)
        found.traffic.count_error(f"M{number}", "unmatched", "none")
    asyncio.run(exchange("/orders/7").run(DatadogMiddleware(late_without_error)))
    assert flush().total("streaming.http.requests", method="GET", route="/orders/:id") == 1


async def late_without_error(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


# --- WebSockets ---------------------------------------------------------------------------------------------


class Socket:
    """An ASGI server for one WebSocket."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "path": "/ws",
            "root_path": "",
            "scheme": "ws",
            "headers": [(b"host", b"example.org")],
            "client": ("127.0.0.1", 1234),
        }
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages.put_nowait({"type": "websocket.connect"})
        self.sent: list[Any] = []
        self.refuse: BaseException | None = None

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    async def send(self, message: Any) -> None:
        if self.refuse is not None and message["type"] == "websocket.send":
            raise self.refuse
        self.sent.append(message)
        await asyncio.sleep(0)


async def push(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "text": "tick"})
        await asyncio.sleep(0.01)


async def push_in_a_group(scope: Any, receive: Any, send: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(push(scope, receive, send))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


async def closes(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1000})


REFUSALS = [
    OSError("gone"),
    ConnectionResetError(),
    RuntimeError('Unexpected ASGI message "websocket.send", after sending "websocket.close"'),
    WebSocketDisconnect(1006),
]


@pytest.mark.parametrize("app", [push, push_in_a_group])
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_client_that_leaves_a_push_only_socket_is_no_error(
    refusal: BaseException, app: Any, captured: Any, soon: Any
) -> None:
    """Whatever the server's send() raises, also in a group: the client has left."""

    async def main() -> None:
        socket = Socket()
        task = asyncio.create_task(DatadogMiddleware(app)(socket.scope, socket.receive, socket.send))
        await soon(lambda: len(socket.sent) >= 3)
        socket.refuse = refusal
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert captured.metrics.count("ws.closed", outcome="client_disconnect") == 1
    assert captured.metrics.count("ws.closed") == 1
    span = captured.spans.one("ws.request")
    assert (span.error, span.tags["stream.outcome"]) == (0, "client_disconnect")


@pytest.mark.parametrize(
    ("app", "code", "outcome"),
    [
        (echo, 1000, "completed"),
        (echo, 1001, "completed"),
        (echo, 1006, "client_disconnect"),
        (echo, 1012, "server_shutdown"),
        (closes, 0, "completed"),
    ],
)
def test_the_code_tells_who_closed(app: Any, code: int, outcome: str, configure: Any, flush: Any) -> None:
    """A conversation that is closed well is completed; 1012 is the server that goes down."""
    configure()

    async def main() -> None:
        socket = Socket()
        if code:
            socket.messages.put_nowait({"type": "websocket.disconnect", "code": code})
        await DatadogMiddleware(app)(socket.scope, socket.receive, socket.send)

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.ws.closed", outcome=outcome) == 1
    assert sender.last("streaming.ws.active") == 0


@pytest.mark.parametrize("sends", [True, False])
def test_a_socket_whose_app_does_not_listen_is_watched(
    sends: bool, configure: Any, flush: Any, soon: Any
) -> None:
    """The gauge falls although the app only sends (to a server that says nothing), or does neither; messages are kept."""
    configure()

    async def main() -> None:
        socket, done, got = Socket(), asyncio.Event(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while not done.is_set():
                if sends:
                    await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(0.01)
            got.extend([await receive() for _ in range(3)])

        said = [{"type": "websocket.receive", "text": str(number)} for number in range(2)]
        left = {"type": "websocket.disconnect", "code": 1001}
        task = asyncio.create_task(DatadogMiddleware(app)(socket.scope, socket.receive, socket.send))
        for message in (*said, left):
            socket.messages.put_nowait(message)
        await soon(lambda: flush().last("streaming.ws.active") == 0)
        done.set()
        await task
        assert [id(message) for message in got] == [id(message) for message in (*said, left)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("messages", "error", "status", "failed"),
    [
        ([{"type": "websocket.close"}], None, "403", 0),
        ([{"type": "websocket.http.response.start", "status": 401, "headers": []},
          {"type": "websocket.http.response.body", "body": b"no"}], None, "401", 0),
        ([], ValueError("no database"), "500", 1),
        ([], None, "500", 1),
    ],
)  # fmt: skip
def test_a_refused_handshake_is_a_request(
    messages: Any, error: Any, status: str, failed: int, captured: Any
) -> None:
    """Refused, denied, crashed or left unanswered: counted with its status and route, on metric, span and line."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    async def main() -> None:
        socket = Socket()
        await asyncio.gather(
            DatadogMiddleware(app, route_patterns=("/ws",))(socket.scope, socket.receive, socket.send),
            return_exceptions=True,
        )

    asyncio.run(main())
    assert captured.metrics.count("http.requests", status=status, route="/ws") == 1
    assert captured.metrics.count("http.errors") == failed
    assert captured.metrics.count("ws.opened") == 0
    span = captured.spans.one("ws.request")
    assert (span.tags["http.status_code"], span.resource, span.error) == (status, "/ws", failed)


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [(RuntimeError("Unsupported ASGI message"), "error"), (OSError("gone"), "client_disconnect")],
)
def test_a_handshake_whose_answer_the_server_refuses(refusal: Exception, outcome: str, captured: Any) -> None:
    """What a server does not take is no client that has left; a broken connection is."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    class Refuses(Socket):
        async def send(self, message: Any) -> None:
            if message["type"] == "websocket.http.response.body":
                raise refusal

    async def main() -> None:
        socket = Refuses()
        with pytest.raises(type(refusal)):
            await DatadogMiddleware(app)(socket.scope, socket.receive, socket.send)

    asyncio.run(main())
    span = captured.spans.one("ws.request")
    assert (span.tags["stream.outcome"], span.error) == (outcome, int(outcome == "error"))


def test_everything_that_is_open_can_be_ended_once(configure: Any, exchange: Any, flush: Any) -> None:
    """At the end of the process streams, sockets and requests end as a shutdown; a real end that comes is not counted."""
    found = configure()

    async def main() -> None:
        gate = asyncio.Event()

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {"type": "http.response.start", "status": 200,
                 "headers": [(b"content-type", b"text/event-stream")]}
            )  # fmt: skip
            await gate.wait()
            await send({"type": "http.response.body"})

        async def socket_app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            await gate.wait()

        request, socket = exchange("/s").request(), Socket()
        running = [
            asyncio.create_task(DatadogMiddleware(stream)(request.scope, request.receive, request.send)),
            asyncio.create_task(DatadogMiddleware(socket_app)(socket.scope, socket.receive, socket.send)),
        ]
        await asyncio.sleep(0.01)
        found.stopping = True
        found.traffic.abandon()
        gate.set()
        await asyncio.gather(*running)

    asyncio.run(main())
    sender = flush()
    for name in ("streaming.streams.closed", "streaming.ws.closed"):
        assert sender.total(name, outcome="server_shutdown") == 1
        assert sender.total(name) == 1
    assert (sender.last("streaming.http.active"), sender.last("streaming.ws.active")) == (0, 0)


def test_a_zombie_is_counted_and_named(
    configure: Any, exchange: Any, flush: Any, soon: Any, caplog: Any
) -> None:
    """A stream that goes on without its client shows on a gauge, and after a limit in the log, with where it waits."""
    configure(stream_zombie=0.1)

    async def main() -> None:
        gate = asyncio.Event()

        async def waits_for_ever() -> None:
            await gate.wait()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {"type": "http.response.start", "status": 200,
                 "headers": [(b"content-type", b"text/event-stream")]}
            )  # fmt: skip
            await waits_for_ever()

        request = exchange("/s").request()
        request.disconnect()
        task = asyncio.create_task(DatadogMiddleware(app)(request.scope, request.receive, request.send))
        await soon(
            lambda: flush().samples("streaming.streams.zombies") and flush().last("streaming.streams.zombies")
        )
        await soon(lambda: flush() and "runs on" in caplog.text)
        gate.set()
        await task

    asyncio.run(main())
    assert "waits_for_ever" in caplog.text
    assert flush().last("streaming.streams.zombies") == 0
    assert flush().total("streaming.streams.closed", outcome="client_disconnect") == 1
