"""Where in a stream a format is, and what a format must do: what every one of them is written against. No state."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

#: The type of an SSE event that names none.
MESSAGE: Final = "message"

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
