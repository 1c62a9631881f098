"""The numbers that are shown: one definition each, and every place that shows it. No state.

docs/truth.md is made of this table, and tests/truth/ walks it: it compares each place with what clients counted
themselves. A place that shows a number of its own making has no line here, and no right to show it.
"""

from __future__ import annotations

from typing import Final

from .queues import QUEUES
from .shape import WHERE, Number, Shown
from .site import SITE

__all__ = ["NUMBERS", "QUEUES", "SITE", "Number", "Shown", "table"]

NUMBERS: Final = (*SITE, *QUEUES)


def table() -> str:
    """Return the table of docs/truth.md."""
    lines = ["| number | definition | within | shown |", "|---|---|---|---|"]
    for number in NUMBERS:
        places: dict[str, list[str]] = {}
        for place in number.shown:
            places.setdefault(WHERE[place.where], []).append(place.what)
        shown = "; ".join(
            f"{where}: {', '.join(f'`{what}`' for what in names)}" for where, names in places.items()
        )
        within = "bounds" if number.within is None else f"{number.within:.0%}" if number.within else "exact"
        lines.append(f"| {number.name} | {number.definition} | {within} | {shown} |")
    return "\n".join(lines) + "\n"
