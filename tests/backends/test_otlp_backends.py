"""The same spans to other backends, by environment variables only; each app is a process of its own."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from backend_runs import run_app

from streaming_dd.local_agent import LocalAgent, Span
from streaming_dd.output.tracing import otlp_address

pytestmark = pytest.mark.process

CALLER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.mark.parametrize("protocol", ["", "http/protobuf", "http/json"])
def test_spans_and_their_links_arrive_by_otlp(local_agent: LocalAgent, protocol: str) -> None:
    """OTEL_TRACES_EXPORTER and an endpoint are enough; what finished last arrives too, with no Agent in reach."""
    run_app(
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{local_agent.trace_port}",
        **({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol} if protocol else {}),
    )
    local_agent.wait_for(lambda got: len(got.spans) == 3)
    assert dict(local_agent.holdings.trace_api.payloads).keys() == {"/v1/traces"}
    spans = {span.name: span for span in local_agent.received.spans}
    request, submit, run = spans["asgi.request"], spans["task.submit"], spans["task.run"]
    assert {span.service for span in spans.values()} == {"shop"}
    assert (request.resource, request.meta["span.kind"]) == ("GET /start/:name", "server")
    assert submit.parent_id == request.span_id
    assert [(link.trace_id, link.span_id) for link in run.links] == [(submit.trace_id, submit.span_id)]
    assert (run.meta["task.status"], run.parent_id) == ("completed", "0")


def test_a_receiver_that_is_none_of_ours_takes_them(otlp_receiver: str) -> None:
    """ddapm-test-agent decodes the payloads with OpenTelemetry's own protobuf classes."""
    httpx.get(f"{otlp_receiver}/test/session/clear", timeout=60).raise_for_status()
    run_app(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver)
    payloads: list[dict[str, Any]] = httpx.get(f"{otlp_receiver}/test/session/traces", timeout=60).json()
    spans = {
        _attribute(span, "operation.name"): (span, resource)
        for payload in payloads
        for resource in payload.get("resource_spans", payload.get("resourceSpans"))
        for scope in resource.get("scope_spans", resource.get("scopeSpans"))
        for span in scope["spans"]
    }
    assert spans.keys() == {"asgi.request", "task.submit", "task.run"}
    run, resource = spans["task.run"]
    assert run["name"] == "reports.export"
    assert _attribute(resource["resource"], "service.name") == "shop"
    (link,) = run["links"]
    submit = spans["task.submit"][0]
    assert link.get("span_id", link.get("spanId")) == submit.get("span_id", submit.get("spanId"))


def test_opentelemetrys_api_joins_our_traces(local_agent: LocalAgent) -> None:
    """By the environment alone, without ddtrace-run, a span of its API is a child of the task's."""
    run_app(
        DD_TRACE_AGENT_URL=f"http://127.0.0.1:{local_agent.trace_port}",
        DD_TRACE_OTEL_ENABLED="true",
        OTEL_PYTHON_CONTEXT="ddcontextvars_context",
    )
    local_agent.wait_for(lambda got: len(got.spans) == 4)
    spans = {span.resource: span for span in local_agent.received.spans}
    inside, run = spans["otel.inside"], _named(local_agent, "task.run")
    assert (inside.trace_id, inside.parent_id) == (run.trace_id, run.span_id)


def test_opentelemetry_that_was_imported_too_early_is_said(local_agent: LocalAgent) -> None:
    """Its spans arrive, but as roots: its context was chosen before ddtrace came; the log says what to set."""
    address = f"http://127.0.0.1:{local_agent.trace_port}"
    written = run_app(DD_TRACE_AGENT_URL=address, DD_TRACE_OTEL_ENABLED="true", STREAMING_LOGS_ENABLED="true")
    local_agent.wait_for(lambda got: len(got.spans) == 4)
    assert "set OTEL_PYTHON_CONTEXT=ddcontextvars_context" in written


def test_w3c_context_in_and_out(local_agent: LocalAgent) -> None:
    """A caller's traceparent is continued, whatever it is that receives the spans, and is sent on by calls."""
    sent_on = json.loads(
        run_app(json.dumps(CALLER), DD_TRACE_AGENT_URL=f"http://127.0.0.1:{local_agent.trace_port}")
    )
    local_agent.wait_for(lambda got: len(got.spans) == 3)
    request = _named(local_agent, "asgi.request")
    assert request.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert int(request.parent_id) == 0xB7AD6B7169203331
    assert sent_on["traceparent"] == f"00-{request.trace_id}-{int(request.span_id):016x}-01"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        (
            {"OTEL_TRACES_EXPORTER": "OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318/"},
            "http://jaeger:4318/v1/traces",
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://tempo:4318/v1/traces",
            },
            "http://tempo:4318/v1/traces",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp", "DD_TRACE_AGENT_PROTOCOL_VERSION": "v0.4"}, ""),
    ],
)
def test_where_spans_go_is_known_from_the_environment(environment: dict[str, str], address: str) -> None:
    """As ddtrace reads it: whether somebody listens there decides whether the last spans are waited for."""
    assert otlp_address(environment) == address


def _named(agent: LocalAgent, name: str) -> Span:
    (span,) = [span for span in agent.received.spans if span.name == name]
    return span


def _attribute(item: dict[str, Any], key: str) -> str:
    found = next(pair["value"] for pair in item["attributes"] if pair["key"] == key)
    return str(found.get("string_value", found.get("stringValue")))
