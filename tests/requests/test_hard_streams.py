"""Streams as nobody plans them: 100,000 events a second, one that never ends, two readers of one source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from streaming_dd import recorder
from streaming_dd.middleware import SCOPE_KEY, DatadogMiddleware

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


def test_a_hundred_thousand_events_without_a_pause(configure: Any, exchange: Any, flush: Any) -> None:
    """Every event is counted, however few chunks they come in; what is kept and what goes out is bounded by rounds."""
    configure()
    left = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(80_000):
            data = b"data: %d\n\n" % number if number % 4 else b"data: a\n\ndata: b\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})
            if number % 20_000 == 19_999:
                await asyncio.to_thread(recorder.get().round)
                left.append((number + 1) * 5 // 4 - scope[SCOPE_KEY].stream.events)
        await send({"type": "http.response.body"})

    asyncio.run(exchange().run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.stream.events") == 100_000
    assert left == [0] * 4, "each round of the recorder's thread reads everything that came"
    assert len(sender.values("streaming.stream.event_interval")) < 1_000, "sampled, never one an event"
    assert recorder.get().metrics.dropped == {}


def test_a_stream_that_never_ends(configure: Any, flush: Any, exchange: Any) -> None:
    """It is counted while it is open, flush by flush, and holds no more at the end than at the beginning."""
    configure()
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            for _ in range(500):
                await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            sent.set()
            await asyncio.sleep(0)

    async def main() -> None:
        serving = asyncio.create_task(exchange().run(DatadogMiddleware(app)))
        counted = []
        for _ in range(4):
            sent.clear()
            await sent.wait()
            counted.append(flush().total("streaming.stream.events"))
        assert flush().last("streaming.clients.active") == 1
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert counted == sorted(set(counted)), "it grows with every flush"
        assert counted[0] >= 500
        assert flush().total("streaming.streams.closed") == 1

    asyncio.run(main())


def test_two_readers_of_one_queue(configure: Any, flush: Any, exchange: Any) -> None:
    """Each event goes to one of the two, and counts for that one."""
    configure()

    async def main() -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for number in range(9):
            queue.put_nowait(b"data: %d\n\n" % number)

        async def events() -> AsyncIterator[bytes]:
            while not queue.empty():
                yield queue.get_nowait()
                await asyncio.sleep(0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)

        observed = DatadogMiddleware(app)
        await asyncio.gather(exchange().run(observed), exchange().run(observed))

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.stream.events") == 9
    assert sender.total("streaming.streams.closed", outcome="completed") == 2


def test_two_readers_of_one_generator(captured: Any, exchange: Any) -> None:
    """The second one gets Python's own error, which is its application's; the first one is served to its end."""

    async def main() -> None:
        begun, waiting = asyncio.Event(), asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            begun.set()
            await waiting.wait()
            yield b"data: 2\n\n"

        source = events()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await StreamingResponse(source, media_type="text/event-stream")(scope, receive, send)

        observed = DatadogMiddleware(app)
        first = asyncio.create_task(exchange().run(observed))
        await begun.wait()
        with pytest.raises((RuntimeError, ExceptionGroup)) as raised:
            await exchange().run(observed)
        assert "already running" in repr(raised.value)
        waiting.set()
        await first

    asyncio.run(main())
    captured.metrics.assert_count("streams.closed", 1, outcome="completed")
    captured.metrics.assert_count("streams.closed", 1, outcome="error")
