"""The events that one run of a task sent: by type, the gaps between them, the last ones. State: in each history."""

from __future__ import annotations

from collections import deque
from typing import Final

#: Types that are told apart, in one run and in one kind's metrics; further ones count as `other`.
EVENT_TYPES_LIMIT: Final = 20


class EventHistory:
    """What is kept of a run's events: bounded, however many it sends. Times are perf_counter() seconds."""

    __slots__ = ("by_type", "last_at", "longest_gap", "recent")

    def __init__(self, kept: int) -> None:
        self.by_type: dict[str, int] = {}
        self.recent: deque[tuple[float, str]] = deque(maxlen=kept)
        self.longest_gap = 0.0
        self.last_at = 0.0

    def note(self, event_type: str, now: float) -> None:
        """Note an event."""
        counts = self.by_type
        if event_type in counts:
            counts[event_type] += 1
        else:
            if len(counts) >= EVENT_TYPES_LIMIT:
                event_type = "other"
            counts[event_type] = counts.get(event_type, 0) + 1
        self.recent.append((now, event_type))
        last, self.last_at = self.last_at, now
        if now - last > self.longest_gap and last:
            self.longest_gap = now - last
