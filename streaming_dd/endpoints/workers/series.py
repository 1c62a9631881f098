"""The numbers of this worker: its counts, its gauges, and its timings in buckets.

State: the buckets of each timing, filled where timings are flushed, in `Series` (one for each recorder).
"""

from __future__ import annotations

import math
import os
import threading
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable

import orjson

from ...catalog import Metric
from ...output.metrics import Counter, Gauge, Handle, Observer, Timing
from ...recorder import Recorder
from .state import Name, State, keys_of, name_of


class Buckets:
    """How many values of a timing lie below each bound."""

    def __init__(self, bounds: tuple[float, ...], scale: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self._scale = scale

    def observe(self, values: list[float]) -> None:
        """Count values that were flushed."""
        for value in values:
            self.counts[bisect_left(self.bounds, value * self._scale)] += 1
        self.sum += sum(values) * self._scale


class Series:
    """The series of this process. Find them with `recorder.get().part(Series)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._buckets: dict[Timing, Buckets] = {}
        self._lock = threading.Lock()
        self._count = -1
        self._mark = 0
        self._declared = b""
        self._counters: list[Counter] = []
        self._timings: list[Buckets] = []
        self._gauges: list[Gauge] = []

    def observe(self, bounds_of: Callable[[Metric], tuple[tuple[float, ...], float]]) -> None:
        """Count timings in buckets from now on; `bounds_of` returns the bounds of a metric, and the scale of its values."""

        def observer(timing: Timing) -> Observer:
            buckets = self._buckets[timing] = Buckets(*bounds_of(timing.metric))
            return buckets.observe

        self._recorder.metrics.observe_timings(observer)

    def state(self, **about: object) -> State:
        """Return what was counted so far; what has not been flushed yet is not in it."""
        with self._lock:
            handles = self._recorder.metrics.handles()
            if len(handles) != self._count:
                self._declare(handles)
            sums = array("d", [counter.total - counter.inherited for counter in self._counters])
            for buckets in self._timings:
                sums.extend(buckets.counts)
                sums.append(buckets.sum)
            nothing = math.nan
            gauges = array("d", [nothing if one.value is None else one.value for one in self._gauges])
            who = {"slot": self._recorder.metrics.worker, "pid": os.getpid()}
            return State({**who, **about}, self._mark, self._declared, sums, gauges)

    def _declare(self, handles: list[Handle]) -> None:
        """Write down what the values stand for: at the first time, and when series have been added."""
        self._count = len(handles)
        self._counters = [one for one in handles if isinstance(one, Counter)]
        timings = [one for one in handles if isinstance(one, Timing) and one in self._buckets]
        self._timings = [self._buckets[one] for one in timings]
        self._gauges = [one for one in handles if isinstance(one, Gauge)]
        numbers: dict[Name, int] = {}
        series = []
        told: list[Handle] = [*self._counters, *timings, *self._gauges]
        for handle in told:
            metric = handle.metric
            bounds = self._buckets[handle].bounds if isinstance(handle, Timing) else ()
            number = numbers.setdefault(name_of(metric, bounds), len(numbers))
            tags = dict(handle.tags)
            series.append((number, [tags.get(key, "none") for key in keys_of(metric.tags)]))
        self._declared = orjson.dumps([[tuple(name) for name in numbers], series])
        self._mark = zlib.crc32(self._declared)
