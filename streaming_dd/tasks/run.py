"""One run of a task, from its submission to its outcome.

State: in each `TaskRun`, the one of this context in `current`; the board (board.py) holds those that are live.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, Protocol

from ..catalog import TaskOutcome
from ..config import Config
from ..output.tracing import Tracing
from .events import EventHistory
from .kinds import TaskKind
from .measuring.steps import Meter, Steps
from .measuring.work import Work
from .words import Said

P = ParamSpec("P")
_MS: Final = 1000.0
#: The run whose code runs in this context: its own, that of the asyncio tasks and threads which it started.
current: Final[ContextVar[TaskRun | None]] = ContextVar("streaming_dd_task", default=None)


class Board(Protocol):
    """What a run needs of the board that it is on."""

    config: Config
    tracing: Tracing
    span_lock: threading.Lock
    runs: set[TaskRun]
    fault: Callable[[Exception], None]
    steps: type[Steps]

    def enter_loop(self, run: TaskRun) -> None:
        """Have the running loop looked after, and the steps of a run that begins on it counted."""

    def began(self, run: TaskRun) -> None:
        """Learn that a run has begun."""

    def finished(self, run: TaskRun) -> None:
        """Learn that a run has ended."""

    def open_segment(self, run: TaskRun, previous: Any) -> Any:
        """Return the span of a run's next segment."""


