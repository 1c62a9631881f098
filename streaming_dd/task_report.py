"""What a run of a task has to say of itself: the same words on its span, in its log line and in /stats. No state."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from . import tracing, waits
from .steps import WORTH_A_PLACE

if TYPE_CHECKING:
    from .tasks import TaskRun

_VALUE_LIMIT: Final = 100
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
    return found


def _add_events(run: TaskRun, found: dict[str, object]) -> None:
    found["task.events"] = run.events
    history, started = run.history, run.started
    if history is None or started is None or run.first_event_at is None:
        return
    found["task.first_event_ms"] = round((run.first_event_at - started) * _MS, 3)
    found["task.event_gap_ms"] = round(history.longest_gap * _MS, 3)
    found["task.events_per_second"] = round(run.events / max(run.duration, 0.001), 3)
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


def tag_span(span: Any, report: dict[str, object]) -> None:
    """Put what was measured on a run's span: numbers as metrics, words as tags."""
    for name, value in report.items():
        if isinstance(value, str):
            span.set_tag(name, value)
        else:
            span.set_metric(name, value)


def snapshot(run: TaskRun, *, clients: int = 0, awaits: bool = False) -> dict[str, object]:
    """Return a live run as JSON for /stats. With `awaits` it says where the run waits now: code, so not for everyone."""
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


def short_value(value: Any) -> str:
    """Return a result in a form fit for a tag: short scalars as they are, everything else by type and size."""
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:_VALUE_LIMIT]
    if isinstance(value, str) and len(value) <= _VALUE_LIMIT:
        return value
    kind = type(value).__name__
    try:
        return f"{kind} of {len(value)}"
    except Exception:  # noqa: BLE001 - not every object has a length, and a broken __len__ is not ours to report
        return kind
