"""The memory that tasks allocate, by tracemalloc: opt-in, for a search, because it slows every allocation.

What is allocated while a step of a run is on counts to that run, what the step frees counts off it. State:
tracemalloc itself; what a run holds is kept on its `Work`. docs/decisions/0074 has the cost.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

from .steps import Steps


class MemorySteps(Steps):
    """Steps that also count memory. Allocations of other threads during a step count to it: that cannot be told."""

    __slots__ = ()

    def _step(self, value: Any = None, thrown: tuple[Any, ...] | None = None) -> Any:
        work = self.work
        if self._meter is None or not tracemalloc.is_tracing():
            return super()._step(value, thrown)
        outer = self._meter.stepping
        if isinstance(outer, MemorySteps):
            outer.note_peak()  # which the next line would forget
        tracemalloc.reset_peak()
        work.memory_before = tracemalloc.get_traced_memory()[0]
        if work.memory is None:
            work.memory = 0
        try:
            return super()._step(value, thrown)
        finally:
            self.note_peak()
            work.memory += tracemalloc.get_traced_memory()[0] - work.memory_before

    send: Any = _step
    __next__: Any = _step

    def note_peak(self) -> None:
        """Note the most that the run has held at once so far."""
        work = self.work
        most = (work.memory or 0) + tracemalloc.get_traced_memory()[1] - work.memory_before
        work.memory_peak = max(work.memory_peak, most)


MemorySteps.child_class = MemorySteps


def start() -> bool:
    """Start tracemalloc; return whether it was not running before."""
    if tracemalloc.is_tracing():
        return False
    tracemalloc.start(1)
    return True


def stop() -> None:
    """Stop tracemalloc, and forget what it knows."""
    tracemalloc.stop()
