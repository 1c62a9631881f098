"""What the real clients send: datadog's DogStatsd and ddtrace, each in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_dd.local_agent import LocalAgent

STATSD = """
import sys
from datadog.dogstatsd import DogStatsd
options = dict(host="127.0.0.1", port=int(sys.argv[1])) if sys.argv[1].isdigit() else dict(socket_path=sys.argv[1])
statsd = DogStatsd(**options, constant_tags=["env:test"])
statsd.increment("count", 3, tags=["x:1"])
statsd.decrement("count", tags=["x:1"])
statsd.gauge("gauge", 2.5)
statsd.timing("timer", 12.5)
statsd.histogram("histogram", 1, sample_rate=1)
statsd.distribution("distribution", 5)
statsd.set("set", "user-1")
statsd.gauge_with_timestamp("stamped", 7, 1)
statsd.event("title", "two\\nlines, \\u00fc", alert_type="error", aggregation_key="k", priority="low")
statsd.service_check("db", DogStatsd.CRITICAL, message="down\\nnow", tags=["a:1"])
statsd.stop()
"""

TRACER = """
import sys
from ddtrace.trace import tracer
with tracer.trace("web.request", service="web", resource="GET /x", span_type="web") as request:
    with tracer.trace("step") as step:
        step.set_tag("model", "Summary")
        step.set_metric("rows", 12)
    context = request.context
task = tracer.start_span("task.run", child_of=None, service="web", resource="reports.Summary", activate=True)
task.link_span(context, {"link.kind": "submitted_by"})
task.set_tag("_dd.measured", 1)
try:
    raise ValueError("no\\u00fc")
except ValueError:
    task.set_exc_info(*sys.exc_info())
task.finish()
print(f"{context.trace_id:032x} {request.span_id} {task.trace_id:032x}")
tracer.flush()
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "DD_SERVICE": "web", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", **environment},
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("transport", ["udp", "datagram", "stream"])
def test_datadog_client_is_understood(run_agent, short_path: Path, transport: str) -> None:
    """Every kind of message that the official client sends arrives whole, by every transport."""
    agent = run_agent(
        dogstatsd_socket=str(short_path / "d"), dogstatsd_stream_socket=str(short_path / "s")
    )  # fmt: skip
    address = {
        "udp": str(agent.dogstatsd_port),
        "datagram": f"unixgram://{short_path / 'd'}",
        "stream": f"unixstream://{short_path / 's'}",
    }[transport]
    run(STATSD, address)
    agent.wait_for(lambda received: received.service_checks)
    samples = {(sample.name, sample.values): sample for sample in agent.received.metrics}
    assert set(samples) == {
        ("count", (3.0,)), ("count", (-1.0,)), ("gauge", (2.5,)), ("timer", (12.5,)), ("histogram", (1.0,)),
        ("distribution", (5.0,)), ("set", ("user-1",)),
    }  # fmt: skip
    assert {sample.kind for sample in samples.values()} == {"c", "g", "ms", "h", "d", "s"}
    assert sorted(samples["count", (3.0,)].tags) == ["env:test", "service:web", "x:1"]
    (event,) = agent.received.events
    assert (event.title, event.text, event.alert_type) == ("title", "two\nlines, ü", "error")
    assert (event.aggregation_key, event.priority) == ("k", "low")
    (check,) = agent.received.service_checks
    assert (check.name, check.status, check.message) == ("db", "critical", "down\nnow")
    (malformed,) = agent.received.malformed
    assert malformed.line.startswith(b"stamped:7|g")
    assert {(one.name, one.total) for one in agent.snapshot() if one.kind == "c"} == {("count", 2.0)}


@pytest.mark.process
@pytest.mark.parametrize("version", ["v0.5", "v0.4", "otlp"])
def test_ddtrace_is_understood(run_agent, version: str) -> None:
    """Spans, ids, errors and links of ddtrace arrive the same by each of its formats."""
    agent = run_agent()
    address = f"http://127.0.0.1:{agent.trace_port}"
    environment = {
        "v0.5": {"DD_TRACE_AGENT_URL": address},
        "v0.4": {"DD_TRACE_AGENT_URL": address, "DD_TRACE_API_VERSION": "v0.4"},
        "otlp": {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "DD_TRACE_AGENT_URL": address,
        },
    }[version]
    trace_id, span_id, task_id = run(TRACER, DD_ENV="test", DD_VERSION="1.4", **environment).split()
    agent.wait_for(lambda received: len(received.spans) >= 3)
    spans = {span.name: span for span in agent.received.spans}
    request, step, task = spans["web.request"], spans["step"], spans["task.run"]
    assert (request.trace_id, request.span_id, request.parent_id) == (trace_id, span_id, "0")
    assert (request.service, request.resource) == ("web", "GET /x")
    assert (step.trace_id, step.parent_id) == (trace_id, span_id)
    assert (step.meta["model"], step.metrics["rows"]) == ("Summary", 12)
    assert (task.trace_id, task.error) == (task_id, 1)
    assert task.meta["error.message"] == "noü"
    assert task.meta["error.type"].endswith("ValueError")
    (link,) = task.links
    assert (link.trace_id, link.span_id) == (trace_id, span_id)
    assert link.attributes["link.kind"] == "submitted_by"
    assert all("_dd.top_level" in span.metrics for span in (request, task))
    assert "_dd.top_level" not in step.metrics
    agent.stop()


@pytest.mark.process
def test_ddtrace_over_a_unix_socket(run_agent, short_path: Path) -> None:
    """The trace socket is as good as the port."""
    agent = run_agent(trace_port=None, trace_socket=str(short_path / "apm"))
    run(TRACER, DD_TRACE_AGENT_URL=f"unix://{short_path / 'apm'}")
    agent.wait_for(lambda received: len(received.spans) >= 3)


@pytest.mark.process
def test_trace_metrics_of_real_spans(run_agent) -> None:
    """Only the top-level spans of ddtrace give trace metrics, with the unified service tags."""
    with LocalAgent(dogstatsd_port=None, trace_port=0, logs_port=None, page_port=None).running() as agent:
        run(
            TRACER, DD_TRACE_AGENT_URL=f"http://127.0.0.1:{agent.trace_port}", DD_ENV="test", DD_VERSION="1.4"
        )
        agent.wait_for(lambda received: len(received.spans) >= 3)
    hits = [name for name in agent.holdings.store.names() if name.endswith(".hits")]
    assert hits == ["trace.task.run.hits", "trace.web.request.hits"]
    (series,) = agent.holdings.store.select(
        "trace.task.run.errors", None, agent.holdings.started - 60, agent.holdings.clock() + 60
    )
    assert series.values == [1.0]
    assert {"env:test", "version:1.4", "service:web", "resource_name:reports.summary"} <= series.tags


def test_logs_of_json_lines_join_the_trace(run_agent) -> None:
    """A JSON line with ddtrace's ids carries them as text, however large."""
    agent = run_agent()
    line = {"message": "m", "dd.trace_id": f"{2**127:032x}", "dd.span_id": str(2**64 - 1)}
    with socket.create_connection(("127.0.0.1", agent.logs_port)) as sock:
        sock.sendall(json.dumps(line).encode() + b"\n")
    agent.wait_for(lambda received: received.logs)
    assert agent.received.logs == [line]
