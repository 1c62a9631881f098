"""Aggregation as Datadog's Agent does it: samples into 10 s buckets, closed buckets into the `Store`.

State: one `Aggregator` per agent, used on its loop only. A `Context` is what one (metric, tags, type) gathers in
the open bucket. The rules are those of pkg/metrics/{counter,gauge,set,histogram}.go and time_sampler.go; the one
difference is the moment: a bucket is written as soon as it is over, the Agent waits for its 15 s flush.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import NamedTuple, Protocol

from streaming_dd.local_agent import dogstatsd
from streaming_dd.local_agent.dogstatsd import Event, Fields, Sample, ServiceCheck
from streaming_dd.local_agent.sketch import Sketch, merged
from streaming_dd.local_agent.store import INTERVAL, Recorded, Store, StoredKind, Tags

MAX_DATAGRAM = 8192
"""Bytes that Datadog's Agent reads of a datagram (`dogstatsd_buffer_size`); it cuts what is longer."""
MAX_BINDINGS = 50_000
MAX_SAMPLES = 65_536
"""Samples of one histogram and bucket that are kept apart; beyond it neighbours are joined."""
MAX_PAST, MAX_FUTURE = 3600, 600
"""Seconds by which a `|T` timestamp may lie in the past and in the future; the backend drops others."""

_STORED_AS: dict[str, StoredKind] = {"c": "count", "g": "gauge", "s": "gauge", "d": "distribution"}
INTERNAL_TAGS = ("dd.internal.entity_id:", "dd.internal.card:", "dd.internal.jmx_check_name:")


class Listener(Protocol):
    """Gets every message as it was sent, before aggregation."""

    def sample(self, sample: Sample) -> None: ...
    def event(self, event: Event) -> None: ...
    def service_check(self, check: ServiceCheck) -> None: ...
    def malformed_line(self, line: Malformed) -> None: ...


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that was dropped, at most 200 bytes of it, and why."""

    line: bytes
    reason: str


@dataclass(slots=True)
class Summary:
    """All that one series was since the start: `total` of counts, `last` of gauges, `sketch` of the others."""

    name: str
    tags: tuple[str, ...]
    kind: dogstatsd.Kind
    samples: int = 0
    total: float = 0.0
    last: float = 0.0
    sketch: Sketch | None = None

    def quantile(self, q: float) -> float:
        """Return the value at quantile `q` of 0..1; nan for counts and gauges."""
        return self.sketch.quantile(q) if self.sketch else float("nan")


@dataclass(frozen=True)
class HistogramRules:
    """What a histogram or timer is flushed as: datadog.yaml's histogram_aggregates and _percentiles."""

    aggregates: tuple[str, ...] = ("max", "median", "avg", "count")
    percentiles: tuple[int, ...] = (95,)


class Context:
    """What one series gathers in the open bucket. `last_bucket` is the last one that got a sample."""

    __slots__ = ("last_bucket", "seen", "summary")

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.seen = 0
        self.last_bucket = 0

    def add(self, values: Sequence[float], total: float, rate: float) -> None:
        raise NotImplementedError

    def add_text(self, value: str) -> None:
        """Add the value of a set."""

    def flush(self, bucket: int) -> None:
        """Write the bucket to the store and start the next one; called only if something was seen."""
        raise NotImplementedError

    def flush_idle(self, bucket: int) -> None:
        """Write a bucket that got no sample."""

    def live(self) -> Summary:
        """Return a copy of the summary with the open bucket included."""
        copy = replace(self.summary, samples=self.summary.samples + self.seen)
        if self.summary.sketch is not None:
            copy.sketch = merged((self.summary.sketch,))
        self.summarize(copy)
        return copy

    def summarize(self, summary: Summary) -> None:
        """Add what the open bucket holds to a summary."""


