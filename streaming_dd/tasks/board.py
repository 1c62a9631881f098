"""The live tasks of this process, and the way to submit one: `TaskBoard`.

State: the board (it belongs to the recorder) holds a `TaskKind` (kinds.py) per app and model, each with its live runs
and its metric handles. What a run has to say of itself, on its span, in its log line and in /stats, is in report.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import catalog
from ..config import Config
from ..output import failure, tracing
from ..output.metrics import Gauge, Metrics, clean_tag_value
from ..output.notices import say
from ..output.peaks import Peak
from ..output.tracing import Tracing
from . import report as task_report
from .driven import Driven
from .kinds import TaskKind
from .lines import Began, End, TaskLines
from .measuring.memory import MemorySteps
from .measuring.steps import Meter, Steps
from .run import TaskRun
from .words import as_text, short_value, shown_text

if TYPE_CHECKING:
    from ..logs import Logs

_ID_LIMIT: Final = 200
#: Lines that may wait for the recorder's thread; more are written in place.
QUEUE_LIMIT: Final = 5_000
_BATCH: Final = 64


class Watcher(Protocol):
    """Who looks after the loops that tasks run on, and after tasks that stall."""

    #: What a loop's meter has as its watcher once it is looked after.
    monitor: Any

    def watch(self, meter: Meter) -> None:
        """Look after an event loop on which a task begins."""

    def ended(self, run: TaskRun) -> None:
        """Learn that a run that had stalled has ended."""


def _nothing() -> None:
    """Do nothing."""


def _say(fault: Exception) -> None:
    say("task", f"streaming_dd failed in a task, which is not affected: {fault!r}", exc_info=True)


class _DrivenWithMemory(Driven, MemorySteps):
    """A task's coroutine whose steps also count memory."""

    __slots__ = ()


