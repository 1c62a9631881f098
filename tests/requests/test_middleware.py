"""The middleware: what it counts, what it leaves alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from gunicorn.http2.errors import HTTP2ConnectionError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from streaming_dd import recorder
from streaming_dd.endpoints import Endpoints
from streaming_dd.middleware import DatadogMiddleware
from streaming_dd.output import notices


async def until(condition: Any, timeout: float = 60) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - conditions of live state, no event announces them
            await asyncio.sleep(0.01)


async def _outcome_of(awaitable: Any) -> BaseException | None:
    """What an awaitable raises, whatever it is."""
    try:
        await awaitable
    except BaseException as error:  # noqa: BLE001 - GeneratorExit and CancelledError are what is tested
        return error
    return None


async def hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello", status_code=int(request.query_params.get("status", 200)))


async def boom(request: Any) -> PlainTextResponse:
    raise ValueError("no")


SITE = Starlette(routes=[Route("/hello/{name}", hello), Route("/boom", boom)])


# --- requests -----------------------------------------------------------------------------------------------


def test_a_request_is_counted_and_timed(configure: Any, exchange: Any, flush: Any) -> None:
    """Count by method, route, status and class; time to first byte, duration and bytes; none in flight after."""
    configure()
    asyncio.run(exchange("/hello/ada").run(DatadogMiddleware(SITE)))
    sender = flush()
    tags = {"method": "GET", "route": "/hello/:name", "status_class": "2xx"}
    assert sender.total("streaming.http.requests", status="200", **tags) == 1
    assert sender.total("streaming.http.response_bytes", **tags) == 5
    assert len(sender.values("streaming.http.duration", **tags)) == 1
    first, whole = (
        sender.values("streaming.http.time_to_first_byte", **tags),
        sender.values("streaming.http.duration", **tags),
    )
    assert 0 < first[0] <= whole[0]
    assert sender.last("streaming.http.active") == 0
    assert sender.total("streaming.http.errors") == 0


def test_requests_in_flight_are_a_gauge(configure: Any, exchange: Any, flush: Any) -> None:
    """http.active is read from live state."""
    configure()
    release = asyncio.Event

    async def main() -> None:
        gate = release()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await gate.wait()
            await PlainTextResponse("x")(scope, receive, send)

        wrapped = DatadogMiddleware(app)
        running = [asyncio.create_task(exchange("/").run(wrapped)) for _ in range(3)]
        await asyncio.sleep(0)
        assert flush().last("streaming.http.active") == 3
        gate.set()
        await asyncio.gather(*running)
        assert flush().last("streaming.http.active") == 0

    asyncio.run(main())


def test_an_exception_passes_through_untouched_and_counts_as_500(
    configure: Any, exchange: Any, flush: Any
) -> None:
    """The very exception object comes out; the request counts as 5xx with its error type."""
    configure()
    error = ValueError("mine")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        asyncio.run(exchange("/").run(DatadogMiddleware(app)))
    assert caught.value is error
    sender = flush()
    assert sender.total("streaming.http.requests", status="500", status_class="5xx") == 1
    assert sender.total("streaming.http.errors", error_type="ValueError") == 1
    assert sender.last("streaming.http.active") == 0


def test_a_status_sent_is_kept_when_the_body_fails_later(configure: Any, exchange: Any, flush: Any) -> None:
    """The wire said 200: the count says so too, and the failure is an error of its own."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        asyncio.run(exchange("/").run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.http.requests", status="200") == 1
    assert sender.total("streaming.http.errors", error_type="OSError") == 1


