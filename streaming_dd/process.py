"""The process as the operating system sees it: memory, CPU, threads, open files, garbage collections.

Sent as metrics only where ddtrace's runtime metrics are not; /stats always has them. State: the CPU time at the
last look, in each `ProcessMetrics`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable

from . import catalog, tracing
from .metrics import Counter, Gauge, Metrics


class ProcessMetrics:
    """The gauges and counters of this process."""

    def __init__(
        self, metrics: Metrics, *, runtime_metrics: Callable[[], bool] = tracing.runtime_metrics_run
    ) -> None:
        self._metrics = metrics
        self._elsewhere = runtime_metrics
        #: Made when they are first sent: a handle that exists is sent, be it as 0.
        self._handles: tuple[list[Gauge], list[Counter]] | None = None
        self._clock = (time.monotonic(), time.process_time())
        self.cpu_percent = 0.0
        metrics.add_gauges(self.gauges)

    def gauges(self) -> Iterable[tuple[Gauge, float]]:
        """Yield what is sent at a flush: nothing while ddtrace's runtime metrics tell the same."""
        self.measure_cpu()
        if self._elsewhere():
            for gauge in self._handles[0] if self._handles is not None else ():
                gauge.value = None
            return
        gauges, collections = self._handles or self._make_handles()
        for counter, generation in zip(collections, gc.get_stats(), strict=False):
            counter.total = generation["collections"]
        values = (rss(), self.cpu_percent, threading.active_count(), open_files())
        for gauge, value in zip(gauges, values, strict=True):
            if value is not None:
                yield gauge, value

    def _make_handles(self) -> tuple[list[Gauge], list[Counter]]:
        metrics = self._metrics
        declared = (
            catalog.PROCESS_RSS,
            catalog.PROCESS_CPU,
            catalog.PROCESS_THREADS,
            catalog.PROCESS_OPEN_FILES,
        )
        collections = []
        for number, generation in enumerate(gc.get_stats()):
            counter = metrics.counter(catalog.PROCESS_GC, generation=number)
            counter.total = counter.sent = generation["collections"]  # what was before is nobody's
            collections.append(counter)
        self._handles = ([metrics.gauge(metric) for metric in declared], collections)
        return self._handles

    def measure_cpu(self) -> None:
        """Measure the CPU that was used since the last call; 100 is one core."""
        now, cpu = time.monotonic(), time.process_time()
        before, used = self._clock
        if now - before >= 0.5:
            self.cpu_percent = max(0.0, 100 * (cpu - used) / (now - before))
            self._clock = (now, cpu)

    def stats(self) -> dict[str, object]:
        """Return the process for /stats."""
        return {
            "pid": os.getpid(),
            "rss_bytes": rss(),
            "cpu_percent": round(self.cpu_percent, 1),
            "cpu_seconds": round(time.process_time(), 3),
            "threads": threading.active_count(),
            "open_files": open_files(),
            "open_files_limit": open_files_limit(),
            "gc_collections": [generation["collections"] for generation in gc.get_stats()],
            "python": sys.version.split()[0],
            "runtime_metrics": "ddtrace" if self._elsewhere() else "streaming_dd",
        }


def rss() -> int:
    """Return the resident memory of this process in bytes; the highest so far where the system tells no more."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _highest_rss()


def _highest_rss() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def open_files() -> int | None:
    """Return how many file descriptors are open, or None where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # the folder itself is open while it is read
        except OSError:
            continue
    return None


def open_files_limit() -> int | None:
    """Return how many file descriptors may be open, or None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
