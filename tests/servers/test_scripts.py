"""Processes without a server: what they recorded arrives however they end, and they end as they do without us."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import pytest
from served import APPS, DEADLINE, Emitted, Process

pytestmark = pytest.mark.process

SCRIPT = [sys.executable, str(APPS / "plain_script.py")]
NO_FLUSH = {"STREAMING_FLUSH_INTERVAL": "10", "DD_TRACE_WRITER_INTERVAL_SECONDS": "60"}


@pytest.fixture
def run(start: Any, emitted: Emitted) -> Any:
    """Start the script; with a signal, send that once it says that it is ready. Return the process and its exit code."""

    def run_script(
        way: str, number: int | None = None, command: list[str] = SCRIPT, **settings: str
    ) -> tuple[Process, int]:
        process = start(Process, [*command, way], emitted.environment(**NO_FLUSH, **settings))
        deadline = time.monotonic() + DEADLINE
        while number is not None and "ready" not in process.err:
            assert time.monotonic() < deadline, process.err
            assert process.process.poll() is None, process.err
            time.sleep(0.01)
        return process, process.end(number)[0]

    return run_script


def check(
    emitted: Emitted, *, endless: str = "cancelled", rows: int = 12, runs: int = 1, spans: bool = True
) -> None:
    """Two tasks completed, one cancelled, so many rows and one line of the script's own, for each run."""
    emitted.wait_for(lambda: len(emitted.logs(message="worked")) == runs)
    emitted.wait_for(lambda: not spans or len(emitted.spans("task.run")) == 3 * runs)
    if spans:
        ended = [(span.resource, span.meta["task.status"], span.error) for span in emitted.spans("task.run")]
        expected = [("reports.endless", endless, 0), *[("reports.export", "completed", 0)] * 2]
        assert sorted(ended) == sorted(expected * runs)
    assert emitted.count("plain.rows") == rows
    assert emitted.count("streaming.tasks.started") == 3 * runs
    assert emitted.count("streaming.tasks.completed", model="export") == 2 * runs
    assert emitted.count("streaming.tasks.cancelled", model="endless") == runs
    emitted.wait_for(lambda: emitted.levels() == {0})
    assert len(emitted.logs(task__status="completed")) == 2 * runs
    assert len(emitted.logs(task__status="cancelled")) == runs


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("exit_in_loop", 3), ("fail", 1)])
def test_a_script_that_ends_loses_nothing(way: str, code: int, run: Any, emitted: Emitted) -> None:
    """At the end of the file, by sys.exit() inside asyncio.run() and by an unhandled exception, everything arrives."""
    process, found = run(way)
    assert found == code, process.err
    assert ("RuntimeError: unhandled, False" in process.err) == (way == "fail")
    check(emitted)


@pytest.mark.parametrize("way", ["wait_in_loop", "wait_in_thread"])
@pytest.mark.parametrize("spans", [True, False], ids=["tracing", "no tracing"])
def test_a_script_that_sigterm_kills_loses_nothing(way: str, spans: bool, run: Any, emitted: Emitted) -> None:
    """A script that does not handle SIGTERM is killed by it as ever, but what it recorded arrives first."""
    process, found = run(way, signal.SIGTERM, STREAMING_TRACING_ENABLED=str(spans))
    assert found == -signal.SIGTERM, process.err
    check(emitted, spans=spans)


def test_a_script_under_ddtrace_run_that_sigterm_kills_loses_nothing(run: Any, emitted: Emitted) -> None:
    """ddtrace's own handler is there first: it must not shut the tracer down before the last spans."""
    command = [sys.executable, "-m", "ddtrace.commands.ddtrace_run", *SCRIPT]
    process, found = run("wait_in_loop", signal.SIGTERM, command)
    assert found == -signal.SIGTERM, process.err
    check(emitted)


@pytest.mark.parametrize(("way", "code", "rows"), [("handle_itself", 7, 12), ("stop_loop", 0, 42)])
def test_a_script_that_handles_sigterm_does_so_as_before(
    way: str, code: int, rows: int, run: Any, emitted: Emitted
) -> None:
    """The script's own handler decides how it ends, and what it records on its way arrives."""
    process, found = run(way, signal.SIGTERM)
    assert found == code, process.err
    check(emitted, rows=rows)


def test_ctrl_c_ends_a_script_as_before(run: Any, emitted: Emitted) -> None:
    """SIGINT is a KeyboardInterrupt, and the process ends by that signal; everything arrives."""
    process, found = run("wait_in_loop", signal.SIGINT)
    assert found == -signal.SIGINT, process.err
    assert "KeyboardInterrupt" in process.err
    check(emitted)


@pytest.mark.parametrize("way", ["child", "fork"])
def test_a_fork_doubles_and_loses_no_count(way: str, run: Any, emitted: Emitted) -> None:
    """Parent and child each send what they recorded themselves, the child of multiprocessing without atexit."""
    process, found = run(way)
    assert found == 0, process.err
    check(emitted, rows=12 + 12 + 100, runs=2)


def test_a_process_that_records_nothing_sends_no_gauges(run: Any, emitted: Emitted) -> None:
    """A management command beside the server must not set the gauges of the server's first worker to 0."""
    process, found = run("nothing")
    assert found == 0, process.err
    assert list(emitted.samples()) == []
