"""The process as the operating system sees it: memory, CPU, threads, open files, garbage collections.

Beside ddtrace's runtime metrics only what capacity needs is sent; /stats always has all. State: the CPU time at the last
look, in each `ProcessMetrics`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable

from .. import catalog
from ..output import tracing
from ..output.metrics import Counter, Gauge, Metrics


class ProcessMetrics:
    """The gauges and counters of this process."""

    def __init__(
        self, metrics: Metrics, *, runtime_metrics: Callable[[], bool] = tracing.runtime_metrics_run
    ) -> None:
        self._metrics = metrics
        self._elsewhere = runtime_metrics
        #: Made when they are first sent: a handle that exists is sent, be it as 0.
        self._handles: tuple[list[Gauge], list[tuple[Counter, int]]] | None = None
        self._clock = (time.monotonic(), time.process_time())
        self._workers = metrics.gauge(catalog.PROCESS_WORKERS)
        self._cpu_at = time.process_time()
        self._cpu_seconds = metrics.counter(catalog.PROCESS_CPU_SECONDS)
        self._rss = metrics.gauge(catalog.PROCESS_RSS)
        self.cpu_percent = 0.0
        metrics.add_gauges(self.gauges)

    def gauges(self) -> Iterable[tuple[Gauge, float]]:
        """Yield what is sent at a flush; less of it while ddtrace's runtime metrics tell the same.

        CPU seconds and memory are always sent, for capacity, and that there is a worker. docs/decisions/0094.
        """
        self.measure_cpu()
        self._count_cpu()
        yield self._workers, 1
        yield self._rss, rss()
        if self._elsewhere():
            for gauge in self._handles[0] if self._handles is not None else ():
                gauge.value = None
            return
        gauges, collections = self._handles or self._make_handles()
        for (counter, before), generation in zip(collections, gc.get_stats(), strict=False):
            counter.total = generation["collections"] - before
        values = (self.cpu_percent, threading.active_count(), open_files())
        for gauge, value in zip(gauges, values, strict=True):
            if value is not None:
                yield gauge, value

    def _count_cpu(self) -> None:
        now = time.process_time()
        # In a forked child the clock has begun again.
        self._cpu_seconds.total += now - self._cpu_at if now >= self._cpu_at else now
        self._cpu_at = now

    def _make_handles(self) -> tuple[list[Gauge], list[tuple[Counter, int]]]:
        metrics = self._metrics
        declared = (
            catalog.PROCESS_CPU,
            catalog.PROCESS_THREADS,
            catalog.PROCESS_OPEN_FILES,
        )
        collections = []
        for number, generation in enumerate(gc.get_stats()):
            # What was before is nobody's: every place counts from here, the pull endpoint too.
            counter = metrics.counter(catalog.PROCESS_GC, generation=number)
            collections.append((counter, generation["collections"] - int(counter.total)))
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
