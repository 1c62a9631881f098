"""Tasks: one `TaskRun` from submission to outcome, and the board of those that are live.

State: `TaskBoard` (it belongs to the recorder) holds a `TaskKind` (task_kinds.py) per app and model, each with its
live runs and its metric handles. `drive()` is what turns any coroutine into a run: it activates the span in the task's own
context, steps the coroutine (steps.py counts what that costs), and decides the outcome. What a run has to say of
itself, on its span, in its log line and in /stats, is in task_report.py.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol

from . import task_report, tracing
from .catalog import TaskOutcome
from .config import Config
from .metrics import Gauge, Metrics, clean_tag_value
from .notices import say
from .peaks import Peak
from .steps import Meter, Steps
from .task_events import EventHistory
from .task_kinds import TaskKind
from .task_report import short_value
from .tracing import Tracing
from .work import Work

if TYPE_CHECKING:
    from .logs import Logs

P = ParamSpec("P")
_MS: Final = 1000.0


class Watcher(Protocol):
    """Who looks after the loops that tasks run on, and after tasks that stall."""

    def watch(self, meter: Meter) -> None:
        """Look after an event loop on which a task begins."""

    def ended(self, run: TaskRun) -> None:
        """Learn that a run that had stalled has ended."""


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


class TaskRun:
    """One run of a task. Times are `time.perf_counter()` seconds unless they say otherwise."""

    __slots__ = (
        "__weakref__",
        "_board",
        "_gone",
        "_guard",
        "_meter",
        "_segment_at",
        "asyncio_task",
        "ended",
        "error",
        "events",
        "first_event_at",
        "history",
        "instance",
        "kind",
        "last_event_at",
        "outcome",
        "segment",
        "span",
        "stall",
        "stalls",
        "started",
        "started_wall",
        "submitted",
        "task_id",
        "value",
        "waits",
        "work",
    )

    def __init__(
        self, board: TaskBoard, kind: TaskKind, task_id: str, instance: Any, submitted: float
    ) -> None:
        self._board = board
        self._guard: weakref.ref[Any] | None = None
        self._gone: Callable[[], None] | None = None
        self.kind = kind
        self.task_id = task_id
        self.instance = instance
        self.submitted = submitted
        self.started: float | None = None
        self.started_wall = 0.0
        self.ended: float | None = None
        self.outcome: TaskOutcome | None = None
        self.error: BaseException | None = None
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
        self._meter: Meter | None = None
        self.span: Any = None
        self.segment = 1
        self._segment_at = float("inf")

    # --- what happens to it ---------------------------------------------------------------------------------

    def guard(self, coroutine: Any, gone: Callable[[], None]) -> None:
        """End the run as cancelled, and call `gone`, if `coroutine` ends without ever having been stepped."""
        self._guard = weakref.ref(coroutine, lambda _: self.end_unstarted())
        self._gone = gone  # last: the flush may ask in between

    def end_unstarted(self) -> None:
        """End a run that was cancelled before its first step: its coroutine is closed or gone, its code never ran.

        Whoever started the task may keep the finished asyncio.Task for ever, so every look at the live runs asks.
        """
        coroutine = self._guard() if self._guard is not None else None
        if (
            self.started is None
            and self._gone is not None
            and (coroutine is None or coroutine.cr_frame is None)
        ):
            gone, self._gone = self._gone, None
            self.finish("cancelled")
            gone()

    @_harmless
    def begin(self) -> None:
        """Note the first step, inside the task's own context: from here on its span is the active one."""
        self.begin_detached()
        if self.span is not None:
            self._board.tracing.activate(self.span)

    @_harmless
    def begin_detached(self) -> None:
        """Note the first step without activating the span: an async generator's steps do that one by one."""
        now = time.perf_counter()
        self.started = now
        self._gone = None
        self.started_wall = time.time()
        self.kind.queue_time.record((now - self.submitted) * _MS)
        if self.span is not None:
            self.span.start_ns = time.time_ns()
            self._segment_at = now + self._board.config.task_segment
        task = asyncio.current_task()
        self.asyncio_task = weakref.ref(task) if task is not None else None
        self._board.enter_loop(self)
        self._board.log_start(self)

    def measure(self, meter: Meter) -> None:
        """Have the steps on this loop counted."""
        self._meter = meter

    def steps(self, coroutine: Any) -> Steps:
        """Return `coroutine` to be awaited step by step, as this run's own."""
        self.work.main = steps = self._board.steps(self, coroutine, self._meter)
        return steps

    async def step(self, awaitable: Any) -> Any:
        """Await one step of an async generator with the span active only while the step runs."""
        tracing = self._board.tracing
        before = tracing.active()
        if self.span is not None:
            tracing.activate(self.span)
        if self._meter is not None and self._meter.loop() is not asyncio.get_running_loop():
            self._board.enter_loop(self)
        try:
            return await self.steps(awaitable)
        finally:
            self.work.main = None
            tracing.activate(before)

    def follow_span(self, previous: Any, *, child: bool) -> None:
        """Activate the span of the next segment; in a child task only where none of the user's own is active."""
        tracing = self._board.tracing
        if not child or tracing.active() in (None, previous):
            tracing.activate(self.span)

    @_harmless
    def event(self, event_type: object) -> None:
        """Note an event that the task sent to its clients."""
        now = time.perf_counter()
        self.events += 1
        self.last_event_at = now
        if self.first_event_at is None:
            self.first_event_at = now
            self.history = EventHistory(self._board.config.task_event_history)
            if self.started is not None:
                self.kind.first_event.record((now - self.started) * _MS)
        event_type = event_type if type(event_type) is str else str(event_type)[:50]
        self.kind.count_event(event_type)
        if self.history is not None:
            self.history.note(event_type, now)

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
        self.work.end()
        kind.durations[outcome].record((now - (self.started if self.started is not None else now)) * _MS)
        if self.started is not None:
            kind.count_work(self, now - self.started)
        if self.history is not None and self.history.longest_gap:
            kind.event_gap.record(self.history.longest_gap * _MS)
        if outcome == "completed":
            kind.completed.increment()
        elif outcome == "cancelled":
            kind.cancelled.increment()
        else:
            kind.count_failure(type(error).__name__)
        self._board.finished(self)

    # --- segments -------------------------------------------------------------------------------------------

    def cut_if_long(self, now: float) -> None:
        """Close the span of a long task and open the next one, linked: what has run is then safe with the Agent."""
        if now < self._segment_at or self.span is None:
            return
        with self._board.span_lock:
            if self.outcome is not None:
                return
            previous = self.span
            self.segment += 1
            self._segment_at = now + self._board.config.task_segment
            self.span = self._board.next_segment(self, previous)
        previous.set_tag("task.status", "running")
        previous.set_metric("task.segment", self.segment - 1)
        task_report.tag_span(previous, task_report.measured(self))  # so far
        previous.finish()

    @property
    def duration(self) -> float:
        """Seconds from the first step to the end, or until now."""
        if self.started is None:
            return 0.0
        return (self.ended if self.ended is not None else time.perf_counter()) - self.started


