"""The handles that samples are recorded on: one metric with one combination of tags. State: in each handle.

Thread safety: counters only grow and are only written by recording threads, the flush remembers what it has sent;
lists of timings are appended to and cut from the front. Both are atomic under CPython's interpreter lock; without it
a list still is, and counters are `ShardedCounter`s.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol

from ...catalog import Metric
from .cleaning import MOST

#: Timings that one handle keeps between two flushes.
TIMINGS_LIMIT: Final = 200_000
_WAKE_AT: Final = 50_000

#: Is given the values of a timing at each flush: finite numbers, in the metric's unit.
Observer = Callable[[list[float]], None]


class Keeper(Protocol):
    """Who keeps the handles and counts what cannot be used."""

    def number(self, metric: Metric, value: object) -> float | None:
        """Return `value` as a finite number, or None after counting the drop."""

    def drop(self, reason: str, message: str, count: int = 1) -> None:
        """Count dropped samples, and say why."""

    def crowded(self, timing: Timing) -> None:
        """React to many unflushed timings."""


class Counter:
    """A count: grows by whole or decimal amounts."""

    __slots__ = ("_keeper", "inherited", "last_line", "metric", "sent", "tags", "tail", "total")

    def __init__(
        self, keeper: Keeper, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._keeper = keeper
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.total: float = 0
        self.sent: float = 0
        #: What the process had counted that this one was forked from: it is not this one's to tell.
        self.inherited: float = 0
        self.last_line = float("-inf")

    def increment(self, amount: float = 1) -> None:
        """Add `amount` (not negative). A value that is no finite number is dropped and counted."""
        if type(amount) is int and 0 <= amount <= MOST:
            self.total += amount
        else:
            self._checked(amount)

    def _checked(self, amount: object) -> None:
        number = self._keeper.number(self.metric, amount)
        if number is not None and number < 0:
            self._keeper.drop(
                "negative_count", f"{self.metric.name}: a count cannot shrink; {number!r} was dropped"
            )
        elif number is not None and number <= MOST:
            self.total += number
        elif number is not None:
            self._keeper.drop(
                "bad_value", f"{self.metric.name}: {number!r} is more than a count holds; it was dropped"
            )


class ShardedCounter(Counter):
    """A count where threads run at once: each adds to a part of its own, so that none needs a lock.

    `counter.total += 1` reads the sum and writes it back: what is written is taken for what this thread has added
    to what it has read.
    """

    __slots__ = ("_parts", "_read")

    def __init__(
        self, keeper: Keeper, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        #: By thread: what it has added, and what it has read last.
        self._parts: dict[int, float] = {}
        self._read: dict[int, float] = {}
        super().__init__(keeper, metric, tags, tail)

    @property
    def total(self) -> float:
        """The sum of all threads."""
        total = sum(self._parts.copy().values())
        self._read[threading.get_ident()] = total
        return total

    @total.setter
    def total(self, value: float) -> None:
        thread = threading.get_ident()
        read = self._read.pop(thread, None)
        if read is None:
            read = sum(self._parts.copy().values())
        self._parts[thread] = self._parts.get(thread, 0) + value - read


def counter_kind() -> type[Counter]:
    """Return the kind of counter that this interpreter needs: free-threaded builds have no lock of their own."""
    has_lock: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)  # from 3.13 on
    return Counter if has_lock() else ShardedCounter


class Timing:
    """A timer (milliseconds), histogram or distribution: every value goes out while an Agent takes them."""

    __slots__ = (
        "_keeper",
        "count",
        "kept",
        "kept_of",
        "metric",
        "observers",
        "sum",
        "tags",
        "tail",
        "values",
    )

    def __init__(
        self, keeper: Keeper, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._keeper = keeper
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.values: list[float] = []
        #: What was taken out of `values` and has not gone out, and how many values that stands for: more, once there
        #: was no room for all.
        self.kept: list[float] = []
        self.kept_of = 0.0
        #: How many values were flushed, and their sum; for pull endpoints.
        self.count = 0
        self.sum = 0.0
        self.observers: tuple[Observer, ...] = ()

    def record(self, value: float) -> None:
        """Record one value, in the metric's unit (milliseconds for a timer)."""
        if type(value) is not float:
            number = self._keeper.number(self.metric, value)
            if number is None:
                return
            value = number
        values = self.values
        values.append(value)
        if len(values) >= _WAKE_AT:
            self._keeper.crowded(self)

    def observe(self, observer: Observer | None) -> None:
        """Give the values of later flushes to `observer` too."""
        if observer is not None:
            self.observers = (*self.observers, observer)


class Gauge:
    """The last value set; sent at every flush, also while it does not change."""

    __slots__ = ("_keeper", "metric", "tags", "tail", "value")

    def __init__(
        self, keeper: Keeper, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._keeper = keeper
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.value: float | None = None

    def set(self, value: float) -> None:
        """Set the value. One that is no finite number is dropped and counted."""
        number = self._keeper.number(self.metric, value)
        if number is not None:
            self.value = number


Handle = Counter | Timing | Gauge


class Nothing(list[float]):
    """The values of a timing while everything is switched off: none are kept."""

    def append(self, value: float) -> None:
        """Forget the value."""
