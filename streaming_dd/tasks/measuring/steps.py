"""How a task's coroutine is driven step by step, and what its steps cost: CPU time, loop time, the longest one.

State: one `Meter` per event loop, kept as long as the loop; what is counted is in each run's `Work` (work.py). A step
is what a coroutine does between two awaits. While a step of a run is on, the asyncio tasks and executor calls that it
starts are noted as the run's own. docs/decisions/0070 and 0071 have the reasons and the measurements.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from asyncio import Task, iscoroutine
from collections.abc import Coroutine, Generator
from time import perf_counter, thread_time
from types import CoroutineType
from typing import Any, ClassVar, Final, NamedTuple, Protocol, cast

from .executor_calls import follow_executor_calls
from .stacks import Place
from .work import Work

#: Seconds between two looks at the clock within which a thread is taken to have run all the time. 0070.
_CONTINUOUS: Final = 20e-6
#: Seconds after which the thread's CPU clock is read again in any case.
_DRIFT: Final = 500e-6
#: Steps shorter than this (seconds) are not looked up in the code.
WORTH_A_PLACE: Final = 0.001
#: Seconds from which a step is long enough to be looked at while it is on, and to be remembered by its loop.
LONG_STEP: Final = 0.01


class Stepped(Protocol):
    """What the stepping needs of a task's run."""

    span: Any
    ended: float | None
    work: Work

    def follow_span(self, previous: Any, *, child: bool) -> None:
        """Activate, in the context of one of the run's asyncio tasks, the span of its next segment."""


class Watcher(Protocol):
    """Who looks after loops."""

    def runs_begin(self) -> None:
        """Learn that tasks run on a loop from now on."""


class LongStep(NamedTuple):
    """A step that held its loop for long, and has ended."""

    seconds: float
    place: Place | None
    steps: Steps


