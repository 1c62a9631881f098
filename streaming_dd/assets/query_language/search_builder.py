"""Make nodes of what `search.lark` recognises: one method for each rule. No state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .boolean import And, Everything, Not, Or
from .builder import BooleanBuilder, Refused, unquoted
from .searches import Compare, Phrase, Range, Search, Term, quantity

Token = Any  # lark.Token: a str with start_pos


class SearchBuilder(BooleanBuilder):
    """Rules of `search.lark`."""

    def word(self, parts: Sequence[Any]) -> Search:
        token = parts[0]
        if token == "*":
            return Everything()
        if token in ("AND", "OR"):
            raise Refused(f"{token} stands between two terms (in quotes it is a word)", token.start_pos)
        if ":" in re.sub(r"\\.", "", token):
            at = token.start_pos + token.index(":")
            raise Refused("expected a value right after ':', without a space (or escape it: '\\:')", at)
        return Term(None, str(token))

    def phrase(self, parts: Sequence[Any]) -> Search:
        return Phrase(None, unquoted(parts[0]))

    def keyed_word(self, parts: Sequence[Any]) -> Search:
        return Term(str(parts[0][:-1]), str(parts[1]))

    def keyed_phrase(self, parts: Sequence[Any]) -> Search:
        return Phrase(str(parts[0][:-1]), unquoted(parts[1]))

    def compare(self, parts: Sequence[Any]) -> Search:
        key, comparator, value = parts
        if quantity(value) is None:
            raise Refused(
                f"{str(value)!r} is not a number (units of time: ns, us, ms, s, m, h, d)", value.start_pos
            )
        return Compare(str(key[:-1]), str(comparator), str(value))

    def bare_compare(self, parts: Sequence[Any]) -> Search:
        return self.compare(
            ["=", *parts]
        )  # `_keyed` gives it its key; `parse_search` refuses one that has none

    def bare_range(self, parts: Sequence[Any]) -> Search:
        return self.range(["=", *parts])

    def range(self, parts: Sequence[Any]) -> Search:
        key, low, high = parts
        for bound in (low, high):
            if bound != "*" and quantity(bound) is None:
                raise Refused(f"{str(bound)!r} is no number; write [1 TO 5] or [1 TO *]", bound.start_pos)
        return Range(str(key[:-1]), str(low), str(high))

    def keyed_group(self, parts: Sequence[Any]) -> Search:
        return self._keyed(parts[0], parts[1])

    def _keyed(self, key: Token, search: Search) -> Search:
        """Give every word of `key:(a OR b)` the key."""
        if isinstance(search, And | Or):
            return type(search)(tuple(self._keyed(key, part) for part in search.operands))
        if isinstance(search, Not):
            return Not(self._keyed(key, search.operand))
        if isinstance(search, Everything):
            return Term(str(key[:-1]), "*")
        if isinstance(search, Compare) and not search.key:
            return Compare(str(key[:-1]), search.operator, search.value)
        if isinstance(search, Range) and not search.key:
            return Range(str(key[:-1]), search.low, search.high)
        if isinstance(search, Term | Phrase) and search.key is None:
            return type(search)(str(key[:-1]), search.value)
        raise Refused(f"inside {key}(...) only values can stand", key.start_pos)
