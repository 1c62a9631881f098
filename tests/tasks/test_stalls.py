"""Stalled tasks: one line when a task stalls, with where it waits; one when it moves again."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import time
from typing import Any

import pytest

from streaming_dd import catalog, recorder, timers
from streaming_dd.tasks.run import TaskRun
from streaming_dd.tasks.watchdog import P95_NEEDS, PLACES_PER_LOOK, Watchdog


def stall_lines(captured: Any) -> list[dict[str, Any]]:
    return [line for line in captured.logs.lines if "task.stalled" in line]


def look() -> None:
    recorder.get().insight.watchdog.look()


class Later:
    """A clock that stands `ahead` seconds after what the live tasks did last: began, or sent an event."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        began = [run for run in recorder.get().tasks.live() if run.started is not None]
        return max((run.last_event_at or run.started or 0.0 for run in began), default=0.0) + self.ahead


def watchdog(ahead: float) -> Watchdog:
    """The watchdog as it will look in `ahead` seconds."""
    board = recorder.get().tasks
    return Watchdog(board.config, board, clock=Later(ahead), pause=lambda: None)


def look_alone() -> None:
    """Have nobody look at tasks but the test."""
    recorder.get().insight.monitor._look = lambda: None


class Row:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def locked(self) -> None:
        async with self.lock:
            await asyncio.sleep(0)


def line_of(function: Any, after: int) -> int:
    return inspect.getsourcelines(function)[1] + after


def test_a_task_that_is_too_old_says_where_it_waits(run: Any, capture: Any) -> None:
    """A task over its limit: counter, gauge, one line down to the innermost await, the same on span and snapshot."""
    with capture(task_max_age=30, task_silence=0) as captured:

        @timers.task("reports.export")
        async def export(row: Row) -> None:
            await row.locked()

        async def main() -> None:
            row = Row()
            await row.lock.acquire()
            task = asyncio.create_task(export(row))
            await asyncio.sleep(0.01)
            await asyncio.to_thread(watchdog(29).look)
            assert stall_lines(captured) == []
            for ahead in (31, 32, 40):
                await asyncio.to_thread(watchdog(ahead).look)
            (line,) = stall_lines(captured)
            where = f"test_stalls.py:{line_of(Row.locked, 1)} in Row.locked"
            assert line["status"] == "warning"
            assert line["task.stalled"] == "too_old"
            assert "its limit is 30.0 s" in line["message"]
            assert where in line["task.waits_at"]
            assert "locks.py" in line["task.waits_at"]
            assert [text.rpartition(" in ")[2].rpartition(".")[2] for text in line["task.awaits"]] == [
                "export",
                "locked",
                "__aenter__",
                "acquire",
            ]
            captured.metrics.assert_count(catalog.TASKS_STALLS, 1, reason="too_old", model="export")
            captured.metrics.assert_gauge(catalog.TASKS_STALLED, 1, model="export")
            row.lock.release()
            await task

        run(main())
        stalled, moved = stall_lines(captured)
        assert "moved again: completed" in moved["message"]
        assert moved["status"] == "info"
        captured.metrics.assert_gauge(catalog.TASKS_STALLED, 0, model="export")
        span = captured.spans.one("task.run")
        assert span.tags["task.stalled"] == "too_old"
        assert span.tags["task.waits_at"] == stalled["task.waits_at"]
        assert span.tags["task.awaits"].splitlines() == stalled["task.awaits"]
        assert span.metrics["task.stalls"] == 1


def test_a_stalled_task_that_goes_on_says_so_once(run: Any, capture: Any) -> None:
    """When a stalled task waits elsewhere it moves again; it is written about anew at twice the age, not every second."""
    with capture(task_max_age=30, task_silence=0) as captured:
        first, second = asyncio.Event(), asyncio.Event()

        @timers.task("reports.export")
        async def export() -> None:
            await first.wait()
            await second.wait()

        async def main() -> None:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.01)
            await asyncio.to_thread(watchdog(31).look)
            first.set()
            await asyncio.sleep(0.01)
            for ahead in (32, 33, 59, 61, 62):
                await asyncio.to_thread(watchdog(ahead).look)
            second.set()
            await task

        run(main())
        kinds = ["stalled:" in line["message"] for line in stall_lines(captured)]
        assert kinds == [True, False, True, False]


