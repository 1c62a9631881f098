#!/usr/bin/env bash
# fastapi 0.165.0 with starlette 1.10.0, opentelemetry-sdk 1.45.2 and uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: FastAPI's own telemetry, which records as soon as a tracer or meter provider is set, takes a client that leaves an open stream
#   for a failure: its span has status ERROR and its http.server.request.duration the error.type ConnectionError. A stream of fastapi.sse's
#   whose generator raised is none: it was completed before the error came out.
# Expected: leaving is how every endless stream ends; the failed one is the error. An error rate by error.type is the share of tabs that
#   were closed, and the latency histogram, whose last bound is 10 s, has the streams' lives in it.
# Output seen:
#   reader leaves (StreamingResponse)      status 200, error.type ConnectionError, span ERROR
#   reader leaves (EventSourceResponse)    status 200, error.type ConnectionError, span ERROR
#   generator raises (StreamingResponse)   status 200, error.type LookupError, span ERROR
#   generator raises (EventSourceResponse) status 200, error.type None, span UNSET
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 anyio==4.16.0 opentelemetry-sdk==1.45.2 uvicorn==0.54.0
cat > "$work/probe.py" <<'PY'
import asyncio, http.client, logging, sys, threading, time
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

logging.disable(logging.CRITICAL)
spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([reader]))
app = FastAPI()

async def numbers(fails):
    yield "data: 1\n\n"
    await asyncio.sleep(0.3)
    if fails:
        raise LookupError("no second event")
    for _ in range(200):
        yield "data: 2\n\n"
        await asyncio.sleep(0.1)

@app.get("/plain")
async def plain(fails: bool = False):
    return StreamingResponse(numbers(fails), media_type="text/event-stream")

@app.get("/events", response_class=EventSourceResponse)
async def events(fails: bool = False):
    async for item in numbers(fails):
        yield item

server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", http="h11", log_config=None))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.05)
port = server.servers[0].sockets[0].getsockname()[1]

def durations():
    found = {}
    for resource in (data.resource_metrics if (data := reader.get_metrics_data()) else ()):
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            if metric.name == "http.server.request.duration":
                found |= {tuple(sorted(point.attributes.items())): point.count for point in metric.data.data_points}
    return found

def recorded(path):
    """What telemetry has of one request that is left after its first event, or that fails."""
    spans.clear()
    before = durations()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path)
    response = client.getresponse()
    try:
        response.read(9) if "fails" not in path else response.read()
    except http.client.IncompleteRead:
        pass
    response.close()
    client.close()
    for _ in range(400):
        found = [span for span in spans.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
        after = [key for key, count in durations().items() if count != before.get(key)]
        if found and after:
            break
        time.sleep(0.05)
    attributes = dict(after[0])
    return attributes.get("http.response.status_code"), attributes.get("error.type"), found[0].status.status_code.name

EXPECTED = {
    "reader leaves (StreamingResponse)": (200, "ConnectionError", "ERROR"),
    "reader leaves (EventSourceResponse)": (200, "ConnectionError", "ERROR"),
    "generator raises (StreamingResponse)": (200, "LookupError", "ERROR"),
    "generator raises (EventSourceResponse)": (200, None, "UNSET"),
}
seen = {label: recorded(path) for label, path in zip(EXPECTED, ("/plain", "/events", "/plain?fails=1", "/events?fails=1"))}
for label, (status, error, span) in seen.items():
    print(f"{label:39}status {status}, error.type {error}, span {span}")
sys.exit(seen != EXPECTED)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
