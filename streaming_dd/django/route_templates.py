"""From Django's route, which mixes `<int:pk>` with regular expressions, to a template such as `/reports/{pk}/`.

The template is meant for a tag: placeholders look like Starlette's, what only a regular expression can say is left
out, and the number of templates is that of the URLconf's patterns. No state but a bounded cache.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

#: What stands for a part of a regular expression that has no name.
_ANY: Final = "{*}"
_CONVERTER = re.compile(r"<(?:[^<>:]*:)?([A-Za-z_]\w*)>")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d*,?\d*\})[?+]?")
_NAMED = re.compile(r"\?P<(\w+)>")
#: Groups that match no text of their own: lookarounds, comments, inline flags.
_EMPTY_GROUP = re.compile(r"\?(?:<?[=!]|#|[aiLmsux]+(?:-[imsx]+)?\Z)")
_FLAGS_OR_NONE = re.compile(r"\?[aiLmsux-]*:|\?>")
_ANCHORS: Final = "AZzbB"
_CLASSES: Final = "dDwWsS"


@lru_cache(maxsize=4096)
def template_of(route: str) -> str:
    """Return the template of a `ResolverMatch.route`, always with a leading `/`."""
    return "/" + _Scanner(route).scan()


class _Scanner:
    """Reads a route once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def scan(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            part = self._element()
            if not (part == _ANY and parts and parts[-1] == _ANY):  # `[a-z]\w*` is one variable part
                parts.append(part)
        return "".join(parts)

    def _element(self) -> str:
        """Take the next element with its quantifier, and return what stands for it."""
        text, at = self._text, self._at
        char = text[at]
        if char == "<" and (match := _CONVERTER.match(text, at)):
            self._at = match.end()
            return f"{{{match[1]}}}"
        self._at += 1
        if char in "^$":
            return ""
        if char == "(":
            found = self._group(at)
        elif char == "[":
            found = self._character_class(at)
        elif char == "\\":
            found = self._escape()
        else:
            found = char
        return self._quantified(char, found)

    def _quantified(self, char: str, found: str) -> str:
        match = _QUANTIFIER.match(self._text, self._at)
        if match is None:
            return found
        self._at = match.end()
        return _ANY if char == "." else found

    def _escape(self) -> str:
        if self._at >= len(self._text):
            return ""
        char = self._text[self._at]
        self._at += 1
        if char in _CLASSES:
            return _ANY
        return "" if char in _ANCHORS else char

    def _character_class(self, start: int) -> str:
        """Skip `[...]`: `]` is literal where it comes first."""
        text = self._text
        at = start + 1
        if text[at : at + 1] == "^":
            at += 1
        if text[at : at + 1] == "]":
            at += 1
        while at < len(text) and text[at] != "]":
            at += 2 if text[at] == "\\" else 1
        self._at = min(at + 1, len(text))
        return _ANY

    def _group(self, start: int) -> str:
        inner, alternatives = self._inside(start)
        if match := _NAMED.match(inner):
            return f"{{{match[1]}}}"
        if _EMPTY_GROUP.match(inner):
            return ""
        if match := _FLAGS_OR_NONE.match(inner):
            return _ANY if alternatives else _Scanner(inner[match.end() :]).scan()
        return _ANY

    def _inside(self, start: int) -> tuple[str, bool]:
        """Skip to the group's end; return what is inside, and whether it offers alternatives at its top level."""
        text, depth, alternatives = self._text, 1, False
        at = start + 1
        while at < len(text) and depth:
            char = text[at]
            if char == "\\":
                at += 1
            elif char == "[":
                self._character_class(at)
                at = self._at - 1
            elif char in "()":
                depth += 1 if char == "(" else -1
            elif char == "|" and depth == 1:
                alternatives = True
            at += 1
        self._at = min(at, len(text))
        return text[start + 1 : at - 1 if depth == 0 else at], alternatives
