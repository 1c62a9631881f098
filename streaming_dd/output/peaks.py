"""The highest value of a level (tasks active, clients connected) in a sliding window. State: in each `Peak`."""

from __future__ import annotations

from typing import Final

#: Seconds of one half of the window: an Agent's bucket, so that no bucket misses a peak.
WINDOW: Final = 10.0


class Peak:
    """Remember the highest level of the last 10 to 20 seconds, and of the whole life."""

    __slots__ = ("_current", "_previous", "_rotated", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self._current = 0
        self._previous = 0
        self._rotated = float("-inf")

    def note(self, level: int) -> None:
        """Note a level that has just risen."""
        if level > self._current:
            self._current = level
            if level > self.highest:
                self.highest = level

    def read(self, level: int, now: float) -> int:
        """Return the peak at `now` (monotonic seconds), the level being `level`."""
        if now - self._rotated >= WINDOW:
            self._previous, self._current, self._rotated = self._current, level, now
        return max(self._current, self._previous, level)
