"""The DogStatsD wire format: one line of bytes in, one value object out. Pure functions, no state.

The rules are those of Datadog's Agent (comp/dogstatsd/server/impl/parse*.go, enrich.go): optional fields come
in any order, unknown ones are skipped, of two of the same kind the later wins, empty packed values are skipped,
a set has one value. A line that the Agent would drop raises `ValueError` with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Literal, cast

from . import names

Kind = Literal["c", "g", "ms", "h", "s", "d"]
"""A metric's type as on the wire: count, gauge, timer, histogram, set, distribution."""

KINDS: frozenset[bytes] = frozenset((b"c", b"g", b"ms", b"h", b"s", b"d"))
NUMERIC = b"0123456789.eE+-:"
"""The bytes of packed finite numbers; anything else in a value means nan, inf, or not a number."""

_HEXADECIMAL = re.compile(rb"[+-]?0[xX](?=[0-9a-fA-F.])[0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?\d{1,5}")

ALERT_TYPES = ("error", "warning", "info", "success")
STATUSES = ("ok", "warning", "critical", "unknown")


@dataclass(frozen=True, slots=True)
class Fields:
    """What follows the values of a metric line: all that lines of one series have in common."""

    kind: Kind
    rate: float = 1.0
    tags: tuple[str, ...] = ()
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric line as it was sent: `values` are floats, or one string for a set.

    `rate` is the sample rate, `timestamp` the seconds of a `|T` field.
    """

    name: str
    kind: Kind
    values: tuple[float, ...] | tuple[str]
    tags: tuple[str, ...] = ()
    timestamp: int | None = None
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """A `_e` line. `timestamp` is in seconds, None if the sender left it to the Agent."""

    title: str
    text: str
    timestamp: int | None = None
    host: str = ""
    aggregation_key: str = ""
    priority: str = "normal"
    source: str = ""
    alert_type: str = "info"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceCheck:
    """A `_sc` line. `status` is one of ok, warning, critical, unknown."""

    name: str
    status: str
    timestamp: int | None = None
    host: str = ""
    tags: tuple[str, ...] = ()
    message: str = ""


def parse(line: bytes) -> Sample | Event | ServiceCheck:
    """Parse one line of a datagram; raise `ValueError` with the reason if the Agent would drop it."""
    if line.startswith(b"_e{"):
        return parse_event(line)
    if line.startswith(b"_sc|"):
        return parse_service_check(line)
    name, values, rest = split_metric(line)
    fields = parse_fields(rest)
    if fields.timestamp is not None and fields.kind not in ("c", "g"):
        raise ValueError(f"a timestamp is taken of counts and gauges only, not of type {fields.kind!r}")
    return Sample(
        _text(name), fields.kind, parse_values(values, fields), fields.tags, fields.timestamp, fields.rate
    )


def split_metric(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a metric line into name, packed values, and the rest after the first `|`."""
    head, bar, rest = line.partition(b"|")
    if not bar:
        raise ValueError("no '|' in the line")
    name, _, values = head.partition(b":")
    if not name or not values:
        raise ValueError("no 'name:value' before the first '|'")
    return name, values, rest


def parse_fields(rest: bytes) -> Fields:
    """Parse type and optional fields: the part of a metric line after its values."""
    kind, *optional = rest.split(b"|")
    if kind not in KINDS:
        raise ValueError(f"unknown metric type {_text(kind[:20])!r}")
    rate = 1.0
    tags: tuple[str, ...] = ()
    timestamp: int | None = None
    for field in optional:
        match field[:1]:
            case b"#":
                tags = parse_tags(field[1:])
            case b"@":
                rate = _parse_rate(field[1:])
            case b"T":
                timestamp = _parse_timestamp(field[1:])
    return Fields(cast(Kind, kind.decode()), rate, tags, timestamp)


def parse_values(values: bytes, fields: Fields) -> tuple[float, ...] | tuple[str]:
    """Parse the packed values of a metric line: finite floats, or the one string of a set."""
    if fields.kind == "s":
        return (_text(values),)
    try:
        numbers = tuple(_number(value) for value in values.split(b":") if value)
    except (ValueError, OverflowError):
        raise ValueError(f"value {_text(values[:40])!r} is not a finite number") from None
    if not numbers:
        raise ValueError("no value")
    if not all(map(isfinite, numbers)):
        raise ValueError(f"value {_text(values[:40])!r} is not a finite number")
    return numbers


