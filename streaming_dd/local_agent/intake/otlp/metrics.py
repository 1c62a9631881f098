"""OTLP/HTTP metrics (protobuf or JSON) as readings of Datadog's kinds, by the rules of the Agent's OTLP intake. No state.

A sum is a count, one that may fall and is cumulative a gauge; a histogram is a distribution whose samples lie in the
middle of their buckets. (opentelemetry-proto: metrics/v1/metrics.proto)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from typing import Any, Literal

from .. import names
from ..spans import TooMuch
from .spans import Attributes, attributes_of, read, reading, text_of

MAX_BUCKETS = 1_000
"""Buckets of one histogram; OpenTelemetry's exponential ones have 160."""
MAX_TAGS = 100
MAX_COUNT = 2**40
"""Observations of one bucket."""
DELTA, CUMULATIVE = 1, 2
NO_RECORDED_VALUE = 1

RESOURCE_TAGS = {
    "service.name": "service",
    "deployment.environment.name": "env",
    "deployment.environment": "env",
    "service.version": "version",
}
"""What the Agent makes tags of; other attributes of a resource are left out, as by it."""

Note = Callable[[str], object]
"""Is told the reason whenever a data point is passed over."""


@dataclass(slots=True)
class Reading:
    """One data point. `time` and `start` are epoch seconds; `value` is the sum of a distribution's samples.

    A distribution has `counts[i]` samples of about `samples[i]`. What is `cumulative` counts from `start` on, in
    the process of which `origin` is the hash: workers of one service have the same tags.
    """

    name: str
    kind: Literal["count", "gauge", "distribution"]
    tags: tuple[str, ...]
    host: str
    time: float
    start: float
    value: float
    cumulative: bool = False
    samples: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    origin: int = 0


@dataclass(slots=True)
class _Source:
    """What the readings of one metric have in common."""

    name: str
    tags: tuple[str, ...]
    host: str
    origin: int

    def reading(
        self,
        kind: Literal["count", "gauge", "distribution"],
        point: dict[str, Any],
        value: float,
        **more: Any,
    ) -> Reading:
        own = tuple(_tag(key, held) for key, held in attributes_of(point).items())
        if len(own) > MAX_TAGS:
            raise TooMuch(f"a data point of {self.name} has more than {MAX_TAGS} attributes")
        time, start = (_seconds(point.get(f"{field}UnixNano", 0)) for field in ("time", "startTime"))
        return Reading(
            self.name, kind, own + self.tags, self.host, time, start, value, origin=self.origin, **more
        )


def decode(body: bytes, content_type: str, note: Note) -> list[Reading]:
    """Return the data points of a request; raise `ValueError` if it is not one, `TooMuch` if it is too large."""
    with reading("metrics"):
        request = read(body, content_type, "MetricsRequest")
        return [
            found
            for resource_metrics in request.get("resourceMetrics", ())
            for resource in [attributes_of(resource_metrics.get("resource", {}))]
            for scope in resource_metrics.get("scopeMetrics", ())
            for metric in scope.get("metrics", ())
            for found in _metric(metric, resource, note)
        ]


def resource_tags(resource: Attributes) -> tuple[str, ...]:
    """Return Datadog's tags of the service that a resource names."""
    found = {tag: text_of(resource[key]) for key, tag in RESOURCE_TAGS.items() if key in resource}
    return tuple(names.tag(_tag(tag, value)) for tag, value in found.items())


def _metric(metric: dict[str, Any], resource: Attributes, note: Note) -> Iterator[Reading]:
    name = metric["name"]
    if not isinstance(name, str) or not name:
        raise ValueError("a metric has no name")
    source = _Source(
        names.cut(name, names.MAX_TAG),
        resource_tags(resource),
        text_of(resource.get("host.name", ""))[:255],
        hash(text_of(resource)),
    )
    for field, readings in _FIELDS.items():
        if (data := metric.get(field)) is not None:
            for point in data.get("dataPoints", ()):
                if int(point.get("flags", 0)) & NO_RECORDED_VALUE:
                    continue
                found = readings(source, data, point)
                if isinstance(found, str):
                    note(found)
                else:
                    yield found
            return
    note("otlp_metric_unsupported")


def _gauge(source: _Source, data: dict[str, Any], point: dict[str, Any]) -> Reading | str:
    value = _number(point)
    return source.reading("gauge", point, value) if isfinite(value) else "otlp_value_not_finite"


def _sum(source: _Source, data: dict[str, Any], point: dict[str, Any]) -> Reading | str:
    value, cumulative = _number(point), _is_cumulative(data)
    if not isfinite(value):
        return "otlp_value_not_finite"
    if cumulative and not data.get("isMonotonic"):
        return source.reading("gauge", point, value)
    return source.reading("count", point, value, cumulative=cumulative)


