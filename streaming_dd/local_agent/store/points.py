"""The memory of one series: an array of 360 doubles for each hour, shrunk to minutes as it ages. No other state.

`Recorded` is what a `Store` (`series.py`) keeps of each metric and set of tags. A count's points add up, a gauge's replace
each other, a distribution has a sketch beside each point.
"""

from __future__ import annotations

from array import array
from math import nan
from typing import Literal

from .sketch import FrozenSketch, Sketch, merged

INTERVAL = 10
"""Seconds of a bucket, as in Datadog's Agent."""
COARSE = 60
HOUR = 3600
FINE_HOURS = 4
KEEP_HOURS = 24

StoredKind = Literal["count", "gauge", "distribution"]
Tags = frozenset[str]


class Recorded:
    """One series' memory: an array of 360 doubles (nan: no point) for each hour in which it had a point."""

    __slots__ = ("coarse", "fine", "kind", "last_time", "last_value", "metric", "sketches", "tags")

    def __init__(self, metric: str, tags: Tags, kind: StoredKind) -> None:
        self.metric = metric
        self.tags = tags
        self.kind = kind
        self.fine: dict[int, array[float]] = {}
        self.coarse: dict[int, array[float]] = {}
        self.sketches: dict[int, FrozenSketch] = {}
        self.last_time = 0
        self.last_value = nan

    def put(self, bucket: int, value: float, *, add: bool | None = None) -> None:
        """Write the point of a bucket: a count is added to what is there, a gauge replaces it unless `add`."""
        hour, second = divmod(bucket, HOUR)
        points = self.fine.get(hour)
        if points is None:
            points = self.fine[hour] = array("d", _NO_FINE)
        index = second // INTERVAL
        if (self.kind != "gauge" if add is None else add) and points[index] == points[index]:
            value += points[index]
        points[index] = value
        if bucket >= self.last_time:
            self.last_time, self.last_value = bucket, value

    def put_sketch(self, bucket: int, sketch: Sketch) -> int:
        """Merge a distribution into its bucket; return by how many bins memory grew."""
        known = self.sketches.get(bucket)
        frozen = (merged((known, sketch)) if known else sketch).freeze()
        self.sketches[bucket] = frozen
        self.put(bucket, sketch.count)
        return len(frozen.keys) - (len(known.keys) if known else 0)

    def restore_last(self) -> None:
        """Find the last point again, after the arrays were loaded from a file."""
        for hours, interval in ((self.fine, INTERVAL), (self.coarse, COARSE)):
            for hour in sorted(hours):
                for index, value in enumerate(hours[hour]):
                    if value == value and (time := hour * HOUR + index * interval) >= self.last_time:
                        self.last_time, self.last_value = time, value

    def points(self, start: int, end: int, interval: int) -> tuple[list[int], list[float]]:
        """Return times and values of the points in `start <= t < end`."""
        times: list[int] = []
        values: list[float] = []
        for hour in self._hours(start // HOUR, (end - 1) // HOUR, interval):
            points = self._hour(hour, interval)
            first = hour * HOUR
            low = max(0, -(-(start - first) // interval))
            high = min(len(points), -(-(end - first) // interval))
            part = points[low:high]
            begin = first + low * interval
            if (total := sum(part)) == total:  # no gap (nan) in it, as usual: no look at each point
                values += part
                times += range(begin, begin + len(part) * interval, interval)
            else:
                values += [value for value in part if value == value]
                times += [begin + i * interval for i, value in enumerate(part) if value == value]
        return times, values

    def age(self, hour: int) -> None:
        """Shrink what is older than `FINE_HOURS` before `hour`, drop what is older than `KEEP_HOURS`."""
        for old in [h for h in self.fine if h < hour - FINE_HOURS]:
            self.coarse[old] = _coarsen(self.fine.pop(old), self.kind)
        for old in [h for h in self.coarse if h < hour - KEEP_HOURS]:
            del self.coarse[old]

    def age_sketches(self, before: int) -> int:
        """Merge the buckets before `before` to whole minutes; return by how many bins memory shrank."""
        minutes: dict[int, list[int]] = {}
        for bucket in self.sketches:
            if bucket < before:
                minutes.setdefault(bucket - bucket % COARSE, []).append(bucket)
        freed = 0
        for minute, buckets in minutes.items():
            if buckets != [minute]:
                parts = [self.sketches.pop(bucket) for bucket in buckets]
                self.sketches[minute] = merged(parts).freeze()
                freed += sum(len(part.keys) for part in parts) - len(self.sketches[minute].keys)
        return freed

    def _hours(self, first: int, last: int, interval: int) -> list[int]:
        kept = self.fine if interval == INTERVAL else {**self.coarse, **self.fine}
        return sorted(hour for hour in kept if first <= hour <= last)

    def _hour(self, hour: int, interval: int) -> array[float]:
        fine = self.fine.get(hour)
        if interval == INTERVAL:
            return self.fine[hour]
        return _coarsen(fine, self.kind) if fine is not None else self.coarse[hour]


_NO_FINE = array("d", [nan]) * (HOUR // INTERVAL)


def _coarsen(fine: array[float], kind: StoredKind) -> array[float]:
    """Return an hour by minutes: counts summed, gauges averaged."""
    minutes = array("d")
    width = COARSE // INTERVAL
    for i in range(0, len(fine), width):
        seen = [value for value in fine[i : i + width] if value == value]
        if not seen:
            minutes.append(nan)
        else:
            minutes.append(sum(seen) / len(seen) if kind == "gauge" else sum(seen))
    return minutes