def _number(raw: bytes) -> float:
    """Return a number as Go reads one: decimal or hexadecimal, no spaces and no `_`."""
    if not raw.translate(None, NUMERIC):
        return float(raw)
    if _HEXADECIMAL.fullmatch(raw):
        return float.fromhex(raw.decode())
    raise ValueError


def parse_event(line: bytes) -> Event:
    """Parse `_e{<title bytes>,<text bytes>}:<title>|<text>|...`; lengths count UTF-8 bytes."""
    header, colon, body = line.partition(b":")
    lengths = re.fullmatch(rb"_e\{\+?(\d{1,6}),\+?(\d{1,6})\}", header)
    if not colon or not lengths:
        raise ValueError("an event starts with _e{<title length>,<text length>}:")
    title_length, text_length = int(lengths[1]), int(lengths[2])
    end = title_length + 1 + text_length
    if not title_length or len(body) < end or body[title_length : title_length + 1] != b"|":
        raise ValueError("the lengths of the event do not fit its title and text")
    optional = dict(_optional(body[end:], b"dhkpst"))
    alert_type = optional.get(b"t", "info")
    return Event(
        _text(body[:title_length].replace(b"\\n", b"\n")),
        _text(body[title_length + 1 : end].replace(b"\\n", b"\n")),
        timestamp=_timestamp_or_none(optional.get(b"d")),
        host=optional.get(b"h", ""),
        aggregation_key=optional.get(b"k", ""),
        priority="low" if optional.get(b"p") == "low" else "normal",
        source=optional.get(b"s", ""),
        alert_type=alert_type if alert_type in ALERT_TYPES else "info",
        tags=_tags_in(body[end:]),
    )


def parse_service_check(line: bytes) -> ServiceCheck:
    """Parse `_sc|<name>|<status>|...`; `m:` comes last and ends with the line."""
    _, name, *rest = line.split(b"|", 3)
    if not name or not rest:
        raise ValueError("a service check is _sc|<name>|<status>")
    if rest[0] not in (b"0", b"1", b"2", b"3"):
        raise ValueError(f"unknown service check status {_text(rest[0][:20])!r}")
    tail = rest[1] if len(rest) > 1 else b""
    optional = dict(_optional(tail, b"dhm"))
    return ServiceCheck(
        _text(name),
        STATUSES[int(rest[0])],
        timestamp=_timestamp_or_none(optional.get(b"d")),
        host=optional.get(b"h", ""),
        tags=_tags_in(tail),
        message=optional.get(b"m", "").replace("\\n", "\n").replace("m\\:", "m:"),
    )


def parse_tags(raw: bytes) -> tuple[str, ...]:
    """Split a tag list at its commas; empty tags are left out."""
    return tuple(tag for tag in _text(raw).split(",") if tag)


def normalize_name(name: str) -> str:
    """Return the metric name as Datadog's backend keeps it: from a letter on, others than `[A-Za-z0-9_.]` as `_`."""
    return names.metric_name(name) or "invalid"


def normalize_tag(tag: str) -> str:
    """Return the tag as Datadog's backend keeps it: lower case, unsafe characters as one `_`, may be empty."""
    return names.tag(tag).rstrip("_:")


def _optional(tail: bytes, letters: bytes) -> list[tuple[bytes, str]]:
    """Return the `x:...` fields of an event or a service check, the later of a kind last."""
    fields = [field for field in tail.split(b"|") if field[1:2] == b":" and field[:1] in letters]
    return [(field[:1], _text(field[2:])) for field in fields]


def _tags_in(tail: bytes) -> tuple[str, ...]:
    tags = [field for field in tail.split(b"|") if field.startswith(b"#")]
    return parse_tags(tags[-1][1:]) if tags else ()


def _parse_rate(raw: bytes) -> float:
    try:
        rate = _number(raw)
    except (ValueError, OverflowError):
        rate = 0.0
    if not 1e-9 <= rate <= 1e9:
        raise ValueError(f"sample rate {_text(raw[:20])!r} is not from 1e-9 to 1e9")
    return rate


def _parse_timestamp(raw: bytes) -> int:
    timestamp = _timestamp_or_none(_text(raw))
    if timestamp is None:
        raise ValueError(f"timestamp {_text(raw[:20])!r} is not a positive number of seconds")
    return timestamp


def _timestamp_or_none(raw: str | None) -> int | None:
    """Return the seconds, or None for what the Agent would ignore."""
    if raw and raw.isascii() and raw.isdigit() and len(raw) < 12 and int(raw) > 0:
        return int(raw)
    return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
