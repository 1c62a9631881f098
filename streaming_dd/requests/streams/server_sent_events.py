"""Events in the bytes of `text/event-stream`, by type: https://html.spec.whatwg.org/multipage/server-sent-events.html.

State: the types that streams share instead of each keeping its own; bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

from ...output.redaction import mask_name
from .position import MESSAGE, Position

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
