"""The tasks that run and have run, put together from their log lines and `task.run` spans.

State: one `Tasks` per agent, used on its loop only. A span arrives when a task (or a segment of it) ends, so
what runs *now* is known from the line that says a task started: it has `task.model` and no `task.status`.
A task without an id is known by its trace. Workers say every half a minute which long tasks run (`tasks.running`).
A task whose process was killed says nothing any more: another worker of its server does (`tasks.lost`), `end_of`
asks for its process, and `reconcile` finds the others by the gauge of active tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ..intake.logs import Log
from ..intake.spans import Span
from .series import Store

OPERATION = "task.run"
LOGGER = "streaming_dd.tasks"
"""Writes one line at a task's start and one at its end."""
MAX_RUNNING = 2_000
MAX_ENDED = 1_000
MAX_PAGES = 100
ENDED = ("completed", "failed", "cancelled")
GRACE = 60.0
"""Seconds in which a young task cannot be missing from the gauge: two flush intervals and some."""

SAME_START = 1.0
"""Seconds within which the nearest beginning is that of the same task, however the clocks of line and worker run."""
TRACE = "trace "

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
    waits_at: str = ""
    """Where it waited when its worker last spoke of it."""
    last_event: float | None = None
    heard: float | None = None
    """When its worker last said that it runs; None if it never did."""
    pid: int | None = None
    """Its process, as its first line told."""
    host: str = ""
    key: str = ""
    """What tells it from others of its kind: its id, or the trace that it began with."""


