"""Spans: roots, links, outcomes and ids, independent of loop and of who finishes first."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from streaming_dd import recorder, timers
from streaming_dd.middleware import DatadogMiddleware
from streaming_dd.output import tracing


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: Any) -> Any:
    """asyncio.run on either loop."""

    def go(main: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return go


@timers.task("reports.Export")
async def export(value: Any = 42, error: BaseException | None = None) -> Any:
    await asyncio.sleep(0.01)
    if error is not None:
        raise error
    return value


background: set[asyncio.Task[Any]] = set()


@pytest.fixture(autouse=True)
def _no_task_is_left() -> Any:
    """Forget the tasks of a loop that has ended."""
    yield
    background.clear()


async def submit(request: Any) -> PlainTextResponse:
    task = asyncio.create_task(export())
    background.add(task)
    return PlainTextResponse("submitted")


async def events(request: Any) -> StreamingResponse:
    async def body() -> Any:
        yield "data: 1\n\n"
        if "fail" in request.query_params:
            raise ValueError("mid-stream")

    return StreamingResponse(body(), media_type="text/event-stream")


SITE = Starlette(routes=[Route("/submit/{id}", submit), Route("/events/{id}", events)])


def test_a_request_span_says_what_was_asked_and_answered(configure: Any, exchange: Any, spans: Any) -> None:
    """Operation, resource from the template, http.* tags, kind server; the query string is left out."""
    configure(tracing_enabled=True)
    asyncio.run(exchange("/nowhere/7").run(DatadogMiddleware(SITE)))
    span = spans.one("asgi.request")
    assert span.resource == "GET unmatched"
    assert span.get_tag("http.status_code") == "404"
    assert span.get_tag("http.url") == "http://example.org/nowhere/7"
    assert span.get_tag("span.kind") == "server"
    assert span.span_type == "web"
    assert span.error == 0


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/reset;token=hunter2x9", "/reset;token=***"),
        ("/proxy/https://u:hunter2x9@h/x", "/proxy/https://u:***@h/x"),
        ("/events/7;token=hunter2x9", "/events/7;token=***"),  # of a stream it is said when it begins, too
    ],
)
def test_secrets_in_a_path_are_masked_on_the_span(
    path: str, shown: str, configure: Any, exchange: Any, spans: Any
) -> None:
    """The URL on a span is masked as it is in the access line."""
    configure(tracing_enabled=True)
    asyncio.run(exchange(path).run(DatadogMiddleware(SITE)))
    assert spans
    for span in spans:
        assert span.get_tag("http.url") in (None, f"http://example.org{shown}")
        assert "hunter2x9" not in str(span.get_tags())


@pytest.mark.parametrize(
    "header",
    [
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"x-datadog-trace-id", b"1234567890"),
    ],
)
def test_a_callers_trace_goes_on(
    header: tuple[bytes, bytes], configure: Any, exchange: Any, spans: Any
) -> None:
    """W3C's and Datadog's headers make the request a child of the caller's span."""
    configure(tracing_enabled=True)
    headers = [(b"host", b"x"), header, (b"x-datadog-parent-id", b"99")]
    asyncio.run(exchange("/events/1", headers=headers).run(DatadogMiddleware(SITE)))
    span = spans.one("sse.request")
    if header[0] == b"traceparent":
        assert f"{span.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{span.parent_id:016x}" == "b7ad6b7169203331"
    else:
        assert (span.trace_id, span.parent_id) == (1234567890, 99)


def test_a_stream_has_an_operation_of_its_own(configure: Any, exchange: Any, spans: Any) -> None:
    """`sse.request` keeps lifetimes out of the requests' latency; no span per event."""
    configure(tracing_enabled=True)
    asyncio.run(exchange("/events/1").run(DatadogMiddleware(SITE)))
    assert [span.name for span in spans if span.name != "asgi.background"] == ["sse.request"]
    span = spans.one("sse.request")
    assert span.resource == "GET /events/:id"
    assert span.get_tag("stream.outcome") == "completed"
    assert span.get_metric("stream.events") == 1


def test_a_failure_mid_stream_keeps_the_status_that_went_out(
    configure: Any, exchange: Any, spans: Any
) -> None:
    """Error 1 with type, message and stack; the status stays 200."""
    configure(tracing_enabled=True)
    request = exchange("/events/1")
    request.scope["query_string"] = b"fail=1"
    with pytest.raises(ValueError, match="mid-stream"):
        asyncio.run(request.run(DatadogMiddleware(SITE)))
    span = spans.one("sse.request")
    assert (span.error, span.get_tag("http.status_code"), span.get_tag("stream.outcome")) == (
        1,
        "200",
        "error",
    )
    assert span.get_tag("error.type") == "ValueError"
    assert "mid-stream" in span.get_tag("error.message")
    assert "Traceback" in span.get_tag("error.stack")


