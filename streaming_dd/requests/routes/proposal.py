"""Proposes patterns for an application without routes of its own, from the paths that it answered, and says so once.

State: the shapes of paths that were seen, bounded, in the `Proposal` of one wrapped application.
"""

from __future__ import annotations

import re
from typing import Final

from ...output.notices import say

#: Requests after which the proposal is made: enough to tell a part that varies from one that does not.
ENOUGH: Final = 10
_SHAPES: Final = 50
_SHOWN: Final = 8
_DEEPEST: Final = 10
#: Different parts in one place after which they are an id.
_VARIETY: Final = 3
ID: Final = ":id"
#: A number, a UUID, a hash, or a long word with digits.
_ID: Final = re.compile(
    r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12,}|(?=.*\d)[\w~-]{10,}|[\w.~%-]{25,}", re.ASCII | re.IGNORECASE
)
_WORD: Final = re.compile(r"[\w.~-]{1,24}", re.ASCII)


class Proposal:
    """Gather the shapes of unmatched paths until there are enough."""

    def __init__(self) -> None:
        self._seen = 0
        self._shapes: dict[tuple[str, ...], None] = {}

    def add(self, path: str) -> None:
        """Take in the path of a request without a template; the tenth makes the line. Never raises."""
        if self._seen >= ENOUGH:
            return
        self._seen += 1
        if len(self._shapes) < _SHAPES:
            self._shapes[shape(path)] = None
        if self._seen == ENOUGH:
            self._say()

    def _say(self) -> None:
        patterns = proposed(list(self._shapes))
        say(
            "route_patterns",
            "The application has no routes that can be read: its requests count as route:unmatched. Name them: "
            f"STREAMING_ROUTE_PATTERNS={','.join(patterns)} (proposed from the first {ENOUGH} requests).",
        )


def shape(path: str) -> tuple[str, ...]:
    """Return the parts of a path with `:id` for what looks like one; nothing of a part that is no plain word is kept."""
    parts = path.split("/")[1:]
    return tuple(
        part if not part or (_WORD.fullmatch(part) and not _ID.fullmatch(part)) else ID
        for part in (*parts[:_DEEPEST], *(["{rest:path}"] if len(parts) > _DEEPEST else []))
    )


def proposed(shapes: list[tuple[str, ...]]) -> list[str]:
    """Return patterns for these shapes, commonest prefix first; a place with many different words is an id, too."""
    for place in range(_DEEPEST):
        words: dict[tuple[tuple[str, ...], int], set[str]] = {}
        for each in shapes:
            if place and place < len(each):
                words.setdefault((each[:place], len(each)), set()).add(each[place])
        shapes = list(
            dict.fromkeys(
                (*each[:place], ID, *each[place + 1 :])
                if len(words.get((each[:place], len(each)), ())) > _VARIETY
                else each
                for each in shapes
            )
        )
    return ["/" + "/".join(each) for each in shapes][:_SHOWN]
