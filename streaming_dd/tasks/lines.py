"""The log lines of tasks: started, ended, and what others say of a run. State: none; a kind keeps its constant parts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..output import told, tracing
from .report import measured
from .run import TaskRun, current

if TYPE_CHECKING:
    from ..logs import Logs


class Began(NamedTuple):
    """That a run has begun."""

    run: TaskRun
    #: Wall-clock seconds.
    at: float


class End:
    """How a run has ended, as it was then: its result in a form fit for a tag, its error described."""

    __slots__ = ("_measured", "at", "error", "run", "value")

    def __init__(self, run: TaskRun, value: str | None, error: tuple[str, str, str] | None) -> None:
        self.run = run
        self.value = value
        self.error = error
        #: Wall-clock seconds.
        self.at = time.time()
        self._measured: dict[str, object] | None = None

    @property
    def measured(self) -> dict[str, object]:
        """What was measured of the run, found once for its span and its line; not to be changed."""
        found = self._measured
        if found is None:
            found = self._measured = measured(self.run)
        return found


class TaskLines:
    """Writes the lines of runs, from any thread; does nothing where logs are off."""

    def __init__(self, logs: Logs | None) -> None:
        self._logs = logs
        if logs is not None:
            logs.around = names_of_current

    def began_and_ended(self, said: Iterable[Began | End]) -> None:
        """Write the lines that say that tasks have begun and how they have ended, many at a time."""
        logs = self._logs
        if logs is None:
            return
        lines: list[bytes] = []
        for one in said:
            line = self._start(logs, one) if type(one) is Began else self._end(logs, one)  # type: ignore[arg-type]
            if line is None:
                continue
            if type(one) is End and one.run.outcome == "failed":
                logs.write_many(lines)
                lines = []
                logs.write(line, urgent=True)
            else:
                lines.append(line)
        if lines:
            logs.write_many(lines)

    def _start(self, logs: Logs, began: Began) -> bytes | None:
        run, at = began
        kind = run.kind
        if not kind.start_members:
            kind.start_members = logs.constant_part(
                {"message": f"task {kind.resource} started", "process.pid": os.getpid()}
            )
        return logs.rendered(b"%s,%s" % (kind.start_members, self._names(logs, run)), "INFO", at)

    def _end(self, logs: Logs, end: End) -> bytes | None:
        run, found = end.run, end.measured
        outcome = run.outcome or ""
        message = run.kind.end_messages.get(outcome)
        if message is None:
            message = logs.mask(f"task {run.kind.resource} {outcome}")
            run.kind.end_messages[outcome] = message
        line: dict[str, object] = {
            "message": message,
            "task.status": outcome,
            "duration": int(run.duration * 1e9),
            "task.events": run.events,
            **found,
        }
        if end.value is not None:  # which is fit to be shown
            line["task.final_value"] = end.value
        level = "ERROR" if outcome == "failed" else "INFO"
        if end.error is None and str not in map(type, found.values()):
            return logs.rendered_fields(line, level, end.at, self._names(logs, run))
        if end.error is not None:
            line["error.kind"], line["error.message"], line["error.stack"] = end.error
            if run.error is not None:
                told.note(run.error)  # asyncio writes it again if nobody awaits the task
        return logs.rendered(b"%s,%s" % (logs.constant_part(line), self._names(logs, run)), level, end.at)

    def running(self, message: str, fields: Mapping[str, object]) -> None:
        """Write what is known of the tasks that run, in one line."""
        if self._logs is None:
            return
        members = {"message": message, "logger.name": "streaming_dd.tasks", **fields}
        line = self._logs.rendered(self._logs.constant_part(members), "INFO", time.time())
        if line is not None:
            self._logs.write(line)

    def write(self, run: TaskRun, message: str, fields: Mapping[str, object], level: str = "INFO") -> None:
        """Write a log line about a run, with its names and the ids of its span; from any thread."""
        logs = self._logs
        if logs is None:
            return
        members = logs.constant_part({"message": message, **fields})
        line = logs.rendered(b"%s,%s" % (members, self._names(logs, run)), level, time.time())
        if line is not None:
            logs.write(line, urgent=level == "ERROR")

    @staticmethod
    def _names(logs: Logs, run: TaskRun) -> bytes:
        """Return what all lines of a run have in common, as JSON: found once for each segment of its span."""
        span = run.span
        names = run.names
        if names is not None and names[0] is span:
            return names[1]
        kind = run.kind
        if not kind.log_members:
            kind.log_members = logs.constant_part(
                {"logger.name": "streaming_dd.tasks", "task.app": kind.app, "task.model": kind.model}
            )
        found = kind.log_members
        if span is not None:
            trace_id, span_id = tracing.format_ids(span)
            found = b'%s,"dd.trace_id":"%s","dd.span_id":"%s"' % (found, trace_id.encode(), span_id.encode())
        if run.task_id:
            found += b"," + logs.constant_part({"task.id": run.task_id})
        run.names = (span, found)
        return found


def names_of_current() -> dict[str, str] | None:
    """Return the names of the task that runs in this context: what people search its lines by."""
    run = current.get()
    if run is None:
        return None
    names = {"task.app": run.kind.app, "task.model": run.kind.model}
    return {"task.id": run.task_id, **names} if run.task_id else names