def _histogram(source: _Source, data: dict[str, Any], point: dict[str, Any]) -> Reading | str:
    count = _count(point.get("count", 0))
    bounds = [float(bound) for bound in point.get("explicitBounds", ())]
    counts = [_count(held) for held in point.get("bucketCounts", ())]
    if len(counts) > MAX_BUCKETS:
        raise TooMuch(f"a histogram of {source.name} has more than {MAX_BUCKETS} buckets")
    if counts and len(counts) != len(bounds) + 1:
        raise ValueError(f"{len(counts)} buckets have {len(bounds)} bounds")
    if any(not isfinite(bound) for bound in bounds) or sorted(set(bounds)) != bounds:
        raise ValueError("the bounds of a histogram do not grow")
    if counts and sum(counts) != count:
        raise ValueError("the buckets of a histogram do not add up to its count")
    total = float(point["sum"]) if "sum" in point else None
    cumulative = _is_cumulative(data)
    if not bounds:
        samples, counts = [(total or 0.0) / count if count else 0.0], [count]
    else:
        ends = (float(point.get("min", -inf)), float(point.get("max", inf)))
        samples = _middles(bounds, *((-inf, inf) if cumulative else ends))
    return _distribution(source, point, cumulative, samples, counts, total)


def _exponential(source: _Source, data: dict[str, Any], point: dict[str, Any]) -> Reading | str:
    if _is_cumulative(data):
        return "otlp_exponential_cumulative"  # its buckets change with its scale: the Agent passes them over as well
    scale, zeros = int(point.get("scale", 0)), _count(point.get("zeroCount", 0))
    if not -20 <= scale <= 20:
        raise ValueError("the scale of an exponential histogram is not from -20 to 20")
    samples, counts = [0.0], [zeros]
    for side, sign in (("negative", -1.0), ("positive", 1.0)):
        buckets = point.get(side) or {}
        offset, held = int(buckets.get("offset", 0)), buckets.get("bucketCounts", ())
        if len(held) > MAX_BUCKETS:
            raise TooMuch(f"a histogram of {source.name} has more than {MAX_BUCKETS} buckets")
        for index, raw in enumerate(held, offset):
            if count := _count(raw):
                samples.append(sign * 2.0 ** ((index + 0.5) * 2.0**-scale))
                counts.append(count)
    total = float(point["sum"]) if "sum" in point else None
    return _distribution(source, point, False, samples, counts, total)


_FIELDS: dict[str, Callable[[_Source, dict[str, Any], dict[str, Any]], Reading | str]] = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
}


def _distribution(
    source: _Source,
    point: dict[str, Any],
    cumulative: bool,
    samples: Sequence[float],
    counts: Sequence[int],
    total: float | None,
) -> Reading | str:
    if total is None:
        total = sum(sample * count for sample, count in zip(samples, counts, strict=True))
    if not isfinite(total) or not all(map(isfinite, samples)):
        return "otlp_value_not_finite"
    return source.reading(
        "distribution", point, total, cumulative=cumulative, samples=tuple(samples), counts=tuple(counts)
    )


def _middles(bounds: Sequence[float], low: float, high: float) -> list[float]:
    """Return a value for each bucket: its middle; of the outer ones the bound that they have, or the extreme."""
    first = low if low <= bounds[0] and isfinite(low) else bounds[0]
    last = high if high >= bounds[-1] and isfinite(high) else bounds[-1]
    inner = [below / 2 + above / 2 for below, above in pairwise(bounds)]
    return [first / 2 + bounds[0] / 2, *inner, bounds[-1] / 2 + last / 2]


def _is_cumulative(data: dict[str, Any]) -> bool:
    temporality = int(data.get("aggregationTemporality", 0))
    if temporality not in (DELTA, CUMULATIVE):
        raise ValueError(f"the aggregation temporality {temporality} is neither delta nor cumulative")
    return temporality == CUMULATIVE


def _number(point: dict[str, Any]) -> float:
    if "asInt" in point:
        return float(int(point["asInt"]))
    return float(point["asDouble"])


def _count(value: Any) -> int:
    if not 0 <= (count := int(value)) <= MAX_COUNT:
        raise ValueError(f"a bucket's count is not from 0 to {MAX_COUNT}")
    return count


def _seconds(value: Any) -> float:
    if not 0 <= (nanoseconds := int(value)) < 2**64:
        raise ValueError("a time is not from 0 to 2**64 nanoseconds")
    return nanoseconds / 1e9


def _tag(key: str, value: object) -> str:
    return f"{key[: names.MAX_TAG]}:{text_of(value)[: names.MAX_TAG]}"