def test_a_500_answered_without_an_exception_is_an_error(configure: Any, exchange: Any, flush: Any) -> None:
    """A 5xx status counts as an error also if nobody raised."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("busy", status_code=503)(scope, receive, send)

    asyncio.run(exchange("/").run(DatadogMiddleware(app)))
    assert flush().total("streaming.http.errors", error_type="none") == 1


def test_an_error_rate_has_its_zero_before_the_first_error(configure: Any, exchange: Any, flush: Any) -> None:
    """The first request of a route sends a zero of its errors: a formula over them has a value at once."""
    configure()
    asyncio.run(exchange("/hello/ada").run(DatadogMiddleware(SITE)))
    assert flush().samples("streaming.http.errors") == [
        ("0", {"error_type": "none", "method": "GET", "route": "/hello/:name"})
    ]


def test_an_unknown_method_is_other(configure: Any, exchange: Any, flush: Any) -> None:
    """Scanners' methods make no series of their own."""
    configure()
    asyncio.run(exchange("/", method="PROPFIND-EVIL").run(DatadogMiddleware(SITE)))
    assert flush().total("streaming.http.requests", method="OTHER") == 1


def test_paths_left_out_leave_no_trace(configure: Any, exchange: Any, flush: Any) -> None:
    """An excluded path is served and neither counted nor timed."""
    configure(exclude_paths=["/hello/*"])
    request = exchange("/hello/ada")
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    assert request.status == 200
    assert flush().samples("streaming.http.requests") == []


def test_wrapping_twice_counts_once(configure: Any, exchange: Any, flush: Any) -> None:
    """The inner one of two middlewares stands aside."""
    configure()
    asyncio.run(exchange("/hello/ada").run(DatadogMiddleware(DatadogMiddleware(SITE))))
    assert flush().total("streaming.http.requests") == 1


@pytest.mark.parametrize("settings", [{"enabled": False}, {"metrics_enabled": False}])
def test_switched_off_the_app_runs_the_same(settings: Any, configure: Any, exchange: Any, flush: Any) -> None:
    """With everything or metrics off nothing is sent, and nothing piles up."""
    found = configure(**settings)
    request = exchange("/hello/ada")
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    assert (request.status, request.body) == (200, b"hello")
    assert flush().payloads == []
    kept = [handle for handle in found.metrics.handles() if handle.metric.name.startswith("http.")]
    assert not any(getattr(handle, "values", ()) for handle in kept)


def test_messages_reach_the_server_unchanged(configure: Any, exchange: Any) -> None:
    """The same message objects come out that went in: bytes and headers are as without the middleware."""
    configure()
    messages = [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"X-Odd", b"1"), (b"x-odd", b"2")],
            "trailers": True,
        },
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "more_body": False},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.unheard_of"},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    request = exchange("/")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert all(sent is message for sent, message in zip(request.sent, messages, strict=True))


def test_a_malformed_message_is_the_servers_to_refuse(configure: Any, exchange: Any, flush: Any) -> None:
    """What the app sends wrongly goes to the server as it is; we only count that we could not read it."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start"})
        await send({"type": "http.response.body", "body": None})

    request = exchange("/")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert len(request.sent) == 2
    assert flush().total("streaming.telemetry.samples_dropped", reason="internal_error") >= 1


# --- streams ------------------------------------------------------------------------------------------------


def test_a_stream_is_counted_by_its_events(configure: Any, exchange: Any, flush: Any, event_app: Any) -> None:
    """Opened, closed, first event, lifetime, events and bytes; its lifetime is no request duration."""
    configure()
    app = event_app(b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n", b"data: 4\r\n\r\n")
    asyncio.run(exchange("/s").run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.streams.opened") == 1
    assert sender.total("streaming.streams.closed", outcome="completed") == 1
    assert sender.total("streaming.stream.events") == 4
    assert sender.total("streaming.stream.bytes") == 38
    assert len(sender.values("streaming.stream.first_event")) == 1
    assert len(sender.values("streaming.stream.gap")) == 1
    assert len(sender.values("streaming.stream.duration", outcome="completed")) == 1
    assert sender.samples("streaming.http.duration") == []
    assert sender.total("streaming.http.requests", status="200") == 1
    assert len(sender.values("streaming.http.time_to_first_byte")) == 1


def test_a_stream_counts_as_a_request_when_it_starts(configure: Any, exchange: Any, flush: Any) -> None:
    """An operator need not wait for a stream's end to see that it was asked for, and how soon it began."""
    configure(first_byte_limit=60)

    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"Content-Type", b"text/event-stream")],
                }
            )
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await gate.wait()
            await send({"type": "http.response.body", "body": b""})

        task = asyncio.create_task(exchange("/s").run(DatadogMiddleware(app)))
        await asyncio.sleep(0)
        sender = flush()
        assert sender.total("streaming.http.requests") == 1
        assert sender.last("streaming.clients.active", app="none", model="none") == 1
        assert sender.last("streaming.clients.peak") == 1
        assert len(sender.values("streaming.http.time_to_first_byte")) == 1
        assert sender.total("streaming.http.first_bytes", in_time="true") == 1
        gate.set()
        await task
        sender = flush()
        assert len(sender.values("streaming.http.time_to_first_byte")) == 1
        assert sender.total("streaming.http.first_bytes") == 1
        sender = flush()
        assert sender.total("streaming.http.requests") == 1
        assert sender.last("streaming.clients.active") == 0
        assert sender.last("streaming.clients.peak") == 1

    asyncio.run(main())


