"""Streams of a language model's answer, and clients that come back: what is counted beside events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import streaming_dd as dd
from streaming_dd import recorder, timers
from streaming_dd.middleware import DatadogMiddleware

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
AGENT = (b"user-agent", b"test")


def body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    dd.current_stream().count("tokens", 100)  # nothing is sent yet: not counted
    await send(START)
    for _ in range(5):
        await send(body(b'data: {"delta": "a"}\n\n'))
        dd.current_stream().count("tokens", 3)
    if scope["path"] == "/said":
        dd.current_stream().finish("length")
    await send(body(b"data: [DONE]\n\n"))
    await send({"type": "http.response.body"})


async def cut(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"data: 1\n\n"))
    await receive()
    assert (await receive())["type"] == "http.disconnect"
    for _ in range(3):
        await send(body(b"data: 2\n\n"))


@pytest.mark.parametrize(("path", "reason"), [("/done", "done"), ("/said", "length")])
def test_tokens_and_reasons(path: str, reason: str, captured: Any, exchange: Any) -> None:
    """What the application counts is in a metric and on the span, and so is why the stream ended."""
    asyncio.run(exchange(path).run(DatadogMiddleware(answer)))
    assert captured.metrics.count("stream.counted", counted="tokens") == 15
    assert captured.metrics.count("streams.finished", reason=reason) == 1
    span = captured.spans.one("sse.request")
    assert (span.tags["stream.counted"], span.tags["stream.finish_reason"]) == ("tokens 15", reason)


def test_a_stream_says_which_task_it_shows(captured: Any, exchange: Any) -> None:
    """Said before it begins, its span and metrics are of that app and model; outside of a request nothing changes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        dd.current_stream().shows("reports.export")
        await send(START)
        await send(body(b"data: 1\n\n"))
        dd.current_stream().shows("reports.export")  # as it was: fine
        await send({"type": "http.response.body"})

    dd.current_stream().shows("reports.nowhere")
    dd.current_stream().shows("nowhere")
    asyncio.run(exchange("/progress").run(DatadogMiddleware(app)))
    assert captured.metrics.count("streams.opened", app="reports", model="export") == 1
    assert captured.metrics.count("streams.closed", app="reports", model="export", outcome="completed") == 1
    assert captured.metrics.gauge("clients.active", app="reports", model="export") == 0
    assert captured.metrics.count("streams.opened") == 1
    assert captured.metrics.count("telemetry.samples_dropped", reason="stream_shows") == 0


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("not today")


@pytest.mark.parametrize(
    "name", ["export", "export.", "", None, 7, Unprintable()], ids=lambda n: type(n).__name__
)
def test_a_stream_that_shows_no_task_is_served(name: Any, configure: Any, exchange: Any, flush: Any) -> None:
    """A name that is none, or said too late, is dropped, counted and said; the request goes on."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        dd.current_stream().shows(name)
        await send(START)
        dd.current_stream().shows("reports.late")
        await send(body(b"data: 1\n\n"))
        await send({"type": "http.response.body"})

    asyncio.run(exchange("/progress").run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.streams.closed", app="none", model="none", outcome="completed") == 1
    assert sender.total("streaming.telemetry.samples_dropped", reason="stream_shows") == 2


def test_a_stream_that_says_again_what_its_coordinator_started_keeps_its_clients(
    configure: Any, exchange: Any
) -> None:
    """The object that the stream watches stays known, of that app and model; of another it does not."""
    seen = configure()
    watched = []

    class Task:
        pk = 7

        async def process(self) -> None:
            """Do nothing."""

    class Coordinator:
        @timers.starts_task
        async def start_task(self, task: Task, app: str, model: str) -> None:
            """Nothing is run."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Coordinator().start_task(Task(), "reports", "export")
        dd.current_stream().shows(scope["path"].strip("/"))
        await send(START)
        await send(body(b"data: 1\n\n"))
        watched.append(list(seen.traffic.clients_by_instance().values()))
        await send({"type": "http.response.body"})

    for path in ("/reports.export", "/reports.other"):
        asyncio.run(exchange(path).run(DatadogMiddleware(app)))
    assert watched == [[1], []]


def test_secrets_in_the_words_of_a_stream_are_masked(captured: Any, exchange: Any) -> None:
    """Neither why it ended, nor what it counted, nor the types of its events show one, on the span or in a metric."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        long = b"postgres://u:" + b"hunter2" * 12 + b"@h/d"
        await send(body(b"event: token=hunter2\ndata: 1\n\nevent: " + long + b"\ndata: 2\n\n"))
        await send(body(b"event: token=hunter2\ndata: 3\n\n"))
        dd.current_stream().count("api_key=hunter2", 3)
        dd.current_stream().finish("token=hunter2")
        await send({"type": "http.response.body"})

    asyncio.run(exchange("/s").run(DatadogMiddleware(app)))
    span = captured.spans.one("sse.request")
    assert "hunter2" not in str(span.tags)
    assert span.tags["stream.finish_reason"] == "token=***"
    assert span.tags["stream.event_types"] == "token=*** 2, postgres://u:***@h/d 1"
    assert "hunter2" not in str([handle.tags for handle in recorder.get().metrics.handles()])
    assert captured.metrics.count("streams.finished", reason="token=***") == 1


def test_outside_of_a_stream_nothing_is_counted(captured: Any) -> None:
    """The call is safe wherever it stands."""
    dd.current_stream().count("tokens", 3)
    dd.current_stream().finish("stop")
    assert captured.metrics.count("stream.counted") == 0


def test_words_are_bounded(configure: Any, exchange: Any, flush: Any) -> None:
    """An application's own words make at most 20 series and one for the others."""
    configure()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(100):
            dd.current_stream().count(f"thing {number}")
        await send({"type": "http.response.body"})

    asyncio.run(exchange("/s").run(DatadogMiddleware(app)))
    sender = flush()
    assert sender.total("streaming.stream.counted") == 100
    assert len({tags["counted"] for _, tags in sender.samples("streaming.stream.counted")}) == 21


def test_events_that_nobody_reads(configure: Any, exchange: Any, flush: Any) -> None:
    """What is sent after the client has left is counted apart as well."""
    configure()
    request = exchange("/s").request()
    request.disconnect()
    asyncio.run(DatadogMiddleware(cut)(request.scope, request.receive, request.send))
    sender = flush()
    assert sender.total("streaming.stream.events") == 4
    assert sender.total("streaming.stream.events_unread") == 3


def test_a_client_that_comes_back(configure: Any, exchange: Any, flush: Any) -> None:
    """Soon again after a stream that was cut off, or with Last-Event-ID; a whole stream is none."""
    configure()

    def get(app: Any, *headers: tuple[bytes, bytes]) -> None:
        request = exchange("/s", headers=[AGENT, *headers]).request()
        request.disconnect()
        asyncio.run(DatadogMiddleware(app)(request.scope, request.receive, request.send))

    get(answer)
    get(cut)
    get(cut)
    get(answer, (b"last-event-id", b"7"))
    get(answer)
    get(answer, (b"last-event-id", b"7"))
    sender = flush()
    assert sender.total("streaming.streams.reconnects", resumed="false") == 1
    assert sender.total("streaming.streams.reconnects", resumed="true") == 2
    assert len(sender.values("streaming.stream.reconnect_gap")) == 2
