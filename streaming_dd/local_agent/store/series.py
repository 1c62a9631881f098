"""The metric store: what was aggregated, in memory, bounded. State: one `Store` per agent, used on its loop only.

For whoever queries it (the query language, monitors, the page):

* A **series** is one metric with one set of tags. Its points lie on bucket starts, multiples of 10 s (epoch
  seconds, UTC): the point at `t` tells of `[t, t + 10)`. A bucket is written when it closes, so the newest point
  is between 10 and 20 s old; a bucket in which nothing came has no point (counts: 0 for 300 s, then none).
* `Store.select(metric, where, start, end)` returns every series of `metric` with a point in `start <= t < end`
  whose tags satisfy `where`, a predicate over the frozenset of tags (`"model:summary"`; a tag without a value is
  its own name). Tags are normalised as Datadog's backend does (lower case), and include `host:`.
* `Series.kind` says what `values` mean:
    * ``count``: the raw sum of the bucket. `as_count()` is the sum of values, `as_rate()` that divided by
      seconds; a bare query is per second, value / interval. (`c`, a histogram's `.count`, `trace.*.hits`.)
    * ``gauge``: the last value (`g`), a set's cardinality (`s`), a histogram's aggregate (`.avg`, `.max`,
      `.median`, `.95percentile`).
    * ``distribution``: `values` holds each bucket's count, and `sketches[i]` the whole bucket. Merge sketches
      over time and tags first (`sketch.merged`), then take `quantile(q)`, `average`, `min`, `max`, `sum`.
* `Series.interval` is 10, or 60 when `start` reaches beyond `coarse_before`, some four hours ago: points are then
  on whole minutes, counts summed, gauges averaged. Older than 24 hours nothing is kept.
* `Store.checks(name, where)` returns the runs of a service check by tags, `Store.events` the last events.
* `Store.metrics()` lists what exists; `Store.tag_values(metric)` what a template variable can offer.

Memory: a series costs 2.9 KB for each hour in which it had a point (480 bytes once that hour is older than four
hours), sketches 12 bytes a bin. `max_series` and `max_bins` bound both; what was refused is in `rejected`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..intake.dogstatsd import Event, ServiceCheck
from .deadline import Deadline
from .points import COARSE, FINE_HOURS, HOUR, INTERVAL, KEEP_HOURS, Recorded, StoredKind, Tags
from .sketch import FrozenSketch, Sketch

SKETCH_FINE = 15 * 60
"""Seconds after which a distribution's buckets are merged to whole minutes."""

AGED_AT_ONCE = 500
"""Series that are shrunk per call of `age`: 20 ms, so that the intake is not held up."""
MAX_EVENTS = 1_000
MAX_RUNS = 200

Where = Callable[[Tags], bool]


@dataclass(slots=True)
class Series:
    """The points of one metric with one set of tags in a time range, oldest first."""

    metric: str
    tags: Tags
    kind: StoredKind
    interval: int
    times: list[int]
    values: list[float]
    sketches: list[FrozenSketch] = field(default_factory=list)