def test_a_long_response_without_a_length_becomes_a_stream(
    configure: Any, exchange: Any, flush: Any, monkeypatch: Any
) -> None:
    """A stream is known by its behaviour too, whatever its content type; a download with a length is none."""
    monkeypatch.setattr("streaming_dd.requests.http_response._STREAM_AFTER", 0.0)
    configure()

    def app(headers: list[tuple[bytes, bytes]]) -> Any:
        async def respond(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        return DatadogMiddleware(respond)

    asyncio.run(exchange("/s").run(app([(b"content-type", b"text/plain")])))
    assert flush().total("streaming.streams.opened") == 1
    asyncio.run(exchange("/d").run(app([(b"content-length", b"15")])))
    assert flush().total("streaming.streams.opened") == 1


@pytest.mark.parametrize("listens", [True, False], ids=["app receives", "app never looks"])
def test_a_client_that_left_is_gone_from_the_gauge(
    listens: bool, configure: Any, exchange: Any, flush: Any
) -> None:
    """Also when the app neither calls receive() nor sends: the socket's truth counts, not the app's."""
    configure()

    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            if listens:
                while (await receive())["type"] != "http.disconnect":
                    pass
            await gate.wait()

        request = exchange("/s").request()
        task = asyncio.create_task(DatadogMiddleware(app)(request.scope, request.receive, request.send))
        await asyncio.sleep(0)
        assert flush().last("streaming.clients.active") == 1
        request.disconnect()
        await until(lambda: flush().last("streaming.clients.active") == 0)
        assert not task.done()
        gate.set()
        await task

    asyncio.run(main())
    assert flush().total("streaming.streams.closed", outcome="client_disconnect") == 1
    assert flush().total("streaming.http.errors") == 0


def test_the_apps_own_receive_works_beside_the_watch(configure: Any, exchange: Any, flush: Any) -> None:
    """The request's body and every later message reach an app that calls receive() late, in order."""
    configure()

    async def main() -> None:
        seen: list[dict[str, Any]] = []
        looked = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await looked.wait()
            for _ in range(4):
                seen.append(await receive())

        request = exchange("/s")
        parts = [
            {"type": "http.request", "body": b"%d" % number, "more_body": number < 2} for number in range(3)
        ]
        for part in parts:
            request.messages.put_nowait(part)
        task = asyncio.create_task(DatadogMiddleware(app)(request.scope, request.receive, request.send))
        await until(lambda: request.messages.qsize() < 3)  # the watch has read ahead, by one message
        assert request.messages.qsize() == 2
        looked.set()
        await until(lambda: len(seen) == 3)
        request.disconnect()
        await task
        assert seen[:3] == parts
        assert seen[3]["type"] == "http.disconnect"

    asyncio.run(main())


@pytest.mark.parametrize("watched", [False, True])
def test_is_disconnected_tells_the_truth(watched: bool, configure: Any, exchange: Any, flush: Any) -> None:
    """Starlette's poll sees False while the client is there and True once it left, watched by us or not."""
    configure()

    async def main() -> None:
        answers: list[bool] = []
        step = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            request = Request(scope, receive)
            await request.body()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            if watched:
                await until(lambda: scope["streaming_dd"]._ahead is not None)
            answers.append(await request.is_disconnected())
            await step.wait()
            await asyncio.sleep(0.02)
            answers.append(await request.is_disconnected())

        request = exchange("/s").request()
        task = asyncio.create_task(DatadogMiddleware(app)(request.scope, request.receive, request.send))
        await until(lambda: answers)
        request.disconnect()
        step.set()
        await task
        assert answers == [False, True]

    asyncio.run(main())


def test_the_watch_ends_with_the_stream(configure: Any, exchange: Any) -> None:
    """No task of ours is left when a stream that was watched has ended."""
    configure()

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            await until(lambda: scope["streaming_dd"]._ahead is not None)
            await send({"type": "http.response.body", "body": b""})

        request = exchange("/s").request()
        await DatadogMiddleware(app)(request.scope, request.receive, request.send)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "left", "stopping", "outcome"),
    [
        (None, False, False, "error"),  # it has not ended its response
        (None, False, True, "server_shutdown"),
        (None, True, False, "client_disconnect"),
        (asyncio.CancelledError(), False, False, "client_disconnect"),
        (asyncio.CancelledError(), False, True, "server_shutdown"),
        (asyncio.CancelledError(), True, True, "client_disconnect"),
        (ClientDisconnect(), False, False, "client_disconnect"),
        (HTTP2ConnectionError("Socket write error"), False, False, "client_disconnect"),
        (ValueError("boom"), False, False, "error"),
        (ValueError("boom"), True, False, "client_disconnect"),
        (GeneratorExit(), False, False, "client_disconnect"),
    ],
)
def test_the_outcome_of_a_stream(
    error: Any, left: bool, stopping: bool, outcome: str, configure: Any, exchange: Any, flush: Any
) -> None:
    """A disconnect, a cancellation and a shutdown are never errors; an exception is one."""
    found = configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await receive()
        if left:
            assert (await receive())["type"] == "http.disconnect"
        found.stopping = stopping
        if error is not None:
            raise error

    async def main() -> None:
        request = exchange("/s").request()
        if left:
            request.disconnect()
        wrapped = DatadogMiddleware(app)(request.scope, request.receive, request.send)
        results = await asyncio.gather(_outcome_of(wrapped))
        assert results == [error]

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.streams.closed", outcome=outcome) == 1
    assert sender.total("streaming.streams.closed") == 1
    assert sender.total("streaming.http.errors") == (1 if outcome == "error" else 0)


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_starlettes_streams_see_a_disconnect_as_no_error(
    spec_version: str, configure: Any, exchange: Any, flush: Any
) -> None:
    """On servers of either ASGI version: outcome client_disconnect, the status that went out, no error."""
    configure()

    async def numbers() -> Any:
        for number in range(1000):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.005)

    async def stream(request: Any) -> StreamingResponse:
        return StreamingResponse(numbers(), media_type="text/event-stream")

    app = DatadogMiddleware(Starlette(routes=[Route("/s", stream)]))

    async def main() -> None:
        request = exchange("/s")
        request.scope["asgi"]["spec_version"] = spec_version

        async def send(message: Any) -> None:
            if spec_version == "2.4" and len(request.sent) > 3:
                raise OSError("gone")
            request.sent.append(message)
            if spec_version == "2.3" and len(request.sent) == 3:
                request.disconnect()

        request.send = send
        try:
            await request.run(app)
        except ClientDisconnect:
            pass

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.streams.closed", outcome="client_disconnect", route="/s") == 1
    assert sender.total("streaming.http.requests", status="200") == 1
    assert sender.total("streaming.http.errors") == 0


