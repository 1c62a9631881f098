#!/usr/bin/env bash
# ddtrace 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with OTEL_TRACES_EXPORTER=otlp what OTEL_RESOURCE_ATTRIBUTES says is not in the resource: it is an attribute of each
#   span. A span of another service is under the resource of DD_SERVICE all the same; its own service is an attribute of the span.
# Expected: OpenTelemetry's meaning. A receiver that reads service.name from the resource, as most do, counts the span for the
#   wrong service; and what joins telemetry by k8s.pod.name finds no pod.
# Output seen:
#   resource: service.name=shop, deployment.environment.name=prod, k8s.pod.name=None
#   span outer: service.name=None, k8s.pod.name=pod-1
#   span inner: service.name=mysql, k8s.pod.name=pod-1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0
cat > "$work/probe.py" <<'PY'
import http.server, json, os, sys, threading

received = []

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass

def named(attributes, *keys):
    values = {a["key"]: a["value"].get("stringValue") for a in attributes}
    return ", ".join(f"{key}={values.get(key)}" for key in keys)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "DD_SERVICE": "shop", "DD_ENV": "prod",
               "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
               "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=pod-1"}
from ddtrace.trace import tracer

with tracer.trace("outer"), tracer.trace("inner", service="mysql"):
    pass
tracer.shutdown(10)
(resource,) = received[0]["resourceSpans"]
lines = ["resource: " + named(resource["resource"]["attributes"], "service.name", "deployment.environment.name", "k8s.pod.name")]
for span in resource["scopeSpans"][0]["spans"]:
    lines.append(f"span {span['name']}: " + named(span["attributes"], "service.name", "k8s.pod.name"))
print(*lines, sep="\n")
sys.exit(lines != [
    "resource: service.name=shop, deployment.environment.name=prod, k8s.pod.name=None",
    "span outer: service.name=None, k8s.pod.name=pod-1",
    "span inner: service.name=mysql, k8s.pod.name=pod-1",
])
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
  timeout 120 "$work/venv/bin/python" "$work/probe.py"
