"""What a request and an event cost on the event loop, in bytecode instructions: noise cannot move these numbers.

Times belong in `make bench`. Here a change that makes the loop's thread do more is seen by every run of the tests; a limit
that is exceeded for a good reason is raised together with that reason.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from streaming_dd import timers
from streaming_dd.catalog import Metric
from streaming_dd.middleware import DatadogMiddleware

ROWS = Metric("reports.rows", "count", "row", ("kind", "app", "model", "zone"), "Rows.")
#: Limits, about a twentieth above what Python 3.11 takes: each version has instructions of its own.
REQUEST, DDTRACE, AN_EVENT, AN_INCREMENT = 1125, 145, 39, 46
A_TASK, DDTRACE_TASK, A_STEP, A_CHILD, A_TASK_EVENT = 1890, 150, 129, 168, 256
pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="instructions are counted on Python 3.11"
)

EVENT = b"event: progress\ndata: {}\n\n"


async def item(request: Any) -> JSONResponse:
    return JSONResponse({})


async def events(request: Any) -> StreamingResponse:
    async def body() -> Any:
        for _ in range(int(request.path_params["count"])):
            yield EVENT

    return StreamingResponse(body(), media_type="text/event-stream")


SITE = Starlette(routes=[Route("/items/{id}", item), Route("/events/{count}", events)])


@pytest.fixture
def traced(configure: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The recorder of a process whose spans take the direct path; nothing is sent, and nothing is done now and then: a
    slow machine would meet more of that.
    """
    from ddtrace.trace import tracer

    tracer.context_provider.activate(None)
    found = configure(tracing_enabled=True, loop_block=0)
    monkeypatch.setattr(found, "round", lambda **_: None)
    monkeypatch.setattr("streaming_dd.requests.streams.open_stream._LATE", 3600.0)
    monkeypatch.setattr("streaming_dd.requests.watch.INTERVAL", 3600.0)
    monkeypatch.setattr("streaming_dd.requests.http_exchange._BACKGROUND", 3600.0)
    found.tracing.settle()
    assert found.tracing.full_path_because == ""
    yield found
    found.tracing._direct.after_fork()  # forgets what has ended
    tracer.context_provider.activate(None)


def instructions(operate: Callable[[], Any]) -> Counter[str]:
    """Count the bytecode instructions that an operation takes, by package."""
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name not in ("streaming_dd", "ddtrace"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            counts[name] += 1
        return trace

    operate()  # what only the first one does
    before = sys.gettrace()
    gc.collect()
    gc.disable()  # what other tests have left behind may have something to do when it is forgotten
    sys.settrace(trace)
    try:
        operate()
    finally:
        sys.settrace(before)
        gc.enable()
    return counts


def ask(app: Any, exchange: Any, path: str) -> None:
    """Serve one request, on a loop of its own."""
    asyncio.run(exchange(path).run(app))


def test_a_request_takes_few_instructions_on_the_loop(traced: Any, exchange: Any) -> None:
    """A request with metrics, log and span is a bounded amount of code of ours, and hardly any of ddtrace's."""
    app = DatadogMiddleware(SITE)
    ask(app, exchange, "/items/1")
    counts = instructions(lambda: ask(app, exchange, "/items/1"))
    assert counts["streaming_dd"] < REQUEST
    assert counts["ddtrace"] < DDTRACE


def test_an_event_takes_few_instructions_on_the_loop(traced: Any, exchange: Any) -> None:
    """What an event of a stream adds is a bounded amount of code."""
    app = DatadogMiddleware(SITE)
    ask(app, exchange, "/events/10")
    few = instructions(lambda: ask(app, exchange, "/events/10"))
    many = instructions(lambda: ask(app, exchange, "/events/110"))
    assert (many["streaming_dd"] - few["streaming_dd"]) / 100 < AN_EVENT
    assert many["ddtrace"] == few["ddtrace"]  # no span, and nothing else, for an event


def test_counting_by_metric_and_tags_takes_few_instructions(traced: Any) -> None:
    """`increment(METRIC, tag=...)` finds its series without a detour."""
    counts = instructions(
        lambda: timers.increment(ROWS, kind="csv", app="reports", model="Export", zone="eu")
    )
    assert counts["streaming_dd"] < AN_INCREMENT


# --- tasks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def even_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every look at the clock of the steps find that a microsecond has passed: tracing makes them look long."""
    ticks = itertools.count()
    monkeypatch.setattr("streaming_dd.tasks.measuring.steps.perf_counter", lambda: next(ticks) * 1e-6)


def of_each(work: Callable[[int], Any]) -> float:
    """Return the instructions of ours that each of 100 more rounds within one task takes."""
    task = timers.task("reports.export")(work)
    few = instructions(lambda: asyncio.run(task(10)))
    many = instructions(lambda: asyncio.run(task(110)))
    return (many["streaming_dd"] - few["streaming_dd"]) / 100


async def nothing() -> None:
    pass


def test_a_task_of_no_work_takes_few_instructions_on_the_loop(traced: Any, even_clock: None) -> None:
    """A task with its counters, timers, span and lines is a bounded amount of code, what can wait left out."""

    async def tasks(count: int) -> None:
        for _ in range(count):
            await task()

    task = timers.task("reports.export")(nothing)
    few = instructions(lambda: asyncio.run(tasks(10)))
    many = instructions(lambda: asyncio.run(tasks(60)))
    assert (many["streaming_dd"] - few["streaming_dd"]) / 50 < A_TASK
    assert (many["ddtrace"] - few["ddtrace"]) / 50 < DDTRACE_TASK


def test_a_step_takes_few_instructions(traced: Any, even_clock: None) -> None:
    """What a task's step adds on the loop is a bounded amount of code."""

    async def steps(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    assert of_each(steps) < A_STEP


def test_a_short_child_task_takes_few_instructions(traced: Any, even_clock: None) -> None:
    """A child that ends with its first step, as coordinators gather for each client and event, is bounded code."""

    async def children(count: int) -> None:
        for _ in range(count):
            await asyncio.gather(nothing(), nothing())

    assert (of_each(children) - A_STEP) / 2 < A_CHILD


def test_an_event_of_a_task_takes_few_instructions(traced: Any, even_clock: None) -> None:
    """What a task's event and a progress of it add is a bounded amount of code."""

    async def events(count: int) -> None:
        task = timers.current_task()
        for number in range(count):
            task.event("progress")
            task.progress(number, 100)

    assert of_each(events) < A_TASK_EVENT
