"""`/v1.0/traces`: msgpack whose fields are numbers and whose strings are sent once. Pure functions, no state.

A string stands where it is first used, later its number; so everything is read in the order of the wire. The format and the
texts of values that are neither text nor number are those of datadog-agent's pkg/proto/pbgo/trace/idx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from .spans import (
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_SPANS,
    MAX_STRINGS,
    Budget,
    Span,
    SpanLink,
    TooMuch,
    reading,
    unsigned,
)

KINDS = ("", "internal", "server", "client", "producer", "consumer")
MAX_DEPTH = 10
"""How deep arrays and maps within an attribute may lie."""
COMMON = {7: "env", 8: "_dd.hostname", 9: "version"}
"""Fields of a payload that its spans have in common."""
PROMOTED = {13: "env", 14: "version", 15: "component"}
"""Fields of a span that are tags in the older versions."""


def _list(most: int) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(max_length=most)])


_FIELDS = msgspec.msgpack.Decoder(Annotated[dict[int, msgspec.Raw], msgspec.Meta(max_length=100)])
_CHUNKS = _list(MAX_CHUNKS)
_SPANS = _list(MAX_SPANS)
_ITEMS = _list(3 * MAX_ENTRIES)
_STRINGS = msgspec.msgpack.Decoder(Annotated[list[str], msgspec.Meta(max_length=MAX_STRINGS)])
_TEXT = msgspec.msgpack.Decoder(str | int)
_INT = msgspec.msgpack.Decoder(int)
_FLOAT = msgspec.msgpack.Decoder(float)
_BOOL = msgspec.msgpack.Decoder(bool)
_BYTES = msgspec.msgpack.Decoder(bytes)


def chunks(body: bytes) -> Iterator[list[Span]]:
    """Decode one chunk after the other. Raises `ValueError` for what is no payload, `TooMuch` beyond the bounds."""
    with reading("v1.0"):
        yield from _Payload().chunks(body)


class _Payload:
    """Reads one payload: the strings that it has said so far, and what its spans have in common."""

    def __init__(self) -> None:
        self._strings = [""]
        self._budget = Budget()

    def chunks(self, body: bytes) -> Iterator[list[Span]]:
        common: dict[str, Any] = {}
        for field, raw in _FIELDS.decode(body).items():
            if field == 1:
                self._strings += filter(None, _STRINGS.decode(raw))
            elif 2 <= field <= 9:
                if text := self._text(raw):
                    common[COMMON.get(field, "")] = text
            elif field == 10:
                common |= self._attributes(raw)
            elif field == 11:
                common.pop("", None)
                for chunk in _CHUNKS.decode(raw):
                    yield self._chunk(chunk, common)

    def _chunk(self, raw: msgspec.Raw, common: dict[str, Any]) -> list[Span]:
        common = dict(common)
        spans: list[Span] = []
        high, low, mechanism = "0" * 16, "0" * 16, ""
        for field, value in _FIELDS.decode(raw).items():
            if field == 1:
                common["_sampling_priority_v1"] = float(_INT.decode(value))
            elif field == 2:
                common["_dd.origin"] = self._text(value)
            elif field == 3:
                common |= self._attributes(value)
            elif field == 4:
                spans = [self._span(each) for each in self._budget.chunk(_SPANS, value)]
            elif field == 6:
                high, low = _trace_id(value)
            elif field == 7:  # a number; a text in the first drafts
                found = _TEXT.decode(value)
                mechanism = found if isinstance(found, str) else f"-{found}" if found else ""
        if mechanism and spans:
            spans[0].meta.setdefault("_dd.p.dm", mechanism)
        for span in spans:
            span.trace_id = high + low
            _tag(span, {key: held for key, held in common.items() if held != ""})
        return spans

    def _span(self, raw: msgspec.Raw) -> Span:
        span = Span("0" * 32, "0", "0", "", "", "", "", 0, 0, 0)
        promoted: dict[str, str] = {}
        for field, value in _FIELDS.decode(raw).items():
            if field in (1, 2, 3, 10):
                setattr(
                    span,
                    ("service", "name", "resource")[field - 1] if field < 4 else "type",
                    self._text(value),
                )
            elif field in (4, 5):
                setattr(span, "span_id" if field == 4 else "parent_id", str(unsigned(_INT.decode(value))))
            elif field == 6:
                span.start_ns = _INT.decode(value)
            elif field == 7:
                span.duration_ns = _INT.decode(value)
            elif field == 8:
                span.error = int(_BOOL.decode(value))
            elif field == 9:
                _tag(span, self._attributes(value))
            elif field == 11:
                span.links = [self._link(each) for each in self._budget.part(_ITEMS, value)]
            elif field == 12:
                span.events = [self._event(each) for each in self._budget.part(_ITEMS, value)]
            elif field in PROMOTED:
                promoted[PROMOTED[field]] = self._text(value)
            elif field == 16 and 0 < (kind := _INT.decode(value)) < len(KINDS):
                promoted["span.kind"] = KINDS[kind]
        span.meta |= {key: text for key, text in promoted.items() if text}
        return span

    def _link(self, raw: msgspec.Raw) -> SpanLink:
        link = SpanLink("0" * 32, "0")
        for field, value in _FIELDS.decode(raw).items():
            if field == 1:
                link.trace_id = "".join(_trace_id(value))
            elif field == 2:
                link.span_id = str(unsigned(_INT.decode(value)))
            elif field == 3:
                link.attributes = {key: _as_text(held) for key, held in self._values(value).items()}
            elif field == 4:
                self._text(value)
        return link

    def _event(self, raw: msgspec.Raw) -> dict[str, Any]:
        event: dict[str, Any] = {}
        for field, value in _FIELDS.decode(raw).items():
            if field == 1:
                event["time_unix_nano"] = _INT.decode(value)
            elif field == 2:
                event["name"] = self._text(value)
            elif field == 3:
                event["attributes"] = self._values(value)
        return event

    def _text(self, raw: msgspec.Raw) -> str:
        found = _TEXT.decode(raw)
        if isinstance(found, str):
            if found:
                if len(self._strings) > MAX_STRINGS:
                    raise TooMuch(f"the payload has more than {MAX_STRINGS} strings")
                self._strings.append(found)
            return found
        if found < 0:
            raise IndexError("a string has a negative number")
        return self._strings[found]

    def _attributes(self, raw: msgspec.Raw) -> dict[str, str | float]:
        """Return attributes as tags: numbers, or text. Bytes (structures of other products) are left out."""
        return {
            key: float(held)
            if isinstance(held, float | int) and not isinstance(held, bool)
            else _as_text(held)
            for key, held in self._values(raw).items()
            if held is not None
        }

    def _values(self, raw: msgspec.Raw, depth: int = 0) -> dict[str, Any]:
        """Read a flat list of key, type, value."""
        items = self._budget.part(_ITEMS, raw)
        if len(items) % 3:
            raise ValueError("not a v1.0 trace payload: attributes are key, type and value")
        return {
            self._text(items[at]): self._value(_INT.decode(items[at + 1]), items[at + 2], depth)
            for at in range(0, len(items), 3)
        }

    def _value(self, kind: int, raw: msgspec.Raw, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise TooMuch(f"an attribute is nested deeper than {MAX_DEPTH}")
        match kind:
            case 1:
                return self._text(raw)
            case 2:
                return _BOOL.decode(raw)
            case 3:
                return _FLOAT.decode(raw)
            case 4:
                return _INT.decode(raw)
            case 5:
                _BYTES.decode(raw)
                return None
            case 6:
                items = self._budget.part(_ITEMS, raw)
                if len(items) % 2:
                    raise ValueError("not a v1.0 trace payload: the items of an array are type and value")
                return [
                    self._value(_INT.decode(items[at]), items[at + 1], depth + 1)
                    for at in range(0, len(items), 2)
                ]
            case 7:
                return self._values(raw, depth + 1)
        raise ValueError(f"not a v1.0 trace payload: there is no kind {kind} of attributes")


def _trace_id(raw: msgspec.Raw) -> tuple[str, str]:
    found = _BYTES.decode(raw)
    if len(found) != 16:
        raise ValueError("not a v1.0 trace payload: a trace id has 16 bytes")
    return found[:8].hex(), found[8:].hex()


def _tag(span: Span, attributes: dict[str, str | float]) -> None:
    """Add attributes to a span; what it says itself stays."""
    for key, held in attributes.items():
        if isinstance(held, str):
            span.meta.setdefault(key, held)
        else:
            span.metrics.setdefault(key, held)


def _as_text(value: Any) -> str:
    """Write a value as the Agent writes it into a tag."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{','.join(map(_as_text, value))}]"
        case dict():
            return f"{{{','.join(f'{key}={_as_text(held)}' for key, held in value.items())}}}"
        case None:
            return ""
    return str(value)
