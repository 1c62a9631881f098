#!/usr/bin/env bash
# datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with aggregation (disable_aggregation=False) a sample rate does not choose among calls: the flushed sum is sent as a whole,
#   with "@rate", or not at all. At 0.5 each second flush loses everything and the other counts double.
# Expected: 1,000 increments at 0.5 arrive as about 500 samples of weight 2: some 1,000, give or take 30. Here a flush is 0 or 2,000:
#   right in the mean, with thirty times the spread; a monitor on one minute sees gaps and peaks.
# Output seen (8 flushes of 1,000 increments each, seeds 0 to 7):
#   estimates with aggregation: [0, 2000, 0, 2000, 2000, 0, 0, 2000]
#   estimates without: lowest 946, highest 1074
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import random, socket, sys
from datadog.dogstatsd import DogStatsd

sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
sink.bind(("127.0.0.1", 0))
sink.settimeout(0.3)

def estimate(seed, disable_aggregation):
    client = DogStatsd(host="127.0.0.1", port=sink.getsockname()[1], disable_telemetry=True, origin_detection_enabled=False,
                       disable_buffering=False, flush_interval=3600, disable_aggregation=disable_aggregation)
    random.seed(seed)
    for _ in range(1000):
        client.increment("n", sample_rate=0.5)
    client.flush_aggregated_metrics()
    client.flush()
    lines = []
    try:
        while True:
            lines += sink.recv(65536).decode().split()
    except TimeoutError:
        return sum(int(line.split("|")[0].split(":")[1]) / float(line.split("@")[1]) for line in lines)

together = [int(estimate(seed, False)) for seed in range(8)]
single = [int(estimate(seed, True)) for seed in range(8)]
print(f"estimates with aggregation: {together}")
print(f"estimates without: lowest {min(single)}, highest {max(single)}")
sys.exit(not (set(together) == {0, 2000} and 800 < min(single) and max(single) < 1200))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
