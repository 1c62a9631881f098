"""What one series (metric, tags, type) gathers in the open bucket, and how that is flushed.

State: a `Context` belongs to its `Aggregator`. The rules are those of the Agent's
pkg/metrics/{counter,gauge,set,histogram}.go.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

from ..intake import dogstatsd
from .points import Recorded, StoredKind, Tags
from .series import Store
from .sketch import Sketch, merged

_STORED_AS: dict[str, StoredKind] = {"c": "count", "g": "gauge", "s": "gauge", "d": "distribution"}
MAX_SAMPLES = 65_536
"""Samples of one histogram and bucket that are kept apart; beyond it neighbours are joined."""


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
        weight = int(1 / rate) or 1
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
        self._open.add(values, int(1 / rate) or 1)
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


def new_context(
    store: Store,
    rules: HistogramRules,
    sample: dogstatsd.Sample,
    name: str,
    tags: Tags,
    summary: Callable[[], Summary],
) -> Context | None:
    """Return what aggregates samples of this kind, name and tags; None where there is no room for their series."""
    if sample.kind in ("h", "ms"):
        suffixes = (*rules.aggregates, *(f"{p}percentile" for p in rules.percentiles))
        if not store.has_room(len(suffixes)):
            return None
        series: dict[str, Recorded] = {}
        for suffix in suffixes:
            recorded = store.series(f"{name}.{suffix}", tags, "count" if suffix == "count" else "gauge")
            if recorded is not None:
                series[suffix] = recorded
            if sample.kind == "ms" and suffix != "count":
                store.units[f"{name}.{suffix}"] = "millisecond"
        return HistogramContext(summary(), series, rules)
    recorded = store.series(name, tags, _STORED_AS[sample.kind])
    if recorded is None:
        return None
    found = summary()
    if sample.kind == "d":
        return DistributionContext(found, store, name, tags)
    if sample.kind == "c":
        return CountContext(found, recorded)
    return GaugeContext(found, recorded) if sample.kind == "g" else SetContext(found, recorded)
