"""What a run of a task has to say of itself: the same words on its span, in its log line and in /stats. No state."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from ..output import tracing
from .measuring import waits
from .measuring.steps import WORTH_A_PLACE
from .run import TaskRun

_TYPES_SHOWN: Final = 10
_WAITS_SHOWN: Final = 3
_MS: Final = 1000.0
#: What names lines of the application's code: not for everyone.
_CODE: Final = frozenset({"task.longest_step_at", "task.waited_at"})


def measured(run: TaskRun) -> dict[str, object]:
    """Return what was measured of a run so far, by the names of `catalog.SPAN_TAGS`; what never happened is left out."""
    if run.started is None:
        return {}
    work = run.work
    found: dict[str, object] = {"task.queue_time_ms": round((run.started - run.submitted) * _MS, 3)}
    if work.steps:
        found["task.cpu_ms"] = round(work.cpu_total * _MS, 3)
        found["task.steps"] = work.steps
        if work.longest >= WORTH_A_PLACE:  # below that it held nobody up
            found["task.loop_ms"] = round(work.held * _MS, 3)
            found["task.longest_step_ms"] = round(work.longest * _MS, 3)
            if work.longest_at is not None:
                found["task.longest_step_at"] = str(work.longest_at)
    if work.thread_calls:
        found["task.thread_cpu_ms"] = round(work.thread_cpu * _MS, 3)
        found["task.thread_calls"] = work.thread_calls
    if work.memory is not None:
        found["task.memory_peak"] = work.memory_peak
        found["task.memory_left"] = work.memory
    if run.waits:
        found["task.waited_at"] = waited_at(run)
    if run.stalls:
        found["task.stalls"] = run.stalls
    if run.events:
        _add_events(run, found)
    if run.said is not None:
        found.update(run.said.report())
    return found


def _add_events(run: TaskRun, found: dict[str, object]) -> None:
    found["task.events"] = run.events
    history, started = run.history, run.started
    if history is None or started is None or run.first_event_at is None:
        return
    found["task.first_event_ms"] = round((run.first_event_at - started) * _MS, 3)
    found["task.event_gap_ms"] = round(history.longest_gap * _MS, 3)
    if run.events > 1 and run.duration >= 1:  # of one event, or of a moment, a rate says nothing
        found["task.events_per_second"] = round(run.events / run.duration, 3)
    by_type = sorted(history.by_type.items(), key=lambda item: -item[1])[:_TYPES_SHOWN]
    found["task.event_types"] = ", ".join(f"{name}:{count}" for name, count in by_type)
    if history.recent:
        recent = list(history.recent)
        found["task.last_events"] = ", ".join(f"{name} +{at - started:.3f}s" for at, name in recent)


def waited_at(run: TaskRun) -> str:
    """Return where a run was seen most often by the looks at it, such as `models.py:88 in process 95%`."""
    counts = sorted(run.waits.copy().items(), key=lambda item: -item[1])
    total = sum(count for _, count in counts)
    return "; ".join(f"{place} {100 * count / total:.0f}%" for place, count in counts[:_WAITS_SHOWN])


def snapshot(run: TaskRun, *, clients: int | None = None, awaits: bool = False) -> dict[str, object]:
    """Return a live run as JSON for /stats; None as `clients` is null: unknown.

    With `awaits` it says where the run waits now: code, so not for everyone.
    """
    now = time.perf_counter()
    since = run.started if run.started is not None else run.submitted
    state = "queued" if run.started is None else "stalled" if run.stall is not None else "running"
    found: dict[str, object] = {
        "app": run.kind.app,
        "model": run.kind.model,
        "id": run.task_id,
        "state": state,
        "age_seconds": round(max(now - since, 0.0), 3),
        "since": _iso(now, since),
        "clients": clients,
        **{
            name.removeprefix("task."): value
            for name, value in measured(run).items()
            if awaits or name not in _CODE
        },
    }
    if run.last_event_at is not None:
        found["last_event_seconds_ago"] = round(max(now - run.last_event_at, 0.0), 3)
    if run.history is not None:
        recent = list(run.history.recent)
        found["last_events"] = [{"type": name, "at": _iso(now, at)} for at, name in recent]
        found["event_types"] = run.history.by_type.copy()
    if run.stall is not None:
        found["stall"] = run.stall.as_json(now)
    if run.span is not None:
        found["trace_id"] = tracing.format_ids(run.span)[0]
    if awaits and run.started is not None:
        wait = waits.look(run.work)
        found["waits_at"] = wait.at
        found["awaits"] = wait.lines()
    return found


def _iso(now: float, moment: float) -> str:
    """A perf_counter() moment as the wall clock shows it today, jumps of that clock included."""
    return datetime.fromtimestamp(time.time() - (now - moment), UTC).isoformat(timespec="milliseconds")
