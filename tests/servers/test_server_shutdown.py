"""SIGTERM and SIGINT under uvicorn: what ends during the shutdown arrives, and the server ends as it does without us."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import Any

import pytest
from served import UVICORN, Emitted, Server, least, totals

pytestmark = pytest.mark.process

#: Nothing is flushed in the middle: what arrives was sent by the shutdown.
NO_FLUSH = {"STREAMING_FLUSH_INTERVAL": "10", "DD_TRACE_WRITER_INTERVAL_SECONDS": "60"}
#: Seconds that our part of a shutdown may take, on a loaded machine; the flush itself is a few milliseconds.
SLACK = 3.0
CASES = ["nothing", "task", "stream", "task and stream"]


def occupy(server: Server, case: str) -> None:
    """Have requests, a running task, three open streams of others."""
    for _ in range(3):
        assert server.get("/hello") == (200, "hello")
    if "task" in case:
        assert server.get("/start/tests/Endless/1")[0] == 202
    for number in range(3 * case.count("stream")):
        server.stream(f"/stream/tests/Silent/{number + 2}")


@pytest.fixture(scope="module")
def without_us(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, float]]:
    """The exit code and the seconds of a shutdown of the bare application, measured once for each question."""

    @functools.cache
    def measure(number: int, loop: str, case: str) -> tuple[int, float]:
        folder = tmp_path_factory.mktemp("bare")
        server = Server([*UVICORN, "starlette_site:app", "--loop", loop], folder, {})
        try:
            occupy(server, case)
            result = server.end(number)
            return result
        finally:
            server.kill()

    return measure


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("case", CASES)
def test_everything_arrives_when_a_server_is_told_to_stop(
    case: str, loop: str, number: int, serve: Any, emitted: Emitted, without_us: Any
) -> None:
    """Spans, exact counts, zero gauges and every log line are there; exit code and time are those of the bare app."""
    # The bare application's shutdown lasts as long as its graceful timeout; who sends the signal does not matter.
    bare_code, bare_seconds = without_us(number, "asyncio", "stream" if "stream" in case else "nothing")
    started, streams = case.count("task"), 3 * case.count("stream")
    tasks = started + streams

    def seconds() -> float:
        """What the end of one server took, from which everything has arrived."""
        sent = Emitted(emitted.agent)
        command = [*UVICORN, "observed_starlette_site:app", "--loop", loop]
        server = serve(command, sent.environment(**NO_FLUSH))
        occupy(server, case)
        code, taken = server.end(number)
        assert code == bare_code
        check_spans(sent, tasks, streams, requests=3 + started)
        check_metrics(sent, tasks, streams, requests=3 + started)
        check_logs(sent, server, tasks)
        return float(taken)

    assert least(seconds, bare_seconds + SLACK) < bare_seconds + SLACK


def check_spans(emitted: Emitted, tasks: int, streams: int, requests: int) -> None:
    expected = {
        "asgi.request": requests,
        "sse.request": streams,
        "task.submit": tasks,
        "task.run": tasks,
    }
    emitted.wait_for(lambda: sum(totals(emitted.spans()).values()) >= sum(expected.values()))
    assert totals(emitted.spans()) == {name: count for name, count in expected.items() if count}
    assert {span.error for span in emitted.spans()} == {0}
    for span in emitted.spans("task.run"):
        assert span.meta["task.status"] == "cancelled"
        assert span.meta["task.cancel_reason"] == "server_shutdown"
        assert span.parent_id == "0"
        assert span.links
    for span in emitted.spans("sse.request"):
        assert span.meta["stream.outcome"] == "server_shutdown"
        assert span.meta["http.status_code"] == "200"


def check_metrics(emitted: Emitted, tasks: int, streams: int, requests: int) -> None:
    assert emitted.count("streaming.http.requests", route="/hello", status="200") == 3
    assert emitted.count("streaming.http.requests") == requests + streams
    assert len(emitted.timings("streaming.http.duration")) == requests
    assert emitted.count("streaming.tasks.started") == tasks
    assert emitted.count("streaming.tasks.cancelled") == tasks
    assert emitted.count("streaming.tasks.completed") == emitted.count("streaming.tasks.failed") == 0
    assert emitted.count("streaming.streams.opened") == streams
    assert emitted.count("streaming.streams.closed", outcome="server_shutdown") == streams
    assert emitted.count("streaming.streams.closed") == streams
    assert emitted.count("streaming.http.errors") == 0
    assert emitted.levels() == {0}, "gauges were sent, and each is back at 0"


def check_logs(emitted: Emitted, server: Server, tasks: int) -> None:
    # uvicorn's last words come after the application's shutdown, immediately before the signal kills the process.
    last = f"Finished server process [{server.process.pid}]"
    emitted.wait_for(lambda: last in emitted.messages())
    messages = emitted.messages()
    for expected in ("site starts", "Application startup complete.", "Application shutdown complete.", last):
        assert messages.count(expected) == 1, expected
    assert len([text for text in messages if text.startswith("site stops")]) == 1
    assert messages.count("GET /hello 200") == 3
    ends = emitted.logs(task__status="cancelled")
    assert len(ends) == tasks
    assert {line["dd.trace_id"] for line in ends} == {span.trace_id for span in emitted.spans("task.run")}
    assert sorted(line["message"] for line in server.printed()) == sorted(messages), (
        "standard output has the same"
    )
    assert "Traceback" not in server.err


def test_a_stream_that_resists_its_cancellation_is_counted_all_the_same(serve: Any, emitted: Emitted) -> None:
    """It ends with the process: its span says that the server shut down, and the shutdown does not wait for it."""

    def seconds() -> float:
        sent = Emitted(emitted.agent)
        server = serve([*UVICORN, "observed_starlette_site:app"], sent.environment(**NO_FLUSH))
        server.stream("/stubborn")
        code, taken = server.end(signal.SIGTERM)
        assert code == -signal.SIGTERM
        sent.wait_for(lambda: sent.spans("sse.request"))
        assert sent.spans("sse.request")[0].meta["stream.outcome"] == "server_shutdown"
        assert sent.count("streaming.streams.closed", outcome="server_shutdown") == 1
        assert sent.levels() == {0}
        return float(taken)

    assert least(seconds, 1 + SLACK) < 1 + SLACK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
@pytest.mark.parametrize("app", ["no_lifespan_site", "late_site"])
def test_everything_arrives_whatever_the_app_does_with_its_lifespan(
    app: str, number: int, serve: Any, emitted: Emitted
) -> None:
    """One that refuses it is stood in for, and one may configure its observation in its own start-up."""
    server = serve([*UVICORN, f"{app}:app"], emitted.environment(**NO_FLUSH))
    for _ in range(3):
        assert server.get("/hello") == (200, "hello")
    server.stream("/stream/tests/Silent/1")
    assert server.end(number)[0] == (-signal.SIGTERM if number == signal.SIGTERM else 0)
    expected = {"asgi.request": 3, "sse.request": 1, "task.submit": 1, "task.run": 1}
    emitted.wait_for(lambda: totals(emitted.spans()) == expected)
    assert emitted.spans("sse.request")[0].meta["stream.outcome"] == "server_shutdown"
    check_last_counts(emitted, requests=4)
    assert emitted.count("streaming.streams.closed", outcome="server_shutdown") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_everything_arrives_without_a_lifespan(number: int, serve: Any, emitted: Emitted) -> None:
    """uvicorn --lifespan off tells nobody of its end: the signal does, and the last request that ends."""
    server = serve(
        [*UVICORN, "observed_starlette_site:app", "--lifespan", "off"], emitted.environment(**NO_FLUSH)
    )
    for _ in range(3):
        assert server.get("/hello") == (200, "hello")
    assert server.get("/start/tests/Endless/1")[0] == 202
    assert server.end(number)[0] == (-signal.SIGTERM if number == signal.SIGTERM else 0)
    expected = {"asgi.request": 4, "task.submit": 1, "task.run": 1}
    emitted.wait_for(lambda: totals(emitted.spans()) == expected)
    check_last_counts(emitted, requests=4)


def check_last_counts(emitted: Emitted, requests: int) -> None:
    emitted.wait_for(lambda: emitted.count("streaming.http.requests") == requests)
    emitted.wait_for(lambda: emitted.levels() == {0})
    assert emitted.count("streaming.tasks.cancelled") == 1
    assert emitted.messages().count("GET /hello 200") == 3


def test_a_server_that_cannot_start_says_why(serve: Any, emitted: Emitted) -> None:
    """The application's error reaches standard output and the Agent, and the exit code is uvicorn's."""
    server = serve([*UVICORN, "failing_site:app"], emitted.environment())
    assert server.end()[0] == 3
    emitted.wait_for(lambda: any("the database is down" in text for text in emitted.messages()))
    assert any("the database is down" in line["message"] for line in server.printed())
