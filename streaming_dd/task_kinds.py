"""The tasks of one app and model: their metric handles, their live runs, their totals. State: in each `TaskKind`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from . import catalog
from .catalog import TaskOutcome
from .metrics import Counter, Gauge, Metrics, Timing
from .peaks import Peak
from .task_events import EVENT_TYPES_LIMIT

if TYPE_CHECKING:
    from .tasks import TaskRun

ERROR_TYPES_LIMIT: Final = 50
#: Durations of a kind that are kept to tell its own p95.
_RECENT_LIMIT: Final = 256
_MS: Final = 1000.0


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
        "ended",
        "event_counters",
        "event_gap",
        "failed",
        "failed_by",
        "first_event",
        "live",
        "log_members",
        "longest_step",
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
        self.active: Gauge = metrics.gauge(catalog.TASKS_ACTIVE, **tags)
        self.peak_gauge: Gauge = metrics.gauge(catalog.TASKS_PEAK, **tags)
        self.clients: Gauge = metrics.gauge(catalog.TASK_CLIENTS, **tags)
        self.stalled: Gauge = metrics.gauge(catalog.TASKS_STALLED, **tags)
        self.stalls: dict[str, Counter] = {
            reason: metrics.counter(catalog.TASKS_STALLS, reason=reason, **tags)
            for reason in catalog.STALL_REASONS
        }
        self.peak = Peak()
        self.live: set[TaskRun] = set()
        #: What all its log lines have in common, as JSON.
        self.log_members = b""
        self.start_members = b""
        #: Of the runs that were started and have ended: how many, their seconds, their CPU seconds, the last ones.
        self.ended = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.recent: deque[float] = deque(maxlen=_RECENT_LIMIT)

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

    def count_work(self, run: TaskRun, seconds: float) -> None:
        """Count what a run that has ended took: time, CPU, its longest step, memory where that is measured."""
        work = run.work
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

    def count_event(self, event_type: str) -> None:
        """Count an event that a task sent, by its type."""
        counter = self.event_counters.get(event_type)
        if counter is None:
            if len(self.event_counters) >= EVENT_TYPES_LIMIT:
                event_type = "other"
            counter = self.event_counters[event_type] = self.metrics.counter(
                catalog.TASK_EVENTS, app=self.app, model=self.model, event_type=event_type
            )
        counter.increment()