def test_a_stalled_stream_is_counted_once_until_it_moves(
    configure: Any, exchange: Any, event_app: Any, flush: Any
) -> None:
    """A stream without an event for longer than the limit is stalled, comments or not; once until it moves."""
    found = configure(stream_stall=10)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        stream = scope["streaming_dd"].stream
        for body, seconds in (
            (b"", 9),
            (b": ping\n\n", 11),
            (b"", 30),
            (b"data: 1\n\n", 9),
            (b": ping\n\n", 11),
        ):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            found.traffic.events.read_all()
            stream.note_stall((stream.last_event or stream.started) + seconds, 10)
        await send({"type": "http.response.body"})

    asyncio.run(exchange("/s").run(DatadogMiddleware(app)))
    assert flush().total("streaming.stream.stalls") == 2


# --- websockets ---------------------------------------------------------------------------------------------


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            if text == "boom":
                raise ValueError("boom")
            await socket.send_text(text)
    except Exception as error:
        if isinstance(error, ValueError):
            raise


SOCKETS = Starlette(routes=[WebSocketRoute("/ws/{room}", echo)])


def test_a_websocket_is_counted_and_timed(configure: Any, flush: Any) -> None:
    """Connected now and at the peak, opened, closed, messages each way, lifetime."""
    configure()
    client = TestClient(DatadogMiddleware(SOCKETS))
    with client.websocket_connect("/ws/a") as socket:
        for number in range(3):
            socket.send_text(str(number))
            assert socket.receive_text() == str(number)
        assert flush().last("streaming.ws.active") == 1
    sender = flush()
    assert sender.last("streaming.ws.active") == 0
    assert sender.last("streaming.ws.peak") == 1
    assert sender.total("streaming.ws.opened", route="/ws/:room") == 1
    assert sender.total("streaming.ws.closed", route="/ws/:room") == 1
    assert sender.total("streaming.ws.received") == 3
    assert sender.total("streaming.ws.sent") == 3
    assert len(sender.values("streaming.ws.duration", outcome="completed")) == 1
    assert sender.samples("streaming.http.requests") == []