def test_a_task_is_a_root_of_its_own_linked_to_its_request(
    configure: Any, exchange: Any, spans: Any, run: Any
) -> None:
    """Also when the request ends before the task's first step, on asyncio and on uvloop."""
    configure(tracing_enabled=True)

    async def main() -> None:
        await exchange("/submit/1").run(DatadogMiddleware(SITE))
        await asyncio.gather(*background)
        background.clear()

    run(main())
    request, submitted, task = spans.one("asgi.request"), spans.one("task.submit"), spans.one("task.run")
    assert submitted.parent_id == request.span_id
    assert task.parent_id in (0, None)
    assert task.trace_id != request.trace_id
    (link,) = task._get_links()
    assert (link.trace_id, link.span_id) == (submitted.trace_id, submitted.span_id)
    assert submitted.get_tag("task.trace_id") == f"{task.trace_id:032x}"
    assert task.get_metric("_dd.measured") == 1
    assert task.get_tag("task.status") == "completed"
    assert task.get_tag("task.final_value") == "42"
    assert (task.resource, task.span_type, task.get_tag("span.kind")) == (
        "reports.Export",
        "worker",
        "consumer",
    )


def test_a_task_may_be_a_child_if_so_configured(configure: Any, exchange: Any, spans: Any) -> None:
    """STREAMING_TASK_TRACE=child puts short tasks into the request's trace."""
    configure(tracing_enabled=True, task_trace="child")

    async def main() -> None:
        await exchange("/submit/1").run(DatadogMiddleware(SITE))
        await asyncio.gather(*background)
        background.clear()

    asyncio.run(main())
    assert spans.one("task.run").parent_id == spans.one("task.submit").span_id


@pytest.mark.parametrize(
    ("error", "status", "failed"),
    [(ValueError("boom"), "failed", 1), (asyncio.CancelledError(), "cancelled", 0)],
)
def test_a_tasks_outcome_is_on_its_span(
    error: BaseException, status: str, failed: int, configure: Any, spans: Any
) -> None:
    """Failed sets the error fields that Error Tracking reads; cancelled is no error."""
    configure(tracing_enabled=True)

    async def main() -> None:
        with pytest.raises(type(error)):
            await export(error=error)

    asyncio.run(main())
    span = spans.one("task.run")
    assert (span.get_tag("task.status"), span.error) == (status, failed)
    assert (span.get_tag("error.stack") is not None) is bool(failed)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, "7"),
        (None, "None"),
        ("short", "short"),
        ("x" * 1000, "str of 1000"),
        ([1, 2], "list of 2"),
        (object(), "object"),
    ],
)
def test_a_result_is_shown_in_short(value: Any, shown: str, configure: Any, spans: Any) -> None:
    """Short scalars as they are, everything else by type and size: no payload ends up in a tag."""
    configure(tracing_enabled=True)
    asyncio.run(export(value))
    assert spans.one("task.run").get_tag("task.final_value") == shown


def test_awaiting_a_task_gives_the_callers_span_back(configure: Any, spans: Any) -> None:
    """After a task awaited in place, the caller's own span is the active one again."""
    from ddtrace.trace import tracer

    configure(tracing_enabled=True)

    async def main() -> None:
        with tracer.trace("caller") as caller:
            await export()
            assert tracer.current_span() is caller

    asyncio.run(main())
    assert spans.one("task.run").parent_id in (0, None)


def test_a_generator_task_never_keeps_its_span_active_in_the_consumer(configure: Any, spans: Any) -> None:
    """Between two items, the consumer's own span is the active one; within a step, the task's is."""
    from ddtrace.trace import tracer

    configure(tracing_enabled=True)
    inside = []

    @timers.task("reports.Rows")
    async def rows() -> Any:
        for number in range(3):
            inside.append(tracer.current_span().name)
            yield number

    async def main() -> None:
        with tracer.trace("consumer") as consumer:
            async for _ in rows():
                assert tracer.current_span() is consumer
            assert tracer.current_span() is consumer

    asyncio.run(main())
    assert inside == ["task.run"] * 3
    assert spans.one("task.run").get_tag("task.status") == "completed"


