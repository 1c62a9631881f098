"""Readings that come with a time of their own: past aggregation, into the store's buckets.

State: one `TimedPoints` per agent, used on its loop only: the last values of cumulative series, bounded.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..intake import dogstatsd
from ..intake.dogstatsd import Sample
from ..intake.otlp.metrics import Note, Reading
from .aggregate import MAX_FUTURE, MAX_PAST, Aggregator
from .points import INTERVAL
from .sketch import Sketch

MAX_LAST_VALUES = 20_000
"""Cumulative series whose last value is known; of more the longest silent is forgotten, and begins anew."""


@dataclass(slots=True)
class _Last:
    time: float
    value: float
    counts: array[int]


class TimedPoints:
    """Takes readings, writes points; those of cumulative series are what came since the one before."""

    def __init__(self, aggregator: Aggregator, *, note: Note) -> None:
        self._aggregator = aggregator
        self._note = note
        self._since = aggregator.clock()
        self._last: OrderedDict[int, _Last] = OrderedDict()
        """By the hash of the series: names and tags are not kept twice."""

    def take(self, readings: Iterable[Reading]) -> None:
        """Write what is recent; the backend drops what is an hour old or 10 min ahead."""
        now = self._aggregator.clock()
        for reading in readings:
            time = reading.time or now
            if not now - MAX_PAST <= time <= now + MAX_FUTURE:
                self._note("otlp_time_out_of_range")
                continue
            point = self._since_last(reading) if reading.cumulative else reading
            if point is not None:
                self._put(point, int(time))

    def _put(self, point: Reading, time: int) -> None:
        aggregator, store = self._aggregator, self._aggregator.store
        tags = aggregator.series_tags(point.tags, point.host)
        name = dogstatsd.normalize_name(point.name)
        bucket = time // INTERVAL * INTERVAL
        if point.kind == "distribution":
            if not any(point.counts):
                return
            sketch = Sketch()
            for sample, count in zip(point.samples, point.counts, strict=True):
                if count:
                    sketch.add((sample,), count)
            sketch.sum = point.value
            store.put_sketch(name, tags, bucket, sketch)
        else:
            store.put(name, tags, point.kind, bucket, point.value)
        aggregator.took(_as_sample(point, time))

    def _since_last(self, reading: Reading) -> Reading | None:
        """Return what came since the series' last reading, None if that cannot be known."""
        alone = len(reading.samples) == 1  # one bucket, whose sample is the average: another one each time
        # A process that began anew has another start: it is a series of its own, and so is each worker.
        of = (reading.name, reading.tags, reading.host, reading.origin, reading.start)
        key = hash((of, () if alone else reading.samples))
        last = self._last.pop(key, None)
        if last is not None and reading.time < last.time:
            self._last[key] = last
            self._note("otlp_out_of_order")
            return None
        self._last[key] = _Last(reading.time, reading.value, array("q", reading.counts))
        if len(self._last) > MAX_LAST_VALUES:
            self._last.popitem(last=False)
        if last is None:
            # Counted from a time when this agent was there already: all of it is new.
            return reading if reading.start and reading.start >= self._since else None
        counts = tuple(new - old for new, old in zip(reading.counts, last.counts, strict=True))
        if min(counts) < 0 if counts else reading.value < last.value:
            return reading  # it began anew without saying so, and counts from zero
        value = reading.value - last.value
        samples = (value / counts[0],) if alone and counts[0] else reading.samples
        return replace(reading, value=value, counts=counts, samples=samples)


def _as_sample(point: Reading, time: int) -> Sample:
    """Return a point as tests see what arrived; a distribution as the values that it has."""
    if point.kind == "distribution":
        seen = tuple(value for value, count in zip(point.samples, point.counts, strict=True) if count)
        return Sample(point.name, "d", seen, point.tags, time)
    return Sample(point.name, "c" if point.kind == "count" else "g", (point.value,), point.tags, time)
