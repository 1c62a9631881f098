#!/usr/bin/env bash
# ddtrace 4.16.0 and datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: the same text gives other tags on spans (DD_TAGS) than on metrics (DATADOG_TAGS; datadog's client does not read DD_TAGS).
#   ddtrace cuts at spaces only where there is no comma: "b:x y" is two tags, "a:1,b:x y" has the value "x y". Of two values of
#   one key it keeps the last. The client cuts at commas alone and keeps the space as "_": "a:1, b:2" gives a tag "_b".
# Expected: Datadog lets a tag have several values, and lists tags "a:1, b:2" in its own documents.
# Output seen:
#   'b:x y'       spans: {'b': 'x', 'y': ''}        metrics: b:x_y
#   'a:1,b:x y'   spans: {'a': '1', 'b': 'x y'}     metrics: a:1,b:x_y
#   'a:1,a:2'     spans: {'a': '2'}                 metrics: a:1,a:2
#   'a:1, b:2'    spans: {'a': '1', 'b': '2'}       metrics: a:1,_b:2
#   DD_TAGS=a:1, the client sends no tag
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import os, socket, subprocess, sys

SPAN = """from ddtrace.trace import tracer
with tracer.trace("x") as span: pass
print({k: span.get_tag(k) for k in ("a", "b", "y") if span.get_tag(k) is not None})"""
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
sink.settimeout(10)
CLIENT = f"""from datadog.dogstatsd import DogStatsd
DogStatsd(host="127.0.0.1", port={sink.getsockname()[1]}, disable_telemetry=True, origin_detection_enabled=False).increment("m")"""

def run(code, **env):
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false",
             "DD_TRACE_AGENT_URL": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **quiet, **env}, timeout=60,
                          capture_output=True, text=True).stdout.strip()

def sent(**env):
    run(CLIENT, **env)
    return sink.recv(4096).decode().strip().partition("|#")[2]

cases = {
    "b:x y": ("{'b': 'x', 'y': ''}", "b:x_y"),
    "a:1,b:x y": ("{'a': '1', 'b': 'x y'}", "a:1,b:x_y"),
    "a:1,a:2": ("{'a': '2'}", "a:1,a:2"),
    "a:1, b:2": ("{'a': '1', 'b': '2'}", "a:1,_b:2"),
}
changed = False
for text, expected in cases.items():
    seen = (run(SPAN, DD_TAGS=text), sent(DATADOG_TAGS=text))
    print(f"{text!r:14}spans: {seen[0]:28}metrics: {seen[1]}")
    changed |= seen != expected
alone = sent(DD_TAGS="a:1")
print(f"DD_TAGS=a:1, the client sends {alone or 'no tag'}")
sys.exit(changed or alone != "")
PY
env -i PATH="$PATH" HOME="$work" timeout 240 "$work/venv/bin/python" "$work/probe.py"
