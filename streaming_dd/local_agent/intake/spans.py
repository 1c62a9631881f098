"""A span as the agent keeps it, and how much of them one payload may hold. No state.

Ids are strings: a trace id is 32 hex digits (128 bits), a span id is decimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


class TooMuch(ValueError):
    """A payload holds more than the agent is going to decode."""


MAX_CHUNKS = 50_000
MAX_SPANS = 200_000
MAX_STRINGS = 500_000
MAX_ENTRIES = 2_000_000
"""Tags, links and events of a payload's spans, all together."""


@contextmanager
def reading(version: str) -> Iterator[None]:
    """Turn what decoders raise into `ValueError` that names the version, or into `TooMuch`."""
    try:
        yield
    except msgspec.ValidationError as error:
        kind = TooMuch if "of length <=" in str(error) else ValueError
        raise kind(f"not a {version} trace payload: {error}") from error
    except (msgspec.MsgspecError, IndexError, RecursionError) as error:
        raise ValueError(f"not a {version} trace payload: {error}") from error


class Budget:
    """Counts what a payload holds; raises `TooMuch` once it is more than the bounds."""

    def __init__(self) -> None:
        self._spans = 0
        self._entries = 0

    def chunk(self, decoder: msgspec.msgpack.Decoder[Any], raw: msgspec.Raw) -> list[Any]:
        spans: list[Any] = decoder.decode(raw) or []
        self._spans += len(spans)
        if self._spans > MAX_SPANS:
            raise TooMuch(f"the payload has more than {MAX_SPANS} spans")
        return spans

    def part(self, decoder: msgspec.msgpack.Decoder[Any], raw: msgspec.Raw) -> Any:
        found = decoder.decode(raw)
        if found:
            self._entries += len(found)
            if self._entries > MAX_ENTRIES:
                raise TooMuch(f"the payload's spans have more than {MAX_ENTRIES} tags")
        return found


def trace_id_of(text: str) -> str:
    """Return any written form of a trace id (decimal, 16 or 32 hex digits) as 32 hex digits, "" if it is none."""
    text = text.strip().lower()
    if len(text) <= 20 and text.isascii() and text.isdigit() and len(text) != 16:
        return f"{int(text):032x}" if int(text) else ""
    if len(text) in (16, 32) and all(digit in "0123456789abcdef" for digit in text):
        return text.zfill(32) if text.strip("0") else ""
    return ""


def unsigned(value: int) -> int:
    """Return an id as the 64 bits that it is: some clients write signed integers."""
    return value & (1 << 64) - 1
