#!/usr/bin/env bash
# ddtrace 4.16.0, loguru 0.7.3 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: patch(loguru=True) after the application's logger.configure(patcher=...) throws that patcher away, without a word.
#   configure() after patch() keeps both.
# Expected: the patcher found there is called too, as it is in the other order. Under ddtrace-run the order is the good one; with
#   `import ddtrace.auto` below the application's logging set-up the fields of each line change.
# Output seen:
#   configure, then patch: ['dd.env', 'dd.service', 'dd.span_id', 'dd.trace_id', 'dd.version']
#   patch, then configure: ['dd.env', 'dd.service', 'dd.span_id', 'dd.trace_id', 'dd.version', 'tenant']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 loguru==0.7.3
cat > "$work/probe.py" <<'PY'
import subprocess, sys

SETUP = "logger.configure(patcher=lambda record: record['extra'].update(tenant='t1'))"
PATCH = "ddtrace.patch(loguru=True)"
CODE = '''
import ddtrace
from loguru import logger
lines = []
logger.remove()
logger.add(lambda message: lines.append(message.record["extra"]))
{}
{}
logger.info("x")
print(sorted(lines[0]))
'''
IDS = ["dd.env", "dd.service", "dd.span_id", "dd.trace_id", "dd.version"]
changed = False
for name, steps, expected in (
    ("configure, then patch", (SETUP, PATCH), IDS),
    ("patch, then configure", (PATCH, SETUP), [*IDS, "tenant"]),
):
    out = subprocess.run([sys.executable, "-c", CODE.format(*steps)], capture_output=True, text=True, timeout=60).stdout.strip()
    print(f"{name}: {out}")
    changed |= out != str(expected)
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
  DD_TRACE_AGENT_URL=http://127.0.0.1:9 timeout 120 "$work/venv/bin/python" "$work/probe.py"
