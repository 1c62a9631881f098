"""Marks on what was made a task, so that no call is ever two: not by any two ways of instrumenting it.

A function that bears a mark is not wrapped again, a coordinator's hook over `@timers.task` claims the call for itself, and
a method that calls the one of its base class is one task. State: `_doubles`, what was found to be instrumented twice.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol, cast

from ..board import TaskBoard
from ..run import current

#: Where the mark stands on a function.
_ATTRIBUTE: Final = "__streaming_dd__"
#: By which asyncio knows a coroutine function, before Python 3.12 had a mark of its own.
_ASYNCIO_MARK: Final[object] = getattr(asyncio.coroutines, "_is_coroutine", None)
_DOUBLES_LIMIT: Final = 50
_doubles: Final[dict[str, None]] = {}
#: What is being called by a hook that has made it a task already.
_claimed: Final[ContextVar[Any]] = ContextVar("streaming_dd_claimed", default=None)


class Boards(Protocol):
    """Where the board is found at a call: that of the recorder in use."""

    def __call__(self) -> TaskBoard:
        """Return the board."""


class Call(NamedTuple):
    """Which function of which object made a run."""

    owner: Any
    name: str
    base: Any
    #: Whether the function bears a mark further in, whose call is this one's own.
    covers: bool


class Mark:
    """By which decorator a function was made a task."""

    __slots__ = ("base", "covers", "how", "is_method", "name", "owner")

    def __init__(self, how: str, function: Callable[..., Any], *, covers: bool = False) -> None:
        self.how = how
        self.covers = covers
        self.owner = getattr(function, "__self__", None)
        self.base = _innermost(function)
        self.name = getattr(self.base, "__name__", "")
        parent = getattr(self.base, "__qualname__", "").rpartition(".")[0]
        self.is_method = bool(parent) and not parent.endswith("<locals>")

    def call(self, args: tuple[Any, ...]) -> Call | None:
        """Return which method of which object is called; None for a plain function."""
        if not self.is_method:
            return None
        owner = self.owner if self.owner is not None else args[0] if args else None
        return Call(owner, self.name, self.base, self.covers)

    def __str__(self) -> str:
        return f"{getattr(self.base, '__module__', '')}.{getattr(self.base, '__qualname__', self.name)}"


def _innermost(function: Any) -> Any:
    function = getattr(function, "__func__", function)
    try:
        return inspect.unwrap(function)
    except ValueError:  # wrappers in a circle
        return function


def mark_of(function: Any) -> Mark | None:
    """Return the mark of a function or a bound method that was made a task, also through decorators that use `wraps`."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if type(found) is Mark else None


def mark(wrapper: Callable[..., Any], made: Mark) -> Callable[..., Any]:
    """Mark a wrapper, and return it."""
    setattr(wrapper, _ATTRIBUTE, made)
    return wrapper


def note_double(made: Mark, other: str) -> None:
    """Remember that something was instrumented in two ways; it counts once."""
    if len(_doubles) < _DOUBLES_LIMIT:
        _doubles[f"{made} by {made.how} and {other}"] = None


def doubles() -> list[str]:
    """Return what was found instrumented twice, such as `app.Jobs._run_task by @timers.task and instrument()`."""
    return list(_doubles)


def claiming(made: Mark, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` so that its calls, which create coroutines, are not made tasks by a hook further in as well."""

    def create(*args: Any, **kwargs: Any) -> Any:
        token = _claimed.set(made.base)
        try:
            return function(*args, **kwargs)
        finally:
            _claimed.reset(token)

    return create


def is_claimed(made: Mark, args: tuple[Any, ...], instance: Any = None) -> bool:
    """Return whether a call is part of a task that it belongs to: a hook has claimed it, or it was called by that task.

    It belongs to the task in whose context it is called where it runs the same object, where it is the `process()` of that
    object, or where it is the method of the base class that this task's method overrides.
    """
    if _claimed.get() is made.base:
        return True
    run = current.get()
    if run is None or run.outcome is not None:
        return False
    if run.instance is not None:
        own = run.instance is instance or (args and run.instance is args[0] and made.name == "process")
        if own:
            note_double(made, "the coordinator that runs it")
            return True
    outer: Call | None = run.made_by
    call = made.call(args)
    if outer is None or call is None or outer.owner is None:
        return False
    if outer.owner is not call.owner or outer.name != call.name:
        return False
    # It calls itself, or a decorator of the application's own is between two marks.
    if outer.base is call.base:
        run.made_by = outer._replace(covers=False)
        return outer.covers
    note_double(made, f"{outer.base.__qualname__}, which calls it")
    return True


def is_coroutine_function(function: Any) -> bool:
    """Return whether calling a function gives a coroutine, as far as it says so; on 3.11 only asyncio may be told."""
    if inspect.iscoroutinefunction(function):
        return True
    return _ASYNCIO_MARK is not None and getattr(function, "_is_coroutine", None) is _ASYNCIO_MARK


def passes_for(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain function that returns `original`'s coroutine pass for a coroutine function as well."""
    if is_coroutine_function(original):
        if hasattr(inspect, "markcoroutinefunction"):
            return cast("Callable[..., Any]", inspect.markcoroutinefunction(wrapper))
        wrapper._is_coroutine = _ASYNCIO_MARK  # type: ignore[attr-defined]
    return wrapper
