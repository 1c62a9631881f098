"""Tasks as put together from log lines and spans: starts, ends, restarts, segments, and tasks whose process died."""

from __future__ import annotations

import pytest
from local_agent_helpers import START, make_span

from streaming_dd.local_agent import tasks
from streaming_dd.local_agent.logs import Log
from streaming_dd.local_agent.store import Store
from streaming_dd.local_agent.tasks import Task, Tasks, active_by_gauge

IDENTITY = {"task.app": "reports", "task.model": "Summary", "task.id": "7"}


def line(second: float, trace: int, *, logger: str = "streaming_dd.tasks", **attributes: object) -> Log:
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return Log(
        START + second, "info", "m", "web", trace_id=f"{trace:032x}", span_id=str(trace),
        attributes={"logger.name": logger, **IDENTITY, **named},
    )  # fmt: skip


def run_span(trace: int, second: float, seconds: float, **meta: str):
    return make_span(
        name="task.run", trace_id=f"{trace:032x}", span_id=str(trace), start_ns=int((START + second) * 1e9),
        duration_ns=int(seconds * 1e9), meta={**IDENTITY, **{k.replace("__", "."): v for k, v in meta.items()}},
    )  # fmt: skip


def only(board: Tasks) -> Task:
    (task,) = board.all()
    return task


END = {"task__status": "completed", "duration": 5 * 10**9, "task__events": 12, "task__final_value": "42"}


def test_start_line_runs_end_line_ends() -> None:
    """From its first line a task runs; its last line tells outcome, duration, events and value."""
    board = Tasks()
    board.add_log(line(0, 1))
    assert (only(board).state, only(board).trace_id) == ("running", f"{1:032x}")
    board.add_log(line(2, 1, logger="reports.jobs"))
    board.add_log(Log(START + 3, "info", "a user's line", trace_id=f"{1:032x}"))
    board.add_log(line(5, 1, **END))
    task = only(board)
    assert (task.state, task.started, task.ended, task.duration) == ("completed", START, START + 5, 5.0)
    assert (task.events, task.value, task.logs, task.last_seen) == (12, "42", 4, START + 5)


@pytest.mark.parametrize("span_first", [True, False])
def test_span_and_last_line_are_one_task_in_any_order(span_first: bool) -> None:
    """The span arrives a second before or after the last line: it is the same run."""
    board = Tasks()
    board.add_log(line(0, 1))
    failed = {"task__status": "failed", "error__message": "no"}
    steps = [
        lambda: board.add_span(run_span(1, 0, 5, **failed, error__type="ValueError")),
        lambda: board.add_log(line(5, 1, **failed, error__kind="ValueError", duration=5 * 10**9)),
    ]
    for step in steps if span_first else reversed(steps):
        step()
    task = only(board)
    assert (task.state, task.error, task.duration) == ("failed", "ValueError: no", pytest.approx(5.0))


def test_span_alone_is_a_task() -> None:
    """Without logs the spans tell what ran, after the fact."""
    board = Tasks()
    board.add_span(run_span(1, 0, 5, task__status="cancelled"))
    board.add_span(make_span(name="other"))
    task = only(board)
    assert (task.state, task.started, task.duration, task.app) == (
        "cancelled",
        START,
        pytest.approx(5),
        "reports",
    )


def test_segments_are_one_task() -> None:
    """A long task's segments are traces of their own; it goes on running until the last one."""
    board = Tasks()
    board.add_log(line(0, 1))
    board.add_span(run_span(1, 0, 600, task__status="running"))
    board.add_log(line(650, 2, logger="reports.jobs"))
    assert (only(board).state, only(board).trace_id) == ("running", f"{2:032x}")
    board.add_log(line(700, 2, task__status="completed", duration=700 * 10**9))
    assert (only(board).state, only(board).duration) == ("completed", 700.0)


def test_same_task_again_is_another_run() -> None:
    """A task that ended and starts again is listed twice, the running one first."""
    board = Tasks()
    for start in (0, 10):
        board.add_log(line(start, start + 1))
        board.add_log(line(start + 5, start + 1, **END))
    board.add_log(line(20, 21))
    assert [(task.state, task.started - START) for task in board.all()] == [
        ("running", 20), ("completed", 10), ("completed", 0),
    ]  # fmt: skip


def test_start_of_a_running_task_means_its_process_was_killed() -> None:
    """Nobody saw the first run end: it is lost, not running for ever."""
    board = Tasks()
    board.add_log(line(0, 1))
    board.add_log(line(100, 2))
    assert [task.state for task in board.all()] == ["running", "lost"]


def test_gauge_of_active_tasks_finds_the_dead(store: Store) -> None:
    """Silent running tasks beyond what `tasks.active` says are lost; without the gauge all silent ones are."""
    board = Tasks()
    for number in range(3):
        log = line(number, number + 1)
        log.attributes["task.id"] = str(number)
        board.add_log(log)
    now = START + 100.0
    store.clock = lambda: now
    for worker in (0, 1):
        tags = frozenset(("app:reports", "model:summary", "service:web", f"worker:{worker}"))
        store.put("streaming.tasks.active", tags, "gauge", START + 80, worker)
    active = active_by_gauge(store, now)
    assert active("web", "reports", "Summary") == 1.0
    assert active("web", "reports", "Other") is None
    board.reconcile(active, START + 30)
    assert [task.state for task in board.all()] == ["running"] * 3
    board.reconcile(active, now)
    assert [(task.id, task.state) for task in board.all()] == [("2", "running"), ("1", "lost"), ("0", "lost")]
    board.reconcile(lambda *key: None, now)
    assert {task.state for task in board.all()} == {"lost"}


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tasks start and never end, or end, so many are kept."""
    monkeypatch.setattr(tasks, "MAX_RUNNING", 10)
    monkeypatch.setattr(tasks, "MAX_ENDED", 20)
    board = Tasks()
    for number in range(100):
        log = line(number, number + 1)
        log.attributes["task.id"] = str(number)
        board.add_log(log)
    assert len(list(board.all())) == 30
    assert board.dropped == 90
    assert len(board._by_trace) == 30
