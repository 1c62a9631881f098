#!/usr/bin/env bash
# fastapi 0.165.0 with starlette 1.10.0, opentelemetry-sdk 1.45.2, opentelemetry-instrumentation-asgi 0.66b2, ddtrace 4.16.0, httpx 0.28.1
#   (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: FastAPI makes a span of its own for each request as soon as a tracer provider is set, by DD_TRACE_OTEL_ENABLED too. Its parent is
#   what the request's headers say, never the span that is active: under a middleware that wraps the application it begins a second trace,
#   and the route's own spans are in that; with a traceparent the two server spans are siblings. It stands back for an
#   OpenTelemetryMiddleware alone that was added with add_middleware().
# Expected: a child of the active span, as any instrumentation's. FastAPI(telemetry={"tracing": False}) leaves one trace.
# Output seen:
#   OpenTelemetryMiddleware(app)             2 server spans, 2 traces; the route's span is below FastAPI's
#   OpenTelemetryMiddleware(app), a caller   2 server spans, 1 trace; the route's span is below FastAPI's
#   app.add_middleware(...)                  1 server span, 1 trace; the route's span is below the middleware's
#   OpenTelemetryMiddleware(app), tracing=0  1 server span, 1 trace; the route's span is below the middleware's
#   ddtrace's TraceMiddleware(app)           2 server spans, 2 traces; the route's span is below FastAPI's
#   TraceMiddleware(app), tracing=0          1 server span, 1 trace; the route's span is below the middleware's
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0 \
  opentelemetry-sdk==1.45.2 opentelemetry-instrumentation-asgi==0.66b2 ddtrace==4.16.0 httpx==0.28.1
cat > "$work/probe.py" <<'PY'
import asyncio, os, sys
from collections import namedtuple

WITH_DDTRACE = "DD_TRACE_OTEL_ENABLED" in os.environ
if WITH_DDTRACE:
    import ddtrace.auto
import httpx
from fastapi import FastAPI
from opentelemetry import trace

Span = namedtuple("Span", "name by trace id parent")  # by: whose server span it is

if WITH_DDTRACE:
    from ddtrace.contrib.asgi import TraceMiddleware
    from ddtrace.trace import TraceFilter, tracer

    finished, OWNERS = [], {"server": "FastAPI's", "asgi.request": "the middleware's"}

    class Kept(TraceFilter):
        def process_trace(self, spans):
            finished.extend(Span(s.name, OWNERS.get(s.name), s.trace_id, s.span_id, s.parent_id) for s in spans)

    tracer.configure(trace_processors=[Kept()])
    opened = tracer.trace
else:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    finished = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    trace.set_tracer_provider(provider)
    opened = trace.get_tracer("route").start_as_current_span

def site(**options):
    app = FastAPI(**options)

    @app.get("/")
    async def route():
        with opened("query"):
            return {}

    return app

def spans():
    if WITH_DDTRACE:
        return finished
    owner = {"fastapi": "FastAPI's", "opentelemetry.instrumentation.asgi": "the middleware's"}
    return [Span(s.name, s.kind is trace.SpanKind.SERVER and owner[s.instrumentation_scope.name], s.context.trace_id, s.context.span_id,
                 s.parent and s.parent.span_id) for s in finished.get_finished_spans()]

async def shape(app, **headers):
    finished.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site") as client:
        (await client.get("/", headers=headers)).raise_for_status()
    by_id = {span.id: span for span in spans()}
    servers = [span for span in spans() if span.by]
    above = next(span for span in spans() if span.name == "query")
    while not above.by:
        above = by_id[above.parent]
    return len(servers), len({span.trace for span in spans()}), above.by

def words(servers, traces, by):
    return f"{servers} server span{'s' * (servers > 1)}, {traces} trace{'s' * (traces > 1)}; the route's span is below {by}"

async def main():
    quiet = {"telemetry": {"tracing": False}}
    if WITH_DDTRACE:
        cases = {"ddtrace's TraceMiddleware(app)": (TraceMiddleware(site()), {}),
                 "TraceMiddleware(app), tracing=0": (TraceMiddleware(site(**quiet)), {})}
        expected = [(2, 2, "FastAPI's"), (1, 1, "the middleware's")]
    else:
        added = site()
        added.add_middleware(OpenTelemetryMiddleware)
        caller = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        cases = {"OpenTelemetryMiddleware(app)": (OpenTelemetryMiddleware(site()), {}),
                 "OpenTelemetryMiddleware(app), a caller": (OpenTelemetryMiddleware(site()), caller),
                 "app.add_middleware(...)": (added, {}),
                 "OpenTelemetryMiddleware(app), tracing=0": (OpenTelemetryMiddleware(site(**quiet)), {})}
        expected = [(2, 2, "FastAPI's"), (2, 1, "FastAPI's"), (1, 1, "the middleware's"), (1, 1, "the middleware's")]
    found = [await shape(app, **headers) for app, headers in cases.values()]
    for label, one in zip(cases, found):
        print(f"{label:41}{words(*one)}", flush=True)
    return found != expected

sys.exit(asyncio.run(main()))
PY
cd "$work"
run() { env -i PATH="$PATH" HOME="$work" "$@" timeout 60 "$work/venv/bin/python" "$work/probe.py" 2> "$work/err" || { cat "$work/err"; return 1; }; }
changed=0
run A=1 || changed=1
run DD_TRACE_OTEL_ENABLED=true OTEL_PYTHON_CONTEXT=ddcontextvars_context DD_TRACE_FASTAPI_ENABLED=false DD_TRACE_HTTPX_ENABLED=false \
  DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false || changed=1
exit $changed