class Meter:
    """One event loop: the step that holds it now, the CPU clock of its thread, and its task factory while runs are on.

    As a task factory it counts the tasks that are started in a step to the step's run. It is put on by a step and
    taken off when a run ends, or when somebody else starts a task; never over another factory.
    """

    __slots__ = (
        "__weakref__",
        "ahead",
        "at",
        "is_on",
        "long_step",
        "loop",
        "stale",
        "stepping",
        "thread_id",
        "watcher",
    )

    _of_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Meter]] = (
        weakref.WeakKeyDictionary()
    )
    #: The one that was asked for last: most processes have one loop.
    _last: ClassVar[Meter | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.thread_id = threading.get_ident()
        self.stepping: Steps | None = None
        #: Whether it was put on as the loop's task factory (which may have had one, and has kept it).
        self.is_on = False
        #: Who looks after this loop (the loop monitor of the recorder in use).
        self.watcher: Watcher | None = None
        #: The longest step since somebody took it from here, if it was long.
        self.long_step: LongStep | None = None
        #: When a step ended here last; by how much the thread's CPU clock is ahead of perf_counter() while the thread
        #: runs all the time; and when it is to be read again in any case.
        self.at = self.stale = float("-inf")
        self.ahead = 0.0

    @classmethod
    def of_running_loop(cls) -> Meter:
        """Return the meter of the running loop, made (and the loop's executor calls followed) at the first use."""
        loop = asyncio.get_running_loop()
        meter = cls._last
        if meter is not None and meter.loop() is loop and meter.thread_id == threading.get_ident():
            return meter
        meter = cls._last = cls._of_loop.get(loop)
        if meter is None:
            meter = cls._last = cls._of_loop[loop] = Meter(loop)
            follow_executor_calls(loop, meter)
        elif meter.thread_id != threading.get_ident():  # a loop that is run again, elsewhere
            meter.thread_id = threading.get_ident()
            meter.at = float("-inf")
        return meter

    @classmethod
    def all(cls) -> list[Meter]:
        """Return the meters of all loops; from any thread."""
        for _ in range(10):
            try:
                return list(cls._of_loop.values())
            except RuntimeError:  # another thread made a loop meanwhile
                continue
        return []

    def runs_tasks(self, now: float, quiet: float) -> bool:
        """Whether steps of runs are on, or were in the last `quiet` seconds; from any thread."""
        return self.is_on or self.stepping is not None or now - self.at < quiet

    def rest(self) -> None:
        """Leave the loop as it was while no run is on; called when one ends."""
        if self.is_on and self.stepping is None:
            self._take_off(self.loop())

    def put_on(self) -> None:
        """Be the loop's task factory, unless it has one."""
        self.is_on = True
        if self.watcher is not None:
            self.watcher.runs_begin()
        loop = self.loop()
        if loop is not None and loop.get_task_factory() is None:
            loop.set_task_factory(self)

    def _take_off(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.is_on = False
        if loop is not None and loop.get_task_factory() is self:
            loop.set_task_factory(None)

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Task[Any]:
        """Make a task, as asyncio asks its loop's task factory."""
        parent = self.stepping
        if parent is None:
            self._take_off(loop)
        elif type(coroutine) is CoroutineType or (
            not getattr(type(coroutine), "is_run", False) and iscoroutine(coroutine)
        ):
            coroutine = parent.child_class(parent.run, coroutine, self, True)
        return Task(coroutine, loop=loop, **options) if options else Task(coroutine, loop=loop)


class Steps(Coroutine[Any, Any, Any]):
    """Await a coroutine (or a step of a generator) in the task's own context, and count what its steps cost.

    Everything else (the coroutine's frame, name, state, what it awaits) is as of the coroutine itself, for the
    tools that look at a task's coroutine.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_child",
        "_meter",
        "run",
        "since",
        "stepped",
    )

    #: Whether these are all steps of a run of its own, and so nobody's child.
    is_run: ClassVar[bool] = False
    #: What steps the asyncio tasks that a step of these starts.
    child_class: ClassVar[type[Steps]]

    def __init__(
        self, run: Stepped, coroutine: Coroutine[Any, Any, Any], meter: Meter | None, child: bool = False
    ) -> None:
        self.run = run
        self.stepped = coroutine
        self._active = run.span
        #: True for a child task that is not listed (who looks for the run's child tasks does not find it: most end with
        #: their first step), None for one that is.
        self._child: bool | None = child
        self._meter = meter

    @property
    def work(self) -> Work:
        """What the steps of the run have cost."""
        return self.run.work

    def holds(self) -> int | None:
        """Return the thread whose loop a step of these holds now, or None; from any thread."""
        meter = self._meter
        return meter.thread_id if meter is not None and meter.stepping is self else None

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Steps:
        return self

    def throw(self, *error: Any) -> Any:
        """Throw into the coroutine: a cancellation, usually."""
        return self._step(None, error)

    def close(self) -> None:
        """Close the coroutine."""
        self.stepped.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stepped, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance()` and inspect.iscoroutine() go by, so that a task's coroutine passes for what it is."""
        return CoroutineType

    def _step(self, value: Any = None, thrown: tuple[Any, ...] | None = None) -> Any:
        """Do one step, with the span of the current segment active, and count it. 1 us: nothing here is for show."""
        run = self.run
        if run.span is not self._active:
            self._follow_span()
        meter = self._meter
        if meter is None or run.ended is not None:
            return self.stepped.send(value) if thrown is None else self.stepped.throw(*thrown)
        if not meter.is_on:
            meter.put_on()
        start = self.since = perf_counter()
        if start - meter.at >= _CONTINUOUS or start >= meter.stale:
            meter.ahead = thread_time() - start
            meter.stale = start + _DRIFT
        ahead = meter.ahead
        outer = meter.stepping
        meter.stepping = self
        try:
            awaited = self.stepped.send(value) if thrown is None else self.stepped.throw(*thrown)
            if self._child:
                self._list()
            return awaited
        finally:
            now = meter.at = perf_counter()
            meter.stepping = outer
            work = run.work
            work.steps += 1
            elapsed = now - start
            if 0.0 <= elapsed < _CONTINUOUS:
                work.quick += elapsed
                if outer is not None:  # another run's task that is awaited by this one: counted once, there
                    outer.run.work.long_cpu -= elapsed
                if elapsed > work.longest:
                    work.longest = elapsed
            else:
                self._count(elapsed, start + ahead, outer)

    send: Any = _step
    __next__: Any = _step

    def _count(self, elapsed: float, before: float, outer: Steps | None) -> None:
        """Count a step that has taken its time (or less than none, after a jump), by the thread's clock."""
        elapsed = max(0.0, elapsed)
        work, meter = self.run.work, self._meter
        assert meter is not None
        clock = thread_time()
        meter.ahead = clock - meter.at
        meter.stale = meter.at + _DRIFT
        cpu = min(max(0.0, clock - before), elapsed)
        work.long_held += elapsed
        work.long_cpu += cpu
        if outer is not None:
            outer.run.work.long_cpu -= cpu
        if elapsed > WORTH_A_PLACE:
            self._note(elapsed, meter)
        elif elapsed > work.longest:
            work.longest = elapsed

    def _note(self, elapsed: float, meter: Meter) -> None:
        """Note where a step was that took its time."""
        work = self.run.work
        place = None
        if elapsed > work.longest:
            place = work.place_of_step(work.steps - 1, self.stepped)
            work.longest, work.longest_at = elapsed, place
        if elapsed > LONG_STEP and (meter.long_step is None or elapsed > meter.long_step.seconds):
            place = place or work.place_of_step(work.steps - 1, self.stepped)
            meter.long_step = LongStep(elapsed, place, self)

    def _list(self) -> None:
        """Have the child task found by who looks where its run waits; it is not kept alive by that."""
        self._child = None
        work = self.run.work
        children = work.children
        if children is None:
            children = work.children = set()
        children.add(weakref.ref(self, children.discard))

    def _follow_span(self) -> None:
        previous, self._active = self._active, self.run.span
        self.run.follow_span(previous, child=self._child is not False)


Steps.child_class = Steps