class Tasks:
    """Follows tasks by what they log and trace."""

    def __init__(self) -> None:
        self.dropped = 0
        """Running tasks that were forgotten because there were more than `MAX_RUNNING`."""
        self.pages: dict[str, str] = {}
        """By service, the address of its own page of live tasks, where tasks can be cancelled."""
        self._running: dict[_Key, Task] = {}
        self._by_trace: dict[str, Task] = {}
        self._ended: deque[Task] = deque(maxlen=MAX_ENDED)

    def forget(self) -> None:
        """Drop all tasks."""
        for known in (self._running, self._by_trace, self._ended):
            known.clear()
        self.dropped = 0

    def all(self) -> Iterator[Task]:
        """Return the running tasks, longest first, then the ended ones, latest first."""
        yield from sorted(self._running.values(), key=lambda task: task.started)
        yield from reversed(self._ended)

    def add_log(self, log: Log) -> None:
        """Learn from a log line: a task's start, end, or any sign of life."""
        attributes = log.attributes
        if attributes.get("logger.name") == LOGGER and isinstance(attributes.get("tasks.running"), list):
            for told in attributes["tasks.running"]:
                if isinstance(told, dict):
                    self._hear(log, told)
            if len(self.pages) < MAX_PAGES or log.service in self.pages:
                self.pages[log.service] = _page(attributes.get("tasks.page"))
            return
        if isinstance(attributes.get("tasks.lost"), list):
            self._lose(log, [told for told in attributes["tasks.lost"] if isinstance(told, dict)])
            return
        known = self._by_trace.get(log.trace_id) if log.trace_id else None
        if known is None and "task.model" in attributes:
            known = self._start(_key(log.service, attributes, log.trace_id), log)
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
        known = self._by_trace.get(span.trace_id) or self._segment_before(span)
        if known is not None and known.state != "running":
            return  # its last log line came first
        task = known or self._task(_key(span.service, attributes, span.trace_id), span.start_ns / 1e9)
        task.last_seen = max(task.last_seen, end)
        segment = span.metrics.get("task.segment")
        task.segment = int(segment) if segment else task.segment
        self._identify(task, span.trace_id, span.span_id)
        if meta.get("task.status") in ENDED:
            self._end(task, attributes, end, end - task.started)

    def _segment_before(self, span: Span) -> Task | None:
        """Return the task whose segment before this span was of another trace; None for a first segment."""
        if not span.metrics.get("task.segment", 0) > 1:
            return None
        return next(
            (self._by_trace[link.trace_id] for link in span.links if link.trace_id in self._by_trace), None
        )

    def _hear(self, log: Log, told: dict[str, Any]) -> None:
        """Learn from a worker that a task runs: how old it is, when it last sent an event, where it waits."""
        trace_id = str(told.get("trace_id") or "")
        named = {f"task.{name}": told.get(name, "") for name in ("app", "model", "id")}
        started = _number(told.get("started"), log.timestamp - (_number(told.get("age"), 0.0) or 0.0)) or 0.0
        known = self._by_trace.get(trace_id) if trace_id else None
        if known is None and not named["task.id"]:  # its trace is that of a later segment: by its beginning
            kind = (log.service, str(named["task.app"]), str(named["task.model"]))
            near = [
                (abs(task.started - started), task.trace_id, task)
                for task in self._running.values()
                if (task.service, task.app, task.model) == kind and abs(task.started - started) < SAME_START
            ]
            known = min(near, key=lambda found: found[:2])[2] if near else None
        if known is not None and known.state != "running":
            return  # it has ended since the line was written
        task = known or self._task(_key(log.service, named, trace_id), started)
        self._identify(task, trace_id, str(told.get("span_id") or ""))
        task.heard = task.last_seen = max(task.last_seen, log.timestamp)
        task.waits_at = str(told.get("waits_at") or "")
        ago = _number(told.get("last_event_ago"), None)
        task.last_event = None if ago is None else log.timestamp - ago
        events = _number(told.get("events"), None)
        task.events = task.events if events is None else int(events)
        task.segment = int(_number(told.get("segment"), task.segment) or 1)

    def _lose(self, log: Log, lost: list[dict[str, Any]]) -> None:
        """Learn from a worker that another one was killed: what ran in it is lost; without processes, the silent ones."""
        pid = _number(log.attributes.get("tasks.lost_pid"), None)
        for told in lost:
            kind = (log.service, str(told.get("app", "")), str(told.get("model", "")))
            running = [
                task
                for task in self._running.values()
                if (task.service, task.app, task.model) == kind and task.last_seen <= log.timestamp
            ]
            its = [
                task for task in running if task.pid is not None and (task.pid, task.host) == (pid, log.host)
            ]
            unknown = sorted((task for task in running if task.pid is None), key=lambda task: task.last_seen)
            short = max(0, int(_number(told.get("count"), 0.0) or 0) - len(its))
            for task in [*its, *unknown[:short]]:
                self._give_up(task)

    def end_of(self, alive: Callable[[int], bool]) -> None:
        """Mark running tasks as lost whose process is gone: `alive` tells of a process, None is one that is not known."""
        for task in list(self._running.values()):
            if task.pid is None or not alive(task.pid):
                self._give_up(task)

    def _give_up(self, task: Task) -> None:
        task.state = "lost"
        self._close(task)

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
                self._give_up(task)

    def _start(self, key: _Key, log: Log) -> Task:
        """Return the task that a line with an unknown trace is about: a new one, or one in a new segment."""
        running = self._running.get(key) if key[3] == str(log.attributes.get("task.id", "")) else None
        is_start = log.attributes.get("logger.name") == LOGGER and "task.status" not in log.attributes
        if running is not None and is_start:
            self._give_up(running)  # it starts again and nobody saw it end: its process was killed
        task = self._task(key, log.timestamp)
        pid = _number(log.attributes.get("process.pid"), None)
        task.pid, task.host = (task.pid, task.host) if pid is None else (int(pid), log.host)
        self._identify(task, log.trace_id, log.span_id)
        return task

    def _task(self, key: _Key, now: float) -> Task:
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= MAX_RUNNING:
                self._close(next(iter(self._running.values())))
                self.dropped += 1
            task = self._running[key] = Task(
                *key[:3], "" if key[3].startswith(TRACE) else key[3], started=now
            )
            task.key = key[3]
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


def _page(told: object) -> str:
    """Return an address that may be linked to: a page of this machine. Whoever sends a log line chooses what it says."""
    try:
        parts = urlsplit(told if isinstance(told, str) else "")
        host = parts.hostname or ""
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return ""
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.geturl() if here and plain and parts.scheme in ("http", "https") else ""


def _key_of(task: Task) -> _Key:
    return task.service, task.app, task.model, task.key


def _key(service: str, attributes: dict[str, Any], trace_id: str) -> _Key:
    """Return what tells a task from others: its id, or its trace; without both, all of its kind are one."""
    app, model, task_id = (str(attributes.get(f"task.{name}", "")) for name in ("app", "model", "id"))
    return service, app, model, task_id or (f"{TRACE}{trace_id}" if trace_id else "")


def _number(value: object, otherwise: float | None) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


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
