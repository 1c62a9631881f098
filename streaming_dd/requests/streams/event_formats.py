"""What counts as an event in the bytes of a stream: blocks of Server-Sent Events, JSON lines, parts, array elements.

A format is one object for all streams; what it must remember between two pieces of a stream is in that stream's
`Position`. State: the formats of the content types seen lately.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .json_arrays import JsonArray
from .position import MESSAGE, Format, Position
from .server_sent_events import ServerSentEvents


class JsonLines:
    """`application/x-ndjson` and its kin: a line that is not blank is an event, the last one also without its end."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the lines that ended."""
        lines = data.split(b"\n")
        last = lines.pop()
        count = 0
        if lines:
            count = sum(1 for line in lines if not line.isspace() and line)
            if at.has_data and (not lines[0] or lines[0].isspace()):
                count += 1  # it had its data in an earlier piece
            at.has_data = False
        at.has_data = at.has_data or (bool(last) and not last.isspace())
        return {MESSAGE: count} if count else {}

    def end(self, at: Position) -> int:
        """Return 1 if the last line has no end of its own."""
        unfinished, at.has_data = at.has_data, False
        return int(unfinished)


class JsonSequence:
    """`application/json-seq`: each text begins with a record separator."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the texts that began."""
        count = data.count(b"\x1e")
        return {MESSAGE: count} if count else {}

    def end(self, at: Position) -> int:
        """Return 0: a text counts when it begins."""
        return 0


class Parts:
    """`multipart/x-mixed-replace`: a part is an event when its delimiter has come."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\n--" + boundary
        self._kept = len(self._delimiter) + 2

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the parts that began; the delimiter that closes the whole begins none."""
        if not at.begun:
            at.begun = True
            at.line = b"\n"  # the first delimiter may stand at the very beginning
        text = at.line + data
        size = len(self._delimiter)
        count = 0
        found = text.find(self._delimiter)
        while found >= 0 and found + self._kept <= len(text):
            count += text[found + size : found + self._kept] != b"--"
            found = text.find(self._delimiter, found + size)
        at.line = text[found:] if found >= 0 else text[-size + 1 :]
        return {MESSAGE: count} if count else {}

    def end(self, at: Position) -> int:
        """Return 0: a part counts when it begins."""
        return 0


class Unknown:
    """Any other type: bytes are progress, and no events."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return nothing."""
        return {}

    def end(self, at: Position) -> int:
        """Return 0."""
        return 0


SERVER_SENT_EVENTS: Final = ServerSentEvents()
_JSON_LINES: Final = JsonLines()
JSON_ARRAY: Final = JsonArray()
UNKNOWN: Final = Unknown()
_BY_TYPE: Final[dict[bytes, Format]] = {
    b"text/event-stream": SERVER_SENT_EVENTS,
    b"application/x-ndjson": _JSON_LINES,
    b"application/ndjson": _JSON_LINES,
    b"application/jsonl": _JSON_LINES,
    b"application/x-jsonlines": _JSON_LINES,
    b"application/stream+json": _JSON_LINES,
    b"application/json-seq": JsonSequence(),
}
#: Content types whose formats are remembered: an application has a few.
_KNOWN_TYPES: Final = 64
_MULTIPART: Final = b"multipart/x-mixed-replace"
_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)


@lru_cache(_KNOWN_TYPES)
def format_of(content_type: bytes) -> Format | None:
    """Return how a response of this type streams its events; None for a type that need not be a stream."""
    name = content_type.partition(b";")[0].strip().lower()
    found = _BY_TYPE.get(name)
    if found is None and name == _MULTIPART:
        boundary = _BOUNDARY.search(content_type)
        return Parts(boundary.group(1) or boundary.group(2)) if boundary else UNKNOWN
    return found