class CountContext(Context):
    __slots__ = ("_series", "_sum")

    def __init__(self, summary: Summary, series: Recorded) -> None:
        super().__init__(summary)
        self._series = series
        self._sum = 0.0

    def add(self, values: Sequence[float], total: float, rate: float) -> None:
        self.seen += len(values)
        self._sum += total / rate

    def flush(self, bucket: int) -> None:
        self._series.put(bucket, self._sum)
        self.summarize(self.summary)
        self._sum = 0.0

    def summarize(self, summary: Summary) -> None:
        summary.total += self._sum

    def flush_idle(self, bucket: int) -> None:
        self._series.put(bucket, 0.0)


class GaugeContext(Context):
    __slots__ = ("_series",)

    def __init__(self, summary: Summary, series: Recorded) -> None:
        super().__init__(summary)
        self._series = series

    def add(self, values: Sequence[float], total: float, rate: float) -> None:
        self.seen += len(values)
        self.summary.last = values[-1]

    def flush(self, bucket: int) -> None:
        self._series.put(bucket, self.summary.last)


class SetContext(Context):
    __slots__ = ("_series", "_values")

    def __init__(self, summary: Summary, series: Recorded) -> None:
        super().__init__(summary)
        self._series = series
        self._values: set[str] = set()

    def add_text(self, value: str) -> None:
        self.seen += 1
        if len(self._values) < MAX_SAMPLES:
            self._values.add(value)
        self.summary.last = len(self._values)

    def flush(self, bucket: int) -> None:
        self._series.put(bucket, len(self._values))
        self._values = set()