def test_a_websocket_that_fails_is_an_error(configure: Any, flush: Any) -> None:
    """An exception in the handler gives the outcome error and passes through."""
    configure()
    socket = TestClient(DatadogMiddleware(SOCKETS)).websocket_connect("/ws/a")

    def talk() -> None:
        with socket:
            socket.send_text("boom")
            socket.receive_text()

    with pytest.raises(ValueError, match="boom"):
        talk()
    sender = flush()
    assert sender.total("streaming.ws.closed", outcome="error") == 1
    assert sender.last("streaming.ws.active") == 0


# --- lifespan -----------------------------------------------------------------------------------------------


def test_the_lifespan_passes_through_and_ends_with_a_flush(configure: Any, sender: Any) -> None:
    """Startup and shutdown handlers run as before; gauges are 0 when the shutdown is complete; it may start again."""
    configure()
    said: list[str] = []

    async def lifespan(app: Any) -> Any:
        said.append("up")
        yield
        said.append("down")

    import contextlib

    app = DatadogMiddleware(
        Starlette(routes=[Route("/hello/{name}", hello)], lifespan=contextlib.asynccontextmanager(lifespan))
    )
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/hello/a").status_code == 200
    assert said == ["up", "down", "up", "down"]
    assert sender.total("streaming.http.requests") == 2
    assert sender.last("streaming.http.active") == 0


def test_the_first_use_configures_from_the_environment(monkeypatch: Any, exchange: Any) -> None:
    """Wrapping alone is enough: what nobody configured comes from the environment."""
    recorder.reset()
    monkeypatch.setenv("STREAMING_LOGS_ENABLED", "false")
    monkeypatch.setenv("STREAMING_TRACING_ENABLED", "false")
    monkeypatch.setenv("DD_SERVICE", "from-env")
    try:
        asyncio.run(exchange("/hello/a").run(DatadogMiddleware(SITE)))
        assert recorder.current is not None
        assert recorder.current.config.service == "from-env"
    finally:
        recorder.reset()


