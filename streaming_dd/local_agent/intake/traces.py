"""Trace payloads: Datadog's v0.3 to v0.7 in, `Span` objects out (v1.0: `traces_v1`). Pure functions, no state.

On the wire a span carries the low 64 bits of its trace id, the high half is `_dd.p.tid` of the chunk's first span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

from .spans import (
    MAX_CHUNKS,
    MAX_SPANS,
    MAX_STRINGS,
    Budget,
    Span,
    SpanLink,
    TooMuch,
    reading,
    trace_id_of,
    unsigned,
)


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
    meta: msgspec.Raw = msgspec.Raw(b"\xc0")
    metrics: msgspec.Raw = msgspec.Raw(b"\xc0")
    span_links: msgspec.Raw = msgspec.Raw(b"\xc0")
    span_events: msgspec.Raw = msgspec.Raw(b"\xc0")


class _PackedSpan(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    service: int
    name: int
    resource: int
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    meta: msgspec.Raw
    metrics: msgspec.Raw
    type: int


MAX_JSON = 4 * 1024 * 1024

_Chunks = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_CHUNKS)]
_Strings = Annotated[list[str], msgspec.Meta(max_length=MAX_STRINGS)]


class _WireChunk(msgspec.Struct):
    spans: msgspec.Raw = msgspec.Raw(b"\xc0")
    priority: int | None = None
    origin: str | None = None


class _Payload(msgspec.Struct):
    """A `/v0.7/traces` body: chunks, and what their spans have in common."""

    chunks: Annotated[list[_WireChunk], msgspec.Meta(max_length=MAX_CHUNKS)] = []
    env: str | None = None
    app_version: str | None = None


def _bounded(kind: Any, most: int = MAX_SPANS) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(Annotated[kind, msgspec.Meta(max_length=most)] | None)


_CHUNKS = msgspec.msgpack.Decoder(_Chunks)
_TABLE = msgspec.msgpack.Decoder(tuple[_Strings, _Chunks])
_PAYLOAD = msgspec.msgpack.Decoder(_Payload)
_SPANS = _bounded(list[_WireSpan])
_PACKED = _bounded(list[_PackedSpan])
_META = _bounded(dict[str, str])
_METRICS = _bounded(dict[str, float])
_LINKS = _bounded(list[_WireLink])
_EVENTS = _bounded(list[dict[str, Any]])
_PACKED_META = _bounded(dict[int, int])
_PACKED_METRICS = _bounded(dict[int, float])


def decode(version: str, body: bytes) -> list[list[Span]]:
    """Return the chunks of a payload of version v0.3, v0.4, v0.5 or v0.7; raise `ValueError` if it is not one."""
    return list(chunks(version, body))


def chunks(version: str, body: bytes) -> Iterator[list[Span]]:
    """Decode one chunk after the other. Raises `ValueError` for what is no payload, `TooMuch` beyond the bounds above."""
    with reading(version):
        match version:
            case "v0.3" | "v0.4":
                yield from _chunks_v04(_CHUNKS.decode(_as_msgpack(body)))
            case "v0.5":
                yield from _chunks_v05(*_TABLE.decode(body))
            case "v0.7":
                yield from _chunks_v07(_PAYLOAD.decode(body))
            case _:
                raise ValueError(f"there is no trace payload {version}")


def _as_msgpack(body: bytes) -> bytes:
    """Return a body as msgpack: the Agent takes v0.3 and v0.4 as JSON too, which scripts write by hand."""
    if not body.startswith(b"["):  # in msgpack the number 91, which begins no payload
        return body
    if len(body) > MAX_JSON:
        raise TooMuch(f"the payload has more than {MAX_JSON} bytes of JSON")
    return msgspec.msgpack.encode(msgspec.json.decode(body))


def _chunks_v04(raw_chunks: Iterable[msgspec.Raw]) -> Iterator[list[Span]]:
    budget = Budget()
    for raw in raw_chunks:
        yield _chunk(budget.chunk(_SPANS, raw), budget)


def _chunks_v07(payload: _Payload) -> Iterator[list[Span]]:
    """Give the chunks of v0.7: v0.4's spans; priority, origin, env and version are said once for all of them."""
    budget = Budget()
    common = {"env": payload.env, "version": payload.app_version}
    for wire in payload.chunks:
        spans = _chunk(budget.chunk(_SPANS, wire.spans), budget)
        for span in spans:
            for key, value in {**common, "_dd.origin": wire.origin}.items():
                if value:
                    span.meta.setdefault(key, value)
            if wire.priority is not None:
                span.metrics.setdefault("_sampling_priority_v1", float(wire.priority))
        yield spans


