"""The worker's line about long tasks, and the seconds that tasks were active."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from streaming_dd import catalog, recorder, timers
from streaming_dd.tasks.heartbeat import NAMED, Heartbeat


@timers.task("reports.quiet")
async def quiet(end: asyncio.Event) -> None:
    await end.wait()


async def running(count: int) -> tuple[asyncio.Event, list[asyncio.Task[None]]]:
    end = asyncio.Event()
    tasks = [asyncio.create_task(quiet(end)) for _ in range(count)]
    await asyncio.sleep(0.05)
    return end, tasks


def test_long_tasks_are_named_with_where_they_wait(captured: Any) -> None:
    """A task that logs nothing is in the line: who it is, how old, where it waits; a young one is not."""

    async def scene() -> None:
        end, tasks = await running(2)
        board = recorder.get().tasks
        Heartbeat(board, 3600).job(0)
        Heartbeat(board, 0).job(0)
        Heartbeat(board, 0.01).job(0)
        (line,) = (each for each in captured.logs.lines if "tasks.running" in each)
        assert line["tasks.count"] == 2
        told = line["tasks.running"][0]
        assert (told["app"], told["model"], told["id"]) == ("reports", "quiet", "")
        assert "test_heartbeat.py" in told["waits_at"]
        assert 0.01 <= told["age"] < 60
        assert abs(told["started"] - time.time()) < 60
        end.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_the_line_says_where_staff_see_more(captured: Any) -> None:
    """The address of the live tasks goes with the line, where it was set."""

    async def scene() -> None:
        end, tasks = await running(1)
        Heartbeat(recorder.get().tasks, 0.01, "http://127.0.0.1:8000/live-tasks/").job(0)
        (line,) = (each for each in captured.logs.lines if "tasks.running" in each)
        assert line["tasks.page"] == "http://127.0.0.1:8000/live-tasks/"
        end.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_the_line_is_bounded(captured: Any) -> None:
    """However many tasks run, a line names the oldest few and counts all."""

    async def scene() -> None:
        end, tasks = await running(NAMED + 20)
        Heartbeat(recorder.get().tasks, 0.01).job(0)
        (line,) = (each for each in captured.logs.lines if "tasks.running" in each)
        assert (line["tasks.count"], len(line["tasks.running"])) == (NAMED + 20, NAMED)
        end.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_task_seconds_are_counted_while_tasks_run_and_once(captured: Any) -> None:
    """The counter grows while tasks run, is what they took when they ended, and never shrinks."""

    async def scene() -> None:
        began = time.perf_counter()
        end, tasks = await running(3)
        recorder.get().metrics.flush()
        while_running = captured.metrics.count(catalog.TASKS_SECONDS)
        assert 0 < while_running <= 3 * (time.perf_counter() - began)
        end.set()
        await asyncio.gather(*tasks)
        recorder.get().metrics.flush()
        done = captured.metrics.count(catalog.TASKS_SECONDS)
        assert while_running <= done <= 3 * (time.perf_counter() - began)
        recorder.get().metrics.flush()
        assert captured.metrics.count(catalog.TASKS_SECONDS) == pytest.approx(done)

    asyncio.run(scene())


def test_the_peak_of_all_kinds_outlives_the_last_flush(captured: Any) -> None:
    """A short script's peak is what it was, not the 0 of its end; its level is 0."""

    async def scene() -> None:
        end, tasks = await running(3)
        end.set()
        await asyncio.gather(*tasks)
        recorder.get().metrics.final_flush()
        assert captured.metrics.gauge(catalog.TASKS_WORKER_PEAK) == 3
        assert captured.metrics.gauge(catalog.TASKS_ACTIVE, app="reports", model="quiet") == 0

    asyncio.run(scene())
