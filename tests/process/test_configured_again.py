"""`configure()` and `instrument()` again, in a process that records or serves already."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streaming_dd as dd
from streaming_dd import ConfigError, recorder
from streaming_dd.output import notices

ROWS = dd.Metric("again.rows", "count", "row", (), "Rows.")
QUIET: dict[str, Any] = {
    "logs_enabled": False,
    "tracing_enabled": False,
    "worker": "0",
    "service": "again",
    "flush_interval": 10,
}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    notices.reset()
    yield
    recorder.reset()
    notices.reset()


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of this package: ddtrace, say, may write of its own in between."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("streaming_dd")]


def in_a_loop(test: Any) -> Any:
    """Run an async test."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


def test_what_was_counted_before_is_sent(sender_class: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Counts and zeros for gauges go out when another configuration takes over; one line says what changed."""
    first, second = sender_class(), sender_class()
    recorder.configure(sender=first, **QUIET)
    dd.increment(ROWS, 3)
    with caplog.at_level(logging.INFO, "streaming_dd"):
        recorder.configure(
            sender=second, **{**QUIET, "env": "prod", "metric_prefix": "other", "stats_token": "hidden"}
        )
    assert first.total("again.rows") == 3
    assert first.last("streaming.process.workers") == 0
    said = [record.getMessage() for record in caplog.records if "configured anew" in record.getMessage()]
    assert said == ["configured anew; changed: DD_ENV, STREAMING_METRIC_PREFIX, STREAMING_STATS_TOKEN"]
    dd.increment(ROWS, 4)
    recorder.get().metrics.flush()
    assert second.total("again.rows") == 4


def test_a_configuration_that_is_the_same_is_not_spoken_of(
    sender_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing has changed: what was recorded is sent, gauges stay, and no line is written."""
    first = sender_class()
    recorder.configure(sender=first, **QUIET)
    dd.increment(ROWS)
    with caplog.at_level(logging.INFO, "streaming_dd"):
        recorder.configure(sender=sender_class(), **QUIET)
    assert first.total("again.rows") == 1
    assert first.last("streaming.process.workers") == 1
    assert ours(caplog) == []


@in_a_loop
async def test_while_a_task_runs_the_configuration_stays(
    sender_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The task's end would be lost: nothing is replaced, one line names what stays, and the task is counted."""
    sender = sender_class()
    seen = recorder.configure(sender=sender, **QUIET)
    entered, leave = asyncio.Event(), asyncio.Event()

    @dd.task("again.task")
    async def task() -> None:
        entered.set()
        await leave.wait()

    running = asyncio.create_task(task())
    await entered.wait()
    with caplog.at_level(logging.WARNING, "streaming_dd"):
        assert recorder.configure(**{**QUIET, "env": "prod"}) is seen
    (said,) = ours(caplog)
    assert "0 requests and 1 tasks are under way; as before: DD_ENV." in said
    leave.set()
    await running
    seen.catch_up()
    assert sender.total("streaming.tasks.completed", app="again", model="task") == 1
    assert recorder.configure(**{**QUIET, "env": "prod"}).config.env == "prod"


@in_a_loop
async def test_while_a_stream_is_open_the_configuration_stays(sender_class: Any) -> None:
    """An open stream, too, ends where it began."""
    sender = sender_class()
    seen = recorder.configure(sender=sender, **QUIET)
    opened, leave = asyncio.Event(), asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        opened.set()
        await leave.wait()
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/events", "headers": [], "query_string": b""}
    serving = asyncio.create_task(dd.DatadogMiddleware(stream)(scope, receive, send))
    await opened.wait()
    assert recorder.configure(**{**QUIET, "env": "prod"}) is seen
    leave.set()
    await serving
    seen.catch_up()
    assert sender.total("streaming.streams.closed", outcome="completed") == 1


@in_a_loop
async def test_another_application_that_is_wrapped_meanwhile_keeps_its_own_settings(
    sender_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its token, prefix and routes are its own, and no change of the process': nothing is refused, nothing is said."""
    sender = sender_class()
    recorder.configure(sender=sender, **QUIET)
    run = recorder.get().tasks.submit("again", "task")
    with caplog.at_level(logging.WARNING, "streaming_dd"):
        app = dd.instrument(
            nothing, **QUIET, stats_token="second", endpoints_prefix="/internal", exclude_paths=["/own/*"]
        )  # fmt: skip
    assert ours(caplog) == []
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    for token in (b"first", b"second"):
        headers = [(b"authorization", b"Bearer " + token)]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/internal/stats",
            "headers": headers,
            "query_string": b"",
        }
        await app(scope, receive, send)
    assert [one["status"] for one in answers if "status" in one] == [401, 200]
    await app({**scope, "path": "/own/path", "headers": []}, receive, send)
    run.finish("completed")
    recorder.get().catch_up()
    assert sender.total("streaming.tasks.completed") == 1
    assert sender.samples("streaming.http.requests") == []


def test_a_configuration_that_cannot_be_used_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, eventually: Any
) -> None:
    """What was started before the error is ended, however often it is tried."""
    recorder.reset()

    def refuse(config: Any) -> None:
        raise ConfigError("DD_TRACE_RATE_LIMIT", "cannot be used:", "write a whole number.")

    monkeypatch.setattr(recorder, "Tracing", refuse)
    before = set(threading.enumerate())
    handlers = list(logging.getLogger().handlers)
    for _ in range(3):
        with pytest.raises(ConfigError, match="write a whole number"):
            recorder.configure(log_stdout=False, log_file=str(tmp_path / "l"))
    eventually(lambda: set(threading.enumerate()) <= before)
    assert logging.getLogger().handlers == handlers
