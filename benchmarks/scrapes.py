"""What a scrape of 16 workers with 2,000 series each takes beyond a scrape of one: wall time, and what the text costs.

Two groups of real processes, one of 16 and one of 1, are scraped in turn, so both see the same machine.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

Goal = tuple[str, float, float, bool]

WORKERS, SERIES = 16, 2_000
ROUNDS = 40
_MS = 1000.0


def work() -> None:
    """Count in as many series, flush as ever, and scrape when told to: print the milliseconds of wall and CPU."""
    import streaming_dd as dd
    from streaming_dd import recorder, timers
    from streaming_dd.endpoints.prometheus import Exposition
    from streaming_dd.endpoints.workers import FRESH, Workers

    dd.configure(service="bench", metrics_enabled=True, tracing_enabled=False, logs_enabled=False)
    found = recorder.get()
    exposition, workers = found.part(Exposition), found.part(Workers)
    kinds = [
        (dd.Metric("bench.timing", "timer", "millisecond", ("number",), "A timing."), SERIES // 4),
        (dd.Metric("bench.count", "count", "unit", ("number", "route"), "A count."), SERIES // 2),
        (dd.Metric("bench.level", "gauge", "unit", ("number",), "A level."), SERIES // 4),
    ]
    workers.join()
    for metric, count in kinds:
        for number in range(count):
            tags = {
                "number": number,
                **({"route": f"/route/{number % 50}"} if "route" in metric.tags else {}),
            }
            if metric.kind == "count":
                timers.increment(metric, number, **tags)
            elif metric.kind == "gauge":
                timers.gauge(metric, number, **tags)
            else:
                timers.record(metric, float(number), **tags)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        workers.whole(fresh=FRESH)
        added, cpu = time.perf_counter(), time.thread_time()
        text = exposition.render()
        ended, used = time.perf_counter(), time.thread_time() - cpu
        figures = (added - began, ended - added, used, len(text) / 1e6)
        print(json.dumps([figure * _MS for figure in figures]), flush=True)


class _Group:
    """Workers that have found each other; the last one is scraped."""

    def __init__(self, size: int, folder: str, agent: int) -> None:
        environment = {
            **os.environ,
            "STREAMING_SIBLINGS": f"bench-{os.getpid()}-{size}",
            "XDG_RUNTIME_DIR": folder,
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{agent}",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        }
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scrapes", "work"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(size)
        ]
        for one in self.workers:
            assert one.stdout is not None
            one.stdout.readline()
        self.figures: list[list[float]] = []

    def scrape(self) -> None:
        """Scrape once."""
        one = self.workers[-1]
        assert one.stdin is not None
        assert one.stdout is not None
        print("scrape", file=one.stdin, flush=True)
        self.figures.append(json.loads(one.stdout.readline()))

    def median(self, figure: int) -> float:
        """The median of the later rounds: the first ones learn what is declared."""
        return statistics.median(each[figure] for each in self.figures[5:])

    def end(self) -> None:
        """End the processes."""
        for one in self.workers:
            one.communicate()


def measure() -> list[Goal]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(type=socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))  # nobody reads: what is sent there is gone
        port = agent.getsockname()[1]
        groups = [_Group(1, folder, port), _Group(WORKERS, folder, port)]
        time.sleep(5)  # two flushes: everyone has published
        for _ in range(ROUNDS):
            for group in groups:
                group.scrape()
                time.sleep(0.2)
        for group in groups:
            group.end()
    one, many = groups
    added = many.median(0) - one.median(0)
    whole, used = many.median(1) - one.median(1), many.median(2) - one.median(2)
    print(
        f"  text of {one.median(3):.0f} kB in {one.median(1):.1f} ms (one), {many.median(1):.1f} ms ({WORKERS}); "
        f"sums in {one.median(0):.1f} ms (one), {many.median(0):.1f} ms; CPU {one.median(2):.1f}, {many.median(2):.1f} ms"
    )
    return [
        (
            f"sums of {WORKERS} workers with {SERIES} series each, beyond one worker's, ms",
            added,
            50.0,
            added <= 50,
        ),
        (f"scrape of {WORKERS} workers, text and all, beyond one worker's, ms", whole, 50.0, whole <= 50),
        ("its CPU, beyond one worker's, ms", used, 50.0, used <= 50),
    ]


if __name__ == "__main__" and sys.argv[1:] == ["work"]:
    work()
