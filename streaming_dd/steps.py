"""How a task's coroutine is driven step by step, and what its steps cost: CPU time, loop time, the longest one.

State: one `Meter` per event loop, kept as long as the loop; what is counted is in each run's `Work` (work.py). A step
is what a coroutine does between two awaits. While a step of a run is on, the asyncio tasks and executor calls that it
starts are noted as the run's own. docs/decisions/0070 and 0071 have the reasons and the measurements.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter, thread_time
from types import CodeType
from typing import Any, ClassVar, Final, NamedTuple, Protocol, cast

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


class LongStep(NamedTuple):
    """A step that held its loop for long, and has ended."""

    seconds: float
    place: Place | None
    steps: Steps


class Meter:
    """One event loop: the step that holds it now, and the CPU clock of its thread."""

    __slots__ = (
        "__weakref__",
        "_at",
        "_cpu",
        "_read",
        "long_step",
        "loop",
        "run_code",
        "spawner",
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
        self.spawner = Spawner(self)
        #: Code of the coroutines that are runs of their own, and so nobody's children.
        self.run_code: CodeType | None = None
        #: Who looks after this loop (the loop monitor of the recorder in use).
        self.watcher: object = None
        #: The longest step since somebody took it from here, if it was long.
        self.long_step: LongStep | None = None
        self._at = self._read = float("-inf")
        self._cpu = 0.0

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
            _follow_executor_calls(loop, meter)
        elif meter.thread_id != threading.get_ident():  # a loop that is run again, elsewhere
            meter.thread_id = threading.get_ident()
            meter._read = float("-inf")
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

    def clock(self, now: float) -> float:
        """Return the CPU seconds of the loop's thread at `now` (perf_counter): read, or carried on from the last."""
        if 0 <= now - self._at < _CONTINUOUS and now - self._read < _DRIFT:
            self._cpu += now - self._at
        else:
            self._cpu = thread_time()
            self._read = now
        self._at = now
        return self._cpu


class Steps(Coroutine[Any, Any, Any]):
    """Await a coroutine (or a step of a generator) in the task's own context, and count what its steps cost.

    Everything else (the coroutine's frame, name, state, what it awaits) is as of the coroutine itself, for the
    tools that look at a task's coroutine.
    """

    __slots__ = ("__weakref__", "_active", "_child", "_loop", "_meter", "run", "since", "stepped", "work")

    def __init__(
        self, run: Stepped, coroutine: Coroutine[Any, Any, Any], meter: Meter | None, *, child: bool = False
    ) -> None:
        self.run = run
        self.work = run.work
        #: When the step that is on began (perf_counter).
        self.since = 0.0
        self.stepped = coroutine
        self._active = run.span
        self._child = child
        self._meter = meter
        self._loop: Any = meter.loop() if meter is not None else None

    def holds(self) -> int | None:
        """Return the thread whose loop a step of these holds now, or None; from any thread."""
        meter = self._meter
        return meter.thread_id if meter is not None and meter.stepping is self else None

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Any:
        return self._step(self.stepped.send, None)

    def send(self, value: Any) -> Any:
        """Step the coroutine."""
        return self._step(self.stepped.send, value)

    def throw(self, *error: Any) -> Any:
        """Throw into the coroutine: a cancellation, usually."""
        return self._step(self.stepped.throw, *error)

    def close(self) -> None:
        """Close the coroutine."""
        self.stepped.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stepped, name)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Do one step, with the span of the current segment active, and count it. 1 us: nothing here is for show."""
        run = self.run
        if run.span is not self._active:
            self._follow_span()
        meter = self._meter
        if meter is None or run.ended is not None:
            return step(*arguments)
        loop = self._loop
        work = self.work
        spawner = meter.spawner
        factory = loop.get_task_factory()
        if factory is None:
            loop.set_task_factory(spawner)
        outer = meter.stepping
        meter.stepping = self
        start = self.since = perf_counter()
        cpu = meter.clock(start)
        try:
            return step(*arguments)
        finally:
            now = perf_counter()
            cpu = meter.clock(now) - cpu
            meter.stepping = outer
            if factory is None and loop.get_task_factory() is spawner:
                loop.set_task_factory(None)
            if cpu > 0:
                work.cpu += cpu
                if outer is not None:  # another run's task that is awaited by this one: counted once, there
                    outer.work.cpu -= cpu
            elapsed = now - start
            if elapsed > 0:
                work.held += elapsed
                if elapsed > WORTH_A_PLACE:
                    self._note(elapsed, meter)
                elif elapsed > work.longest:
                    work.longest = elapsed
            work.steps += 1

    def _note(self, elapsed: float, meter: Meter) -> None:
        """Note where a step was that took its time."""
        work = self.work
        place = None
        if elapsed > work.longest:
            place = work.place_of_step(work.steps, self.stepped)
            work.longest, work.longest_at = elapsed, place
        if elapsed > LONG_STEP and (meter.long_step is None or elapsed > meter.long_step.seconds):
            place = place or work.place_of_step(work.steps, self.stepped)
            meter.long_step = LongStep(elapsed, place, self)

    def child(self, coroutine: Any) -> Steps:
        """Return the coroutine of an asyncio task that a step of these starts, to be counted to the same run."""
        children = self.work.children
        if children is None:
            children = self.work.children = set()
        steps = type(self)(self.run, coroutine, self._meter, child=True)
        children.add(weakref.ref(steps, children.discard))
        return steps

    def _follow_span(self) -> None:
        previous, self._active = self._active, self.run.span
        self.run.follow_span(previous, child=self._child)


# --- what a run starts ----------------------------------------------------------------------------------------


class Spawner:
    """The task factory of a loop while a step of a run is on: the tasks started in it are counted to the run."""

    __slots__ = ("_meter",)

    def __init__(self, meter: Meter) -> None:
        self._meter = weakref.ref(meter)

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        meter = self._meter()
        parent = meter.stepping if meter is not None else None
        if meter is not None and parent is not None and asyncio.iscoroutine(coroutine):
            own = getattr(coroutine, "cr_code", None) is meter.run_code
            coroutine = coroutine if own else parent.child(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)


def _follow_executor_calls(loop: asyncio.AbstractEventLoop, meter: Meter) -> None:
    """Have the CPU time of a step's `run_in_executor` calls counted: asyncio.to_thread and asgiref go through it."""
    this = weakref.ref(loop)  # no cycle: the loop goes when its last user drops it
    hooked: Any = getattr(loop, "__dict__", {}).get("run_in_executor")
    original: Any = type(loop).run_in_executor

    def run_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        steps = meter.stepping
        if steps is not None and steps.run.ended is None:
            func = _ThreadCall(steps.work, func)
        return hooked(executor, func, *args) if hooked else original(this(), executor, func, *args)

    try:
        cast("Any", loop).run_in_executor = run_in_executor
    except AttributeError:  # a loop without room for attributes: the CPU time of threads is not known
        pass


class _ThreadCall:
    """A function that counts its CPU time to a run; in another process it is the function alone."""

    __slots__ = ("_func", "_work")

    def __init__(self, work: Work, func: Callable[..., Any]) -> None:
        self._work = work
        self._func = func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        work = self._work
        work.begin_thread_call()
        start = thread_time()
        try:
            return self._func(*args, **kwargs)
        finally:
            work.end_thread_call(thread_time() - start)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Callable[..., Any]]]:
        return _same, (self._func,)


def _same(item: Any) -> Any:
    return item
