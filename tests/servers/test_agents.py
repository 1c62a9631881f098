"""The Agent is absent, never answers, or is restarted; the process is killed by kill -9."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from served import APPS, DEADLINE, UVICORN, Emitted, Process, Server, least, wait_until

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

SITE = [*UVICORN, "observed_starlette_site:app"]
#: Seconds that a loaded machine may add to what takes milliseconds.
SLACK = 3.0


# --- kill -9 ------------------------------------------------------------------------------------------------


def test_kill_9_loses_nothing_that_had_finished(serve: Any, emitted: Emitted) -> None:
    """The request that started a task is not held back by it; the next worker takes the dead one's place."""
    server = serve(SITE, emitted.environment())
    server.stream("/clock")
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 1)
    numbers = itertools.count(1)

    def until_it_is_out() -> float:
        number = next(numbers)
        assert server.get(f"/start/tests/Endless/{number}")[0] == 202
        finished = time.monotonic()
        emitted.wait_for(lambda: len(emitted.spans("asgi.request")) == number)
        emitted.wait_for(lambda: len(emitted.spans("task.submit")) == number)
        route = "/start/:app/:model/:id"
        emitted.wait_for(lambda: emitted.count("streaming.http.requests", route=route) == number)
        emitted.wait_for(lambda: emitted.count("streaming.tasks.started") == number)
        emitted.wait_for(lambda: emitted.logs(message=f"GET /start/tests/Endless/{number} 202"))
        return time.monotonic() - finished

    enough = 2.2 + SLACK
    assert least(until_it_is_out, enough) < enough, "the flush interval and a round of the thread"
    assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL

    assert emitted.level("streaming.clients.active") == 1, "nobody was left to say that it is gone"
    successor = serve(SITE, emitted.environment())
    successor.stream("/clock").leave()
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 0)
    assert emitted.workers("streaming.clients.active") == {"0"}


# --- no Agent -----------------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port where nobody listens: that of TCP is taken, and that of UDP is given to nobody who asks for any."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        yield taken.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


def addressed_to(emitted: Emitted, port: int) -> dict[str, str]:
    return emitted.environment(
        DD_DOGSTATSD_URL=f"udp://127.0.0.1:{port}",
        DD_TRACE_AGENT_URL=f"http://127.0.0.1:{port}",
        STREAMING_LOG_AGENT=f"127.0.0.1:{port}",
        STREAMING_FLUSH_INTERVAL="0.1",
        DD_TRACE_WRITER_INTERVAL_SECONDS="0.2",
    )


def run_and_stop(server: Server) -> tuple[float, int, float]:
    """Use a server; return the seconds of 100 requests, its exit code, and the seconds that it took to end."""
    assert server.get("/hello") == (200, "hello")
    started = time.monotonic()
    for _ in range(100):
        assert server.get("/hello") == (200, "hello")
    seconds = time.monotonic() - started
    return seconds, *server.end(signal.SIGTERM)


def test_without_an_agent_a_server_works_and_ends_as_fast(serve: Any, emitted: Emitted, nobody: int) -> None:
    """It starts, serves and ends as with everything switched off, and says once what it cannot reach."""
    off = run_and_stop(serve(SITE, {**addressed_to(emitted, nobody), "STREAMING_ENABLED": "false"}))

    def beyond() -> float:
        """The larger part of what it may take that was needed: for the requests, for the end."""
        server = serve(SITE, addressed_to(emitted, nobody))
        wait_until(lambda: len(complaints(server)) >= 2, "both absences to be said")
        on = run_and_stop(server)
        assert on[1] == off[1] == -signal.SIGTERM
        check_complaints(server)
        return max(on[0] / (3 * off[0] + SLACK), on[2] / (off[2] + SLACK))

    assert least(beyond, 1) < 1