def test_a_long_task_is_cut_into_linked_segments(
    configure: Any, spans: Any, flush: Any, monkeypatch: Any
) -> None:
    """Each segment is a root that links to the one before; child spans belong to the segment they begin in."""
    from ddtrace.trace import tracer

    monkeypatch.setattr(recorder.Recorder, "start", lambda self: None)  # its own first round would cut, too
    configure(tracing_enabled=True, task_segment=0.1)

    @timers.task("reports.Long")
    async def long() -> None:
        for _ in range(3):
            await asyncio.sleep(0.12)
            flush()
            await asyncio.sleep(0)
            with tracer.trace("step"):
                pass

    asyncio.run(long())
    segments = spans.named("task.run")
    assert len(segments) == 4
    assert [span.get_metric("task.segment") for span in segments] == [1, 2, 3, 4]
    assert [span.get_tag("task.status") for span in segments] == ["running"] * 3 + ["completed"]
    for before, after in itertools.pairwise(segments):
        assert after._get_links()[0].span_id == before.span_id
    assert {span.parent_id for span in spans.named("step")} <= {span.span_id for span in segments}


def test_log_lines_of_a_task_carry_its_ids(configure: Any, exchange: Any, spans: Any, tmp_path: Any) -> None:
    """Also long after the request ended, in loguru's lines and in our own; two tasks never swap ids."""
    from loguru import logger

    path = tmp_path / "app.log"
    found = configure(
        tracing_enabled=True,
        logs_enabled=True,
        log_stdout=False,
        log_file=str(path),
        log_bridge=False,
        access_log=False,
    )

    @timers.task("reports.Talk")
    async def talk(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            logger.info("from {}", name)

    async def main() -> None:
        await asyncio.gather(talk("a"), talk("b"))

    asyncio.run(main())
    found.round()
    assert found.logs.flush(60)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    ids = {
        name: {line["dd.trace_id"] for line in lines if line["message"] == f"from {name}"} for name in "ab"
    }
    assert len(ids["a"]) == len(ids["b"]) == 1
    assert ids["a"] != ids["b"]
    traces = {f"{span.trace_id:032x}" for span in spans.named("task.run")}
    assert ids["a"] | ids["b"] == traces
    starts = [line for line in lines if line["message"] == "task reports.Talk started"]
    ends = [line for line in lines if line["message"] == "task reports.Talk completed"]
    assert {line["dd.trace_id"] for line in starts} == {line["dd.trace_id"] for line in ends} == traces
    assert all(line["task.status"] == "completed" and line["duration"] > 0 for line in ends)


def test_a_header_carries_the_trace_id_if_configured(configure: Any, exchange: Any, spans: Any) -> None:
    """Off by default; with STREAMING_TRACE_HEADER the response names its trace."""
    configure(tracing_enabled=True, trace_header="X-Trace-Id")
    request = exchange("/submit/1")
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    headers = dict(request.sent[0]["headers"])
    assert headers[b"x-trace-id"].decode() == f"{spans.one('asgi.request').trace_id:032x}"
    configure(tracing_enabled=True)
    request = exchange("/submit/1")
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    assert b"x-trace-id" not in dict(request.sent[0]["headers"])


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_ddtraces_own_integration_is_used_not_doubled(
    place: str, configure: Any, exchange: Any, spans: Any
) -> None:
    """Around us or within: one request span, ddtrace's, renamed for a stream and tagged with the outcome."""
    from ddtrace.contrib.asgi import TraceMiddleware

    configure(tracing_enabled=True)
    app: Any = (
        TraceMiddleware(DatadogMiddleware(SITE))
        if place == "outside"
        else DatadogMiddleware(TraceMiddleware(SITE))
    )
    asyncio.run(exchange("/events/1").run(app))
    span = spans.one("sse.request")
    assert [other.name for other in spans if other.name not in ("sse.request", "asgi.background")] == []
    assert span.get_tag("component") == "asgi"
    assert span.resource == "GET /events/:id"
    assert span.get_tag("stream.outcome") == "completed"


def test_with_tracing_off_there_are_no_ids(configure: Any, exchange: Any, spans: Any) -> None:
    """STREAMING_TRACING_ENABLED=false makes no span and leaves the app alone."""
    configure(tracing_enabled=False)
    request = exchange("/submit/1")
    asyncio.run(request.run(DatadogMiddleware(SITE)))
    assert request.status == 200
    assert spans == []
    assert tracing.correlation() == ("0", "0")


def test_an_error_that_cannot_be_shown_is_still_an_error() -> None:
    """A broken __str__ or a chain of causes does not hide the type."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    kind, message, stack = tracing.describe_error(Broken())
    assert kind.endswith("Broken")
    assert message
    assert stack