def test_a_silent_task_moves_again_with_its_next_event(run: Any, capture: Any) -> None:
    """A task that sends events and stops is silent, until it sends one; one that never sends any is not."""
    with capture(task_silence=30, task_max_age_p95=0) as captured:
        more = asyncio.Event()

        @timers.task("reports.rows")
        async def rows() -> Any:
            yield 1
            await more.wait()
            yield 2
            await asyncio.Event().wait()

        @timers.task("reports.quiet")
        async def quiet() -> None:
            await more.wait()

        async def main() -> None:
            other = asyncio.create_task(quiet())
            items = rows()
            assert await anext(items) == 1
            waiting = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0.01)
            await asyncio.to_thread(watchdog(29).look)
            assert stall_lines(captured) == []
            await asyncio.to_thread(watchdog(31).look)
            await asyncio.to_thread(watchdog(32).look)
            (line,) = stall_lines(captured)
            assert line["task.stalled"] == "silent"
            assert line["task.model"] == "rows"
            assert "in rows" not in line["task.waits_at"] or "locks.py" in line["task.waits_at"]
            more.set()
            await waiting
            await asyncio.to_thread(watchdog(1).look)
            assert len(stall_lines(captured)) == 2
            await items.aclose()
            await other

        run(main())
        captured.metrics.assert_count(catalog.TASKS_STALLS, 1, reason="silent")


def test_the_limit_is_a_multiple_of_the_kinds_own_p95(run: Any, capture: Any) -> None:
    """Without a limit of its own a task is too old at a multiple of what its kind usually takes; not before 20 ended."""
    with capture(task_max_age_p95=3, task_silence=0) as captured:

        @timers.task("reports.export")
        async def export(gate: asyncio.Event) -> None:
            await gate.wait()

        async def main() -> None:
            gate = asyncio.Event()
            task = asyncio.create_task(export(gate))
            await asyncio.sleep(0.01)
            (kind,) = recorder.get().tasks.all_kinds()
            kind.recent.extend([10.0] * (P95_NEEDS - 1))
            await asyncio.to_thread(watchdog(1000).look)
            assert stall_lines(captured) == []
            kind.recent.append(10.0)
            await asyncio.to_thread(watchdog(29).look)
            assert stall_lines(captured) == []
            await asyncio.to_thread(watchdog(31).look)
            assert "its limit is 30.0 s" in stall_lines(captured)[0]["message"]
            gate.set()
            await task

        run(main())


def test_children_and_threads_are_part_of_where_a_task_waits(run: Any, capture: Any, soon: Any) -> None:
    """A task that waits for tasks of its own, or for a thread, says where those stand."""
    with capture(task_max_age=30, task_silence=0) as captured:
        go = threading.Event()

        asking = threading.Event()

        def query() -> object:
            return asking.set() or go.wait(60)  # on one line, where it is found whenever it has asked

        async def part() -> None:
            await asyncio.Event().wait()

        @timers.task("reports.gathers")
        async def gathers() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(part())
                group.create_task(part())

        @timers.task("reports.queries")
        async def queries() -> None:
            await asyncio.to_thread(query)

        async def main() -> None:
            tasks = [asyncio.create_task(function()) for function in (gathers, queries)]
            await soon(asking.is_set)
            await soon(lambda: any(len(one.work.children or ()) == 2 for one in recorder.get().tasks.live()))
            thread = threading.Thread(target=watchdog(31).look)  # the executor has its hands full
            thread.start()
            await soon(lambda: not thread.is_alive())
            go.set()
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run(main())
        lines = {line["task.model"]: line for line in stall_lines(captured) if "task.awaits" in line}
        gathered, queried = lines["gathers"], lines["queries"]
        assert "2 tasks of its own" in gathered["task.waits_at"]
        assert sum("in part" in text or ".part" in text for text in gathered["task.awaits"]) == 2
        assert f"its thread is at test_stalls.py:{line_of(query, 1)}" in queried["task.waits_at"]


def test_a_swallowed_cancellation_is_mentioned(run: Any, capture: Any) -> None:
    """A task that goes on although it was cancelled is the first thing to know about it."""
    with capture(task_max_age=30, task_silence=0) as captured:
        gate = asyncio.Event()

        @timers.task("reports.export")
        async def export() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await gate.wait()

        async def main() -> None:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.sleep(0.01)
            await asyncio.to_thread(watchdog(31).look)
            gate.set()
            await task

        run(main())
        assert "it was cancelled 1 times and goes on" in stall_lines(captured)[0]["message"]


