"""The fixtures of the pytest plugin: what they see, what they say when an assertion fails, what they leave behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from loguru import logger
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import streaming_dd as dd
from streaming_dd import catalog, recorder, testing
from streaming_dd.testing import LogCapture, MetricCapture, SpanCapture

ROWS = dd.Metric("reports.rows", "count", unit="row", tags=("kind",), help="Rows written.")
RENDER = dd.Metric("reports.render", "timer", unit="millisecond", help="Time to render.")
DEPTH = dd.Metric("reports.depth", "gauge", tags=("queue",), help="Waiting reports.")


@dd.task("reports.export")
async def export(fail: bool = False) -> int:
    logger.info("exporting")
    if fail:
        raise ValueError("no such column")
    return 3


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def start(request: Request) -> PlainTextResponse:
    task = asyncio.create_task(export())
    await task
    return PlainTextResponse("done")


async def stream(request: Request) -> StreamingResponse:
    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    return StreamingResponse(events(), media_type="text/event-stream")


#: Wrapped where the module is imported, as applications do it, long before a fixture exists.
app = dd.DatadogMiddleware(
    Starlette(routes=[Route("/hello/{name}", hello), Route("/start", start), Route("/stream", stream)])
)


def get(*paths: str) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for path in paths:
                await client.get(path)

    asyncio.run(ask())


# --- metrics --------------------------------------------------------------------------------------------------


def test_started_tasks_grew_by_one(dd_metrics: MetricCapture) -> None:
    """A task that is run counts as started and completed, and its duration is one value."""
    with dd_metrics.grows(catalog.TASKS_STARTED, app="reports", model="export"):
        asyncio.run(export())
    dd_metrics.assert_count(catalog.TASKS_COMPLETED, 1)
    dd_metrics.assert_count(catalog.TASKS_FAILED, 0)
    (milliseconds,) = dd_metrics.assert_values(catalog.TASK_DURATION, 1, outcome="completed")
    assert 0 < milliseconds < 60_000


def test_the_next_test_begins_at_zero(dd_metrics: MetricCapture) -> None:
    """Nothing of the test before is seen."""
    dd_metrics.assert_count(catalog.TASKS_STARTED, 0)
    assert dd_metrics.values(catalog.TASK_DURATION) == []


def test_an_app_wrapped_at_import_is_seen(dd_metrics: MetricCapture) -> None:
    """Requests and streams of a module-level application are counted, right when the response has come."""
    for _ in range(20):
        with dd_metrics.grows(catalog.HTTP_REQUESTS, by=2, route="/hello/:name", status=200):
            get("/hello/ann", "/hello/bob")
    get("/stream", "/nowhere")
    dd_metrics.assert_count(catalog.STREAM_EVENTS, 3, route="/stream")
    dd_metrics.assert_count("http.requests", 1, status_class="4xx")
    dd_metrics.assert_count("streaming.http.requests", 42)
    dd_metrics.assert_gauge(catalog.HTTP_ACTIVE, 0)


def test_own_metrics_are_read_by_their_metric(dd_metrics: MetricCapture) -> None:
    """Counts are summed over the tags that are not asked for, gauges over their series' last values."""
    dd.increment(ROWS, 12, kind="csv")
    dd.increment(ROWS, 3, kind="a b|c")
    with dd.timer(RENDER):
        pass
    for queue, depth in (("a", 5), ("b", 2), ("a", 1)):
        dd.gauge(DEPTH, depth, queue=queue)
    dd_metrics.assert_count(ROWS, 15)
    dd_metrics.assert_count(ROWS, 3, kind="a b|c")
    dd_metrics.assert_count("reports.rows", 12, kind="csv")
    dd_metrics.assert_values(RENDER, 1)
    with dd_metrics.grows(RENDER, by=2):
        dd.record(RENDER, 1.5)
        dd.record(RENDER, 2.5)
    assert dd_metrics.values(RENDER)[1:] == [1.5, 2.5]
    dd_metrics.assert_gauge(DEPTH, 3)
    dd_metrics.assert_gauge(DEPTH, 1, queue="a")
    dd_metrics.clear()
    dd_metrics.assert_count(ROWS, 0)


def test_service_checks_are_kept(dd_metrics: MetricCapture) -> None:
    """A service check has its name, status, tags and message."""
    recorder.get().metrics.service_check(catalog.HEALTH, 2, "no answer", check="database")
    (check,) = dd_metrics.service_checks
    assert (check.name, check.status, check.message) == ("streaming.health", 2, "no answer")
    assert check.tags == {"check": "database", "worker": "0"}


