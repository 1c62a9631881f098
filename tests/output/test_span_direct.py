"""The direct path at its edges: a fork, a recorder's thread that is stuck, a wall clock that jumps, tags that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from trace_receiver import TraceReceiver

pytestmark = pytest.mark.process

HEAD = """
    import asyncio, json, os, sys, time
    sys.path.insert(0, os.environ["TESTS"])
    sys.argv.append("starlette")
    import span_scenarios as site
    from streaming_dd import recorder
    from streaming_dd.output.tracing import direct
    recorder.Recorder.start = lambda self: None  # rounds are the test's to make
    found = recorder.get()
    app = site.DatadogMiddleware(site.site())
    def ask(path):
        asyncio.run(site.ask(app, path))
    def send():
        found.tracing._direct._send_ended()
        site.tracer().flush()
    ask("/items/warm"); found.round(); send(); found.round()
    assert found.tracing.full_path_because == ""
"""


def run(script: str) -> list[dict[str, Any]]:
    """Run a script against a receiver, and return the spans of its requests but those to warm up.

    Work after a response, which a busy machine may make slow enough for a span of its own, is left out.
    """
    receiver = TraceReceiver()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "STREAMING_"))}
    with receiver.listening():
        environment = {
            **kept,
            "DD_TRACE_AGENT_URL": receiver.url,
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_WRITER_INTERVAL_SECONDS": "3600",
            "STREAMING_METRICS_ENABLED": "false",
            "STREAMING_LOGS_ENABLED": "false",
            "TESTS": os.path.dirname(__file__),
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(script)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-1500:]
    return [
        span
        for span in receiver.spans("")
        if "warm" not in span["meta"].get("http.url", "") and span["name"] != "asgi.background"
    ]


def test_a_fork_sends_no_span_twice() -> None:
    """What waits in the parent leaves from the parent alone; the child's spans carry the child's ids."""
    spans = run("""
        ask("/items/parent")
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            send()
        else:
            ask("/items/child_full"); found.round(); send(); found.round()
            assert found.tracing.full_path_because == ""
            ask("/items/child_direct"); send()
            os._exit(0)
    """)
    by_name = {span["meta"]["http.url"].rpartition("/")[2]: span for span in spans}
    assert len(spans) == len(by_name) == 3
    parent, full, direct = (by_name[name] for name in ("parent", "child_full", "child_direct"))
    assert full["metrics"]["process_id"] == direct["metrics"]["process_id"] != parent["metrics"]["process_id"]
    assert full["meta"]["runtime-id"] == direct["meta"]["runtime-id"] != parent["meta"]["runtime-id"]


def test_a_stuck_thread_holds_a_bounded_number_of_spans() -> None:
    """More spans than may wait are finished in place by ddtrace; none is lost."""
    spans = run("""
        direct.QUEUE_LIMIT = 3
        for number in range(8):
            ask(f"/items/{number}")
        assert len(found.tracing._direct._ended) == 3
        send()
    """)
    assert sorted(span["meta"]["http.url"][-1] for span in spans) == list("01234567")


def test_a_span_whose_tags_cannot_be_told_leaves_without_them() -> None:
    """A description that raises costs the tags, is counted, and holds nothing up."""
    spans = run("""
        def fail(*arguments):
            raise RuntimeError("no tags")
        span = found.tracing.start_request("GET", ())
        found.tracing.finish(span, 0.25, fail)
        ask("/items/next"); send()
        assert found.tracing._direct.faults == 1
        found.tracing.settle()
    """)
    assert len(spans) == 2, spans
    assert [span["duration"] for span in spans if "http.url" not in span["meta"]] == [250_000_000]


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("path", ["direct", "full"])
def test_a_length_is_that_of_the_monotonic_clock(days: int, path: str) -> None:
    """A wall clock that is set while a request or a task runs moves no length."""
    spans = run(f"""
        real, shift = time.time_ns, 0
        time.time_ns = lambda: real() + shift
        if {path == "full"}:
            found.tracing._direct.stop()
        from streaming_dd import timers
        @timers.task("app.work")
        async def work(*arguments):
            global shift
            shift = {days} * 86_400 * 10**9
        asyncio.run(work()); shift = 0
        site.DONE["move"] = work
        ask("/items/move"); shift = 0
        found.round(); send()
    """)
    assert {span["name"] for span in spans} == {"asgi.request", "task.run", "task.submit"}
    assert all(0 <= span["duration"] < 60 * 10**9 for span in spans if span["name"] != "task.submit")


def test_after_the_last_flush_spans_are_finished_in_place() -> None:
    """A span that ends after the drain waits for no thread that may be gone."""
    spans = run("""
        found.tracing.flush()
        ask("/items/late")
        assert not found.tracing._direct._ended
        site.tracer().flush()
    """)
    assert [span["resource"].partition(" ")[0] for span in spans] == ["GET"]
    assert json.dumps(spans).count("late") == 1
