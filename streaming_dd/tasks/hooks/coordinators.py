"""Coordinators as they are, and one's own: hooks on the methods that start and run tasks, and on a task's own object.

`Coordinators` is made once by `timers`, with where the board and the request of a call are found. No state here: an
instrumented coordinator carries its hooks in its own attributes, a task's object while its run is on.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar, cast

from ... import catalog
from ...errors import InstrumentError
from ...output.metrics import Gauge
from ..run import TaskRun
from .instances import RUN, Watched, attribute, describe_task, names_in, vars_of
from .naming import AS_IT_IS, Naming
from .wrapping import (
    Boards,
    Mark,
    claiming,
    is_claimed,
    is_coroutine_function,
    mark,
    mark_of,
    note_double,
    passes_for,
)

F = TypeVar("F", bound=Callable[..., Any])

_HOOKS: Final = "_streaming_dd_hooks"
#: When the start_task() that is running in this context was called, time.perf_counter() seconds.
_submitted_at: Final[ContextVar[float | None]] = ContextVar("streaming_dd_submitted_at", default=None)


class Request(Protocol):
    """The request in whose context a task is started or looked up."""

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Learn which task the request's stream shows."""


class Coordinators:
    """Makes the tasks of coordinators seen."""

    def __init__(self, boards: Boards, request: Callable[[], Request | None]) -> None:
        self._boards = boards
        self._request = request
        #: The coordinators that were instrumented, and the metrics that have their gauges.
        self._known: list[weakref.ref[Any]] = []
        self._metrics: Any = None

    # --- a coordinator as it is -----------------------------------------------------------------------------

    def instrument(self, coordinator: Any) -> None:
        """Put hooks on a coordinator, unless it has them. Raises InstrumentError where it takes none."""
        _refuse(coordinator)
        if _HOOKS in vars_of(coordinator):
            return
        hooks: dict[str, Any] = {}
        for name, hook in (
            ("start_task", functools.partial(self.starts_task, naming=AS_IT_IS)),
            ("_run_task", functools.partial(self.runs_task, naming=AS_IT_IS)),
            ("get_task_instance", self._finds_task),
        ):
            method = attribute(coordinator, name)
            if callable(method) and (hooked := hook(method)) is not method:  # decorated by its class: left so
                hooks[name] = hooked
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
        with contextlib.suppress(TypeError):  # it takes no weak references: its locks are not known
            self._known.append(weakref.ref(coordinator))

    def _gauges(self) -> Iterator[tuple[Gauge, float]]:
        """Give the number of locks that the coordinators keep; called at every flush."""
        known = [coordinator for ref in self._known if (coordinator := ref()) is not None]
        locks = [vars_of(coordinator).get("_locks") for coordinator in known]
        sizes = [len(found) for found in locks if isinstance(found, dict)]
        if sizes:
            yield self._metrics.gauge(catalog.COORDINATOR_LOCKS), sum(sizes)

    def _finds_task(self, function: F) -> F:
        """Note the request that looks a task up as the client that will watch it."""

        @functools.wraps(function)
        async def get_task_instance(*args: Any, **kwargs: Any) -> Any:
            instance = await function(*args, **kwargs)
            if instance is not None:
                self._watch(AS_IT_IS, args, kwargs, instance)
            return instance

        return cast("F", get_task_instance)

    # --- one's own coordinator ------------------------------------------------------------------------------

    def starts_task(self, function: F, naming: Naming) -> F:
        """Return `function` so that it notes when a task was submitted, and who watches it."""
        if mark_of(function) is not None:
            return function

        @contextmanager
        def starting(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
            token = _submitted_at.set(time.perf_counter())
            try:
                yield
            finally:
                _submitted_at.reset(token)
                self._watch(naming, args, kwargs)

        if is_coroutine_function(function):

            @functools.wraps(function)
            async def start_task(*args: Any, **kwargs: Any) -> Any:
                with starting(args, kwargs):
                    return await function(*args, **kwargs)

            return cast("F", mark(start_task, Mark("@timers.starts_task", function)))

        @functools.wraps(function)
        def start(*args: Any, **kwargs: Any) -> Any:
            with starting(args, kwargs):
                return function(*args, **kwargs)

        return cast("F", mark(start, Mark("@timers.starts_task", function)))

    def runs_task(self, function: F, naming: Naming) -> F:
        """Return `function` so that each call of it is a task."""
        how = "@timers.runs_task" if naming is not AS_IT_IS else "instrument()"
        before = mark_of(function)
        if before is not None:
            note_double(before, how)
            if before.how != "@timers.task":  # which knows less of the task than this
                return function
        made = Mark(how, function, covers=before is not None)
        create = claiming(made, function) if before is not None else function

        @functools.wraps(function)
        def run_task(*args: Any, **kwargs: Any) -> Any:
            coroutine = create(*args, **kwargs)
            run = self._submit(made, naming, args, kwargs) if hasattr(coroutine, "send") else None
            if run is None:
                return coroutine
            return self._boards().driven(run, coroutine, _Hooks(run, made.base))

        return cast("F", mark(passes_for(function, run_task), made))

    def _submit(
        self, made: Mark, naming: Naming, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskRun | None:
        """Accept a call as a task; None where it is part of one that was accepted before, or where we failed."""
        board = self._boards()
        submitted = _submitted_at.get()
        try:
            if board.metrics is not self._metrics:
                self._metrics = board.metrics
                board.metrics.add_gauges(self._gauges)
            instance = naming.instance_of(args, kwargs)
            if is_claimed(made, args, instance if submitted is None else None):
                return None
            run = board.submit(*naming.names_of(made, instance, args, kwargs), instance, submitted)
            run.made_by = made.call(args)
            return run
        except Exception as fault:  # noqa: BLE001 - the task runs, whatever fails here
            board.fault(fault)
            return None

    def _watch(
        self, naming: Naming, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any = None
    ) -> None:
        """Note the request that runs here, if one does, as a client of a task."""
        request = self._request()
        if request is None:
            return
        board = self._boards()
        try:
            instance = found if found is not None else naming.instance_of(args, kwargs)
            if instance is None:
                return
            run = vars_of(instance).get(RUN) or board.run_of(instance)
            if run is not None:
                request.watch_task(run.kind.app, run.kind.model, instance, run.span)
                return
            names = names_in(args, kwargs)
            described = describe_task(instance, f"{names[0]}:{names[1]}:" if all(names) else "")
            assert described is not None
            kind = board.kind(*described[:2])
            request.watch_task(kind.app, kind.model, instance, None)
        except Exception as fault:  # noqa: BLE001 - the task starts, whatever fails here
            board.fault(fault)


class _Hooks(Watched):
    """What is put on while the run of a coordinator is on."""

    __slots__ = ()

    def put_on(self) -> None:
        """Begin: tasks that this one starts have a moment of their own at which they were submitted."""
        _submitted_at.set(None)
        super().put_on()


def _refuse(coordinator: Any) -> None:
    if inspect.isclass(coordinator):
        raise InstrumentError(
            f"{coordinator.__name__} is a class: pass the coordinator object itself, or decorate the class' methods "
            "with @timers.starts_task and @timers.runs_task"
        )
    for name in ("start_task", "_run_task"):
        if not callable(attribute(coordinator, name)):
            raise InstrumentError(
                f"{type(coordinator).__name__} has no method {name}(); a coordinator needs start_task() and "
                "_run_task(). Decorate your own methods with @timers.starts_task and @timers.runs_task, or your "
                "coroutine functions with @timers.task"
            )


def uninstrument(coordinator: Any) -> None:
    """Take the hooks off again; tasks that are running keep theirs until they end."""
    attributes = vars_of(coordinator)
    for name in (*attributes.get(_HOOKS, ()), _HOOKS):
        attributes.pop(name, None)