def test_a_wrong_setting_ends_the_start_of_the_server(monkeypatch: Any) -> None:
    """The server is told that the start failed, and why: of an exception it would conclude that there is no lifespan."""
    recorder.reset()
    monkeypatch.setenv("STREAMING_LOG_LEVEL", "loud")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        asyncio.run(DatadogMiddleware(SITE)({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    finally:
        recorder.reset()
    (told,) = sent
    assert told["type"] == "lifespan.startup.failed"
    assert told["message"].startswith("STREAMING_LOG_LEVEL: 'loud'")


@pytest.mark.parametrize(
    "door", [DatadogMiddleware, Endpoints, lambda app: Endpoints(DatadogMiddleware(app))]
)
def test_a_wrong_setting_costs_no_request_where_there_is_no_lifespan(
    door: Any, exchange: Any, monkeypatch: Any, caplog: Any
) -> None:
    """A server without a lifespan serves already: what is asked for comes, and why nothing is recorded is said once."""
    recorder.reset()
    notices.reset()
    monkeypatch.setenv("STREAMING_LOG_LEVEL", "loud")
    app = door(SITE)
    try:
        for _ in range(3):
            request = exchange("/hello/a")
            asyncio.run(request.run(app))
            assert request.sent[0]["status"] == 200
    finally:
        recorder.reset()
    (told,) = {record.getMessage() for record in caplog.records}
    assert "STREAMING_LOG_LEVEL: 'loud'" in told
    assert "write one of TRACE, DEBUG" in told


# --- access log ---------------------------------------------------------------------------------------------


def test_every_request_leaves_one_access_line(configure: Any, exchange: Any, tmp_path: Any) -> None:
    """Flat JSON with http.*, duration in ns and the outcome; the query string, which may hold secrets, is left out."""
    path = tmp_path / "app.log"
    found = configure(
        logs_enabled=True,
        log_stdout=False,
        log_file=str(path),
        log_bridge=False,
        loop_block=0,  # of a machine that stands still for a moment there would be a line, too
        service="reports",
    )
    request = exchange('/hello/"quoted"\n')
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    found.traffic.settle()
    assert found.logs.flush(60)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert line["http.url"] == '/hello/"quoted"\n'
    assert line["http.method"] == "GET"
    assert line["http.route"] == "/hello/:name"
    assert line["http.status_code"] == 200
    assert line["network.bytes_written"] == 5
    assert line["network.client.ip"] == "127.0.0.1"
    assert line["http.useragent"] == "test"
    assert line["service"] == "reports"
    assert line["outcome"] == "completed"
    assert isinstance(line["duration"], int)
    assert line["duration"] > 0
    assert "secret" not in path.read_text()


def test_a_failing_request_logs_its_error_once(configure: Any, exchange: Any, tmp_path: Any) -> None:
    """The access line of a 500 carries the exception's type, message and stack, and its status is error."""
    path = tmp_path / "app.log"
    found = configure(logs_enabled=True, log_stdout=False, log_file=str(path), log_bridge=False, loop_block=0)

    async def fail() -> None:
        with pytest.raises(ValueError, match="no"):
            await exchange("/boom").run(DatadogMiddleware(SITE))

    asyncio.run(fail())
    found.traffic.settle()
    assert found.logs.flush(60)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["status"], line["outcome"], line["http.status_code"]) == ("error", "error", 500)
    assert (line["error.kind"], line["error.message"]) == ("ValueError", "no")
    assert "in boom" in line["error.stack"]


def test_json_response_is_passed(configure: Any, exchange: Any) -> None:
    """A JSON answer arrives whole."""
    configure()

    async def item(request: Any) -> JSONResponse:
        return JSONResponse({"a": [1, 2]})

    request = exchange("/i")
    asyncio.run(request.run(DatadogMiddleware(Starlette(routes=[Route("/i", item)]))))
    assert json.loads(request.body) == {"a": [1, 2]}