def _harmless(method: Callable[P, None]) -> Callable[P, None]:
    """Keep a fault of this package's own away from the task: it is counted and said, the task goes on."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is not the task's
            run: Any = args[0]
            run._board.fault(fault)

    return call


class NotCompleted(Exception):
    """What a task failed with whose coordinator neither marked it completed nor told of an exception."""


class TaskRun:
    """One run of a task. Times are `time.perf_counter()` seconds unless they say otherwise."""

    __slots__ = (
        "__weakref__",
        "_board",
        "_segment_at",
        "_segment_began",
        "asyncio_task",
        "ended",
        "error",
        "events",
        "first_event_at",
        "handled",
        "history",
        "instance",
        "kind",
        "last_event_at",
        "made_by",
        "marked",
        "meter",
        "names",
        "needs_mark",
        "outcome",
        "said",
        "segment",
        "span",
        "stall",
        "stalls",
        "started",
        "submitted",
        "task_id",
        "value",
        "waits",
        "work",
    )

    def __init__(self, board: Board, kind: TaskKind, task_id: str, instance: Any, submitted: float) -> None:
        self._board = board
        self.kind = kind
        self.task_id = task_id
        self.instance = instance
        self.submitted = submitted
        self.started: float | None = None
        self.ended: float | None = None
        self.outcome: TaskOutcome | None = None
        self.error: BaseException | None = None
        #: Which method of which object made the run (a `Call`); whether its coordinator marks what has completed, whether
        #: it has; and the first exception that it told its clients of.
        self.made_by: Any = None
        self.needs_mark = self.marked = False
        self.handled: BaseException | None = None
        self.value: object = None
        self.events = 0
        self.first_event_at: float | None = None
        self.last_event_at: float | None = None
        self.history: EventHistory | None = None
        #: What its steps cost, how it stalls now (None if it does not), and where it was seen waiting, how often.
        self.work = Work()
        self.stall: Any = None
        self.stalls = 0
        self.waits: dict[str, int] = {}
        self.asyncio_task: weakref.ref[asyncio.Task[Any]] | None = None
        self.meter: Meter | None = None
        self.span: Any = None
        #: What all its log lines have in common, as JSON, and the span that is named there.
        self.names: tuple[Any, bytes] | None = None
        self.said: Said | None = None
        self.segment = 1
        self._segment_at = float("inf")
        self._segment_began = submitted

    # --- what happens to it ---------------------------------------------------------------------------------

    @_harmless
    def begin(self) -> None:
        """Note the first step, inside the task's own context: from here on its span is the active one."""
        self._note_begin()
        if self.span is not None:
            self._board.tracing.activate(self.span)
        self._join()

    @_harmless
    def begin_detached(self) -> None:
        """Note the first step without activating the span: an async generator's steps do that one by one."""
        self._note_begin()
        self._join()

    def _join(self) -> None:
        task = asyncio.current_task()
        self.asyncio_task = weakref.ref(task) if task is not None else None
        self._board.enter_loop(self)
        self._board.began(self)

    @_harmless
    def begin_plainly(self) -> None:
        """Note that the run begins in this thread or asyncio task, as somebody else steps it; its span is active now."""
        self._note_begin()
        if self.span is not None:
            self._board.tracing.activate(self.span)
        self._board.began(self)

    def _note_begin(self) -> None:
        now = self.started = time.perf_counter()
        self.kind.queue_time.record((now - self.submitted) * _MS)
        if self.span is not None:
            self.span.start_ns = time.time_ns()
            self._segment_began = now
            self._segment_at = now + self._board.config.task_segment

    def steps(self, coroutine: Any) -> Steps:
        """Return one step of an async generator to be awaited, as this run's own."""
        steps = self._board.steps(self, coroutine, self.meter)
        self.work.step_by(steps)
        return steps

    async def step(self, awaitable: Any) -> Any:
        """Await one step of an async generator with the span active only while the step runs."""
        tracing = self._board.tracing
        before = tracing.active()
        outer = current.get()
        current.set(self)
        if self.span is not None:
            tracing.activate(self.span)
        if self.meter is not None and self.meter.loop() is not asyncio.get_running_loop():
            self._board.enter_loop(self)
        try:
            return await self.steps(awaitable)
        finally:
            self.work.end()
            if self.meter is not None:
                self.meter.rest()
            current.set(outer)
            tracing.activate(before)

    def follow_span(self, previous: Any, *, child: bool) -> None:
        """Activate the span of the next segment; in a child task only where none of the user's own is active."""
        tracing = self._board.tracing
        if not child or tracing.active() in (None, previous):
            tracing.activate(self.span)

    def event(self, event_type: object) -> None:
        """Note an event that the task sent to its clients."""
        try:
            now = time.perf_counter()
            self.events += 1
            self.last_event_at = now
            if self.first_event_at is None:
                self.first_event_at = now
                self.history = EventHistory(self._board.config.task_event_history)
                if self.started is not None:
                    self.kind.first_event.record((now - self.started) * _MS)
            name = self.kind.count_event(event_type)
            if self.history is not None:
                self.history.note(name, now)
        except Exception as fault:  # noqa: BLE001 - as in `_harmless`, without its call
            self._board.fault(fault)

    @_harmless
    def progress(self, done: object, total: object) -> None:
        """Note how far the task says that it is."""
        self._said().progress(done, total)

    @_harmless
    def say(self, text: object) -> None:
        """Note what the task says that it does now."""
        self._said().say(text)

    @_harmless
    def tag(self, name: object, value: object) -> None:
        """Note a tag that the task sets on itself."""
        self._said().tag(name, value)

    def _said(self) -> Said:
        said = self.said
        if said is None:
            said = self.said = Said()
        return said

    def note_error(self, error: BaseException) -> None:
        """Remember what `process()` or `mark_completed()` raised, also if the coordinator swallows it."""
        if self.error is None:
            self.error = error

    def note_value(self, value: object) -> None:
        """Remember what `process()` returned; an error of an earlier attempt is forgotten."""
        self.value = value
        self.error = None

    def conclude(self, error: BaseException | None) -> None:
        """Finish with the outcome that the error (the run's own, or one noted before) means."""
        error = error if error is not None else self.error
        if error is None and self.needs_mark and not self.marked:
            error = self.handled or NotCompleted("the coordinator ended the task without mark_completed()")
        if error is None:
            self.finish("completed")
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.finish("cancelled")
        else:
            self.finish("failed", error)

    @_harmless
    def finish(self, outcome: TaskOutcome, error: BaseException | None = None) -> None:
        """End the run, once; a second call does nothing."""
        with self._board.span_lock:  # against the thread that cuts segments
            if self.outcome is not None:
                return
            self.outcome = outcome
        self.error = error
        now = self.ended = time.perf_counter()
        kind = self.kind
        kind.live.discard(self)
        kind.waited_seconds += max(0.0, now - self.submitted)
        self._board.runs.discard(self)
        self.work.end()
        kind.durations[outcome].record((now - (self.started if self.started is not None else now)) * _MS)
        if self.started is not None:
            kind.count_work(self.work, now - self.started)
        if self.history is not None and self.history.longest_gap:
            kind.event_gap.record(self.history.longest_gap * _MS)
        kind.count_outcome(outcome, error)
        self._board.finished(self)

    def next_segment(self, now: float) -> tuple[Any, float] | None:
        """Open the span of the next segment of a long run; return the one before, to which it is linked, and its seconds.

        None where none is due. What has run is then safe with the Agent, whatever becomes of the process.
        """
        if now < self._segment_at or self.span is None:
            return None
        with self._board.span_lock:
            if self.outcome is not None:
                return None
            previous, seconds = self.span, now - self._segment_began
            self.segment += 1
            self._segment_began = now
            self._segment_at = now + self._board.config.task_segment
            self.span = self._board.open_segment(self, previous)
        return previous, seconds

    def seconds_of_segment(self) -> float:
        """Return the length of the last segment of a run that has ended."""
        return (self.ended or self._segment_began) - self._segment_began

    @property
    def duration(self) -> float:
        """Seconds from the first step to the end, or until now."""
        if self.started is None:
            return 0.0
        return (self.ended if self.ended is not None else time.perf_counter()) - self.started
