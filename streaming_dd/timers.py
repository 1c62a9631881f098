"""What an application uses to have its tasks and blocks of code timed: hooks, decorators, `current_task()` and `timer()`.

`instrument(coordinator)` hooks an unmodified coordinator, `starts_task` and `runs_task` decorate one's own,
`task` makes any coroutine function (or async generator) a task. State: none here; the runs are on the recorder's
board, and an instrumented coordinator carries its hooks in its own attributes.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast, overload, runtime_checkable

from . import recorder
from .catalog import Metric
from .errors import InstrumentError, MetricError
from .output.metrics import MOST, Counter, Gauge, Timing
from .requests.traffic import current as current_request
from .tasks import brokers
from .tasks.board import TaskBoard
from .tasks.current import CurrentTask, current_task
from .tasks.hooks.coordinators import Coordinators, uninstrument
from .tasks.hooks.functions import as_task
from .tasks.hooks.naming import naming_of
from .tasks.hooks.wrapping import is_coroutine_function

__all__ = [
    "Coordinator",
    "CurrentTask",
    "current_task",
    "gauge",
    "increment",
    "instrument",
    "record",
    "runs_task",
    "starts_task",
    "task",
    "timer",
    "uninstrument",
]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_MS: Final = 1000.0
_ONE: Final = 1
#: Open blocks that one timer object remembers.
_OPEN_LIMIT: Final = 10_000
_CONTEXTLIB: Final = ExitStack.__init__.__code__.co_filename


def _board() -> TaskBoard:
    return recorder.get().tasks


_coordinators: Final = Coordinators(_board, current_request.get)


@runtime_checkable
class Coordinator(Protocol):
    """The shape that `instrument()` needs. A running task's instance has `pk`, `process()` and `send_event()`."""

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> Any:
        """Start `_run_task` as an asyncio task, unless it runs already."""

    async def _run_task(self, task_instance: Any, task_key: str) -> Any:
        """Await the instance's `process()` and `mark_completed()`."""


# --- tasks --------------------------------------------------------------------------------------------------


def instrument(coordinator: Any) -> Any:
    """Count, time and trace the tasks of `coordinator`, and return it; calling it again changes nothing.

    It may be a Celery app, a broker of taskiq or dramatiq, a pool of arq, a queue of RQ, too (docs/brokers.md). Any other
    coordinator needs the methods `start_task(instance, app, model)` and `_run_task(instance, key)` on an instance that takes
    attributes. Raises InstrumentError where it has not; `uninstrument()` takes the hooks off.
    """
    if not brokers.instrument(coordinator, _board):
        _coordinators.instrument(coordinator)
    return coordinator


@overload
def starts_task(function: F, /) -> F: ...
@overload
def starts_task(*, instance: str | None = None) -> Callable[[F], F]: ...


def starts_task(function: Any = None, /, *, instance: str | None = None) -> Any:
    """Decorate the method that starts a task, such as `(self, task_instance, app_name, model_name)`.

    The request that calls it, if there is one, is noted as a client of the task; queue time counts from here.
    `instance` names the parameter that is the task's object; by default it is the first one with a `process()`.
    """

    def decorate(decorated: F) -> F:
        if not callable(decorated):
            raise InstrumentError(f"@timers.starts_task: {decorated!r} is no function")
        how = "@timers.starts_task"
        return _coordinators.starts_task(
            decorated, naming_of(decorated, how, instance=instance, needs_names=False)
        )

    return decorate if function is None else decorate(function)


@overload
def runs_task(function: F, /) -> F: ...
@overload
def runs_task(
    *,
    name: str | None = None,
    instance: str | None = None,
    app: str | None = None,
    model: str | None = None,
    id: str | None = None,
) -> Callable[[F], F]: ...


def runs_task(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    instance: str | None = None,
    app: str | None = None,
    model: str | None = None,
    id: str | None = None,
) -> Any:
    """Decorate the coroutine method that runs a task to its end, by default `(self, task_instance, task_key)`.

    Of any other signature, say what its tasks are called: `name="reports.export"`, or the parameters that are their
    `app` and `model`, their `id` and their object (`instance`); attributes follow dots, as in `id="job.pk"`. The outcome is
    that of the object's `process()` and `mark_completed()`, also if this method swallows what they raise, or else its own.
    Raises InstrumentError for what cannot work.
    """

    def decorate(decorated: F) -> F:
        how = "@timers.runs_task"
        if not is_coroutine_function(decorated):
            raise InstrumentError(
                f"{how}: {getattr(decorated, '__qualname__', decorated)!r} is no coroutine function; a task is awaited. "
                "Time a plain function with @timers.timer(METRIC)"
            )
        naming = naming_of(decorated, how, name=name, instance=instance, app=app, model=model, task_id=id)
        return _coordinators.runs_task(decorated, naming)

    return decorate if function is None else decorate(function)


