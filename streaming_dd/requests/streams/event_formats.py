"""What counts as an event in the bytes of a stream: blocks of Server-Sent Events, JSON lines, parts, array elements.

A format is one object for all streams; what it must remember between two pieces of a stream is in that stream's
`Position`. The rules for `text/event-stream` are those of https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Final, Protocol

from ...output.redaction import mask_name

#: The type of an SSE event that names none.
MESSAGE: Final = "message"
#: Bytes of an unfinished line that are kept: enough for a field's name and an event's type.
_LINE_KEPT: Final = 256
_TYPE_LIMIT: Final = 64
#: Types of a stream that are counted in bulk.
_HEADS: Final = 6
#: Types, and sets of them, that streams share instead of each keeping its own.
_REMEMBERED: Final = 256
_BOM: Final = b"\xef\xbb\xbf"
#: What a language model's stream ends with, in the form that OpenAI's API made common.
_DONE: Final = b"[DONE]"

_NO_HEADS: Final[Mapping[str, bytes]] = MappingProxyType({})


class Position:
    """Where in a stream a format is: what the next piece must be read after."""

    __slots__ = (
        "begun",
        "block_type",
        "depth",
        "done",
        "has_data",
        "heads",
        "line",
        "quoted",
        "skip_newline",
    )

    def __init__(self) -> None:
        #: Anything was read yet.
        self.begun = False
        #: The unfinished line, or the end of what was read; bounded.
        self.line = b""
        #: The last byte was a carriage return: a line feed that follows belongs to it.
        self.skip_newline = False
        #: The unfinished block (or line) has data, and this type.
        self.has_data = False
        self.block_type = MESSAGE
        #: How the blocks of the types seen so far begin; a few.
        self.heads: Mapping[str, bytes] = _NO_HEADS
        #: Inside of a JSON array: how deep, and within a string.
        self.depth = 0
        self.quoted = False
        #: The stream has said by itself that it is at its end (`data: [DONE]`).
        self.done = False


class Format(Protocol):
    """Count the events in the pieces of a stream."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the events that end in `data`, by type; any split of a stream into pieces gives the same sum."""

    def end(self, at: Position) -> int:
        """Return the events that end because the stream does."""


class ServerSentEvents:
    """`text/event-stream`: a block with data is an event; comments, `retry:` and `id:` alone are none."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the events by type: in bulk where every block is of a simple form, else line by line."""
        if not data:
            return {}
        clean = not (at.line or at.has_data or at.skip_newline) and at.block_type is MESSAGE
        if clean and data.endswith(b"\n\n") and b"\r" not in data:
            counts = _plain_blocks(data, at.heads)
            if counts is not None:
                at.begun = True
                at.done = at.done or data.endswith((b"data: [DONE]\n\n", b"data:[DONE]\n\n"))
                return counts
        counts = self._read_lines(at, data)
        for name in counts:
            if name not in at.heads and len(at.heads) < _HEADS:
                names = (*at.heads, name)
                at.heads = _heads(names, any(known is MESSAGE for known in names))
        return counts

    def _read_lines(self, at: Position, data: bytes) -> dict[str, int]:
        if at.skip_newline:
            data = data.removeprefix(b"\n")
            at.skip_newline = False
        if b"\r" in data:
            at.skip_newline = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        lines[0] = at.line + lines[0]
        if not at.begun and (len(lines) > 1 or len(lines[0]) >= len(_BOM)):
            at.begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        at.line = lines.pop()[:_LINE_KEPT]
        counts: dict[str, int] = {}
        for line in lines:
            if line:
                _read_field(at, line)
                continue
            if at.has_data:
                counts[at.block_type] = counts.get(at.block_type, 0) + 1
            at.has_data = False
            at.block_type = MESSAGE
        return counts

    def end(self, at: Position) -> int:
        """Return 0: a block that is not ended by an empty line is dropped, as browsers do."""
        return 0