def _say(fault: Exception) -> None:
    say("task", f"streaming_dd failed in a task, which is not affected: {fault!r}", exc_info=True)


class TaskBoard:
    """The live tasks of this process, and the way to submit one."""

    def __init__(self, config: Config, metrics: Metrics, tracing: Tracing, logs: Logs | None) -> None:
        self.config = config
        self.metrics = metrics
        self.tracing = tracing
        self.logs = logs
        self.kinds: dict[tuple[str, str], TaskKind] = {}
        self.span_lock = threading.Lock()
        #: How many clients watch an instance, by the truth of their sockets; the recorder sets it.
        self.clients_of: dict[int, int] | None = None
        #: Who looks after loops and stalled tasks, and how coroutines are stepped; the recorder sets both.
        self.watcher: Watcher | None = None
        #: Who is told of a fault of this package's own; the recorder sets it.
        self.fault: Callable[[Exception], None] = _say
        self.steps: type[Steps] = Steps
        metrics.add_gauges(self._gauges)

    def kind(self, app: str, model: str) -> TaskKind:
        """Return the kind of tasks of this app and model."""
        kind = self.kinds.get((app, model))
        if kind is None:
            if len(self.kinds) >= self.config.max_series:
                app = model = "other"
            clean = (clean_tag_value(app), clean_tag_value(model))
            kind = self.kinds.get(clean) or TaskKind(self.metrics, *clean)
            self.kinds[(app, model)] = self.kinds[clean] = kind
        return kind

    def all_kinds(self) -> list[TaskKind]:
        """Return every kind once: several names may stand for one."""
        return list({id(kind): kind for kind in list(self.kinds.values())}.values())

    def live(self) -> Iterator[TaskRun]:
        """Yield every live run."""
        for kind in self.all_kinds():
            yield from kind.live.copy()

    def submit(
        self, app: str, model: str, task_id: object = "", instance: Any = None, submitted: float | None = None
    ) -> TaskRun:
        """Accept a task: count it started, capture the trace context of the caller, and return its run."""
        kind = self.kind(app, model)
        run = TaskRun(
            self, kind, str(task_id), instance, time.perf_counter() if submitted is None else submitted
        )
        kind.started.increment()
        kind.live.add(run)
        kind.peak.note(len(kind.live))
        if self.tracing.enabled:
            self._open_span(run)
        return run

    def enter_loop(self, run: TaskRun) -> None:
        """Have the running loop looked after, and the steps of a run that begins on it counted."""
        meter = Meter.of_running_loop()
        if self.watcher is not None and meter.watcher is not self.watcher:
            self.watcher.watch(meter)
        if self.config.task_cpu:
            meter.run_code = drive.__code__
            run.measure(meter)

    def run_of(self, instance: Any) -> TaskRun | None:
        """Return the live run of a task's instance."""
        return next((run for run in self.live() if run.instance is instance), None)

    # --- spans and logs of a run ----------------------------------------------------------------------------

    def _tags(self, run: TaskRun) -> dict[str, str]:
        tags = run.kind.span_tags
        return {**tags, "task.id": run.task_id} if run.task_id else tags

    def _open_span(self, run: TaskRun) -> None:
        tags = self._tags(run)
        submit = self.tracing.submit_task(run.kind.resource, tags)
        run.span = self.tracing.start_task(run.kind.resource, tags, submit, {"link.kind": "submitted_by"})
        if submit is not None:
            submit.set_tag("task.trace_id", tracing.format_ids(run.span)[0])
            submit.finish()

    def next_segment(self, run: TaskRun, previous: Any) -> Any:
        """Return the span of a run's next segment, linked to the one before."""
        return self.tracing.start_task(
            run.kind.resource, self._tags(run), previous, {"link.kind": "previous_segment"}
        )

    def finished(self, run: TaskRun) -> None:
        """Finish the span and write the line of a run that has just ended."""
        if run.stall is not None and self.watcher is not None:
            self.watcher.ended(run)
        span = run.span
        report = task_report.measured(run)
        if span is not None:
            span.set_tag("task.status", run.outcome)
            if run.outcome == "completed":
                span.set_tag("task.final_value", short_value(run.value))
            elif run.error is not None:
                tracing.set_error(span, run.error)
            if run.segment > 1:
                span.set_metric("task.segment", run.segment)
            task_report.tag_span(span, report)
            span.finish()
        self._log_end(run, report)

    def log_start(self, run: TaskRun) -> None:
        """Write the line that says that a task started."""
        if self.logs is None:
            return
        kind = run.kind
        if not kind.start_members:
            kind.start_members = self.logs.constant_part({"message": f"task {kind.resource} started"})
        self._write(run, kind.start_members, "INFO")

    def _log_end(self, run: TaskRun, report: dict[str, object]) -> None:
        if self.logs is None:
            return
        line: dict[str, object] = {
            "task.status": run.outcome,
            "duration": int(run.duration * 1e9),
            "task.events": run.events,
            **report,
        }
        if run.outcome == "completed":
            line["task.final_value"] = short_value(run.value)
        if run.error is not None and run.outcome == "failed":
            line["error.kind"], line["error.message"], line["error.stack"] = tracing.describe_error(run.error)
        level = "ERROR" if run.outcome == "failed" else "INFO"
        self.write(run, f"task {run.kind.resource} {run.outcome}", line, level)

    def write(self, run: TaskRun, message: str, fields: Mapping[str, object], level: str = "INFO") -> None:
        """Write a log line about a run, with its names and the ids of its span; from any thread."""
        if self.logs is not None:
            self._write(run, self.logs.constant_part({"message": message, **fields}), level)

    def _write(self, run: TaskRun, members: bytes, level: str) -> None:
        """Write a line of rendered members behind those that all lines of the run have."""
        logs, kind = self.logs, run.kind
        if logs is None:
            return
        if not kind.log_members:
            names = {"logger.name": "streaming_dd.tasks", "task.app": kind.app, "task.model": kind.model}
            kind.log_members = logs.constant_part(names)
        ids = b""
        if run.span is not None:
            trace_id, span_id = tracing.format_ids(run.span)
            ids = b',"dd.trace_id":"%s","dd.span_id":"%s"' % (trace_id.encode(), span_id.encode())
        if run.task_id:
            ids += b"," + logs.constant_part({"task.id": run.task_id})
        line = logs.rendered(b"%s,%s%s" % (members, kind.log_members, ids), level, time.time())
        if line is not None:
            logs.write(line, urgent=level == "ERROR")

    @staticmethod
    def who(run: TaskRun) -> dict[str, object]:
        """Return what a log line needs to be found with its run: the task's id, and the ids of its span."""
        trace_id, span_id = tracing.format_ids(run.span) if run.span is not None else ("0", "0")
        ids: dict[str, object] = {"dd.trace_id": trace_id, "dd.span_id": span_id}
        if run.task_id:
            ids["task.id"] = run.task_id
        return ids

    # --- at every flush, and at the end ----------------------------------------------------------------------

    def _gauges(self) -> Iterable[tuple[Gauge, float]]:
        now = time.monotonic()
        for run in self.live():
            run.end_unstarted()
        for kind in list(self.kinds.values()):
            live = kind.live.copy()
            yield kind.active, len(live)
            yield kind.peak_gauge, kind.peak.read(len(live), now)
            yield kind.clients, max((self.client_count(run) for run in live), default=0)
            yield kind.stalled, sum(1 for run in live if run.stall is not None)

    def client_count(self, run: TaskRun) -> int:
        """Return how many clients watch a run: connected sockets where the middleware sees them."""
        if self.clients_of is not None:
            return self.clients_of.get(id(run.instance), 0)
        clients: Any = getattr(run.instance, "_clients", None)
        return len(clients) if hasattr(clients, "__len__") else 0

    def cut_long_runs(self) -> None:
        """Cut the spans of long tasks; called by the recorder's thread."""
        now = time.perf_counter()
        for run in self.live():
            run.cut_if_long(now)

    def abandon(self) -> None:
        """End every live run: the process goes down, its tasks are cancelled or killed."""
        for run in list(self.live()):
            if run.span is not None:
                run.span.set_tag("task.cancel_reason", "server_shutdown")
            run.finish("cancelled")

    def after_fork(self) -> None:
        """Forget in a forked child the tasks that run in the parent."""
        self.span_lock = threading.Lock()
        for kind in self.kinds.values():
            kind.live = set()
            kind.peak = Peak()


# --- driving a coroutine ------------------------------------------------------------------------------------


async def drive(run: TaskRun, coroutine: Coroutine[Any, Any, Any], *, noted: bool = False) -> Any:
    """Run `coroutine` as the task `run`; what it returns or raises passes through untouched.

    With `noted`, the value was noted by the hooks on the task itself and the coroutine's own is not the task's.
    """
    before = run._board.tracing.active()
    run.begin()
    error: BaseException | None = None
    try:
        value = await run.steps(coroutine)
        if not noted:
            run.note_value(value)
        return value
    except BaseException as raised:
        error = raised
        raise
    finally:
        run.conclude(error)
        run._board.tracing.activate(before)
        del error  # it refers to this frame