class TaskBoard:
    """The live tasks of this process, and the way to submit one."""

    def __init__(self, config: Config, metrics: Metrics, tracing: Tracing, logs: Logs | None) -> None:
        self.config = config
        self.metrics = metrics
        self.tracing = tracing
        self.lines = TaskLines(logs)
        self.kinds: dict[tuple[str, str], TaskKind] = {}
        #: The live runs of all kinds, for their peak: those of the kinds need not have been at the same moment.
        self.runs: set[TaskRun] = set()
        self.peak = Peak()
        self._worker_peak = metrics.gauge(catalog.TASKS_WORKER_PEAK)
        self.span_lock = threading.Lock()
        #: How many clients watch an instance, by the truth of their sockets; the recorder sets it.
        self.clients_of: dict[int, int] | None = None
        #: Who looks after loops and stalled tasks, and how coroutines are stepped; the recorder sets both.
        self.watcher: Watcher | None = None
        #: Who is told of a fault of this package's own; the recorder sets it.
        self.fault: Callable[[Exception], None] = _say
        #: Sends everything that was recorded, at the end of a process that nobody tells of; the recorder sets it.
        self.drain: Callable[[], None] = _nothing
        self.steps: type[Steps] = Steps
        self.driven: type[Driven] = Driven
        self._said: deque[Began | End] = deque()
        self._twice_gauge = metrics.gauge(catalog.TASKS_TWICE)
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
        run = self._accept(app, model, task_id, instance, submitted)
        if self.tracing.enabled:
            self._open_span(run)
        return run

    def submit_carried(
        self,
        app: str,
        model: str,
        task_id: object,
        submitted: float,
        origin: tuple[int, int] | None,
        trace_id: int | None,
    ) -> TaskRun:
        """Accept a task that a broker has carried here: of this trace, linked to the span that enqueued it."""
        run = self._accept(app, model, task_id, None, submitted)
        if self.tracing.enabled:
            parent = tracing.remote(*origin) if origin is not None else None
            run.span = self.tracing.start_task(
                run.kind.resource, self._tags(run), parent, {"link.kind": "submitted_by"}, trace_id
            )
        return run

    def submit_remotely(self, app: str, model: str, task_id: object) -> Any:
        """Return the open span by which a task is given to a broker; None outside of a trace."""
        kind, name = self.kind(app, model), _name(task_id)
        tags = {**kind.span_tags, "task.id": name} if name else kind.span_tags
        return self.tracing.submit_task(kind.resource, tags)

    def _accept(
        self, app: str, model: str, task_id: object, instance: Any, submitted: float | None
    ) -> TaskRun:
        kind = self.kind(app, model)
        run = TaskRun(
            self,
            kind,
            "" if type(task_id) is str and not task_id else _name(task_id),
            instance,
            time.perf_counter() if submitted is None else submitted,
        )
        kind.started.total += 1
        kind.live.add(run)
        kind.peak.note(len(kind.live))
        self.runs.add(run)
        self.peak.note(len(self.runs))
        return run

    def identify(self, run: TaskRun, task_id: object) -> None:
        """Give a run that has just been submitted its id."""
        run.task_id = _name(task_id)
        if run.span is not None and run.task_id:
            run.span.set_tag("task.id", run.task_id)

    def enter_loop(self, run: TaskRun) -> None:
        """Have the running loop looked after, and the steps of a run that begins on it counted."""
        meter = Meter.of_running_loop()
        watcher = self.watcher
        if watcher is not None and meter.watcher is not watcher.monitor:
            watcher.watch(meter)
        if self.config.task_cpu:
            run.meter = meter

    def measure_memory(self) -> None:
        """Have the memory of the runs that come measured as well, while tracemalloc traces."""
        self.steps, self.driven = MemorySteps, _DrivenWithMemory

    def run_of(self, instance: Any) -> TaskRun | None:
        """Return the live run of a task's instance."""
        return next((run for run in self.live() if run.instance is instance), None)

    # --- spans of a run ----------------------------------------------------------------------------

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

    def open_segment(self, run: TaskRun, previous: Any) -> Any:
        """Return the span of a run's next segment, linked to the one before."""
        return self.tracing.start_task(
            run.kind.resource, self._tags(run), previous, {"link.kind": "previous_segment"}
        )

    def began(self, run: TaskRun) -> None:
        """Note that a run has just begun; its line is written by the recorder's thread."""
        self._later(Began(run, time.time()))

    def finished(self, run: TaskRun) -> None:
        """Finish the span and write the line of a run that has just ended."""
        if run.stall is not None and self.watcher is not None:
            self.watcher.ended(run)
        error = failure.describe(run.error) if run.outcome == "failed" and run.error is not None else None
        value = short_value(run.value) if run.outcome == "completed" else None
        end = End(run, value, error)
        if run.span is not None:
            self.tracing.finish(run.span, run.seconds_of_segment(), _describe_end, end)
        self._later(end)
        if error is not None:
            self.settle()

    def _later(self, said: Began | End) -> None:
        """Have a line written by the recorder's thread; where that is stuck, at once."""
        self._said.append(said)
        if len(self._said) > QUEUE_LIMIT:
            self.settle()

    def settle(self) -> None:
        """Write the lines of the runs that have begun and ended; called by the recorder's thread."""
        waiting = self._said
        while waiting:
            batch: list[Began | End] = []
            try:
                while len(batch) < _BATCH:
                    batch.append(waiting.popleft())
            except IndexError:  # these are all, or another thread does the same
                pass
            self.lines.began_and_ended(batch)
            if waiting:
                time.sleep(0)  # lets the event loop have the interpreter

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
        now, clock = time.monotonic(), time.perf_counter()
        yield self._twice_gauge, _twice(self.live())
        yield self._worker_peak, self.peak.read(len(self.runs), now)
        for kind in self.all_kinds():
            live = kind.live.copy()
            kind.count_seconds(live, clock)
            yield kind.active, len(live)
            yield kind.peak_gauge, kind.peak.read(len(live), now)
            yield kind.clients, max((self.client_count(run) or 0 for run in live), default=0)
            yield kind.stalled, sum(1 for run in live if run.stall is not None)

    def client_count(self, run: TaskRun) -> int | None:
        """Return how many clients watch a run: connected sockets where the middleware sees them; None if unknown."""
        if run.instance is None:
            return None  # as of `@timers.task`: nothing that a stream could watch
        if self.clients_of is not None:
            return self.clients_of.get(id(run.instance), 0)
        try:
            return len(run.instance._clients)
        except Exception:  # noqa: BLE001 - it has none, or they are of a kind of its own
            return 0

    def cut_long_runs(self) -> None:
        """Cut the spans of long tasks; called by the recorder's thread."""
        now = time.perf_counter()
        for run in self.live():
            cut = run.next_segment(now)
            if cut is not None:
                previous, seconds = cut
                said = {
                    "task.status": "running",
                    "task.segment": run.segment - 1,
                    **task_report.measured(run),
                }
                self.tracing.finish(previous, seconds, _as_said, said)

    def abandon(self) -> None:
        """End every live run: the process goes down, its tasks are cancelled or killed."""
        for run in list(self.live()):
            if run.span is not None:
                run.span.set_tag("task.cancel_reason", "server_shutdown")
            run.finish("cancelled")
        self.settle()

    def after_fork(self) -> None:
        """Forget in a forked child the tasks that run in the parent."""
        self.span_lock = threading.Lock()
        self._said.clear()  # the parent will count and log them
        self.runs = set()
        self.peak = Peak()
        for kind in self.kinds.values():
            kind.live = set()
            kind.start_members = b""  # they name the process
            kind.peak = Peak()
            kind.waited_seconds = kind.task_seconds.total


def _twice(runs: Iterable[TaskRun]) -> int:
    """Count the runs whose object (by its class and primary key) another live run has as well."""
    seen: set[tuple[type, str]] = set()
    twice = 0
    for run in runs:
        if run.instance is None:
            continue
        try:
            row = (type(run.instance), as_text(run.instance.pk, _ID_LIMIT))
        except Exception:  # noqa: BLE001 - an object without a key is one of its own
            continue
        twice += row in seen
        seen.add(row)
    return twice


def _name(task_id: object) -> str:
    """Return a task's id as bounded text without secrets."""
    return shown_text(task_id, _ID_LIMIT)


def _describe_end(end: End) -> tracing.Description:
    """What the span of a run says at its end."""
    run = end.run
    tags: dict[str, Any] = {"task.status": run.outcome, **end.measured}
    if end.value is not None:
        tags["task.final_value"] = end.value
    if run.segment > 1:
        tags["task.segment"] = run.segment
    if end.error is not None:
        tags.update(zip(tracing.ERROR_TAGS, end.error, strict=True))
    return None, end.error is not None, tags


def _as_said(said: dict[str, Any]) -> tracing.Description:
    return None, False, said
