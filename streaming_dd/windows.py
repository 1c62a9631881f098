"""Counts, means and percentiles of the last minutes, in bounded memory. State: in each `Window`.

A value counts in the bucket of a logarithmic scale, so that a percentile is at most 2 % off whatever the values are,
and several windows can be added up.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil, exp, log
from typing import Final

#: Seconds that a window looks back, and the steps in which it forgets.
SPAN: Final = 300.0
_STEP: Final = 10.0
_GROWTH: Final = log(1.04)
#: What is smaller counts as this.
_SMALLEST: Final = 1e-6


@dataclass(slots=True)
class Cell:
    """The values of some seconds, or of several windows together."""

    count: int = 0
    sum: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)

    def percentile(self, share: float) -> float | None:
        """Return the value below which `share` (0 to 1) of the values lie; None without values."""
        wanted = max(1, ceil(share * self.count))
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                return exp((bucket - 0.5) * _GROWTH)
        return None

    @property
    def mean(self) -> float | None:
        """The mean; None without values."""
        return self.sum / self.count if self.count else None


class Window:
    """The values of the last five minutes. `observe` is called by one thread, `cell` by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cells: deque[tuple[float, Cell]] = deque(maxlen=int(SPAN / _STEP) + 1)

    def observe(self, values: list[float]) -> None:
        """Count values that have just come in."""
        now = self._clock()
        if not self._cells or now - self._cells[-1][0] >= _STEP:
            self._cells.append((now, Cell()))
        cell = self._cells[-1][1]
        cell.count += len(values)
        cell.sum += sum(values)
        cell.buckets.update([ceil(log(max(value, _SMALLEST)) / _GROWTH) for value in values])

    def cells(self, span: float = SPAN) -> list[Cell]:
        """Return the cells of the last `span` seconds, up to one step more."""
        oldest = self._clock() - span - _STEP
        return [cell for begun, cell in self._cells.copy() if begun > oldest]


def total(cells: Iterable[Cell]) -> Cell:
    """Return cells added up."""
    whole = Cell()
    for cell in cells:
        whole.count += cell.count
        whole.sum += cell.sum
        whole.buckets.update(cell.buckets.copy())
    return whole
