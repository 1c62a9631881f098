#!/usr/bin/env bash
# ddtrace 4.16.0, opentelemetry-sdk 1.45.1, opentelemetry-instrumentation-httpx 0.66b1, httpx 0.28.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: both instrument httpx in one process. A request leaves with OpenTelemetry's traceparent, and with a tracestate and
#   x-datadog-* headers of ddtrace's trace: who is called belongs to one trace or the other by which headers he reads first (ddtrace
#   takes its own, and links to the other).
#   With DD_TRACE_OTEL_ENABLED=true there is one trace, ddtrace's: the application's set_tracer_provider() is refused by a line of
#   the log, and its OpenTelemetry exporters get nothing.
# Expected: one context a request, or an error at the start: a migration from one to the other runs with both for a while.
# Output seen:
#   DD_TRACE_OTEL_ENABLED=false: traceparent is OpenTelemetry's trace True, x-datadog-* are of another trace True, exported spans 2
#   DD_TRACE_OTEL_ENABLED=true: traceparent is OpenTelemetry's trace False, x-datadog-* are of another trace False, exported spans 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 httpx==0.28.1 \
  opentelemetry-sdk==1.45.1 opentelemetry-instrumentation-httpx==0.66b1
cat > "$work/probe.py" <<'PY'
import ddtrace.auto
import http.server, threading
import httpx
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

received = []

class Called(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        received.append(self.headers)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Called)
threading.Thread(target=server.serve_forever, daemon=True).start()
exported, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exported))
trace.set_tracer_provider(provider)
HTTPXClientInstrumentor().instrument()
with trace.get_tracer("application").start_as_current_span("work"):
    httpx.get(f"http://127.0.0.1:{server.server_port}/")
[headers] = received
w3c = headers["traceparent"].split("-")[1]
datadog = f"{int(headers['x-datadog-trace-id']):016x}"
spans = exported.get_finished_spans()
theirs = {f"{span.context.trace_id:032x}" for span in spans} == {w3c}
print(f"traceparent is OpenTelemetry's trace {theirs}, x-datadog-* are of another trace {w3c[16:] != datadog}, exported spans {len(spans)}")
PY
for enabled in false true; do
  echo "DD_TRACE_OTEL_ENABLED=$enabled: $(env -i PATH="$PATH" HOME="$work" DD_TRACE_OTEL_ENABLED=$enabled DD_TRACE_AGENT_URL=http://127.0.0.1:9 \
    DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false timeout 60 "$work/venv/bin/python" "$work/probe.py" 2>/dev/null)" \
    | tee -a "$work/seen"
done
diff "$work/seen" - <<'SEEN'
DD_TRACE_OTEL_ENABLED=false: traceparent is OpenTelemetry's trace True, x-datadog-* are of another trace True, exported spans 2
DD_TRACE_OTEL_ENABLED=true: traceparent is OpenTelemetry's trace False, x-datadog-* are of another trace False, exported spans 0
SEEN
