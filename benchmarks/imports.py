"""Goal 8: what importing costs beyond the libraries, and whether the first request waits."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 7
_LIBRARIES = "import ddtrace.trace, datadog.dogstatsd.base, loguru, orjson, starlette.routing, asyncio, json"
_OURS = "import streaming_dd.middleware, streaming_dd.timers, streaming_dd.instrument"
_TIMED = """
import os, time
os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_TRACE_AGENT_URL"] = "http://127.0.0.1:9"
{before}
start = time.process_time()
{timed}
print((time.process_time() - start) * 1000)
"""
_FIRST_REQUESTS = """
import asyncio, time
from benchmarks import apps, requests
run, flush = requests.VARIANTS["{name}"]()
times = []
for number in range(10):
    start = time.process_time()
    run(1)
    times.append((time.process_time() - start) * 1000)
print(times[0] - times[-1])
"""


def _median(script: str) -> float:
    figures = []
    for _ in range(ROUNDS):
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        figures.append(float(done.stdout))
    return statistics.median(figures)


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    ours = _median(_TIMED.format(before=_LIBRARIES, timed=_OURS))
    alone = _median(_TIMED.format(before="", timed="import streaming_dd"))
    first = _median(_FIRST_REQUESTS.format(name="all_pillars"))
    peer = _median(_FIRST_REQUESTS.format(name="ddtrace"))
    return [
        ("8 import beyond the libraries', milliseconds of CPU", ours, 50, ours <= 50),
        ("8 `import streaming_dd` alone, milliseconds of CPU", alone, 50, alone <= 50),
        (
            "8 first request over the tenth, ms of CPU (limit: ddtrace's own + 5)",
            first,
            peer + 5,
            first <= peer + 5,
        ),
    ]
