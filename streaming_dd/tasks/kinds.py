"""The tasks of one app and model: their metric handles, their live runs, their totals. State: in each `TaskKind`."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from .. import catalog
from ..catalog import TaskOutcome
from ..output import failure
from ..output.metrics import Counter, Gauge, Metrics, Timing
from ..output.peaks import Peak
from .events import EVENT_TYPES_LIMIT
from .measuring.work import Work
from .words import shown_name

ERROR_TYPES_LIMIT: Final = 50
#: Durations of a kind that are kept to tell its own p95.
_RECENT_LIMIT: Final = 256
_MS: Final = 1000.0
_EVENT_TYPE_LIMIT: Final = 50


class TaskKind:
    """All tasks of one app and model: their handles, their live runs, their totals."""

    __slots__ = (
        "active",
        "app",
        "cancelled",
        "clients",
        "completed",
        "cpu_seconds",
        "cpu_time",
        "durations",
        "end_messages",
        "ended",
        "event_counters",
        "event_gap",
        "failed",
        "failed_by",
        "first_event",
        "known_events",
        "live",
        "log_members",
        "longest_step",
        "lost",
        "memory",
        "metrics",
        "model",
        "peak",
        "peak_gauge",
        "queue_time",
        "recent",
        "resource",
        "seconds",
        "span_tags",
        "stalled",
        "stalls",
        "start_members",
        "started",
        "task_seconds",
        "waited_seconds",
    )

    def __init__(self, metrics: Metrics, app: str, model: str) -> None:
        self.metrics = metrics
        self.app = app
        self.model = model
        self.resource = f"{app}.{model}"
        self.span_tags = {"task.app": app, "task.model": model}
        tags = {"app": app, "model": model}
        self.started = metrics.counter(catalog.TASKS_STARTED, **tags)
        self.completed = metrics.counter(catalog.TASKS_COMPLETED, **tags)
        self.cancelled = metrics.counter(catalog.TASKS_CANCELLED, **tags)
        #: Those of other workers, which were killed.
        self.lost = metrics.counter(catalog.TASKS_LOST, **tags)
        #: The zero that a monitor on failures needs before the first failure.
        self.failed_by: dict[str, Counter] = {
            "none": metrics.counter(catalog.TASKS_FAILED, error_type="none", **tags)
        }
        self.failed = 0
        self.durations: dict[TaskOutcome, Timing] = {
            outcome: metrics.timing(catalog.TASK_DURATION, outcome=outcome, **tags)
            for outcome in catalog.TASK_OUTCOMES
        }
        self.queue_time = metrics.timing(catalog.TASK_QUEUE_TIME, **tags)
        self.cpu_time = metrics.timing(catalog.TASK_CPU_TIME, **tags)
        self.longest_step = metrics.timing(catalog.TASK_LONGEST_STEP, **tags)
        self.memory: Timing | None = None
        self.first_event = metrics.timing(catalog.TASK_FIRST_EVENT, **tags)
        self.event_gap = metrics.timing(catalog.TASK_EVENT_GAP, **tags)
        self.event_counters: dict[str, Counter] = {}
        #: What the first types are shown as, and counted by, as the tasks write them.
        self.known_events: dict[str, tuple[str, Counter]] = {}
        self.active: Gauge = metrics.gauge(catalog.TASKS_ACTIVE, **tags)
        self.peak_gauge: Gauge = metrics.gauge(catalog.TASKS_PEAK, **tags)
        self.clients: Gauge = metrics.gauge(catalog.TASK_CLIENTS, **tags)
        self.stalled: Gauge = metrics.gauge(catalog.TASKS_STALLED, **tags)
        self.stalls: dict[str, Counter] = {
            reason: metrics.counter(catalog.TASKS_STALLS, reason=reason, **tags)
            for reason in catalog.STALL_REASONS
        }
        self.peak = Peak()
        #: Its live runs (`TaskRun`, which stands above this).
        self.live: set[Any] = set()
        #: What all its log lines have in common, as JSON.
        self.log_members = b""
        self.start_members = b""
        self.end_messages: dict[str, str] = {}
        #: Of the runs that were started and have ended: how many, their seconds, their CPU seconds, the last ones.
        self.ended = 0
        self.seconds = 0.0
        #: Seconds of all runs that have ended, from their submission; with those of the live ones a counter.
        self.waited_seconds = 0.0
        self.task_seconds = metrics.counter(catalog.TASKS_SECONDS, **tags)
        self.cpu_seconds = 0.0
        self.recent: deque[float] = deque(maxlen=_RECENT_LIMIT)

    def count_outcome(self, outcome: TaskOutcome, error: BaseException | None) -> None:
        """Count an end; a failure by the type of its error."""
        if outcome == "completed":
            self.completed.total += 1
        elif outcome == "cancelled":
            self.cancelled.increment()
        else:
            self.count_failure(failure.type_name(error) if error is not None else "none")

    def count_failure(self, error_type: str) -> None:
        """Count a failure by the class name of its error."""
        self.failed += 1
        counter = self.failed_by.get(error_type)
        if counter is None:
            if len(self.failed_by) >= ERROR_TYPES_LIMIT:
                error_type = "other"
            counter = self.failed_by[error_type] = self.metrics.counter(
                catalog.TASKS_FAILED, app=self.app, model=self.model, error_type=error_type
            )
        counter.increment()

    def count_work(self, work: Work, seconds: float) -> None:
        """Count what a run that has ended took: time, CPU, its longest step, memory where that is measured."""
        cpu = work.cpu_total
        self.ended += 1
        self.seconds += seconds
        self.cpu_seconds += cpu
        self.recent.append(seconds)
        if work.steps:
            self.cpu_time.record(cpu * _MS)
            self.longest_step.record(work.longest * _MS)
        if work.memory is not None:
            if self.memory is None:
                self.memory = self.metrics.timing(catalog.TASK_MEMORY, app=self.app, model=self.model)
            self.memory.record(work.memory_peak)

    def count_seconds(self, live: set[Any], now: float) -> None:
        """Bring the counter of task-seconds up to `now` (perf_counter); it never shrinks, whatever ends meanwhile."""
        total = self.waited_seconds + sum(max(0.0, now - run.submitted) for run in live if run.ended is None)
        if total > self.task_seconds.total:
            self.task_seconds.total = total

    def count_event(self, event_type: object) -> str:
        """Count an event that a task sent, by its type; return the type as it may be shown."""
        found = self.known_events.get(event_type) if type(event_type) is str else None
        if found is None:
            found = self._event(event_type)
        name, counter = found
        counter.total += 1
        return name

    def _event(self, event_type: object) -> tuple[str, Counter]:
        name = key = shown_name(event_type, _EVENT_TYPE_LIMIT)
        counter = self.event_counters.get(key)
        if counter is None:
            if len(self.event_counters) >= EVENT_TYPES_LIMIT:
                key = "other"
            counter = self.event_counters[key] = self.metrics.counter(
                catalog.TASK_EVENTS, app=self.app, model=self.model, event_type=key
            )
        if type(event_type) is str and len(self.known_events) < EVENT_TYPES_LIMIT:
            self.known_events[event_type] = (name, counter)
        return name, counter