class HistogramContext(Context):
    """`h` and `ms`: every sample is kept until the bucket closes, as in the Agent."""

    __slots__ = ("_count", "_max", "_min", "_rules", "_series", "_sum", "_values", "_weights")

    def __init__(self, summary: Summary, series: dict[str, Recorded], rules: HistogramRules) -> None:
        super().__init__(summary)
        self._series = series
        self._rules = rules
        self._values = array("d")
        self._weights: array[float] | None = None  # None: every sample weighs 1
        self._count = 0
        self._sum = 0.0
        self._min, self._max = inf, -inf

    def add(self, values: Sequence[float], total: float, rate: float) -> None:
        weight = int(1 / rate)
        if weight != 1 and self._weights is None:
            self._weights = array("d", [1.0]) * len(self._values)
        self._values.extend(values)
        if self._weights is not None:
            self._weights.extend([weight] * len(values))
        self.seen += len(values)
        self._count += weight * len(values)
        self._sum += total / rate
        if len(self._values) > MAX_SAMPLES:
            self._thin()

    def flush(self, bucket: int) -> None:
        for suffix, value in self._aggregates().items():
            self._series[suffix].put(bucket, value)
        self.summarize(self.summary)
        self._clear()

    def _clear(self) -> None:
        self._values = array("d")
        self._weights = None
        self._count = 0
        self._sum = 0.0
        self._min, self._max = inf, -inf

    def _sorted(self) -> list[tuple[float, float]]:
        """Return (value, weight) by value."""
        if self._weights is None:
            return [(value, 1.0) for value in sorted(self._values)]
        return sorted(zip(self._values, self._weights, strict=True))

    def _aggregates(self) -> dict[str, float]:
        pairs = self._sorted()
        rules = self._rules
        known = {
            "max": max(self._max, pairs[-1][0]),
            "min": min(self._min, pairs[0][0]),
            "avg": self._sum / self._count,
            "sum": self._sum,
            "count": float(self._count),
        }
        # The Agent's targets, by integer division; the lowest sample whose cumulative weight exceeds them.
        targets = {"median": (self._count - 1) // 2} if "median" in rules.aggregates else {}
        for percentile in rules.percentiles:
            targets[f"{percentile}percentile"] = (percentile * self._count - 1) // 100
        ranked = sorted(targets.items(), key=lambda item: item[1])
        cumulative, position = 0.0, 0
        for value, weight in pairs:
            cumulative += weight
            while position < len(ranked) and cumulative > ranked[position][1]:
                known[ranked[position][0]] = value
                position += 1
        return {suffix: known[suffix] for suffix in self._series}

    def _thin(self) -> None:
        """Join neighbours: half the samples, the same weight, so memory is bounded whatever is sent."""
        pairs = self._sorted()
        self._min, self._max = min(self._min, pairs[0][0]), max(self._max, pairs[-1][0])
        if len(pairs) % 2:
            pairs.append((pairs[-1][0], 0.0))
        self._values = array("d", [value for value, _ in pairs[::2]])
        self._weights = array(
            "d", [low[1] + high[1] for low, high in zip(pairs[::2], pairs[1::2], strict=True)]
        )

    def summarize(self, summary: Summary) -> None:
        if summary.sketch is None:
            summary.sketch = Sketch()
        if self._weights is None:
            summary.sketch.add(self._values)
        else:
            for value, weight in zip(self._values, self._weights, strict=True):
                summary.sketch.add((value,), int(weight))
        summary.total += self._sum
        if self._values:
            summary.last = self._values[-1]


class DistributionContext(Context):
    __slots__ = ("_name", "_open", "_store", "_tags")

    def __init__(self, summary: Summary, store: Store, name: str, tags: Tags) -> None:
        super().__init__(summary)
        self._store = store
        self._name = name
        self._tags = tags
        self._open = Sketch()

    def add(self, values: Sequence[float], total: float, rate: float) -> None:
        self.seen += len(values)
        self._open.add(values, int(1 / rate))
        self.summary.last = values[-1]

    def flush(self, bucket: int) -> None:
        self._store.put_sketch(self._name, self._tags, bucket, self._open)
        self.summarize(self.summary)
        self._open = Sketch()

    def summarize(self, summary: Summary) -> None:
        summary.total += self._open.sum
        if summary.sketch is None:
            summary.sketch = Sketch()
        summary.sketch.merge(self._open)


class _Binding(NamedTuple):
    """A series that a (name, rest of the line) was found to belong to."""

    add: Callable[[Sequence[float], float, float], None]
    rate: float
    name: str
    fields: Fields


@dataclass
class Intake:
    """What came in, since the start; all numbers only grow."""

    datagrams: int = 0
    bytes: int = 0
    samples: int = 0
    events: int = 0
    service_checks: int = 0
    malformed: int = 0
    oversized: int = 0
    clock_steps_back: int = 0
    malformed_lines: deque[Malformed] = field(default_factory=lambda: deque(maxlen=20))


class Aggregator:
    """Takes datagrams, keeps the open bucket, writes closed ones to the store.

    `host` and `tags` go on every series, as the Agent's `hostname` and `tags` do. `expiry` is the Agent's
    `dogstatsd_expiry_seconds`: how long a counter that fell silent is sent as 0.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        host: str = "local",
        tags: Iterable[str] = (),
        rules: HistogramRules | None = None,
        expiry: int = 300,
        listener: Listener | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.intake = Intake()
        self.bucket = int(clock()) // INTERVAL * INTERVAL
        """Start of the open bucket."""
        self._host = host
        self._tags = tuple(tags)
        self._rules = rules or HistogramRules()
        self._expiry = expiry
        self._listener = listener
        self._contexts: dict[tuple[str, Tags, str], Context] = {}
        self._summaries: dict[tuple[str, Tags, str], Summary] = {}
        self._bound: dict[tuple[bytes, bytes], _Binding] = {}

    def feed(self, datagram: bytes) -> None:
        """Take one datagram: any number of lines, each counted, dropped or kept on its own."""
        intake = self.intake
        intake.datagrams += 1
        intake.bytes += len(datagram)
        if len(datagram) > MAX_DATAGRAM:
            intake.oversized += 1
            datagram = datagram[:MAX_DATAGRAM]
        bound, listener = self._bound, self._listener
        for line in datagram.split(b"\n"):
            head, _, rest = line.partition(b"|")
            name, _, values = head.partition(b":")
            binding = bound.get((name, rest))
            if binding is None or values.translate(None, dogstatsd.NUMERIC):
                if line:
                    self._feed_line(line)
                continue
            try:
                if b":" in values:
                    numbers = [float(value) for value in values.split(b":") if value]
                else:
                    numbers = [float(values)]
            except ValueError:
                numbers = []
            total = sum(numbers)
            if not numbers or not isfinite(total):
                self._feed_line(line)
                continue
            intake.samples += len(numbers)
            binding.add(numbers, total, binding.rate)
            if listener is not None:
                fields = binding.fields
                listener.sample(
                    Sample(binding.name, fields.kind, tuple(numbers), fields.tags, None, fields.rate)
                )

    def advance(self) -> list[int]:
        """Close what is over by the clock; return the starts of the closed buckets, oldest first."""
        current = int(self.clock()) // INTERVAL * INTERVAL
        if current == self.bucket:
            return []
        if current < self.bucket:
            self.intake.clock_steps_back += 1
            closed = [self.bucket]
        else:
            # After a pause (a suspended laptop) no more is left to write than the zeros of counters.
            last = min(current, self.bucket + self._expiry + 2 * INTERVAL)
            closed = list(range(self.bucket, last, INTERVAL))
        for bucket in closed:
            self._flush(bucket)
        self.bucket = current
        self._expire()
        self.store.age()
        return closed

    def close(self) -> None:
        """Close what is over and the open bucket too: the agent stops."""
        self.advance()
        self._flush(self.bucket)

    def snapshot(self) -> list[Summary]:
        """Return one summary per series since the start, the open bucket included."""
        live = {key: context.live() for key, context in self._contexts.items()}
        return [live.get(key, summary) for key, summary in self._summaries.items()]

    def series_tags(self, tags: Iterable[str], host: str = "") -> Tags:
        """Return tags as stored: normalised, with the agent's own and the host, without internal ones."""
        kept = []
        for tag in (*tags, *self._tags):
            if tag.startswith("host:"):
                host = tag[5:]
            elif not tag.startswith(INTERNAL_TAGS) and (normalized := dogstatsd.normalize_tag(tag)):
                kept.append(normalized)
        if host or self._host:
            kept.append(f"host:{(host or self._host).lower()}")
        return frozenset(kept)

    def _feed_line(self, line: bytes) -> None:
        """Take a line that is not bound to a series yet, is no metric, or is broken."""
        try:
            message = dogstatsd.parse(line)
        except ValueError as error:
            self._drop(line, str(error))
            return
        match message:
            case Sample():
                self._take_sample(line, message)
            case Event():
                self.intake.events += 1
                self.store.put_event(self.clock(), message, self.series_tags(message.tags, message.host))
                if self._listener:
                    self._listener.event(message)
            case ServiceCheck():
                self.intake.service_checks += 1
                self.store.put_check(self.clock(), message, self.series_tags(message.tags, message.host))
                if self._listener:
                    self._listener.service_check(message)

    def _take_sample(self, line: bytes, sample: Sample) -> None:
        if sample.timestamp is not None and sample.kind in ("c", "g"):
            self._take_timestamped(line, sample)
            return
        self.intake.samples += len(sample.values)
        if self._listener:
            self._listener.sample(sample)
        context = self._context(sample)
        if context is None:
            self.store.rejected[dogstatsd.normalize_name(sample.name)] += len(sample.values)
            return
        if sample.kind == "s":
            context.add_text(str(sample.values[0]))
            return
        numbers = [float(value) for value in sample.values]
        context.add(numbers, sum(numbers), sample.rate)
        if sample.timestamp is None:
            if len(self._bound) >= MAX_BINDINGS:
                self._bound.clear()
            name, _, rest = dogstatsd.split_metric(line)
            fields = Fields(sample.kind, sample.rate, sample.tags)
            self._bound[name, rest] = _Binding(context.add, sample.rate, sample.name, fields)

    def _take_timestamped(self, line: bytes, sample: Sample) -> None:
        """Pass a sample with a `|T` field to its own bucket, past aggregation."""
        timestamp = sample.timestamp or 0
        now = self.clock()
        if not now - MAX_PAST <= timestamp <= now + MAX_FUTURE:
            self._drop(line, "the timestamp is more than 1 h in the past or 10 min in the future")
            return
        self.intake.samples += len(sample.values)
        if self._listener:
            self._listener.sample(sample)
        name, tags = dogstatsd.normalize_name(sample.name), self.series_tags(sample.tags)
        summary = self._summary(sample, name, tags)
        bucket = timestamp // INTERVAL * INTERVAL
        for value in map(float, sample.values):
            if sample.kind == "c":
                stored = self.store.put(name, tags, "count", bucket, value / sample.rate)
                summary.total += value / sample.rate
            else:
                stored = self.store.put(name, tags, "gauge", bucket, value)
                summary.last = value
            summary.samples += stored

    def _drop(self, line: bytes, reason: str) -> None:
        malformed = Malformed(line[:200], reason)
        self.intake.malformed += 1
        self.intake.malformed_lines.append(malformed)
        if self._listener:
            self._listener.malformed_line(malformed)

    def _context(self, sample: Sample) -> Context | None:
        name, tags = dogstatsd.normalize_name(sample.name), self.series_tags(sample.tags)
        kind = "h" if sample.kind == "ms" else sample.kind
        context = self._contexts.get((name, tags, kind))
        if context is None:
            context = self._new_context(sample, name, tags)
            if context is not None:
                self._contexts[name, tags, kind] = context
        return context

    def _new_context(self, sample: Sample, name: str, tags: Tags) -> Context | None:
        store = self.store
        if sample.kind in ("h", "ms"):
            suffixes = (*self._rules.aggregates, *(f"{p}percentile" for p in self._rules.percentiles))
            if not store.has_room(len(suffixes)):
                return None
            series: dict[str, Recorded] = {}
            for suffix in suffixes:
                recorded = store.series(f"{name}.{suffix}", tags, "count" if suffix == "count" else "gauge")
                if recorded is not None:
                    series[suffix] = recorded
                if sample.kind == "ms" and suffix != "count":
                    store.units[f"{name}.{suffix}"] = "millisecond"
            return HistogramContext(self._summary(sample, name, tags), series, self._rules)
        recorded = store.series(name, tags, _STORED_AS[sample.kind])
        if recorded is None:
            return None
        summary = self._summary(sample, name, tags)
        if sample.kind == "d":
            return DistributionContext(summary, store, name, tags)
        if sample.kind == "c":
            return CountContext(summary, recorded)
        return GaugeContext(summary, recorded) if sample.kind == "g" else SetContext(summary, recorded)

    def _summary(self, sample: Sample, name: str, tags: Tags) -> Summary:
        kind = "h" if sample.kind == "ms" else sample.kind
        summary = self._summaries.get((name, tags, kind))
        if summary is None:
            shown = tuple(sorted(tag for tag in tags if not tag.startswith("host:")))
            summary = Summary(name, shown, sample.kind)
            if len(self._summaries) < self.store.max_series:
                self._summaries[name, tags, kind] = summary
        return summary

    def _flush(self, bucket: int) -> None:
        for context in self._contexts.values():
            if context.seen:
                context.flush(bucket)
                context.summary.samples += context.seen
                context.seen = 0
                context.last_bucket = bucket
            elif bucket - context.last_bucket <= self._expiry:
                context.flush_idle(bucket)

    def _expire(self) -> None:
        """Forget series that were silent for the expiry time, and with them their zeros."""
        silent = [
            key for key, context in self._contexts.items() if self.bucket - context.last_bucket > self._expiry
        ]
        if silent:
            for key in silent:
                del self._contexts[key]
            self._bound.clear()
