"""Datadog's own trace receiver between ddtrace and the local agent: both must have understood the same traces."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from free_ports import free_port

from streaming_dd.local_agent import LocalAgent

TRACER = """
from ddtrace.trace import tracer
for number in range(3):
    with tracer.trace("web.request", service="web", resource=f"GET /{number}", span_type="web") as request:
        request.set_tag("http.status_code", "200")
        with tracer.trace("db.query", service="db", resource="SELECT 1", span_type="sql") as query:
            query.set_metric("rows", number)
            query.error = number % 2
    task = tracer.start_span("task.run", child_of=None, service="web", resource="reports.Summary", activate=True)
    task.link_span(request.context, {"link.kind": "submitted_by"})
    task.finish()
tracer.flush()
"""


@pytest.fixture
def test_agent(run_agent, tmp_path: Path) -> Iterator[tuple[str, LocalAgent]]:
    """ddapm-test-agent that passes on what it gets to a local agent."""
    agent = run_agent()
    port = free_port()
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ddapm-test-agent")), "--port", str(port), "--otlp-http-port",
            str(free_port()), "--otlp-grpc-port", str(free_port()), "--snapshot-dir", str(tmp_path),
            "--agent-url", f"http://127.0.0.1:{agent.trace_port}", "--log-level", "ERROR",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{url}/info", timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url, agent
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.process
@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_both_understand_the_same_traces(test_agent: tuple[str, LocalAgent], version: str) -> None:
    """Span by span: ids, names, times, errors, tags and metrics are what Datadog's receiver read."""
    url, agent = test_agent
    subprocess.run(
        [sys.executable, "-c", TRACER],
        env={**os.environ, "DD_TRACE_AGENT_URL": url, "DD_TRACE_API_VERSION": version, "DD_SERVICE": "web"},
        check=True, timeout=120,
    )  # fmt: skip
    agent.wait_for(lambda received: len(received.spans) >= 9, timeout=60)
    theirs = {
        str(span["span_id"]): span
        for trace in httpx.get(f"{url}/test/traces", timeout=60).json()
        for span in trace
    }
    ours = {span.span_id: span for span in agent.received.spans}
    assert set(ours) == set(theirs)
    assert len(ours) == 9
    for span_id, span in ours.items():
        other = theirs[span_id]
        assert int(span.trace_id[16:], 16) == other["trace_id"]
        assert int(span.parent_id) == (other.get("parent_id") or 0)
        assert (span.name, span.resource, span.service) == (
            other["name"],
            other["resource"],
            other["service"],
        )
        assert (span.start_ns, span.duration_ns, span.error) == (
            other["start"],
            other["duration"],
            other.get("error") or 0,
        )
        assert span.type == (other.get("type") or "")
        assert span.meta == (other.get("meta") or {})
        assert span.metrics == (other.get("metrics") or {})
    assert all(len(span.links) == (span.name == "task.run") for span in ours.values())
