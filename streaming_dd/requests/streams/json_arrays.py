"""Elements of a JSON array that is sent piece by piece, counted without decoding anything. No state."""

from __future__ import annotations

import re

from .position import MESSAGE, Position


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
