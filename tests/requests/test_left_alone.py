"""The app is left alone: what it receives and sends is object by object what it is without the middleware."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming_dd.middleware import DatadogMiddleware

STREAM = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
UPLOAD = [(b"host", b"x"), (b"transfer-encoding", b"chunked")]


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_upload_goes_at_the_apps_own_pace_while_the_response_streams(
    wrapped: bool, configure: Any, exchange: Any
) -> None:
    """The server's receive() is called when the app calls, never ahead of it, and gives the very messages it gave."""
    configure()

    async def main() -> tuple[list[int], list[Any], list[Any]]:
        request = exchange("/talk", method="POST", headers=UPLOAD)
        given = [{"type": "http.request", "body": b"%d" % n, "more_body": n < 4} for n in range(5)]
        for message in given:
            request.messages.put_nowait(message)
        waiting: list[int] = []
        got: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            for _ in given:
                await asyncio.sleep(0.3)  # longer than the watch waits before it looks
                waiting.append(request.messages.qsize())
                got.append(await receive())
                await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await send({"type": "http.response.body"})

        await (DatadogMiddleware(app) if wrapped else app)(request.scope, request.receive, request.send)
        return waiting, given, got

    waiting, given, got = asyncio.run(main())
    assert waiting == [5, 4, 3, 2, 1]
    assert [id(message) for message in got] == [id(message) for message in given]


@pytest.mark.parametrize("header", ["", "x-trace-id"])
def test_messages_are_passed_as_they_are(header: str, configure: Any, exchange: Any, spans: Any) -> None:
    """The server gets the app's own objects; with a trace header a copy of the start, and the app's stays as it was."""
    configure(trace_header=header, tracing_enabled=bool(header))
    shared = start((b"content-length", b"2"))
    body = {"type": "http.response.body", "body": b"hi"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(shared)
        await send(body)

    for _ in range(3):
        request = exchange("/")
        asyncio.run(request.run(DatadogMiddleware(app)))
        assert request.sent[1] is body
        names = [name for name, _ in request.sent[0]["headers"]]
        assert names == [b"content-length", *([header.encode()] if header else [])]
        assert (request.sent[0] is shared) is not bool(header)
    assert shared == start((b"content-length", b"2"))


@pytest.mark.parametrize("own", [b"x-trace-id", b"X-Trace-Id"])
def test_the_apps_own_trace_header_stays_the_only_one(
    own: bytes, configure: Any, exchange: Any, spans: Any
) -> None:
    """An app that sends such a header itself keeps it, and its message."""
    configure(trace_header="X-Trace-ID", tracing_enabled=True)
    message = start((own, b"mine"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)
        await send({"type": "http.response.body"})

    request = exchange("/")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert request.sent[0] is message


def test_headers_that_can_be_read_once_are_not_read(configure: Any, exchange: Any) -> None:
    """ASGI asks for an iterable: an iterator reaches the server whole."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**start(), "headers": iter([(b"content-type", b"text/plain")])})
        await send({"type": "http.response.body", "body": b"hi"})

    request = exchange("/")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert list(request.sent[0]["headers"]) == [(b"content-type", b"text/plain")]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_is_the_apps_to_change_once_it_was_sent(
    kind: Any, configure: Any, exchange: Any, flush: Any
) -> None:
    """Buffers that the app uses again are neither held nor misread; the same object reaches the server."""
    configure()
    events = 40
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        for number in range(events):
            room = bytearray(b"data: %03d\n\n" % number)
            body = kind(room)
            sent.append(body)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if kind is memoryview:
                body.release()  # raises BufferError where somebody still holds a part of it
            if kind is not bytes:
                room = room if kind is memoryview else body
                room[:] = b"x" * 1000
        await send({"type": "http.response.body"})

    request = exchange("/s")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert [id(message["body"]) for message in request.sent[1:-1]] == [id(body) for body in sent]
    assert flush().total("streaming.stream.events") == events


def test_a_send_that_raises_is_called_once(configure: Any, exchange: Any) -> None:
    """Also on the quick way of a busy stream, where a message is looked at as little as can be."""
    configure()
    calls = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        for _ in range(20):
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})

    def refuse(message: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise OSError("gone")
        return asyncio.sleep(0)

    request = exchange("/s").request()
    with pytest.raises(OSError, match="gone"):
        asyncio.run(DatadogMiddleware(app)(request.scope, request.receive, refuse))
    assert calls == 12


def test_a_busy_stream_is_bounded_and_counted(configure: Any, exchange: Any, flush: Any) -> None:
    """100,000 events that nobody reads meanwhile, large ones among them: every one is counted, little is kept."""
    found = configure()
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await send(STREAM)
        large = b"data: " + b"x" * 50_000 + b"\n\n"
        for number in range(100_000):
            body = large if number % 100 == 0 else b"event: tick\ndata: 1\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if number % 1000 == 0 and scope["streaming_dd"].stream._buffer is not None:
                most = max(most, scope["streaming_dd"].stream._buffer.tell())
        await send({"type": "http.response.body"})

    async def main() -> None:
        request = exchange("/s").request()
        request.send = _nothing
        await DatadogMiddleware(app)(request.scope, request.receive, request.send)

    asyncio.run(main())
    assert most < 500_000
    sender = flush()
    assert sender.total("streaming.stream.events", event_type="tick") == 99_000
    assert sender.total("streaming.stream.events", event_type="message") == 1_000
    assert sender.total("streaming.stream.bytes") == 99_000 * 21 + 1_000 * 50_008
    assert found.metrics is not None


async def _nothing(message: Any) -> None:
    """A server that takes everything."""


def test_a_loop_reads_what_the_recorders_thread_does_not(configure: Any, exchange: Any, soon: Any) -> None:
    """What a busy stream keeps is bounded by age, too: nobody but the loop itself reads here."""
    configure()

    async def main() -> None:
        done = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            for _ in range(50):
                await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            stream = scope["streaming_dd"].stream
            await soon(lambda: stream.events == 50)
            done.set()

        request = exchange("/s").request()
        await asyncio.gather(DatadogMiddleware(app)(request.scope, request.receive, request.send))
        assert done.is_set()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("fails", [False, True])
def test_headers_that_can_be_read_once_reach_the_app(
    kind: str, fails: bool, configure: Any, exchange: Any, spans: Any
) -> None:
    """A server may give the headers as an iterator: the app finds all that it yields."""
    configure(tracing_enabled=True)

    def headers() -> Any:
        yield b"host", b"example.org"
        yield b"x-own", b"1"
        if fails:
            raise OSError

    request = exchange("/")
    request.scope |= {"type": kind, "headers": headers()}
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend(scope["headers"])
        await send({"type": "websocket.close"} if kind == "websocket" else start())
        if kind == "http":
            await send({"type": "http.response.body"})

    asyncio.run(DatadogMiddleware(app)(request.scope, request.receive, request.send))
    assert got == [(b"host", b"example.org"), (b"x-own", b"1")]
