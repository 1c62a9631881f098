"""Protocol Buffers, as much as OTLP traces need: wire bytes to the dicts that OTLP's JSON form has. No state.

A table of field numbers instead of generated classes: opentelemetry-proto and protobuf together weigh more than
the rest of the local agent's dependencies. Unknown fields are skipped, as the format demands.
(opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto)
"""

from __future__ import annotations

import struct
from typing import Any

Message = dict[str, Any]
MAX_DEPTH = 32

_ATTRIBUTES = ("attributes", "KeyValue*")
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


def decode(body: bytes, message: str = "Request", depth: int = 0) -> Message:
    """Decode one message of the table; raise `ValueError` if the bytes are not one."""
    if depth > MAX_DEPTH:
        raise ValueError("the message is nested too deeply")
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
            result.setdefault(name, []).append(_value(raw, kind[:-1], depth))
        else:
            result[name] = _value(raw, kind, depth)
    return result


def _value(raw: int | bytes, kind: str, depth: int) -> Any:
    if isinstance(raw, int):
        if kind == "bool":
            return bool(raw)
        if kind == "signed" and raw >= 1 << 63:
            return raw - (1 << 64)
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
        return decode(raw, kind, depth + 1)
    raise ValueError(f"a {kind} is written as bytes")


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
