"""What one run of a task has cost so far: CPU time, loop time, its longest step, its threads and child tasks.

State: one `Work` per run, written by the steps on the loop (steps.py), by executor threads and by the watching thread.
"""

from __future__ import annotations

import threading
import weakref
from types import CodeType
from typing import Any, Final, Protocol

from .stacks import Place, await_chain, innermost, place_of_code

_NONE: Final[frozenset[int]] = frozenset()
_thread_lock: Final = threading.Lock()


class Stepping(Protocol):
    """The steps of an asyncio task (steps.py), as far as its work and who looks at it need them."""

    def holds(self) -> int | None:
        """Return the thread whose loop a step of these holds now, or None; from any thread."""


class Work:
    """What the steps of one run have cost so far, in seconds."""

    __slots__ = (
        "_main",
        "_sampled",
        "children",
        "long_cpu",
        "long_held",
        "longest",
        "longest_at",
        "memory",
        "memory_before",
        "memory_peak",
        "quick",
        "steps",
        "thread_calls",
        "thread_cpu",
        "threads",
    )

    def __init__(self) -> None:
        #: The steps of the run's own coroutine.
        self._main: weakref.ref[Any] | None = None
        self.steps = 0
        #: Seconds of its short steps, taken for CPU time; CPU time and wall time of the others. Those of the asyncio
        #: tasks which the run started are included.
        self.quick = 0.0
        self.long_cpu = 0.0
        self.long_held = 0.0
        self.longest = 0.0
        self.longest_at: Place | None = None
        #: CPU time of its executor calls that ended, their number, and the threads that work for it now.
        self.thread_cpu = 0.0
        self.thread_calls = 0
        self.threads: set[int] | frozenset[int] = _NONE
        #: The steps of the asyncio tasks that it started, while those exist; None if there never was one.
        self.children: set[weakref.ref[Any]] | None = None
        #: Bytes allocated by its steps and not freed by them, and the most so far; None while that is not measured.
        self.memory: int | None = None
        self.memory_peak = 0
        self.memory_before = 0
        self._sampled: tuple[int, dict[Place, int]] | None = None

    def end(self) -> None:
        """Let go of the steps: they are over."""
        self._main = None

    def step_by(self, steps: Stepping) -> None:
        """Note the steps of the run's own coroutine; they are not kept alive by that."""
        self._main = weakref.ref(steps)

    @property
    def main(self) -> Stepping | None:
        """The steps of the run's own coroutine, while they are on."""
        return self._main() if self._main is not None else None

    @property
    def cpu(self) -> float:
        """CPU seconds on the loop's thread."""
        return max(self.quick + self.long_cpu, 0.0)

    @property
    def held(self) -> float:
        """Seconds for which its steps held the loop."""
        return self.quick + self.long_held

    @property
    def cpu_total(self) -> float:
        """CPU seconds on the loop and in executor threads."""
        return self.cpu + self.thread_cpu

    def end_thread_call(self, seconds: float) -> None:
        """Add the CPU time of an executor call; called in the executor's thread."""
        with _thread_lock:
            self.thread_cpu += seconds
            self.thread_calls += 1
            self.threads = self.threads - {threading.get_ident()}

    def begin_thread_call(self) -> None:
        """Note that the calling thread works for the run from here on."""
        with _thread_lock:
            self.threads = self.threads | {threading.get_ident()}

    def sample(self, number: int, place: Place) -> None:
        """Note where step `number` was seen; called by the watching thread while the step holds the loop."""
        seen = self._sampled
        if seen is None or seen[0] != number:
            self._sampled = seen = (number, {})
        seen[1][place] = seen[1].get(place, 0) + 1

    def place_of_step(self, number: int, coroutine: Any) -> Place | None:
        """Return the line that took step `number`: the one seen most, else the await that ended it."""
        seen = self._sampled
        if seen is not None and seen[0] == number:
            places = dict(seen[1])
            return max(places, key=places.__getitem__)
        place = innermost(await_chain(coroutine)[0])
        code = getattr(coroutine, "cr_code", None)
        if place is None and isinstance(code, CodeType):  # it has ended: all that is left is what ran
            place = innermost([place_of_code(code)])
        return place
