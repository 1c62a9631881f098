"""What a row of the truth table is. No state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Where = Literal["terminal", "/stats", "/metrics", "dashboard", "SLO", "monitor", "page", "capacity"]

WHERE: Final[dict[Where, str]] = {
    "terminal": "terminal of `make demo`",
    "/stats": "`/stats`, all workers",
    "/metrics": "`/metrics`, all workers",
    "dashboard": "dashboard",
    "SLO": "SLO",
    "monitor": "monitor",
    "page": "page of the local agent",
    "capacity": "`streaming-dd capacity`",
}


@dataclass(frozen=True)
class Shown:
    """One place that shows a number: the field, widget or series there, and by what it differs in unit."""

    where: Where
    what: str
    #: What is shown there, times this, is the number in its own unit.
    times: float = 1.0


@dataclass(frozen=True)
class Number:
    """A number: its name, its one definition, how near each place must come, and the places."""

    name: str
    definition: str
    #: Share by which a place may differ from what happened; 0 is exact. None: between bounds, as a client outside sees
    #: what the server does with the way there and back added.
    within: float | None
    shown: tuple[Shown, ...]
