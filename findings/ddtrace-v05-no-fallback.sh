#!/usr/bin/env bash
# ddtrace 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: an Agent that answers 404 to PUT /v0.5/traces (the default) and 200 to /v0.4/traces is never asked on v0.4. Each trace is
#   sent to v0.5 again and again and then dropped, for as long as the process lives; one line of the log says so.
# Expected: what 404 has always meant to tracers, "this Agent is older": go on with v0.4 (as `DD_TRACE_API_VERSION=v0.4` does).
# Output seen:
#   asked for v0.5: {'/v0.5/traces': 24}, traces accepted: 0 of 4
#   asked for v0.4: {'/v0.4/traces': 4}, traces accepted: 4 of 4
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0
cat > "$work/probe.py" <<'PY'
import collections, http.server, os, subprocess, sys, threading

asked, accepted = collections.Counter(), 0

class Agent(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self):
        self.answer(404)

    def do_PUT(self):
        global accepted
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked[self.path] += 1
        old = self.path == "/v0.4/traces"
        accepted += int(self.headers["X-Datadog-Trace-Count"]) if old else 0
        self.answer(200 if old else 404)

    do_POST = do_PUT

    def log_message(self, *args):
        pass

traces = """
from ddtrace.trace import tracer
for _ in range(4):
    with tracer.trace("work"): pass
    tracer.flush()
"""
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for version in ("v0.5", "v0.4"):
    asked.clear()
    accepted = 0
    env = {"DD_TRACE_AGENT_URL": f"http://127.0.0.1:{server.server_port}", "DD_TRACE_API_VERSION": version,
           "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    subprocess.run([sys.executable, "-c", traces], env={**os.environ, **env}, check=True, timeout=60)
    seen[version] = (accepted, dict(asked))
    print(f"asked for {version}: {dict(asked)}, traces accepted: {accepted} of 4")
sys.exit(not (seen["v0.5"][0] == 0 and set(seen["v0.5"][1]) == {"/v0.5/traces"} and seen["v0.4"][0] == 4))
PY
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
