#!/usr/bin/env bash
# ddtrace 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: DD_AGENT_HOST is pasted into two URLs, unchecked, at import. "agent:8126" makes `import ddtrace` raise, even where
#   DD_TRACE_AGENT_URL says where traces go: the DogStatsD URL is built from the host in any case. "http://agent" passes,
#   and traces go to "http://http://agent:8126". One IPv6 address is put in brackets.
# Expected: either both are refused by a sentence that names the variable, or both are understood.
# Output seen:
#   DD_AGENT_HOST=agent:8126: ValueError: Port could not be cast to integer value as '8126:8125'
#   DD_AGENT_HOST=agent:8126, DD_TRACE_AGENT_URL=http://127.0.0.1:8126: ValueError: Port could not be cast to integer value as '8126:8125'
#   DD_AGENT_HOST=http://agent: http://http://agent:8126
#   DD_AGENT_HOST=::1: http://[::1]:8126
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0
cat > "$work/probe.py" <<'PY'
import os, subprocess, sys

port = "ValueError: Port could not be cast to integer value as '8126:8125'"
cases = [
    ({"DD_AGENT_HOST": "agent:8126"}, port),
    ({"DD_AGENT_HOST": "agent:8126", "DD_TRACE_AGENT_URL": "http://127.0.0.1:8126"}, port),
    ({"DD_AGENT_HOST": "http://agent"}, "http://http://agent:8126"),
    ({"DD_AGENT_HOST": "::1"}, "http://[::1]:8126"),
]
quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
code = "from ddtrace.trace import tracer; print(tracer.agent_trace_url)"
changed = False
for env, expected in cases:
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, **quiet, **env},
                         capture_output=True, text=True, timeout=60)
    seen = (run.stdout or run.stderr).strip().splitlines()[-1]
    print(", ".join(f"{k}={v}" for k, v in env.items()) + f": {seen}")
    changed |= seen != expected
sys.exit(changed)
PY
env -i PATH="$PATH" HOME="$work" timeout 240 "$work/venv/bin/python" "$work/probe.py"