def test_a_task_that_ends_between_two_looks_is_no_stall(run: Any, capture: Any) -> None:
    """What has ended, or has not begun, when the look comes to it is left alone."""
    with capture(task_max_age=0.001, task_silence=0) as captured:

        @timers.task("reports.export")
        async def export() -> None:
            await asyncio.sleep(0.01)

        async def main() -> None:
            look_alone()
            coroutine = export()
            await asyncio.to_thread(look)
            await coroutine
            await asyncio.to_thread(look)

        run(main())
        assert stall_lines(captured) == []


@pytest.mark.slow
def test_looks_while_tasks_come_and_go(run: Any, capture: Any) -> None:
    """Looks from another thread, as fast as they can, change nothing for tasks that begin, wait and end meanwhile."""
    with capture(task_max_age=0.0001, task_silence=0, tracing_enabled=False) as captured:
        stop = threading.Event()
        failures: list[BaseException] = []

        def keep_looking() -> None:
            try:
                while not stop.is_set():
                    look()
                    recorder.get().insight.load.stats()
            except BaseException as error:  # noqa: BLE001 - it is the test's result
                failures.append(error)

        async def part() -> int:
            await asyncio.sleep(0)
            return await asyncio.to_thread(int, "7")

        @timers.task("reports.export")
        async def export() -> int:
            return sum(await asyncio.gather(part(), part()))

        async def main() -> list[int]:
            look_alone()
            thread = threading.Thread(target=keep_looking)
            thread.start()
            found = [await export() for _ in range(300)]
            stop.set()
            await asyncio.to_thread(thread.join)
            return found

        assert run(main()) == [14] * 300
        assert failures == []
        captured.metrics.assert_count(catalog.TASKS_COMPLETED, 300)
        captured.metrics.assert_gauge(catalog.TASKS_STALLED, 0, model="export")
        lines = stall_lines(captured)
        assert sum("stalled:" in line["message"] for line in lines) * 2 == len(lines)


@pytest.mark.slow
def test_a_look_at_ten_thousand_tasks_leaves_the_loop_alone(capture: Any) -> None:
    """10,000 live tasks are looked at in slices: between two of them the event loop runs. The cost is in benchmarks/."""
    with capture(task_silence=0, tracing_enabled=False, logs_enabled=False):
        board = recorder.get().tasks
        gate = asyncio.Event()
        pauses: list[float] = []

        @timers.task("reports.export")
        async def export() -> None:
            await gate.wait()

        async def main() -> None:
            look_alone()
            tasks = [asyncio.create_task(export()) for _ in range(10_000)]
            await asyncio.sleep(0)
            dog = Watchdog(
                board.config, board, clock=Later(10), pause=lambda: pauses.append(time.thread_time())
            )
            dog.look()
            first = time.thread_time()
            assert sum(bool(one.waits) for one in board.live()) == PLACES_PER_LOOK
            for _ in range(10_000 // PLACES_PER_LOOK + 1):
                dog.look()
            assert all(one.waits for one in board.live())
            assert first > pauses[0]
            gate.set()
            await asyncio.gather(*tasks)

        asyncio.run(main())
        slices = sorted(after - before for before, after in itertools.pairwise(pauses))
        assert slices[len(slices) // 2] < 0.005


def test_where_it_waited_most_is_on_its_end_line(run: Any, capture: Any) -> None:
    """The looks add up to a profile of the waiting: without a stall the end line tells where the time went."""
    with capture(task_max_age_p95=0, task_silence=0) as captured:
        over = asyncio.Event()

        @timers.task("reports.export")
        async def export() -> None:
            await over.wait()

        async def main() -> None:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.01)
            for _ in range(3):
                await asyncio.to_thread(watchdog(5).look)
            over.set()
            await task

        run(main())
        line = captured.logs.one(fields={"task.status": "completed"})
        assert f"test_stalls.py:{line_of(export, 2)} in " in line["task.waited_at"]
        assert line["task.waited_at"].endswith("100%")
        assert captured.spans.one("task.run").tags["task.waited_at"] == line["task.waited_at"]


def test_a_snapshot_keeps_places_for_those_who_may_see_them(run: Any, capture: Any) -> None:
    """/stats shows what a task costs to everyone, and the code's lines only with the awaits that need the token."""
    from streaming_dd.tasks import report as task_report

    with capture(task_max_age=30, task_silence=0):

        @timers.task("reports.export")
        async def export() -> None:
            recorder.get().tasks.run_of(None)
            await asyncio.sleep(60)

        async def main() -> tuple[dict[str, Any], dict[str, Any]]:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.01)
            watchdog(31).look()
            (one,) = recorder.get().tasks.live()
            one.event("progress")
            public, private = task_report.snapshot(one), task_report.snapshot(one, clients=2, awaits=True)
            task.cancel()
            await asyncio.wait([task])
            return public, private

        public, private = run(main())
        assert public["state"] == "stalled"
        assert public["stall"]["reason"] == "too_old"
        assert public["event_types"] == {"progress": 1}
        assert public["last_events"][0]["type"] == "progress"
        assert "test_stalls.py" not in str(public)
        assert private["clients"] == 2
        assert f"test_stalls.py:{line_of(export, 3)}" in private["waits_at"]
        assert private["awaits"][-1].endswith("in sleep")


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "failed"])
def test_the_board_adds_up(outcome: str, run: Any, capture: Any) -> None:
    """started = completed + failed + cancelled + active, at every moment, also for stalled tasks."""
    with capture(task_max_age=30, task_silence=0) as captured:

        @timers.task("reports.export")
        async def export() -> None:
            if outcome == "failed":
                await asyncio.sleep(0.02)
                raise LookupError("no such row")
            await asyncio.sleep(0.02 if outcome == "completed" else 60)

        async def main() -> None:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.005)
            watchdog(31).look()
            assert _balance(captured) == (1, 0, 1)
            if outcome == "cancelled":
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is not None or outcome == "completed"

        run(main())
        assert _balance(captured) == (1, 1, 0)
        captured.metrics.assert_count(f"tasks.{outcome}", 1)


