"""Trace payloads: Datadog's v0.4 and v0.5 msgpack in, `Span` objects out. Pure functions, no state.

Ids leave this module as strings: a trace id is 32 hex digits (128 bits), a span id is decimal. On the wire a
span carries the low 64 bits of its trace id, the high half is `_dd.p.tid` of the chunk's first span.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

NO_TRACE = "0" * 32


@dataclass(slots=True)
class SpanLink:
    """A reference to a span of another trace."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """One finished span. Times are epoch and elapsed nanoseconds; `parent_id` is "0" for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    resource: str
    service: str
    type: str
    start_ns: int
    duration_ns: int
    error: int
    meta: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    links: list[SpanLink] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


class _WireLink(msgspec.Struct):
    trace_id: int = 0
    span_id: int = 0
    trace_id_high: int = 0
    attributes: dict[str, Any] | None = None


class _WireSpan(msgspec.Struct):
    trace_id: int
    span_id: int
    name: str | None = None
    resource: str | None = None
    service: str | None = None
    type: str | None = None
    parent_id: int | None = 0
    start: int = 0
    duration: int = 0
    error: int | None = 0
    meta: dict[str, str] | None = None
    metrics: dict[str, float] | None = None
    span_links: list[_WireLink] | None = None
    span_events: list[dict[str, Any]] | None = None


class _PackedSpan(msgspec.Struct, array_like=True):
    service: int
    name: int
    resource: int
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    meta: dict[int, int]
    metrics: dict[int, float]
    type: int


_V04 = msgspec.msgpack.Decoder(list[list[_WireSpan]])
_V05 = msgspec.msgpack.Decoder(tuple[list[str], list[list[_PackedSpan]]])


def decode(version: str, body: bytes) -> list[list[Span]]:
    """Return the chunks of a payload of version "v0.4" or "v0.5"; raise `ValueError` if it is not one."""
    try:
        return _decode_v04(body) if version == "v0.4" else _decode_v05(body)
    except (msgspec.MsgspecError, IndexError) as error:
        raise ValueError(f"not a {version} trace payload: {error}") from error


def trace_id_of(text: str) -> str:
    """Return any written form of a trace id (decimal, 16 or 32 hex digits) as 32 hex digits, "" if it is none."""
    text = text.strip().lower()
    if len(text) <= 20 and text.isascii() and text.isdigit() and len(text) != 16:
        return f"{int(text):032x}" if int(text) else ""
    if len(text) in (16, 32) and all(digit in "0123456789abcdef" for digit in text):
        return text.zfill(32) if text.strip("0") else ""
    return ""


def _decode_v04(body: bytes) -> list[list[Span]]:
    chunks = []
    for wire in _V04.decode(body):
        high = _high_half(span.meta for span in wire)
        chunks.append([_span(span, high) for span in wire])
    return chunks


def _span(wire: _WireSpan, high: str) -> Span:
    meta = wire.meta or {}
    return Span(
        f"{high}{wire.trace_id:016x}",
        str(wire.span_id),
        str(wire.parent_id or 0),
        wire.name or "",
        wire.resource or wire.name or "",
        wire.service or "",
        wire.type or "",
        _nanoseconds(wire.start),
        _nanoseconds(wire.duration),
        int(bool(wire.error)),
        meta,
        wire.metrics or {},
        [_link(link) for link in wire.span_links] if wire.span_links else _links_in(meta),
        wire.span_events if wire.span_events else _events_in(meta),
    )


def _decode_v05(body: bytes) -> list[list[Span]]:
    strings, packed_chunks = _V05.decode(body)
    chunks = []
    for packed in packed_chunks:
        metas = [{strings[key]: strings[value] for key, value in span.meta.items()} for span in packed]
        high = _high_half(metas)
        chunks.append([_unpack(span, meta, strings, high) for span, meta in zip(packed, metas, strict=True)])
    return chunks


def _unpack(packed: _PackedSpan, meta: dict[str, str], strings: list[str], high: str) -> Span:
    name = strings[packed.name]
    return Span(
        f"{high}{packed.trace_id:016x}",
        str(packed.span_id),
        str(packed.parent_id),
        name,
        strings[packed.resource] or name,
        strings[packed.service],
        strings[packed.type],
        _nanoseconds(packed.start),
        _nanoseconds(packed.duration),
        int(bool(packed.error)),
        meta,
        {strings[key]: value for key, value in packed.metrics.items()},
        _links_in(meta),
        _events_in(meta),
    )


def _high_half(metas: Iterable[dict[str, str] | None]) -> str:
    """Return the upper 64 bits of a chunk's trace id, which only one of its spans carries."""
    for meta in metas:
        if meta and len(high := meta.get("_dd.p.tid", "")) == 16:
            return high.lower()
    return "0" * 16


def _nanoseconds(value: int) -> int:
    """Return a time that fits 63 bits; a client's clock may have stepped back within a span."""
    return min(max(value, 0), 2**63 - 1)


def _link(wire: _WireLink) -> SpanLink:
    return SpanLink(
        f"{wire.trace_id_high:016x}{wire.trace_id:016x}", str(wire.span_id), wire.attributes or {}
    )


def _links_in(meta: dict[str, str]) -> list[SpanLink]:
    """Return the links that v0.5 carries as JSON with hexadecimal ids."""
    links = []
    for link in _json_list(meta.get("_dd.span_links")):
        try:
            span_id = str(int(str(link.get("span_id", "0")), 16))
        except ValueError:
            continue  # a foreign client's form: the span itself is still worth keeping
        links.append(
            SpanLink(trace_id_of(str(link.get("trace_id", ""))), span_id, link.get("attributes") or {})
        )
    return links


def _events_in(meta: dict[str, str]) -> list[dict[str, Any]]:
    return _json_list(meta.get("events"))


def _json_list(text: str | None) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []  # the raw text stays visible in `meta`
    return [item for item in decoded if isinstance(item, dict)] if isinstance(decoded, list) else []
