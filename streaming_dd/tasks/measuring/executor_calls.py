"""The executor calls that a run's steps make: their CPU time is the run's, wherever a thread spends it.

State: in the `run_in_executor` of each loop object that is followed.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from time import thread_time
from typing import Any, Protocol, cast

from .work import Work


class Metering(Protocol):
    """A loop's meter (steps.py), as far as executor calls need it."""

    #: The steps of a run that hold the loop now, if any.
    stepping: Any


def follow_executor_calls(loop: asyncio.AbstractEventLoop, meter: Metering) -> None:
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