def check_complaints(server: Server) -> None:
    said = complaints(server)
    kinds = {
        "no Agent takes metrics": 1, "log intake": 1, "no Agent takes traces": 1,
        "health check agent fails": 0, "could not be sent": 0,  # as the time comes for them: once, or not at all
    }  # fmt: skip
    found = {kind: sum(kind in line for line in said) for kind in kinds}
    assert all(lowest <= found[kind] <= 1 for kind, lowest in kinds.items()), said
    assert len(said) == sum(found.values()), said
    assert server.err == ""


def complaints(server: Server) -> list[str]:
    """What is said of an Agent that is not there, by us and by ddtrace; a busy machine also holds an event loop."""
    return [
        line["message"]
        for line in server.printed()
        if line["logger.name"].startswith(("streaming_dd", "ddtrace"))
        and line["logger.name"] != "streaming_dd.loop"
        and line["status"] != "info"
    ]


def test_a_script_without_an_agent_ends_as_fast(start: Any, emitted: Emitted, nobody: int) -> None:
    """A script of a second is not held up by what it cannot send."""
    script = [sys.executable, str(APPS / "plain_script.py"), "end_and_say_when"]

    def seconds(**settings: str) -> float:
        """What its end took, from its last line of code on."""
        process: Process = start(Process, script, {**addressed_to(emitted, nobody), **settings})
        assert process.process.wait(DEADLINE) == 0
        ended = time.monotonic()
        told = re.search(r"^ended at (\S+)$", process.err, re.MULTILINE)
        assert told is not None, process.err
        return ended - float(told[1])

    enough = seconds(STREAMING_ENABLED="false") + SLACK
    assert least(seconds, enough) < enough


def test_an_agent_that_never_answers_does_not_hold_a_server_up(
    serve: Any, emitted: Emitted, silent: int
) -> None:
    """The shutdown timeout bounds the last flush: a connection that is taken and then ignored is left."""
    settings = {**addressed_to(emitted, silent), "STREAMING_SHUTDOWN_TIMEOUT": "0.5"}

    def seconds() -> float:
        server = serve(SITE, settings)
        assert server.get("/hello") == (200, "hello")
        taken: float = server.end(signal.SIGTERM)[1]
        return taken

    assert least(seconds, 2 + SLACK) < 2 + SLACK


# --- the Agent is restarted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "unixgram", "unixstream"])
def test_counts_survive_a_restart_of_the_agent(
    transport: str, serve: Any, emitted: Emitted, tmp_path: Path
) -> None:
    """What was counted while the Agent was away is sent when it is back; nothing is counted twice."""
    path = str(tmp_path / "dsd.socket")
    addresses: dict[str, dict[str, Any]] = {
        "udp": {"dogstatsd_port": free_port()},
        "unixgram": {"dogstatsd_port": None, "dogstatsd_socket": path},
        "unixstream": {"dogstatsd_port": None, "dogstatsd_stream_socket": path},
    }
    settings = {"trace_port": None, "logs_port": None, "page_port": None, **addresses[transport]}
    url = f"udp://127.0.0.1:{settings['dogstatsd_port']}" if transport == "udp" else f"{transport}://{path}"
    server = serve(
        SITE,
        emitted.environment(
            DD_DOGSTATSD_URL=url, STREAMING_TRACING_ENABLED="false", STREAMING_FLUSH_INTERVAL="0.1"
        ),
    )

    def counted() -> float:
        return emitted.count("streaming.http.requests")

    first, second = LocalAgent(**settings), LocalAgent(**settings)
    with first.running():
        emitted.agent = first
        for _ in range(3):
            server.get("/hello")
        emitted.wait_for(lambda: counted() == 3)
    for _ in range(3):
        server.get("/hello")
    wait_until(
        lambda: any("no Agent takes metrics" in text for text in complaints(server)), "the loss to be seen"
    )
    for _ in range(3):
        server.get("/hello")
    with second.running():
        emitted.agent = second
        emitted.wait_for(lambda: counted() >= 6)
        server.get("/hello")
        assert server.end(signal.SIGTERM)[0] == -signal.SIGTERM
        emitted.wait_for(lambda: counted() >= 7)
        emitted.wait_for(lambda: emitted.levels() == {0})
    assert counted() == 7, "also with what it read at its end"
