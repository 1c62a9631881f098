#!/usr/bin/env bash
# prometheus-fastapi-instrumentator 8.1.0, starlette-exporter 0.24.0, aioprometheus 23.12.0, opentelemetry-instrumentation-asgi 0.66b1, with
#   starlette 1.10.0, fastapi 0.165.0, uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: one stream that sends its head (200) and an event, and then fails. The same request is a success for prometheus-fastapi-
#   instrumentator and OpenTelemetry's metric (whose span of it is an error), a 500 for starlette-exporter, and for aioprometheus
#   two responses: one of 200 and one of 500.
# Expected: one answer. An error rate over streams is 0 %, 100 % or, with aioprometheus's own counters, 50 %, by the library alone.
# Output seen:
#   prometheus-fastapi-instrumentator: 1 of 2xx
#   starlette-exporter: 1 of 500
#   aioprometheus: 1 of 200, 1 of 500; responses 2, requests 1
#   opentelemetry-instrumentation-asgi: 1 of 200; span ERROR
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check starlette==1.10.0 fastapi==0.165.0 uvicorn==0.54.0 \
  prometheus-fastapi-instrumentator==8.1.0 starlette-exporter==0.24.0 'aioprometheus[starlette]==23.12.0' \
  opentelemetry-instrumentation-asgi==0.66b1 opentelemetry-sdk==1.45.1
cat > "$work/app.py" <<'PY'
import os
from fastapi import FastAPI
from starlette.responses import JSONResponse, StreamingResponse

app, kind = FastAPI(), os.environ["KIND"]

@app.get("/stream")
async def stream():
    async def events():
        yield b"data: 1\n\n"
        raise ValueError("no second event")
    return StreamingResponse(events(), media_type="text/event-stream")

if kind == "prometheus-fastapi-instrumentator":
    from prometheus_fastapi_instrumentator import Instrumentator
    Instrumentator(excluded_handlers=["/metrics"]).instrument(app).expose(app)
elif kind == "starlette-exporter":
    from starlette_exporter import PrometheusMiddleware, handle_metrics
    app.add_middleware(PrometheusMiddleware, skip_paths=["/metrics"])
    app.add_route("/metrics", handle_metrics)
elif kind == "aioprometheus":
    from aioprometheus.asgi.middleware import MetricsMiddleware
    from aioprometheus.asgi.starlette import metrics
    app.add_middleware(MetricsMiddleware)
    app.add_route("/metrics", metrics)
else:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    spans, reader, tracing = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    app.add_middleware(OpenTelemetryMiddleware, tracer_provider=tracing, meter_provider=MeterProvider([reader]), excluded_urls="/metrics")

    @app.get("/metrics")
    async def metrics():
        points = [(point.count, point.attributes["http.status_code"]) for resource in reader.get_metrics_data().resource_metrics
                  for scope in resource.scope_metrics for metric in scope.metrics if metric.name == "http.server.duration"
                  for point in metric.data.data_points]
        return JSONResponse([points, [span.status.status_code.name for span in spans.get_finished_spans() if span.kind.name == "SERVER"]])
PY
cat > "$work/probe.py" <<'PY'
import http.client, json, os, pathlib, re, socket, subprocess, sys, time

def get(port, path):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path)
    try:
        return client.getresponse().read().decode()
    except http.client.IncompleteRead as error:
        return error.partial.decode()

def of(text, name, label):
    found = re.findall(rf'^{name}{{[^}}]*path="/stream"[^}}]*}} (\d+)|^{name}{{[^}}]*handler="/stream"[^}}]*}} (\d+)', text, re.M)
    labels = re.findall(rf'^{name}{{(?=[^}}]*"/stream")[^}}]*{label}="(\w+)"', text, re.M)
    return [int(a or b) for a, b in found], labels

def by_status(text, name, label):
    return ", ".join(f"{n} of {status}" for n, status in sorted(zip(*of(text, name, label)), key=lambda pair: pair[1]))

def said(kind, text):
    if kind == "prometheus-fastapi-instrumentator":
        return by_status(text, "http_requests_total", "status")
    if kind == "starlette-exporter":
        return by_status(text, "starlette_requests_total", "status_code")
    if kind == "aioprometheus":
        [responses], _ = of(text, "responses_total_counter", "method")
        [requests], _ = of(text, "requests_total_counter", "method")
        return f"{by_status(text, 'status_codes_counter', 'status_code')}; responses {responses}, requests {requests}"
    [[[count, status]], [span]] = json.loads(text)
    return f"{count} of {status}; span {span}"

EXPECTED = {
    "prometheus-fastapi-instrumentator": "1 of 2xx",
    "starlette-exporter": "1 of 500",
    "aioprometheus": "1 of 200, 1 of 500; responses 2, requests 1",
    "opentelemetry-instrumentation-asgi": "1 of 200; span ERROR",
}
changed = False
for kind, expected in EXPECTED.items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [pathlib.Path(sys.executable).with_name("uvicorn"), "--port", str(port), "app:app"]
    with subprocess.Popen(command, env={**os.environ, "KIND": kind}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        assert get(port, "/stream") == "data: 1\n\n"
        seen = said(kind, get(port, "/metrics"))
        process.terminate()
        process.wait(20)
    print(f"{kind}: {seen}", flush=True)
    changed |= seen != expected
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 100 "$work/venv/bin/python" "$work/probe.py"