def test_a_failed_assertion_shows_what_was_captured(dd_metrics: MetricCapture) -> None:
    """The message has the difference, and every series with its values; not the zeros of others."""
    asyncio.run(export())
    dd.record(RENDER, 1.5)
    with pytest.raises(AssertionError) as failure:
        dd_metrics.assert_count(catalog.TASKS_STARTED, 2, model="export")
    message = str(failure.value)
    assert message.startswith("streaming.tasks.started{model:export} is 1, not 2.\nCaptured metrics:\n")
    assert "count        streaming.tasks.started{app:reports,model:export} 1" in message
    assert "distribution reports.render{} 1.5 (1 values)" in message
    assert "tasks.cancelled" not in message
    assert "telemetry" not in message


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        (lambda metrics: metrics.assert_count(catalog.TASKS_FAILED, 1), "tasks.failed is 0, not 1"),
        (lambda metrics: metrics.assert_values(RENDER, 1), "reports.render has 0 values, not 1"),
        (lambda metrics: metrics.gauge(DEPTH), "the gauge reports.depth was never sent"),
        (lambda metrics: metrics.assert_gauge(catalog.HTTP_ACTIVE, 1), "http.active is 0, not 1"),
        (
            lambda metrics: metrics.assert_count("tasks.stated", 0),
            "no metric 'tasks.stated' is in the catalogue",
        ),
    ],
)
def test_each_assertion_can_fail(dd_metrics: MetricCapture, question: Any, problem: str) -> None:
    """No assertion passes for what is not there, nor for a name that is nobody's."""
    with pytest.raises(AssertionError, match=problem):
        question(dd_metrics)


def test_growth_that_does_not_happen_fails(dd_metrics: MetricCapture) -> None:
    """`grows` says by how much it grew; an error inside its block is not replaced."""
    with (
        pytest.raises(AssertionError, match=r"reports\.rows\{kind:csv\} grew by 0, not by 1"),
        dd_metrics.grows(ROWS, kind="csv"),
    ):
        dd.increment(ROWS, kind="json")
    with pytest.raises(KeyError), dd_metrics.grows(ROWS):
        raise KeyError("of the test's own")


def test_a_tag_that_the_metric_has_not_is_an_error(dd_metrics: MetricCapture) -> None:
    """A wrong tag would make every `assert_count(..., 0)` pass."""
    with pytest.raises(ValueError, match=r"tasks\.started has no tag 'task_id' \(it has: app, model\)"):
        dd_metrics.assert_count(catalog.TASKS_STARTED, 0, task_id=3)


# --- spans ----------------------------------------------------------------------------------------------------


def test_spans_of_a_request_and_its_task(dd_spans: SpanCapture) -> None:
    """The request's span has the submitting one as a child; the task's is a root that links to that."""
    get("/start")
    request = dd_spans.one("asgi.request", resource="GET /start", error=False)
    (submit,) = dd_spans.children(request)
    run = dd_spans.one("task.run", tags={"task.status": "completed", "task.final_value": "3"})
    assert (submit.name, run.parent_id) == ("task.submit", 0)
    assert run.links_to(submit)
    assert not submit.links_to(run)
    dd_spans.assert_none("sse.request")


def test_spans_again(dd_spans: SpanCapture) -> None:
    """A second capture in the same process begins empty and captures as the first did."""
    assert dd_spans.spans == []
    get("/stream")
    span = dd_spans.one("sse.request")
    assert span.metrics["stream.events"] == 3
    assert dd_spans.find(tags={"stream.events": 3, "stream.outcome": "completed"}) == [span]
    dd_spans.clear()
    dd_spans.assert_none()


def test_ddtraces_own_spans_are_captured(dd_spans: SpanCapture) -> None:
    """Whatever ddtrace records is there, and nothing is handed to its writer."""
    from ddtrace.trace import tracer

    with tracer.trace("outer", service="shop", resource="r"), tracer.trace("inner"):
        pass
    inner, outer = dd_spans.one("inner"), dd_spans.one("outer", service="shop", resource="r")
    assert inner.parent_id == outer.span_id
    assert inner.trace_id == outer.trace_id


def test_a_span_assertion_shows_the_traces(dd_spans: SpanCapture) -> None:
    """The message draws every trace as a tree with the tags that matter."""
    with pytest.raises(ValueError, match="no such column"):
        asyncio.run(export(fail=True))
    get("/hello/ann")
    with pytest.raises(AssertionError) as failure:
        dd_spans.one("task.run", error=False)
    message = str(failure.value)
    assert message.startswith(
        "0 spans match 'task.run', error=False, not 1.\nCaptured spans:\n  task.run [reports.export]"
    )
    assert "ERROR error.message=no such column error.type=ValueError" in message
    assert "\n  asgi.request [GET /hello/:name]" in message
    with pytest.raises(AssertionError, match=r"1 spans match 'asgi\.request', where none should"):
        dd_spans.assert_none("asgi.request")


def test_a_span_that_began_before_is_not_of_this_test() -> None:
    """A task of an earlier test that ends late does not show up in a later one."""
    with testing.capture():
        from ddtrace.trace import tracer

        late = tracer.start_span("late")
    with testing.capture() as captured:
        late.finish()
        tracer.start_span("of this one").finish()
        assert [span.name for span in captured.spans.spans] == ["of this one"]


# --- logs -----------------------------------------------------------------------------------------------------