def _chunk(wires: list[_WireSpan], budget: Budget) -> list[Span]:
    metas = [budget.part(_META, wire.meta) or {} for wire in wires]
    high = _high_half(metas)
    return [_span(wire, meta, high, budget) for wire, meta in zip(wires, metas, strict=True)]


def _span(wire: _WireSpan, meta: dict[str, str], high: str, budget: Budget) -> Span:
    links, events = budget.part(_LINKS, wire.span_links), budget.part(_EVENTS, wire.span_events)
    return Span(
        f"{high}{unsigned(wire.trace_id):016x}",
        str(unsigned(wire.span_id)),
        str(unsigned(wire.parent_id or 0)),
        wire.name or "",
        wire.resource or "",
        wire.service or "",
        wire.type or "",
        wire.start,
        wire.duration,
        int(bool(wire.error)),
        meta,
        budget.part(_METRICS, wire.metrics) or {},
        [_link(link) for link in links] if links else _links_in(meta),
        [_native_event(event) for event in events] if events else _events_in(meta),
    )


def _chunks_v05(strings: list[str], raw_chunks: Iterable[msgspec.Raw]) -> Iterator[list[Span]]:
    budget = Budget()

    def text(index: int) -> str:
        if index < 0:
            raise IndexError("a string has a negative number")
        return strings[index]

    for raw in raw_chunks:
        packed: list[_PackedSpan] = budget.chunk(_PACKED, raw)
        metas = [
            {text(key): text(value) for key, value in (budget.part(_PACKED_META, span.meta) or {}).items()}
            for span in packed
        ]
        high = _high_half(metas)
        yield [
            Span(
                f"{high}{unsigned(span.trace_id):016x}",
                str(unsigned(span.span_id)),
                str(unsigned(span.parent_id)),
                text(span.name),
                text(span.resource),
                text(span.service),
                text(span.type),
                span.start,
                span.duration,
                int(bool(span.error)),
                meta,
                {
                    text(key): value
                    for key, value in (budget.part(_PACKED_METRICS, span.metrics) or {}).items()
                },
                _links_in(meta),
                _events_in(meta),
            )
            for span, meta in zip(packed, metas, strict=True)
        ]


def _high_half(metas: Iterable[dict[str, str] | None]) -> str:
    """Return the upper 64 bits of a chunk's trace id, which only one of its spans carries."""
    for meta in metas:
        if meta and len(high := meta.get("_dd.p.tid", "")) == 16:
            return high.lower()
    return "0" * 16


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


def _native_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with plain attributes; the wire says each one's type: `{"type": 1, "bool_value": true}`."""
    attributes = event.get("attributes")
    if not isinstance(attributes, dict):
        return event
    return {**event, "attributes": {key: _native_value(value) for key, value in attributes.items()}}


def _native_value(value: Any) -> Any:
    if not isinstance(value, dict) or "type" not in value:
        return value
    held = next((held for key, held in value.items() if key.endswith("_value")), None)
    if isinstance(held, dict):  # an array: {"values": [...]}
        return [_native_value(item) for item in held.get("values") or ()]
    return held


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
