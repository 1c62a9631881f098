"""Lines of Prometheus' text, written once for each series: what changes from scrape to scrape is the number at the end.

prometheus-client writes each line the first time, with the place of its number in place of the number; so names, escapes
and formats are its own. State: in `Lines`, what was written of each series.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

from prometheus_client.utils import floatToGoString

_number: Final[Callable[[float], str]] = floatToGoString
#: Series whose lines are kept; with more of them all are written anew.
_LIMIT: Final = 50_000


class Lines:
    """The lines of series in one of the two formats. `encode` is that of prometheus-client."""

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode
        self._kept: dict[Hashable, list[tuple[str, int]]] = {}

    def head(self, family: Any) -> str:
        """Return the lines above a family's samples."""
        return "".join(f"{line}\n" for line in self._written(family) if line.startswith("#"))

    def whole(self, family: Any) -> str:
        """Return all lines of a family."""
        return "".join(f"{line}\n" for line in self._written(family))

    def of(self, key: Hashable, make: Callable[[], Any]) -> list[tuple[str, int]]:
        """Return a series' lines without their numbers, and the place of each number.

        `make` returns a family with this series alone, in which each number is its place.
        """
        lines = self._kept.get(key)
        if lines is None:
            if len(self._kept) >= _LIMIT:
                self._kept.clear()
            split = [line.rpartition(" ") for line in self._written(make()) if not line.startswith("#")]
            lines = self._kept[key] = [(f"{start} ", int(float(place))) for start, _, place in split]
        return lines

    def _written(self, *families: Any) -> Iterator[str]:
        text = self._encode(_Families(families)).decode()
        return (line for line in text.split("\n") if line and line != "# EOF")


class _Families:
    """What prometheus-client takes for a registry."""

    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Sequence[Any]:
        """Return the families."""
        return self._families


def filled(lines: list[tuple[str, int]], numbers: Sequence[float]) -> str:
    """Return lines with their numbers."""
    return "".join([f"{start}{_number(numbers[place])}\n" for start, place in lines])