def test_lines_of_loguru_and_the_standard_library(dd_logs: LogCapture) -> None:
    """Both arrive as the flat JSON that would be written, whatever handlers pytest has on the root logger."""
    logger.bind(rows=3).info("rows written")
    logging.getLogger("reports").warning("slow: %d s", 9)
    logging.getLogger("reports").info("as usual")
    assert dd_logs.one("rows written")["rows"] == 3
    assert dd_logs.one("slow", status="warning")["logger.name"] == "reports"
    assert dd_logs.one("as usual", fields={"logger.name": "reports"})["status"] == "info"


def test_lines_of_a_task_carry_its_ids(dd_logs: LogCapture, dd_spans: SpanCapture) -> None:
    """Fixtures of one test are views of the same capture: lines and spans belong together."""
    asyncio.run(export())
    run = dd_spans.one("task.run")
    assert {line["dd.trace_id"] for line in dd_logs.lines} == {f"{run.trace_id:032x}"}
    assert dd_logs.one("exporting")["dd.span_id"] == str(run.span_id)
    assert dd_logs.one(fields={"task.status": "completed"})["task.final_value"] == "3"


def test_access_lines_are_there_at_once(dd_logs: LogCapture) -> None:
    """The line of a request that has ended is not waited for."""
    get("/hello/ann")
    line = dd_logs.one("/hello/ann", fields={"logger.name": "streaming_dd.access"})
    assert line["http.status_code"] == 200


def test_a_log_assertion_shows_the_lines(dd_logs: LogCapture) -> None:
    """The message has every captured line."""
    logger.error("it broke")
    with pytest.raises(AssertionError) as failure:
        dd_logs.one("it works", status="info")
    assert str(failure.value).startswith(
        "0 lines match 'it works', status='info', not 1.\nCaptured log lines:\n"
    )
    assert '"message":"it broke"' in str(failure.value)
    with pytest.raises(AssertionError, match="1 lines match status='error', where none should"):
        dd_logs.assert_none(status="error")
    dd_logs.clear()
    dd_logs.assert_none()


# --- around the test ------------------------------------------------------------------------------------------


def test_configure_inside_a_test_stays_in_memory(dd_metrics: MetricCapture, dd_logs: LogCapture) -> None:
    """An application that is set up inside the test, with its real settings, is captured all the same."""
    dd.instrument(Starlette(), service="shop", metrics_enabled=False, log_file="/nowhere/x.log")
    dd.increment(ROWS, kind="csv")
    logger.info("set up")
    dd_metrics.assert_count(ROWS, 1)
    assert dd_logs.one("set up")["service"] == "shop"


def test_what_was_configured_before_holds_and_comes_back() -> None:
    """Arguments of the application (its excluded paths) hold inside the capture, and are in force after it."""
    recorder.configure(service="shop", exclude_paths=["/hello/*"], tracing_enabled=False, logs_enabled=False)
    try:
        with testing.capture() as captured:
            get("/hello/ann")
            captured.metrics.assert_count(catalog.HTTP_REQUESTS, 0)
            assert recorder.get().config.service == "shop"
            assert recorder.get().config.tracing_enabled
        after = recorder.get().config
        assert (after.service, after.exclude_paths, after.tracing_enabled) == ("shop", ("/hello/*",), False)
    finally:
        recorder.reset()


def test_captures_do_not_nest() -> None:
    """A second capture inside the first is refused, with what to do instead."""
    with testing.capture(), pytest.raises(dd.StreamingDDError, match="a test uses either"), testing.capture():
        pass
    with testing.capture(service="again"):
        pass


def test_nothing_is_left_behind(eventually: Any) -> None:
    """After a capture: no thread of ours, no handler, the root logger's level, the tracer's state as before."""
    from ddtrace.trace import tracer

    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        return list(root.handlers), root.level, tracer.enabled

    recorder.reset()  # what an earlier module has left would be back afterwards
    before, threads = state(), set(threading.enumerate())
    with testing.capture():
        get("/hello/ann")
    assert state() == before
    eventually(
        lambda: (
            not any(thread.name.startswith("streaming-dd") for thread in set(threading.enumerate()) - threads)
        )
    )
    assert recorder.current is None


def test_spans_are_captured_where_tracing_is_off_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that runs with DD_TRACE_ENABLED=false still sees its spans, and is off again afterwards."""
    from ddtrace.trace import tracer

    monkeypatch.setattr(tracer, "enabled", False)
    monkeypatch.setenv("STREAMING_TRACING_ENABLED", "false")
    monkeypatch.setenv("STREAMING_ENABLED", "false")
    with testing.capture() as captured:
        asyncio.run(export())
        captured.spans.one("task.run")
    assert tracer.enabled is False


def test_from_threads(dd_metrics: MetricCapture) -> None:
    """What other threads record is captured; none of it is lost between them and the reader."""

    def work() -> None:
        for _ in range(500):
            dd.increment(ROWS, kind="csv")
            dd.record(RENDER, 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        dd_metrics.count(ROWS)
    dd_metrics.assert_count(ROWS, 2000)
    dd_metrics.assert_values(RENDER, 2000)
