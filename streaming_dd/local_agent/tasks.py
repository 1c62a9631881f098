"""The tasks that run and have run, put together from their log lines and `task.run` spans.

State: one `Tasks` per agent, used on its loop only. A span arrives when a task (or a segment of it) ends, so
what runs *now* is known from the line that says a task started: it has `task.model` and no `task.status`.
A task whose process was killed says nothing any more: `reconcile` finds those by the gauge of active tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .logs import Log
from .store import Store
from .traces import Span

OPERATION = "task.run"
LOGGER = "streaming_dd.tasks"
"""Writes one line at a task's start and one at its end."""
MAX_RUNNING = 2_000
MAX_ENDED = 1_000
ENDED = ("completed", "failed", "cancelled")
GRACE = 60.0
"""Seconds in which a young task cannot be missing from the gauge: two flush intervals and some."""

_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Task:
    """One run of a task. Times are epoch seconds; `state` is running, completed, failed, cancelled or lost."""

    service: str
    app: str
    model: str
    id: str
    state: str = "running"
    started: float = 0.0
    last_seen: float = 0.0
    ended: float | None = None
    duration: float | None = None
    """Seconds."""
    events: int | None = None
    logs: int = 0
    value: str = ""
    error: str = ""
    trace_id: str = ""
    span_id: str = ""
    segment: int = 1


class Tasks:
    """Follows tasks by what they log and trace."""

    def __init__(self) -> None:
        self.dropped = 0
        """Running tasks that were forgotten because there were more than `MAX_RUNNING`."""
        self._running: dict[_Key, Task] = {}
        self._by_trace: dict[str, Task] = {}
        self._ended: deque[Task] = deque(maxlen=MAX_ENDED)

    def all(self) -> Iterator[Task]:
        """Return the running tasks, longest first, then the ended ones, latest first."""
        yield from sorted(self._running.values(), key=lambda task: task.started)
        yield from reversed(self._ended)

    def add_log(self, log: Log) -> None:
        """Learn from a log line: a task's start, end, or any sign of life."""
        attributes = log.attributes
        known = self._by_trace.get(log.trace_id) if log.trace_id else None
        if known is None and "task.model" in attributes:
            known = self._start(_key(log.service, attributes), log)
        if known is None:
            return
        known.logs += 1
        known.last_seen = max(known.last_seen, log.timestamp)
        if attributes.get("task.status") in ENDED and "task.model" in attributes:
            nanoseconds = attributes.get("duration")
            duration = nanoseconds / 1e9 if isinstance(nanoseconds, int | float) else None
            self._end(known, attributes, log.timestamp, duration)

    def add_span(self, span: Span) -> None:
        """Learn from a `task.run` span: the whole run, or the last segment of a long one."""
        if span.name != OPERATION:
            return
        meta, end = span.meta, (span.start_ns + span.duration_ns) / 1e9
        attributes: dict[str, Any] = {**meta, **span.metrics}
        known = self._by_trace.get(span.trace_id)
        if known is not None and known.state != "running":
            return  # its last log line came first
        task = known or self._task(_key(span.service, attributes), span.start_ns / 1e9)
        task.last_seen = max(task.last_seen, end)
        segment = span.metrics.get("task.segment")
        task.segment = int(segment) if segment else task.segment
        self._identify(task, span.trace_id, span.span_id)
        if meta.get("task.status") in ENDED:
            self._end(task, attributes, end, end - task.started)

    def reconcile(self, active: Callable[[str, str, str], float | None], now: float) -> None:
        """Mark running tasks as lost that the gauge of active tasks does not know.

        `active(service, app, model)` is the gauge's present sum, None if nobody sends it.
        """
        groups: dict[tuple[str, str, str], list[Task]] = {}
        for task in self._running.values():
            if now - max(task.started, task.last_seen) > GRACE:
                groups.setdefault((task.service, task.app, task.model), []).append(task)
        for key, silent in groups.items():
            running = sum((task.service, task.app, task.model) == key for task in self._running.values())
            surplus = running - int(active(*key) or 0)
            for task in sorted(silent, key=lambda task: task.last_seen)[: max(0, surplus)]:
                task.state = "lost"
                self._close(task)

    def _start(self, key: _Key, log: Log) -> Task:
        """Return the task that a line with an unknown trace is about: a new one, or one in a new segment."""
        running = self._running.get(key)
        is_start = log.attributes.get("logger.name") == LOGGER and "task.status" not in log.attributes
        if running is not None and is_start:
            running.state = "lost"  # it starts again and nobody saw it end: its process was killed
            self._close(running)
        task = self._task(key, log.timestamp)
        self._identify(task, log.trace_id, log.span_id)
        return task

    def _task(self, key: _Key, now: float) -> Task:
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= MAX_RUNNING:
                self._close(next(iter(self._running.values())))
                self.dropped += 1
            task = self._running[key] = Task(*key, started=now)
        task.last_seen = max(task.last_seen, now)
        return task

    def _identify(self, task: Task, trace_id: str, span_id: str) -> None:
        if trace_id and trace_id != task.trace_id:
            self._by_trace.pop(task.trace_id, None)
            task.trace_id, task.span_id = trace_id, span_id
            self._by_trace[trace_id] = task

    def _end(self, task: Task, attributes: dict[str, Any], ended: float, duration: float | None) -> None:
        task.state = str(attributes["task.status"])
        task.ended = ended
        task.duration = duration if duration is not None else ended - task.started
        task.started = min(task.started, ended - task.duration)
        events = attributes.get("task.events")
        task.events = int(events) if isinstance(events, int | float) else task.events
        task.value = str(attributes.get("task.final_value", task.value))
        kind = attributes.get("error.kind") or attributes.get("error.type") or ""
        message = attributes.get("error.message") or ""
        task.error = f"{kind}: {message}" if kind and message else str(kind or message or task.error)
        if self._running.get(_key_of(task)) is task:
            self._close(task)

    def _close(self, task: Task) -> None:
        self._running.pop(_key_of(task), None)
        if len(self._ended) == self._ended.maxlen:
            self._by_trace.pop(self._ended.popleft().trace_id, None)
        self._ended.append(task)


def _key_of(task: Task) -> _Key:
    return task.service, task.app, task.model, task.id


def _key(service: str, attributes: dict[str, Any]) -> _Key:
    app, model, task_id = (str(attributes.get(f"task.{name}", "")) for name in ("app", "model", "id"))
    return service, app, model, task_id


def active_by_gauge(store: Store, now: float) -> Callable[[str, str, str], float | None]:
    """Return a reader of the gauges `*.tasks.active`: the sum over workers of their last values."""
    names = [name for name in store.names() if name.endswith("tasks.active")]

    def active(service: str, app: str, model: str) -> float | None:
        wanted = {f"app:{app.lower()}", f"model:{model.lower()}"}
        wanted |= {f"service:{service.lower()}"} if service else set()
        found = [
            series.values[-1]
            for name in names
            for series in store.select(name, wanted.issubset, now - 45, now + 10)
        ]
        return sum(found) if found else None

    return active
