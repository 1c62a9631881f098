"""Log and span searches as frozen nodes: `service:web @duration:>1s "timed out" -status:info`. No state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias, Union

from .boolean import SEARCH, And, Everything, Not, Or, Variable, written

NANOSECONDS = {
    "ns": 1.0,
    "us": 1e3,
    "µs": 1e3,
    "ms": 1e6,
    "s": 1e9,
    "m": 6e10,
    "min": 6e10,
    "h": 3.6e12,
    "d": 8.64e13,
}
_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)([a-zµ]*)")


def quantity(text: str) -> float | None:
    """Read a number of a search; one with a unit of time (`1s`, `20ms`) in nanoseconds. None: not a number."""
    found = _QUANTITY.fullmatch(text)
    if found is None or (found[2] and found[2] not in NANOSECONDS):
        return None
    return float(found[1]) * NANOSECONDS.get(found[2], 1.0)


@dataclass(frozen=True, slots=True)
class Term:
    """A word: in the field `key`, or anywhere. `*` and `?` are wildcards, a backslash escapes."""

    key: str | None
    value: str

    def __str__(self) -> str:
        return f"{self.key}:{self.value}" if self.key else self.value


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in quotes, taken literally."""

    key: str | None
    value: str

    def __str__(self) -> str:
        quoted = '"' + self.value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{self.key}:{quoted}" if self.key else quoted


@dataclass(frozen=True, slots=True)
class Compare:
    """A number against a field: `@duration:>1s`."""

    key: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}:{self.operator}{self.value}"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included: `@http.status_code:[500 TO 599]`; `*` is open."""

    key: str
    low: str
    high: str

    def __str__(self) -> str:
        return f"{self.key}:[{self.low} TO {self.high}]"


Search: TypeAlias = Union[
    Everything, Variable, Term, Phrase, Compare, Range, "Not[Search]", "And[Search]", "Or[Search]"
]


def search_text(search: Search) -> str:
    """Write a search; a space means AND."""
    return written(search, SEARCH)
