"""Timings that wait for an Agent: all of them as long as there is room, then a sample that says its rate.

State: `kept` and `kept_of` of each `Timing`, and how many values a `Kept` holds in all.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from .handles import Timing

#: Timings that wait in a process for an Agent: 32 bytes each.
ROOM: Final = 200_000


class Kept:
    """The timings of a process that have not gone out. Not safe to use from two threads at once."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self.size = 0

    def add(self, timing: Timing, values: list[float], weight: float = 1.0) -> bool:
        """Keep values that stand for `weight` values each; return whether there is still room."""
        own = timing.kept_of / len(timing.kept) if timing.kept else 1.0
        stands_for = len(values) * weight
        self.size -= len(timing.kept)
        if own > weight:
            values = _thinned(values, weight / own)
        elif weight > own and timing.kept:
            timing.kept = _thinned(timing.kept, own / weight)
        timing.kept.extend(values)
        timing.kept_of += stands_for
        self.size += len(timing.kept)
        return self.size <= self._room

    def make_room(self, timings: Iterable[Timing]) -> None:
        """Keep half of what there is; each value stands for twice as many from now on."""
        self.size = 0
        for timing in timings:
            if len(timing.kept) > 1:
                timing.kept = _thinned(timing.kept, 0.5)
            self.size += len(timing.kept)

    def take(self, timing: Timing) -> tuple[list[float], float]:
        """Take out what is kept of a timing: the values, and how many each stands for."""
        values, weight = timing.kept, timing.kept_of / len(timing.kept)
        timing.kept, timing.kept_of = [], 0.0
        self.size -= len(values)
        return values, weight

    def clear(self, timings: Iterable[Timing]) -> None:
        """Forget everything."""
        self.size = 0
        for timing in timings:
            timing.kept, timing.kept_of = [], 0.0


def _thinned(values: list[float], share: float) -> list[float]:
    """A random sample, in order: each value is as likely to stay. At least one does."""
    number = max(1, round(len(values) * share))
    if not values or number >= len(values):
        return values
    return [values[at] for at in sorted(random.sample(range(len(values)), number))]
