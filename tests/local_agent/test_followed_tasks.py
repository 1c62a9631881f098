"""Tasks as put together from log lines and spans: starts, ends, restarts, segments, and tasks whose process died."""

from __future__ import annotations

import pytest
from local_agent_helpers import START, make_span

from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.intake.spans import SpanLink
from streaming_dd.local_agent.store import tasks
from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.store.tasks import Task, Tasks, active_by_gauge

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


def numbered(board: Tasks, *pids: int | None) -> None:
    """Begin a task with the next id in each of these processes."""
    for number, pid in enumerate(pids):
        log = line(number, number + 1, **({} if pid is None else {"process__pid": pid}))
        log.attributes["task.id"] = str(number)
        board.add_log(log)


def killed(pid: int, count: int) -> Log:
    lost = [{"app": "reports", "model": "Summary", "count": count}]
    return Log(
        START + 9, "error", "m", "web",
        attributes={"logger.name": "streaming_dd", "tasks.lost": lost, "tasks.lost_pid": pid},
    )  # fmt: skip


def by_id(board: Tasks) -> dict[str, str]:
    return {task.id: task.state for task in board.all()}


def test_what_a_killed_worker_ran_is_lost_as_soon_as_a_sibling_says_so() -> None:
    """The tasks of that process are lost at once, those of others run on; without processes the silent ones go."""
    board = Tasks()
    numbered(board, 11, 12, 11, 12)
    board.add_log(killed(11, 2))
    assert by_id(board) == {"0": "lost", "1": "running", "2": "lost", "3": "running"}
    unnamed = Tasks()
    numbered(unnamed, None, None, None)
    unnamed.add_log(killed(11, 2))
    assert by_id(unnamed) == {"0": "lost", "1": "lost", "2": "running"}


def test_tasks_of_processes_that_are_gone_are_lost() -> None:
    """When a command has ended, only what runs in a process that is still there is running."""
    board = Tasks()
    numbered(board, 11, 12, None)
    board.end_of(lambda pid: pid == 12)
    assert by_id(board) == {"0": "lost", "1": "running", "2": "lost"}


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


def without_id(second: float, trace: int, **attributes: object) -> Log:
    log = line(second, trace, **attributes)
    del log.attributes["task.id"]
    return log


def beat(second: float, *told: dict[str, object]) -> Log:
    """The line by which a worker says which long tasks run."""
    attributes = {"logger.name": "streaming_dd.tasks", "tasks.count": len(told), "tasks.running": list(told)}
    return Log(START + second, "info", "tasks run", "web", attributes=attributes)


def told(trace: int, started: float, **more: object) -> dict[str, object]:
    named = {"app": "reports", "model": "Summary", "id": "", "started": START + started}
    return {**named, "trace_id": f"{trace:032x}", "span_id": str(trace), **more}


def test_tasks_without_an_id_are_told_apart_by_their_trace() -> None:
    """Three decorated functions run at once: none is lost because another of its kind started."""
    board = Tasks()
    for trace in (1, 2, 3):
        board.add_log(without_id(trace, trace))
    assert [task.state for task in board.all()] == ["running"] * 3
    board.add_log(without_id(9, 2, **END))
    assert sorted(task.state for task in board.all()) == ["completed", "running", "running"]


def test_a_worker_says_which_long_tasks_run() -> None:
    """A task that logs nothing is heard of: its last event, where it waits, also in a later segment of another trace."""
    board = Tasks()
    board.add_log(without_id(0, 1))
    board.add_log(beat(30, told(1, 0, waits_at="jobs.py:7 in fetch", events=3, last_event_ago=12.5)))
    task = only(board)
    assert (task.last_seen, task.waits_at, task.events) == (START + 30, "jobs.py:7 in fetch", 3)
    assert task.last_event == START + 17.5
    board.add_log(beat(660, told(99, 0, segment=2)))
    assert only(board).trace_id == f"{99:032x}"
    board.add_log(without_id(700, 99, **END))
    assert only(board).state == "completed"


def test_a_beat_of_a_task_that_has_just_ended_does_not_wake_it() -> None:
    """Lines come in any order: what has ended stays ended; an unknown task begins with what is told."""
    board = Tasks()
    board.add_log(without_id(0, 1))
    board.add_log(without_id(31, 1, **END))
    board.add_log(beat(30, told(1, 0)))
    assert only(board).state == "completed"
    board.add_log(beat(60, told(5, 20, age=40.0), {"odd": 1}))
    assert {task.state for task in board.all() if task.trace_id == f"{5:032x}"} == {"running"}


def test_a_later_segments_span_belongs_to_the_task_that_it_links_to() -> None:
    """The last segment of a task without an id ends the task that began in another trace."""
    board = Tasks()
    board.add_log(without_id(0, 1))
    link = SpanLink(f"{1:032x}", "1", {"link.kind": "previous_segment"})
    board.add_span(
        make_span(
            name="task.run", trace_id=f"{2:032x}", span_id="2", start_ns=int((START + 600) * 1e9),
            duration_ns=5 * 10**9, links=[link], metrics={"task.segment": 2.0},
            meta={"task.app": "reports", "task.model": "Summary", "task.status": "completed"},
        )
    )  # fmt: skip
    assert (only(board).state, only(board).segment) == ("completed", 2)


@pytest.mark.parametrize(
    ("said", "linked"),
    [
        ("http://127.0.0.1:8000/admin/live-tasks/", True),
        ("https://localhost/live", True),
        ("http://[::1]:8000/live", True),
        ("https://reports.example.com/live", False),
        ("http://127.0.0.1.example.com/live", False),
        ("javascript:alert(1)", False),
        ("//127.0.0.1/live", False),
        ("http://me:secret@127.0.0.1/live", False),
        ("http://127.0.0.1/live?token=secret", False),
        ("http://[broken", False),
        (7, False),
        (None, False),
    ],
)
def test_only_pages_of_this_machine_are_linked_to(said: object, linked: bool) -> None:
    """Whoever sends a log line chooses what is in it: an address that leads elsewhere or has a secret in it is left out."""
    board = Tasks()
    log = beat(30, told(1, 0))
    log.attributes["tasks.page"] = said
    board.add_log(log)
    assert board.pages == {"web": said if linked else ""}