def _read_field(at: Position, line: bytes) -> None:
    name, _, value = line.partition(b":")
    if name == b"data":
        at.has_data = True
        if value.removeprefix(b" ") == _DONE:
            at.done = True
    elif name == b"event":
        at.block_type = type_name(value.removeprefix(b" "))


@lru_cache(_REMEMBERED)
def _heads(names: tuple[str, ...], unnamed: bool) -> Mapping[str, bytes]:
    """How blocks of these types begin in the usual form: one mapping for all streams that send the same types.

    `unnamed` says whether blocks without a type are among them; those that name the type `message` are others.
    """
    return {
        name: b"data:" if unnamed and name == MESSAGE else b"event: " + name.encode() + b"\ndata:"
        for name in names
    }


def _plain_blocks(data: bytes, heads: Mapping[str, bytes]) -> dict[str, int] | None:
    """Count whole blocks that are a head (of the types seen so far) and one line of data; None if any is otherwise.

    A block that begins by a head has at least the lines of that form, so if the lines of all add up, each is of that form.
    (Not by counting blank lines: bytes.count(b"\\n\\n") takes thirty times as long as that of a longer text.)
    """
    counts: dict[str, int] = {}
    lines = 0
    for name, head in heads.items():
        count = data.count(b"\n\n" + head) + data.startswith(head)
        if count:
            counts[name] = count
            lines += count * (2 if head == b"data:" else 3)
    return counts if lines == data.count(b"\n") else None


def type_name(value: bytes) -> str:
    """Return the type that an `event:` line names, bounded in length and without secrets; `message` for an empty one."""
    return mask_name(_decoded(value[:_LINE_KEPT]))[:_TYPE_LIMIT] if value else MESSAGE


_decoded = lru_cache(_REMEMBERED)(partial(bytes.decode, encoding="utf-8", errors="replace"))


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


class JsonArray:
    """A JSON array that is sent piece by piece: an element is an event when it has ended. Nothing is decoded."""

    def read(self, at: Position, data: bytes) -> dict[str, int]:
        """Return the elements that ended; a text that is no array has none."""
        text = _without_strings(at, data)
        if not at.begun:
            text = text.lstrip()
            if not text:
                return {}
            at.begun = True
            if text.startswith(b"["):
                at.depth, text = 1, text[1:]
        if at.depth < 1:
            return {}
        while (shorter := _NESTED.sub(b"0", text)) != text:
            text = shorter
        count = 0
        for piece in _BRACKETS.split(text):
            count += self._step(at, piece)
            if at.depth < 1:
                break
        return {MESSAGE: count} if count else {}

    @staticmethod
    def _step(at: Position, piece: bytes) -> int:
        if piece in (b"[", b"{"):
            at.depth += 1
            at.has_data = True
        elif piece in (b"]", b"}"):
            at.depth -= 1
            if at.depth < 1 and at.has_data:
                at.has_data = False
                return 1
        elif at.depth == 1:
            commas = piece.count(b",")
            rest = piece.rpartition(b",")[2].strip()
            at.has_data = bool(rest) or (at.has_data and not commas)
            return commas
        return 0

    def end(self, at: Position) -> int:
        """Return 0: what the array did not close is no element."""
        return 0


_NESTED = re.compile(rb"[\[{][^\[\]{}]*[\]}]")
_BRACKETS = re.compile(rb"([\[\]{}])")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STRING_END = re.compile(rb'(?:[^"\\]|\\.)*+"', re.DOTALL)


def _without_strings(at: Position, data: bytes) -> bytes:
    """Replace the strings of a piece of JSON by a 0, also one that began or will end in another piece."""
    data = at.line + data  # a backslash whose character was yet to come
    at.line = b""
    if at.quoted:
        end = _STRING_END.match(data)
        if end is None:
            at.line = _loose_backslash(data)
            return b""
        at.quoted = False
        data = data[end.end() :]
    text = _STRING.sub(b"0", data)
    opened = text.find(b'"')
    if opened >= 0:
        at.quoted = True
        at.line = _loose_backslash(text[opened:])
        text = text[:opened] + b"0"
    return text


def _loose_backslash(text: bytes) -> bytes:
    return b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""


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
