"""`Driven` turns any coroutine into a run: its first step begins the run, its last one ends it.

It activates the span in the task's own context, steps the coroutine (measuring/steps.py counts what that costs) and decides
the outcome. State: in each `Driven`.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, Protocol

from .measuring.steps import Steps
from .run import TaskRun, current


class Hooks(Protocol):
    """What is put on a task's own object while its run is on."""

    #: Whether they note the run's value.
    note_values: bool

    def put_on(self) -> None:
        """Begin, in the task's own context."""

    def take_off(self) -> None:
        """Leave everything as it was found."""


class Driven(Steps):
    """A task's coroutine as the event loop steps it: its first step begins the run, its last one ends it.

    What it returns or raises passes through untouched. Where hooks note the run's value, the
    coroutine's own is not the task's. It is no coroutine of its own around the user's: name, frame and state are the user's.
    """

    __slots__ = ("_before", "_hooks", "_outer")

    run: TaskRun
    is_run = True

    def __init__(self, run: TaskRun, coroutine: Coroutine[Any, Any, Any], hooks: Hooks | None = None) -> None:
        super().__init__(run, coroutine, None)
        self._hooks = hooks
        #: What was active, and which run was current, where this one was begun.
        self._before: Any = None
        self._outer: TaskRun | None = None

    def send(self, value: Any = None) -> Any:
        """Step the coroutine."""
        if self.run.started is None:
            self._begin()
        try:
            return self._step(value)
        except BaseException as raised:
            self._end(raised)
            raise

    __next__ = send

    def throw(self, *error: Any) -> Any:
        """Throw into the coroutine; before its first step that is its end, and none of its code runs."""
        try:
            return self._step(None, error)
        except BaseException as raised:
            self._end(raised)
            raise

    def close(self) -> None:
        """Close the coroutine: the run is cancelled, unless it has ended."""
        try:
            self.stepped.close()
        except BaseException as raised:
            self._end(raised)
            raise
        self._end(GeneratorExit())

    def __del__(self) -> None:
        run = getattr(self, "run", None)
        if run is None or run.outcome is not None or sys.is_finalizing():
            return
        if run.started is not None:
            self.stepped.close()
        self._conclude(
            GeneratorExit()
        )  # a coroutine that was never awaited says so itself, when it goes next

    def _begin(self) -> None:
        run = self.run
        self._before = run._board.tracing.active()
        self._outer = current.get()
        current.set(run)
        run.work.step_by(self)
        run.begin()
        self._active = run.span
        self._meter = run.meter
        if self._hooks is not None:
            self._hooks.put_on()

    def _end(self, raised: BaseException) -> None:
        run = self.run
        if run.outcome is not None or getattr(self.stepped, "cr_running", False):
            return  # it has ended, or it is stepped by two at once and that is the one's own fault
        begun = run.started is not None
        self._conclude(raised)
        if self._meter is not None:
            self._meter.rest()
        if begun:
            current.set(self._outer)
            run._board.tracing.activate(self._before)

    def _conclude(self, raised: BaseException) -> None:
        hooks, run = self._hooks, self.run
        if hooks is not None and run.started is not None:
            hooks.take_off()
        if isinstance(raised, StopIteration):
            if hooks is None or not hooks.note_values:
                run.note_value(raised.value)
            run.conclude(None)
        else:
            run.conclude(raised)
