"""What an application uses to have its tasks and blocks of code timed: hooks, decorators and `timer()`.

`instrument(coordinator)` hooks an unmodified coordinator, `starts_task` and `runs_task` decorate one's own,
`task` makes any coroutine function (or async generator) a task. State: none here; the runs are on the recorder's
board, and an instrumented coordinator carries its hooks in its own attributes.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast, overload, runtime_checkable

from . import recorder
from .catalog import Metric
from .errors import InstrumentError, MetricError
from .metrics import Counter, Gauge, Timing
from .tasks import TaskRun, drive
from .traffic import current as current_request

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_HOOKS: Final = "_streaming_dd_hooks"
_RUN: Final = "_streaming_dd_run"
_MS: Final = 1000.0
#: When the start_task() that is running in this context was called, time.perf_counter() seconds.
_submitted_at: ContextVar[float | None] = ContextVar("streaming_dd_submitted_at", default=None)


@runtime_checkable
class Coordinator(Protocol):
    """The shape that `instrument()` needs. A running task's instance has `pk`, `process()` and `send_event()`."""

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> Any:
        """Start `_run_task` as an asyncio task, unless it runs already."""

    async def _run_task(self, task_instance: Any, task_key: str) -> Any:
        """Await the instance's `process()` and `mark_completed()`."""


# --- a coordinator as it is ---------------------------------------------------------------------------------


def instrument(coordinator: Any) -> Any:
    """Count, time and trace the tasks of `coordinator`, and return it; calling it again changes nothing.

    Needs the methods `start_task(instance, app, model)` and `_run_task(instance, key)` on an instance that takes
    attributes. Raises InstrumentError where it has not; `uninstrument()` takes the hooks off.
    """
    if inspect.isclass(coordinator):
        raise InstrumentError(
            f"{coordinator.__name__} is a class: pass the coordinator object itself, or decorate the class' methods "
            "with @timers.starts_task and @timers.runs_task"
        )
    for name in ("start_task", "_run_task"):
        if not callable(getattr(coordinator, name, None)):
            raise InstrumentError(
                f"{type(coordinator).__name__} has no method {name}(); a coordinator needs start_task() and "
                "_run_task(). Decorate your own methods with @timers.starts_task and @timers.runs_task, or your "
                "coroutine functions with @timers.task"
            )
    if _HOOKS in vars_of(coordinator):
        return coordinator
    hooks: dict[str, Any] = {
        "start_task": starts_task(coordinator.start_task),
        "_run_task": runs_task(coordinator._run_task),
    }
    if callable(getattr(coordinator, "get_task_instance", None)):
        hooks["get_task_instance"] = _finds_task(coordinator.get_task_instance)
    try:
        for name, hook in hooks.items():
            setattr(coordinator, name, hook)
        setattr(coordinator, _HOOKS, tuple(hooks))
    except AttributeError as error:
        uninstrument(coordinator)
        raise InstrumentError(
            f"{type(coordinator).__name__} takes no attributes ({error}); decorate its methods with "
            "@timers.starts_task and @timers.runs_task instead"
        ) from None
    return coordinator


def uninstrument(coordinator: Any) -> None:
    """Take the hooks of `instrument()` off again; tasks that are running keep theirs until they end."""
    attributes = vars_of(coordinator)
    for name in (*attributes.get(_HOOKS, ()), _HOOKS):
        attributes.pop(name, None)


def vars_of(item: Any) -> dict[str, Any]:
    """Return the attributes that an object itself holds; empty where it has no room for any."""
    return getattr(item, "__dict__", {})


# --- one's own coordinator ----------------------------------------------------------------------------------


def starts_task(function: F) -> F:
    """Decorate the method that starts a task: `(self, instance, app_name, model_name)`.

    The request that calls it, if there is one, is noted as a client of the task; queue time counts from here.
    """

    @functools.wraps(function)
    async def start_task(*args: Any, **kwargs: Any) -> Any:
        token = _submitted_at.set(time.perf_counter())
        try:
            return await function(*args, **kwargs)
        finally:
            _submitted_at.reset(token)
            instance = _instance_in(args, kwargs)
            if instance is not None:
                _watch(instance, _names_in(args, kwargs))

    return cast("F", start_task)


