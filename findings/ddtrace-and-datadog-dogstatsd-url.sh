#!/usr/bin/env bash
# ddtrace 4.16.0 and datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: both read DD_DOGSTATSD_URL, each in its own way. unixgram:// and unixstream:// are valid for datadog's client, and
#   make ddtrace raise at import (its runtime metrics need not be on). "host:port" without a scheme is taken by ddtrace,
#   and passed over by datadog's client with a warning: its metrics go to localhost:8125.
# Expected: one variable, one meaning, where an application uses both libraries, as most do.
# Output seen:
#   unix:///tmp/dsd.sock         ddtrace: unix:///tmp/dsd.sock     datadog: unix:///tmp/dsd.sock
#   unixgram:///tmp/dsd.sock     ddtrace: ValueError               datadog: unixgram:///tmp/dsd.sock
#   unixstream:///tmp/dsd.sock   ddtrace: ValueError               datadog: unixstream:///tmp/dsd.sock
#   udp://127.0.0.1:9125         ddtrace: udp://127.0.0.1:9125     datadog: udp 127.0.0.1:9125
#   127.0.0.1:9125               ddtrace: 127.0.0.1:9125           datadog: udp localhost:8125
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import os, subprocess, sys

TRACE = "from ddtrace.trace import tracer; from ddtrace.internal.settings._agent import config; print(config.dogstatsd_url)"
CLIENT = "from datadog.dogstatsd import DogStatsd; c = DogStatsd(); print(c.socket_path or f'udp {c.host}:{c.port}')"
cases = {
    "unix:///tmp/dsd.sock": ("unix:///tmp/dsd.sock", "unix:///tmp/dsd.sock"),
    "unixgram:///tmp/dsd.sock": ("ValueError", "unixgram:///tmp/dsd.sock"),
    "unixstream:///tmp/dsd.sock": ("ValueError", "unixstream:///tmp/dsd.sock"),
    "udp://127.0.0.1:9125": ("udp://127.0.0.1:9125", "udp 127.0.0.1:9125"),
    "127.0.0.1:9125": ("127.0.0.1:9125", "udp localhost:8125"),
}
changed = False
for url, expected in cases.items():
    seen = []
    for code in (TRACE, CLIENT):
        env = {**os.environ, "DD_DOGSTATSD_URL": url, "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
               "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        seen.append(run.stdout.strip() or run.stderr.strip().splitlines()[-1].split(":")[0])
    print(f"{url:28} ddtrace: {seen[0]:24} datadog: {seen[1]}")
    changed |= tuple(seen) != expected
sys.exit(changed)
PY
env -i PATH="$PATH" HOME="$work" timeout 240 "$work/venv/bin/python" "$work/probe.py"