@overload
def task(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(name: str | None = None, *, id: str | None = None) -> Callable[[F], F]: ...


def task(name: Any = None, *, id: str | None = None) -> Any:
    """Make every call of a coroutine function, or every iteration of an async generator function, a task.

    `name` is `app.model`, such as "reports.export"; by default the top-level module and the function's name. `id` names
    the parameter that tells one task from another, such as "report_id" or "report.pk". The task counts as submitted when
    the function is called. Raises InstrumentError for any other function.
    """
    if callable(name):
        return as_task(name, None, None, _board)
    return functools.partial(as_task, name=name, task_id=id, boards=_board)


# --- blocks of code -----------------------------------------------------------------------------------------


class timer:
    """Time a block of code or every call of a function, in milliseconds, whether it ends well or raises.

    `with timer(RENDER, kind="csv"):`, `async with`, or a decorator for functions, coroutine functions, generators
    and async generators. `metric` is a timer, histogram or distribution; tags are those it declares. One object
    may be used by several tasks or threads at once.
    """

    __slots__ = ("_metric", "_starts", "_tags")

    def __init__(self, metric: Metric, /, **tags: object) -> None:
        if not isinstance(metric, Metric) or metric.kind in ("count", "gauge"):
            raise MetricError(
                f"timer() needs a Metric of kind 'timer', 'histogram' or 'distribution', not {metric!r}"
            )
        self._metric = metric
        self._tags = tags
        #: When each block was entered that is open, by the frame that it is in: that stays the same, whichever thread or
        #: task a generator's block is left in.
        self._starts: dict[int, list[float]] = {}

    def __enter__(self) -> timer:
        self._enter(sys._getframe(1))
        return self

    def _enter(self, frame: FrameType | None) -> None:
        starts = self._starts
        if len(starts) >= _OPEN_LIMIT:  # blocks whose end never came
            starts.pop(next(iter(starts)), None)
        starts.setdefault(_block_of(frame), []).append(time.perf_counter())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(sys._getframe(1))

    def _leave(self, frame: FrameType | None) -> None:
        starts = self._starts
        block = _block_of(frame)
        if block not in starts:  # entered in code without frames, or by hand in another function
            block = next(reversed(starts.copy()), 0)
        opened = starts.get(block)
        if not opened:
            return
        self._record(opened.pop())
        if not opened:
            starts.pop(block, None)

    async def __aenter__(self) -> timer:
        self._enter(sys._getframe(1))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(sys._getframe(1))

    def _record(self, start: float) -> None:
        handle = recorder.get().metrics.lookup(self._metric, self._tags)
        if isinstance(handle, Timing):
            handle.record((time.perf_counter() - start) * _MS)

    def __call__(self, function: F) -> F:
        record = self._record
        wrapper: Callable[..., Any]
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def agen(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
                start = time.perf_counter()
                try:
                    async for item in function(*args, **kwargs):
                        yield item
                finally:
                    record(start)

            wrapper = agen
        elif inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def gen(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                try:
                    return (yield from function(*args, **kwargs))
                finally:
                    record(start)

            wrapper = gen
        elif is_coroutine_function(function):

            @functools.wraps(function)
            async def coro(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                try:
                    return await cast("Awaitable[Any]", function(*args, **kwargs))
                finally:
                    record(start)

            wrapper = coro
        else:

            @functools.wraps(function)
            def plain(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                try:
                    return function(*args, **kwargs)
                finally:
                    record(start)

            wrapper = plain
        return cast("F", wrapper)


def _block_of(frame: FrameType | None) -> int:
    """Tell which block of code enters or leaves: the frame that it is in, that of an exit stack's owner."""
    while frame is not None and frame.f_code.co_filename == _CONTEXTLIB:
        frame = frame.f_back
    return id(frame)


# --- samples by metric and tags -----------------------------------------------------------------------------


def increment(metric: Metric, amount: float = 1, /, **tags: object) -> None:
    """Add to a count. At run time it never raises: a sample that cannot be used is dropped, counted and said once."""
    found = recorder.current
    if found is None or found._thread is None:
        found = recorder.get()
    metrics = found.metrics
    try:
        handle = metrics.find(metric, **tags)
    except Exception:  # noqa: BLE001 - told apart, and counted, by `lookup`
        handle = metrics.lookup(metric, tags)
    if type(handle) is Counter:
        if amount is _ONE or (type(amount) is int and 0 <= amount <= MOST):
            handle.total += amount  # as `Counter.increment` does, without the call
        else:
            handle.increment(amount)
    elif handle is not None:
        metrics.drop("wrong_kind", f"{metric.name} is a {metric.kind}; increment() needs a count")


def gauge(metric: Metric, value: float, /, **tags: object) -> None:
    """Set a gauge: sent at every flush until it is set anew, and as 0 at the end. Never raises."""
    handle = recorder.get().metrics.lookup(metric, tags)
    if handle is None:
        return
    if isinstance(handle, Gauge):
        handle.set(value)
    else:
        recorder.get().metrics.drop("wrong_kind", f"{metric.name} is a {metric.kind}; gauge() needs a gauge")


def record(metric: Metric, value: float, /, **tags: object) -> None:
    """Record one value of a timer (milliseconds), histogram or distribution. Never raises."""
    metrics = recorder.get().metrics
    handle = metrics.lookup(metric, tags)
    if handle is None:
        return
    if isinstance(handle, Timing):
        handle.record(value)
    else:
        metrics.drop(
            "wrong_kind",
            f"{metric.name} is a {metric.kind}; record() needs a timer, histogram or distribution",
        )
