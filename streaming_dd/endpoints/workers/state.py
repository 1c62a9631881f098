"""The numbers of a worker as bytes that another worker can add to its own. No state.

What is declared (metrics, bounds of buckets, series) comes first and only grows, so it is known again by a mark; then the
values, as two runs of floats: counts and buckets, which add up whoever they are from, and gauges.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from ... import catalog
from ...catalog import Metric
from ...errors import MetricError

#: The form of a state; a worker of another version of it counts as silent.
VERSION: Final = 1
_SIZES: Final = struct.Struct("<4I")


class Name(NamedTuple):
    """What tells a metric from another: two workers declare the same one if all of this is the same."""

    name: str
    kind: str
    unit: str
    tags: tuple[str, ...]
    help: str
    prefixed: bool
    across: str
    bounds: tuple[float, ...]


@dataclass(slots=True)
class Declared:
    """What the values of a state stand for: names, and each series as (number of its name, values of its tags)."""

    names: list[Name] = field(default_factory=list)
    series: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """The numbers of a worker, or of all that have ended. `about` says whose: slot, pid, whether they are the last."""

    about: dict[str, Any]
    mark: int
    declared: bytes
    #: Counts, and of each histogram its buckets and its sum; in the order of the series.
    sums: array[float]
    gauges: array[float]

    def encode(self) -> bytes:
        """Return the state as bytes."""
        about = orjson.dumps({**self.about, "v": VERSION, "mark": self.mark})
        parts = (about, self.declared, self.sums.tobytes(), self.gauges.tobytes())
        return _SIZES.pack(*map(len, parts)) + b"".join(parts)

    def levels(self) -> list[tuple[tuple[Name, tuple[str, ...]], float]]:
        """Return each gauge by its name and the values of its tags; those without a value are left out."""
        declared = declared_of(self.declared)
        gauges = [(declared.names[number], values) for number, values in declared.series]
        named = [series for series in gauges if series[0].kind == "gauge"]
        return [(series, value) for series, value in zip(named, self.gauges, strict=True) if value == value]

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Return the state behind bytes; raise ValueError for those of another version, or for half of them."""
        try:
            sizes = _SIZES.unpack_from(data)
            if len(data) != _SIZES.size + sum(sizes):
                raise ValueError("it is not whole")
            at, parts = _SIZES.size, []
            for size in sizes:
                parts.append(data[at : at + size])
                at += size
            about = orjson.loads(parts[0])
            if about["v"] != VERSION:
                raise ValueError("speaks another version")
            sums, gauges = array("d"), array("d")
            sums.frombytes(parts[2])
            gauges.frombytes(parts[3])
            return cls(about, about["mark"], parts[1], sums, gauges)
        except (struct.error, KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise ValueError(f"it cannot be read: {error!r}") from None


def keys_of(tags: Iterable[str]) -> list[str]:
    return [key for key in sorted(tags) if key != "worker"]


def name_of(metric: Metric, bounds: tuple[float, ...]) -> Name:
    return Name(
        metric.name,
        metric.kind,
        metric.unit,
        metric.tags,
        metric.help,
        metric.prefixed,
        metric.across,
        bounds,
    )


def declared_of(data: bytes) -> Declared:
    if not data:
        raise ValueError("what it counts is not known")
    names, series = orjson.loads(data)
    return Declared(
        [
            Name(name, kind, unit, tuple(tags), text, prefixed, across, tuple(bounds))
            for name, kind, unit, tags, text, prefixed, across, bounds in names
        ],
        [(number, tuple(values)) for number, values in series],
    )


_CATALOGUE: Final[dict[tuple[str, str], Metric]] = {
    (metric.name, metric.kind): metric for metric in catalog.METRICS
}


def metric_of(name: Name) -> Metric | None:
    """Return a metric as it was declared, or None where this version would not declare it so."""
    known = _CATALOGUE.get((name.name, name.kind)) if name.prefixed else None
    if known is not None:
        return known
    try:
        return Metric(name.name, name.kind, name.unit, name.tags, name.help, name.prefixed, name.across)  # type: ignore[arg-type]
    except MetricError:
        return None