@dataclass(slots=True)
class MetricInfo:
    """What is known about one metric name. `tags` maps each tag key to its number of values."""

    name: str
    kinds: list[StoredKind]
    series: int
    tags: dict[str, int]
    last_time: int
    last_value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One service check as it came in. `status` is one of ok, warning, critical, unknown."""

    timestamp: float
    name: str
    status: str
    tags: Tags
    message: str


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """One event as it came in."""

    timestamp: float
    event: Event
    tags: Tags


class Store:
    """All series of an agent. `clock` gives epoch seconds."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        max_series: int = 10_000,
        max_bins: int = 4_000_000,
    ) -> None:
        self.clock = clock
        self.max_series = max_series
        self.max_bins = max_bins
        self.bins = 0
        self.series_count = 0
        self.rejected: Counter[str] = Counter()
        """Samples refused because `max_series` was reached, by metric name."""
        self.units: dict[str, str] = {}
        self.events: deque[KeptEvent] = deque(maxlen=MAX_EVENTS)
        self._checks: dict[str, dict[Tags, deque[CheckRun]]] = {}
        self._metrics: dict[str, dict[tuple[Tags, StoredKind], Recorded]] = {}
        self.coarse_before = 0
        """Before this time points are kept by the minute only."""
        self._aged_hour = 0
        self._to_age: list[Recorded] = []
        self._aged_sketches = 0

    def become(self, other: Store) -> None:
        """Hold what another store holds, instead."""
        self.bins, self.series_count, self.coarse_before = other.bins, other.series_count, other.coarse_before
        self.units, self.events, self.rejected = other.units, other.events, other.rejected
        self._checks, self._metrics = other._checks, other._metrics
        self._to_age, self._aged_hour, self._aged_sketches = [], 0, 0

    def series(self, metric: str, tags: Tags, kind: StoredKind) -> Recorded | None:
        """Return the series to write to, a new one if need be; None when the store is full."""
        known = self._metrics.setdefault(metric, {})
        recorded = known.get((tags, kind))
        if recorded is None:
            if self.series_count >= self.max_series:
                if not known:
                    del self._metrics[metric]
                return None
            recorded = known[tags, kind] = Recorded(metric, tags, kind)
            self.series_count += 1
        return recorded

    def put(
        self,
        metric: str,
        tags: Tags,
        kind: StoredKind,
        bucket: int,
        value: float,
        *,
        add: bool | None = None,
    ) -> bool:
        """Write one point; False if the store is full. Counts add up, gauges replace unless `add`."""
        recorded = self.series(metric, tags, kind)
        if recorded is None:
            self.rejected[metric] += 1
            return False
        recorded.put(bucket, value, add=add)
        return True

    def put_sketch(self, metric: str, tags: Tags, bucket: int, sketch: Sketch) -> bool:
        """Merge one bucket of a distribution; False if the store is full."""
        recorded = self.series(metric, tags, "distribution")
        if recorded is None:
            self.rejected[metric] += 1
            return False
        self.bins += recorded.put_sketch(bucket, sketch)
        return True

    def has_room(self, series: int) -> bool:
        """Say whether that many new series would be accepted."""
        return self.series_count + series <= self.max_series

    def put_event(self, now: float, event: Event, tags: Tags) -> None:
        """Keep an event; the oldest goes when there are `MAX_EVENTS`."""
        self.events.append(KeptEvent(event.timestamp or now, event, tags))

    def put_check(self, now: float, check: ServiceCheck, tags: Tags) -> None:
        """Keep a service check's run, the last `MAX_RUNS` of each name and tags."""
        known = self._checks.setdefault(check.name, {})
        if tags not in known and sum(map(len, self._checks.values())) >= self.max_series:
            self.rejected[check.name] += 1
            return
        runs = known.setdefault(tags, deque(maxlen=MAX_RUNS))
        runs.append(CheckRun(check.timestamp or now, check.name, check.status, tags, check.message))

    def checks(self, name: str, where: Where | None = None) -> list[list[CheckRun]]:
        """Return the runs of a service check, one list per set of tags, oldest run first."""
        known = self._checks.get(name, {})
        return [list(runs) for tags, runs in known.items() if where is None or where(tags)]

    def check_names(self) -> Sequence[str]:
        """Return the names of all service checks, sorted."""
        return sorted(self._checks)

    def seen(self, metric: str, since: float) -> list[tuple[Tags, StoredKind]]:
        """Return the series of a metric whose last point is not older, without their points."""
        return [(one.tags, one.kind) for one in self.all(metric) if one.last_time >= since]

    def select(
        self, metric: str, where: Where | None, start: float, end: float, deadline: Deadline | None = None
    ) -> list[Series]:
        """Return the series of `metric` that have points in `start <= t < end` and whose tags satisfy `where`."""
        first, last = int(start), int(-(-end // 1))
        interval = COARSE if first < self.coarse_before else INTERVAL
        first -= first % interval if interval == COARSE else 0
        found: list[Series] = []
        for recorded in self._metrics.get(metric, {}).values():
            if deadline is not None:
                deadline.check()
            if where is not None and not where(recorded.tags):
                continue
            if recorded.kind == "distribution":
                times = sorted(t for t in recorded.sketches if first <= t < last)
                sketches = [recorded.sketches[t] for t in times]
                values = [float(sketch.count) for sketch in sketches]
            else:
                times, values = recorded.points(first, last, interval)
                sketches = []
            if times:
                found.append(Series(metric, recorded.tags, recorded.kind, interval, times, values, sketches))
        return found

    def names(self) -> Sequence[str]:
        """Return the names of all metrics, sorted."""
        return sorted(self._metrics)

    def metrics(self) -> list[MetricInfo]:
        """Return what is known about every metric, by name."""
        return [info for name in self.names() if (info := self.metric(name)) is not None]

    def metric(self, name: str) -> MetricInfo | None:
        """Return what is known about one metric, None if it was never sent."""
        known = self._metrics.get(name)
        if not known:
            return None
        newest = max(known.values(), key=lambda recorded: recorded.last_time)
        values = self.tag_values(name)
        return MetricInfo(
            name,
            sorted({kind for _, kind in known}),
            len(known),
            {key: len(values[key]) for key in sorted(values)},
            newest.last_time,
            newest.last_value,
            self.units.get(name, ""),
        )

    def tag_values(self, metric: str | None = None) -> dict[str, set[str]]:
        """Return the values of every tag key, of one metric or of all."""
        values: dict[str, set[str]] = {}
        for recorded in self.all(metric):
            for tag in recorded.tags:
                key, _, value = tag.partition(":")
                values.setdefault(key, set()).add(value)
        return values

    def age(self) -> None:
        """Shrink and drop old points; call it every few seconds, it shrinks each series once an hour."""
        now = int(self.clock())
        if now // HOUR != self._aged_hour:
            self._aged_hour = now // HOUR
            self._forget_before(now - KEEP_HOURS * HOUR)
            limit = self._aged_hour - FINE_HOURS
            self._to_age = [one for one in self.all() if any(hour < limit for hour in one.fine) or one.coarse]
            if any(hour < limit for one in self._to_age for hour in one.fine):
                self.coarse_before = limit * HOUR
        for recorded in self._to_age[-AGED_AT_ONCE:]:
            recorded.age(self._aged_hour)
        del self._to_age[-AGED_AT_ONCE:]
        if now // COARSE != self._aged_sketches:
            self._aged_sketches = now // COARSE
            before = (now - SKETCH_FINE) // COARSE * COARSE
            self.bins -= sum(r.age_sketches(before) for r in self.all() if r.sketches)
            self._drop_sketches(now - KEEP_HOURS * HOUR)

    def _forget_before(self, oldest: int) -> None:
        for metric, known in list(self._metrics.items()):
            for key in [key for key, recorded in known.items() if recorded.last_time < oldest]:
                self.bins -= sum(len(sketch.keys) for sketch in known[key].sketches.values())
                del known[key]
                self.series_count -= 1
            if not known:
                del self._metrics[metric]

    def _drop_sketches(self, oldest: int) -> None:
        """Drop sketches older than `oldest`, and the oldest minutes while there are more than `max_bins`."""
        with_sketches = [recorded for recorded in self.all() if recorded.sketches]
        while with_sketches:
            for recorded in with_sketches:
                for bucket in [bucket for bucket in recorded.sketches if bucket < oldest]:
                    self.bins -= len(recorded.sketches.pop(bucket).keys)
            if self.bins <= self.max_bins:
                return
            with_sketches = [recorded for recorded in with_sketches if recorded.sketches]
            oldest = min((min(recorded.sketches) for recorded in with_sketches), default=0) + 5 * COARSE

    def all(self, metric: str | None = None) -> Iterator[Recorded]:
        """Return every series' memory, of one metric or of all."""
        if metric is not None:
            yield from self._metrics.get(metric, {}).values()
            return
        for known in self._metrics.values():
            yield from known.values()
