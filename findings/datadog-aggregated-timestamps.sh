#!/usr/bin/env bash
# datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with aggregation (disable_aggregation=False) count_with_timestamp() and gauge_with_timestamp() are added up by name and tags
#   alone. Three counts for three minutes leave as one line with the first one's timestamp, and a plain increment() of the same name
#   goes into it too; of several gauges the last value leaves under the first timestamp.
# Expected: a timestamp says which minute a value belongs to, so each has its own line, as without aggregation. Backfills
#   and counts kept during an outage all land in the first minute.
# Output seen:
#   aggregated: m:15|c|T1700000000, g:2|g|T1700000000
#   not aggregated: m:1|c|T1700000000, m:2|c|T1700000060, m:4|c|T1700000120, m:8|c, g:1|g|T1700000000, g:2|g|T1700000060
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import socket, sys
from datadog.dogstatsd import DogStatsd

sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
sink.settimeout(0.5)

def sent(disable_aggregation):
    client = DogStatsd(host="127.0.0.1", port=sink.getsockname()[1], disable_telemetry=True, origin_detection_enabled=False,
                       flush_interval=3600, disable_aggregation=disable_aggregation)
    for n, value in enumerate((1, 2, 4)):
        client.count_with_timestamp("m", value, 1700000000 + 60 * n)
    client.increment("m", 8)
    for n, value in enumerate((1, 2)):
        client.gauge_with_timestamp("g", value, 1700000000 + 60 * n)
    client.flush_aggregated_metrics()
    client.flush()
    lines = []
    try:
        while True:
            lines += sink.recv(65536).decode().split()
    except TimeoutError:
        return lines

together, single = sent(False), sent(True)
print(f"aggregated: {', '.join(together)}")
print(f"not aggregated: {', '.join(single)}")
sys.exit(not (sorted(together) == ["g:2|g|T1700000000", "m:15|c|T1700000000"] and len(single) == 6))
PY
env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py"
