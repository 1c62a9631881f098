"""Protocol Buffers, as much as OTLP needs: wire bytes to the dicts that OTLP's JSON form has. No state.

A table of field numbers instead of generated classes: opentelemetry-proto and protobuf together weigh more than
the rest of the local agent's dependencies. Unknown fields are skipped, as the format demands.
(opentelemetry-proto: {trace,metrics,logs,common}/v1/*.proto)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

Message = dict[str, Any]
MAX_DEPTH = 32
MAX_MESSAGES = 1_000_000
"""Messages and packed numbers within one: an empty one is two bytes on the wire and sixty in memory."""


class TooMany(ValueError):
    """There are more than `MAX_MESSAGES` messages."""


_ATTRIBUTES = ("attributes", "KeyValue*")
_TIMES = {2: ("startTimeUnixNano", "int"), 3: ("timeUnixNano", "int")}
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "Request": {1: ("resourceSpans", "ResourceSpans*")},
    "ResourceSpans": {1: ("resource", "Resource"), 2: ("scopeSpans", "ScopeSpans*")},
    "Resource": {1: _ATTRIBUTES},
    "ScopeSpans": {1: ("scope", "Scope"), 2: ("spans", "Span*")},
    "Scope": {1: ("name", "string"), 2: ("version", "string")},
    "Span": {
        1: ("traceId", "hex"),
        2: ("spanId", "hex"),
        4: ("parentSpanId", "hex"),
        5: ("name", "string"),
        6: ("kind", "int"),
        7: ("startTimeUnixNano", "int"),
        8: ("endTimeUnixNano", "int"),
        9: _ATTRIBUTES,
        11: ("events", "Event*"),
        13: ("links", "Link*"),
        15: ("status", "Status"),
    },
    "Event": {1: ("timeUnixNano", "int"), 2: ("name", "string"), 3: _ATTRIBUTES},
    "Link": {1: ("traceId", "hex"), 2: ("spanId", "hex"), 4: _ATTRIBUTES},
    "Status": {2: ("message", "string"), 3: ("code", "int")},
    "MetricsRequest": {1: ("resourceMetrics", "ResourceMetrics*")},
    "ResourceMetrics": {1: ("resource", "Resource"), 2: ("scopeMetrics", "ScopeMetrics*")},
    "ScopeMetrics": {1: ("scope", "Scope"), 2: ("metrics", "Metric*")},
    "Metric": {
        1: ("name", "string"),
        5: ("gauge", "Sum"),
        7: ("sum", "Sum"),
        9: ("histogram", "Histogram"),
        10: ("exponentialHistogram", "ExponentialHistogram"),
    },
    "Sum": {
        1: ("dataPoints", "NumberPoint*"),
        2: ("aggregationTemporality", "int"),
        3: ("isMonotonic", "bool"),
    },
    "Histogram": {1: ("dataPoints", "HistogramPoint*"), 2: ("aggregationTemporality", "int")},
    "ExponentialHistogram": {1: ("dataPoints", "ExponentialPoint*"), 2: ("aggregationTemporality", "int")},
    "NumberPoint": {
        **_TIMES,
        4: ("asDouble", "double"),
        6: ("asInt", "signed"),
        7: _ATTRIBUTES,
        8: ("flags", "int"),
    },
    "HistogramPoint": {
        **_TIMES,
        4: ("count", "int"),
        5: ("sum", "double"),
        6: ("bucketCounts", "fixed64[]"),
        7: ("explicitBounds", "double[]"),
        9: _ATTRIBUTES,
        10: ("flags", "int"),
        11: ("min", "double"),
        12: ("max", "double"),
    },
    "ExponentialPoint": {
        **_TIMES,
        1: _ATTRIBUTES,
        4: ("count", "int"),
        5: ("sum", "double"),
        6: ("scale", "zigzag"),
        7: ("zeroCount", "int"),
        8: ("positive", "Buckets"),
        9: ("negative", "Buckets"),
        10: ("flags", "int"),
    },
    "Buckets": {1: ("offset", "zigzag"), 2: ("bucketCounts", "varint[]")},
    "LogsRequest": {1: ("resourceLogs", "ResourceLogs*")},
    "ResourceLogs": {1: ("resource", "Resource"), 2: ("scopeLogs", "ScopeLogs*")},
    "ScopeLogs": {1: ("scope", "Scope"), 2: ("logRecords", "LogRecord*")},
    "LogRecord": {
        1: ("timeUnixNano", "int"),
        2: ("severityNumber", "int"),
        3: ("severityText", "string"),
        5: ("body", "AnyValue"),
        6: _ATTRIBUTES,
        9: ("traceId", "hex"),
        10: ("spanId", "hex"),
        11: ("observedTimeUnixNano", "int"),
        12: ("eventName", "string"),
    },
    "KeyValue": {1: ("key", "string"), 2: ("value", "AnyValue")},
    "AnyValue": {
        1: ("stringValue", "string"),
        2: ("boolValue", "bool"),
        3: ("intValue", "signed"),
        4: ("doubleValue", "double"),
        5: ("arrayValue", "Values"),
        6: ("kvlistValue", "KeyValues"),
        7: ("bytesValue", "hex"),
    },
    "Values": {1: ("values", "AnyValue*")},
    "KeyValues": {1: ("values", "KeyValue*")},
}


def decode(body: bytes, message: str = "Request") -> Message:
    """Decode one message of the table; raise `ValueError` if the bytes are not one."""
    return _decode(body, message, 0, iter(range(MAX_MESSAGES)))


def _decode(body: bytes, message: str, depth: int, budget: Iterator[int]) -> Message:
    if depth > MAX_DEPTH:
        raise ValueError("the message is nested too deeply")
    if next(budget, None) is None:
        raise TooMany(f"the message has more than {MAX_MESSAGES} parts")
    known = _MESSAGES[message]
    result: Message = {}
    position = 0
    while position < len(body):
        tag, position = _varint(body, position)
        raw, position = _field(body, position, tag & 7)
        if (field := known.get(tag >> 3)) is None:
            continue
        name, kind = field
        if kind.endswith("*"):
            result.setdefault(name, []).append(_value(raw, kind[:-1], depth, budget))
        elif kind.endswith("[]"):
            result.setdefault(name, []).extend(_numbers(raw, kind[:-2], budget))
        else:
            result[name] = _value(raw, kind, depth, budget)
    return result


def _value(raw: int | bytes, kind: str, depth: int, budget: Iterator[int]) -> Any:
    if isinstance(raw, int):
        if kind == "bool":
            return bool(raw)
        if kind == "signed" and raw >= 1 << 63:
            return raw - (1 << 64)
        if kind == "zigzag":
            return (raw >> 1) ^ -(raw & 1)
        if kind in ("int", "signed"):
            return raw
        if kind == "double":
            return struct.unpack("<d", raw.to_bytes(8, "little"))[0]
        raise ValueError(f"a {kind} is written as a number")
    if kind == "string":
        return raw.decode("utf-8", "replace")
    if kind == "hex":
        return raw.hex()
    if kind in _MESSAGES:
        return _decode(raw, kind, depth + 1, budget)
    raise ValueError(f"a {kind} is written as bytes")


def _numbers(raw: int | bytes, kind: str, budget: Iterator[int]) -> list[int] | list[float]:
    """Return repeated numbers: packed into bytes, or one that was written alone."""
    if isinstance(raw, int):
        return [_value(raw, "double" if kind == "double" else "int", 0, budget)]
    if raw and next(islice(budget, _count(raw, kind) - 1, None), None) is None:
        raise TooMany(f"the message has more than {MAX_MESSAGES} parts")
    if kind == "varint":
        found, position = [], 0
        while position < len(raw):
            number, position = _varint(raw, position)
            found.append(number)
        return found
    if len(raw) % 8:
        raise ValueError("packed numbers are cut off")
    return list(struct.unpack(f"<{len(raw) // 8}{'d' if kind == 'double' else 'Q'}", raw))


def _count(raw: bytes, kind: str) -> int:
    """Return how many packed numbers there are at most, at least 1."""
    return len(raw) if kind == "varint" else max(1, len(raw) // 8)


def _field(body: bytes, position: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == 0:
        return _varint(body, position)
    if wire_type == 2:
        length, position = _varint(body, position)
        end = position + length
    elif wire_type in (1, 5):
        end = position + (8 if wire_type == 1 else 4)
    else:
        raise ValueError(f"unknown wire type {wire_type}")
    if end > len(body):
        raise ValueError("the message is cut off")
    raw = body[position:end]
    return (raw if wire_type == 2 else int.from_bytes(raw, "little")), end


def _varint(body: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(body):
            raise ValueError("the message is cut off")
        byte = body[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (1 << 64) - 1, position
    raise ValueError("a number is longer than 64 bits")