def runs_task(function: F) -> F:
    """Decorate the method that runs a task to its end: `(self, instance, task_key)`.

    The outcome is that of the instance's `process()` and `mark_completed()`, also if this method swallows what
    they raise, or else that of this method.
    """

    @functools.wraps(function)
    def run_task(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine: Coroutine[Any, Any, Any] = function(*args, **kwargs)
        instance = _instance_in(args, kwargs)
        run = _submit_instance(instance, kwargs.get("task_key", args[-1] if len(args) > 1 else ""))
        if run is None:
            return coroutine
        hooked = _hooked(run, instance, coroutine)
        driven = drive(run, hooked, noted=hasattr(instance, "process"))
        _close_unstarted(run, driven, hooked, coroutine)
        return driven

    return cast("F", _marked_as(function, run_task))


def _submit_instance(instance: Any, key: object) -> TaskRun | None:
    board = recorder.get().tasks
    try:
        app, model, task_id = describe_task(instance, key)
        return board.submit(app, model, task_id, instance, _submitted_at.get())
    except Exception as fault:  # noqa: BLE001 - the task runs, whatever fails here
        board.fault(fault)
        return None


def _finds_task(function: F) -> F:
    """Note the request that looks a task up as the client that will watch it."""

    @functools.wraps(function)
    async def get_task_instance(*args: Any, **kwargs: Any) -> Any:
        instance = await function(*args, **kwargs)
        if instance is not None:
            _watch(instance, _names_in(args, kwargs))
        return instance

    return cast("F", get_task_instance)


def _instance_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The task instance among the arguments of a (bound or unbound) coordinator method."""
    if "task_instance" in kwargs:
        return kwargs["task_instance"]
    return next((item for item in args[:2] if hasattr(item, "process") or hasattr(item, "send_event")), None)


def _names_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
    """The app and model that a coordinator's method was called with; ("", "") if it was not."""
    words = [item for item in args if isinstance(item, str)]
    app = kwargs.get("app_name", words[0] if words else "")
    model = kwargs.get("model_name", words[1] if len(words) > 1 else "")
    return str(app), str(model)


def _watch(instance: Any, names: tuple[str, str]) -> None:
    request = current_request.get()
    if request is None:
        return
    board = recorder.get().tasks
    try:
        run = vars_of(instance).get(_RUN) or board.run_of(instance)
        if run is None:
            app, model, _ = describe_task(instance, f"{names[0]}:{names[1]}:" if all(names) else "")
            kind, span = board.kind(app, model), None
        else:
            kind, span = run.kind, run.span
        request.watch_task(kind.app, kind.model, instance, span)
    except Exception as fault:  # noqa: BLE001 - the task starts, whatever fails here
        board.fault(fault)


def describe_task(instance: Any, key: object) -> tuple[str, str, object]:
    """Return (app, model, id) of a task: a Django row's own names, else those in its key `app:model:id`."""
    meta = getattr(instance, "_meta", None)
    label = getattr(meta, "app_label", None)
    if label:
        return str(label), type(instance).__name__, getattr(instance, "pk", "")
    parts = key.split(":", 2) if isinstance(key, str) else []
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    module = type(instance).__module__.partition(".")[0]
    return module, type(instance).__name__, getattr(instance, "pk", "")


async def _hooked(run: TaskRun, instance: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await the coordinator's run with the instance's own methods watched, and put them back."""
    watched = _watch_instance(run, instance)
    try:
        return await coroutine
    finally:
        for name in watched:
            vars_of(instance).pop(name, None)


def _watch_instance(run: TaskRun, instance: Any) -> list[str]:
    """Put hooks on the task's methods; an instance that takes none is judged by its run alone."""
    attributes = vars_of(instance)
    if not hasattr(instance, "__dict__") or _RUN in attributes:
        return []
    hooks: dict[str, Any] = {_RUN: run}
    for name, hook in (
        ("process", _notes_process),
        ("mark_completed", _notes_errors),
        ("send_event", _counts_events),
    ):
        method = getattr(instance, name, None)
        if callable(method) and name not in attributes:
            hooks[name] = hook(run, method)
    attributes.update(hooks)
    return list(hooks)


def _notes_process(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def process(*args: Any, **kwargs: Any) -> Any:
        try:
            value = await method(*args, **kwargs)
        except BaseException as error:
            run.note_error(error)
            raise
        run.note_value(value)
        return value

    # A process() that is no coroutine function (a generator, say) is the coordinator's to iterate: left alone.
    return process if inspect.iscoroutinefunction(method) else method


def _notes_errors(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def mark_completed(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except BaseException as error:
            run.note_error(error)
            raise

    return mark_completed if inspect.iscoroutinefunction(method) else method


def _counts_events(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def send_event(*args: Any, **kwargs: Any) -> Any:
        run.event(kwargs.get("event_type", args[0] if args else "none"))
        return method(*args, **kwargs)

    return _marked_as(method, send_event)


def _marked_as(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain function that returns `original`'s coroutine pass for a coroutine function as well."""
    if inspect.iscoroutinefunction(original):
        if hasattr(inspect, "markcoroutinefunction"):
            return cast("Callable[..., Any]", inspect.markcoroutinefunction(wrapper))
        wrapper._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return wrapper


def _close_unstarted(run: TaskRun, driven: Any, *inner: Coroutine[Any, Any, Any]) -> None:
    """End a run whose coroutine is thrown away before its first step: cancelled while it was queued."""

    def gone() -> None:
        for coroutine in inner:
            coroutine.close()

    run.guard(driven, gone)


# --- any coroutine function ---------------------------------------------------------------------------------


@overload
def task(name: Callable[P, R]) -> Callable[P, R]: ...
@overload
def task(name: str | None = None) -> Callable[[F], F]: ...


def task(name: Any = None) -> Any:
    """Make every call of a coroutine function, or every iteration of an async generator function, a task.

    `name` is `app.model`, such as "reports.export"; by default the top-level module and the function's name.
    The task counts as submitted when the function is called. Raises InstrumentError for any other function.
    """
    if callable(name):
        return _as_task(name, None)
    return functools.partial(_as_task, name=name)


def _as_task(function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    app, model = _split_name(function, name)
    if inspect.isasyncgenfunction(function):
        return _generator_task(function, app, model)
    if not inspect.iscoroutinefunction(function):
        raise InstrumentError(
            f"@timers.task: {getattr(function, '__qualname__', function)!r} is neither a coroutine function nor an async "
            "generator function; time a plain function with @timers.timer(METRIC)"
        )

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine = function(*args, **kwargs)
        run = recorder.get().tasks.submit(app, model)
        driven = drive(run, coroutine)
        _close_unstarted(run, driven, coroutine)
        return driven

    return _marked_as(function, call)


def _split_name(function: Callable[..., Any], name: str | None) -> tuple[str, str]:
    if name is None:
        return function.__module__.partition(".")[0], function.__qualname__.replace("<locals>.", "")
    app, dot, model = name.partition(".")
    if not dot or not app or not model:
        raise InstrumentError(f"@timers.task({name!r}): write 'app.model', such as 'reports.export'")
    return app, model


def _generator_task(function: Callable[..., Any], app: str, model: str) -> Callable[..., Any]:
    @functools.wraps(function)
    async def iterate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        run = recorder.get().tasks.submit(app, model)
        run.begin_detached()
        error: BaseException | None = None
        try:
            item = await run.step(generator.__anext__())
            while True:
                run.event("item")
                try:
                    sent = yield item
                except GeneratorExit:
                    await run.step(generator.aclose())
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown in by the consumer, for the generator
                    item = await run.step(generator.athrow(thrown))
                else:
                    item = await run.step(generator.asend(sent))
        except StopAsyncIteration:
            return
        except BaseException as raised:
            error = raised
            raise
        finally:
            run.conclude(error)
            del error

    return iterate


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
        self._starts: dict[int, list[float]] = {}

    def __enter__(self) -> timer:
        self._starts.setdefault(_caller(), []).append(time.perf_counter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        caller = _caller()
        starts = self._starts[caller]
        self._record(starts.pop())
        if not starts:
            del self._starts[caller]

    async def __aenter__(self) -> timer:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

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
        elif inspect.iscoroutinefunction(function):

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


def _caller() -> int:
    """Tell who runs now: the asyncio task, or else the thread."""
    try:
        current = asyncio.current_task()
    except RuntimeError:
        current = None
    return id(current) if current is not None else threading.get_ident()


# --- samples by metric and tags -----------------------------------------------------------------------------


def increment(metric: Metric, amount: float = 1, /, **tags: object) -> None:
    """Add to a count. At run time it never raises: a sample that cannot be used is dropped, counted and said once."""
    handle = recorder.get().metrics.lookup(metric, tags)
    if handle is None:
        return
    if isinstance(handle, Counter):
        handle.increment(amount)
    else:
        recorder.get().metrics.drop(
            "wrong_kind", f"{metric.name} is a {metric.kind}; increment() needs a count"
        )


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