def _balance(captured: Any) -> tuple[float, float, float]:
    metrics = captured.metrics
    ended = sum(
        metrics.count(one) for one in (catalog.TASKS_COMPLETED, catalog.TASKS_FAILED, catalog.TASKS_CANCELLED)
    )
    return metrics.count(catalog.TASKS_STARTED), ended, metrics.gauge(catalog.TASKS_ACTIVE)


def test_a_flush_between_submitting_and_starting_ends_nothing(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gauges that are read at any moment of a task's submission do not take it for one that was thrown away."""

    def set_and_flush(self: TaskRun, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if hasattr(self, "_meter"):  # it is made, and on the board
            list(recorder.get().tasks._gauges())

    with capture(task_silence=0, tracing_enabled=False, logs_enabled=False) as captured:
        monkeypatch.setattr(TaskRun, "__setattr__", set_and_flush)

        @timers.task("reports.export")
        async def export() -> str:
            await asyncio.sleep(0)
            return "done"

        assert asyncio.run(export()) == "done"
        captured.metrics.assert_count(catalog.TASKS_COMPLETED, 1)


def test_a_task_that_holds_the_loop_shows_its_stack(run: Any, capture: Any, eventually: Any) -> None:
    """A task that computes or blocks awaits nothing: it is at the innermost line of the step that is on."""
    with capture(task_max_age=30, task_silence=0) as captured:
        held, free = threading.Event(), threading.Event()

        def hold() -> object:
            return held.set() or free.wait(60)  # on one line, where it is found from then on

        async def inner() -> None:
            hold()

        @timers.task("reports.export")
        async def export() -> None:
            await inner()

        thread = threading.Thread(target=run, args=(export(),))
        thread.start()
        assert held.wait(60)
        watchdog(31).look()
        free.set()
        thread.join()
        line = next(line for line in stall_lines(captured) if "task.awaits" in line)
        names = [text.rpartition(" in ")[2].rpartition(".")[2] for text in line["task.awaits"]]
        assert names[:3] == ["export", "inner", "hold"]
        assert f"running test_stalls.py:{line_of(hold, 1)} in" in line["task.waits_at"]


def test_a_process_that_stood_still_makes_no_task_old(run: Any, capture: Any) -> None:
    """After an hour in which nothing was looked at (asleep, or the clock jumped) tasks are not older by an hour."""
    with capture(task_max_age=30, task_silence=30) as captured:
        gate = asyncio.Event()

        @timers.task("reports.export")
        async def export() -> None:
            await gate.wait()

        async def main() -> None:
            task = asyncio.create_task(export())
            await asyncio.sleep(0.01)
            (one,) = recorder.get().tasks.live()
            one.event("progress")
            board = recorder.get().tasks
            clock = Later()
            dog = Watchdog(board.config, board, clock=clock, pause=lambda: None)
            for ahead in (0, 1, 3601, 3602, 3620, -3600, 3625):
                clock.ahead = ahead
                dog.look()
            assert stall_lines(captured) == []
            for ahead in (3630, 3639, 3648, 3657):
                clock.ahead = ahead
                dog.look()
            gate.set()
            await task

        run(main())
        assert len([line for line in stall_lines(captured) if "stalled:" in line["message"]]) == 1
