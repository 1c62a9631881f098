"""Event loops: how late they are, and who holds one, with the stack taken while it does."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import threading
import time
import weakref
from typing import Any

import httpx
import pytest

from streaming_dd import DatadogMiddleware, catalog, recorder, timers
from streaming_dd.config import Config
from streaming_dd.loop_monitor import LOCATIONS_LIMIT, STOOD_STILL, LoopMonitor, Watched
from streaming_dd.metrics import Metrics
from streaming_dd.steps import Meter


def hold(seconds: float) -> None:
    """Block the thread that calls this."""
    time.sleep(seconds)


def monitor() -> LoopMonitor:
    return recorder.get().insight.monitor


def watch() -> None:
    """Have the running loop looked after, as a server has."""
    recorder.get().insight.watch(Meter.of_running_loop())


def blocks(captured: Any) -> list[dict[str, Any]]:
    return [line for line in captured.logs.lines if line.get("logger.name") == "streaming_dd.loop"]


def test_lag_is_recorded_also_where_no_task_runs(run: Any, captured: Any, soon: Any) -> None:
    """A loop that serves is measured: how late it runs its timers, once a beat."""

    async def main() -> None:
        watch()
        await soon(lambda: len(captured.metrics.values(catalog.LOOP_LAG)) >= 5)

    run(main())
    assert all(value >= 0 for value in captured.metrics.values(catalog.LOOP_LAG))


def test_a_block_gives_one_line_with_the_stack_of_who_holds_the_loop(run: Any, captured: Any) -> None:
    """A task that blocks for long is named while it does: one line, its file and line, its ids; one count."""

    @timers.task("reports.export")
    async def export() -> None:
        hold(0.6)

    run(export())
    (line,) = blocks(captured)
    assert line["status"] == "warning"
    assert line["loop.location"] == "test_loops.py:hold"
    assert line["loop.held_ms"] >= 100
    held_at = inspect.getsourcelines(hold)[1] + 2
    assert f"test_loops.py:{held_at} in hold" in line["message"]
    assert "reports.export" in line["message"]
    assert "in export\n    hold(0.6)" in line["loop.stack"]
    assert "time.sleep(seconds)" in line["loop.stack"].splitlines()[-1]
    task = captured.logs.one(fields={"task.status": "completed"})
    assert line["dd.trace_id"] == task["dd.trace_id"] != "0"
    assert task["task.longest_step_ms"] >= 600
    assert f"test_loops.py:{held_at} in hold" in task["task.longest_step_at"]
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1, location="test_loops.py:hold")


def test_a_callback_that_is_no_task_is_found_too(run: Any, captured: Any, soon: Any) -> None:
    """Whatever holds the loop is found: a request's handler, a callback, without a task of ours."""

    async def main() -> None:
        watch()
        await soon(lambda: captured.metrics.values(catalog.LOOP_LAG))
        asyncio.get_running_loop().call_soon(hold, 0.6)
        await asyncio.sleep(0.1)
        await soon(lambda: any(value > 300 for value in captured.metrics.values(catalog.LOOP_LAG)))

    run(main())
    (line,) = blocks(captured)
    assert line["loop.location"] == "test_loops.py:hold"
    assert "task.app" not in line
    (block,) = recorder.get().insight.monitor.stats()["last_blocks"]
    assert block["over"] is True
    assert block["seconds"] > 0.3


def test_a_block_in_c_that_keeps_the_interpreter_lock(run: Any, captured: Any) -> None:
    """C code that lets no other thread run is reported all the same, once: by the task, or as seen too late."""

    @timers.task("reports.export")
    async def export() -> int:
        await asyncio.sleep(0)
        found = pow(3, 4_000_000)
        await asyncio.sleep(0)
        return found.bit_length()

    async def main() -> None:
        watch()
        await export()
        await asyncio.sleep(0.2)

    run(main())
    task = captured.logs.one(fields={"task.status": "completed"})
    assert task["task.longest_step_ms"] > 100
    assert "export" in task["task.longest_step_at"]
    (line,) = blocks(captured)
    assert line["loop.location"].startswith("test_loops.py:")
    assert "export" in line["loop.location"]
    assert line["task.model"] == "export"
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1)


@pytest.mark.xfail(
    strict=False, reason="known gap: now and then the loop's beat hides such a block from the thread"
)
def test_a_block_of_no_task_that_nobody_could_see_is_counted(run: Any, captured: Any) -> None:
    """A callback in C code that lets no other thread run is reported once, if need be without its place."""

    async def main() -> None:
        watch()
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_soon(pow, 3, 12_000_000)
        await asyncio.sleep(0.2)

    run(main())
    assert len(blocks(captured)) == 1
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1)


def test_a_step_between_two_looks_is_reported_when_it_is_over(captured: Any) -> None:
    """A task's step is timed exactly: one over the limit is reported, though the thread came too early and too late."""

    @timers.task("reports.export")
    async def export() -> None:
        hold(0.12)

    async def main() -> None:
        own = LoopMonitor(Config(), recorder.get().metrics, recorder.get().logs)
        meter = Meter.of_running_loop()
        meter.watcher = own
        watched = Watched(own, meter, asyncio.get_running_loop())
        recorder.get().tasks.watcher = None  # no thread looks
        await export()
        watched.beat()
        watched.beat()

    asyncio.run(main())
    (line,) = blocks(captured)
    assert "it was over when other code could look" in line["message"]
    assert "export" in line["loop.location"]


def test_an_idle_loop_is_not_held(run: Any, captured: Any) -> None:
    """A loop that waits for something to do is not blocked, however long that takes."""

    async def main() -> None:
        watch()
        await asyncio.sleep(0.6)

    run(main())
    assert blocks(captured) == []
    assert captured.metrics.count(catalog.LOOP_BLOCKED) == 0


def test_a_loop_that_is_not_run_is_not_held(captured: Any) -> None:
    """Between two run_until_complete() calls nothing is late."""
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        watch()
        await asyncio.sleep(0.08)

    loop.run_until_complete(begin())
    time.sleep(0.6)
    loop.run_until_complete(asyncio.sleep(0.2))
    loop.close()
    assert blocks(captured) == []
    assert max(captured.metrics.values(catalog.LOOP_LAG)) < 400


def test_a_loop_is_let_go_when_it_closes(run: Any, captured: Any, eventually: Any) -> None:
    """A process may make a loop for every call: each is watched, and forgotten with its end."""
    gone: list[weakref.ref[Any]] = []

    async def main() -> None:
        watch()
        gone.append(weakref.ref(asyncio.get_running_loop()))

    for _ in range(3):
        run(main())
    eventually(lambda: not monitor()._watched)
    gc.collect()
    assert [reference() for reference in gone] == [None, None, None]


def test_several_loops_at_once(captured: Any) -> None:
    """Each loop's blocks are its own thread's: the loop beside it is not blamed."""

    async def held() -> None:
        watch()
        await asyncio.sleep(0.1)
        hold(0.6)

    async def free() -> None:
        watch()
        await asyncio.sleep(0.8)

    threads = [threading.Thread(target=asyncio.run, args=(function(),)) for function in (held, free)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["loop.location"] for line in blocks(captured)] == ["test_loops.py:hold"]


def test_a_chronic_block_is_counted_each_time_and_written_once(run: Any, captured: Any) -> None:
    """Blocks at one place in a row: each counts, one line is written for ten seconds."""

    async def main() -> None:
        watch()
        for _ in range(3):
            hold(0.5)
            await asyncio.sleep(0.15)

    run(main())
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 3)
    assert len(blocks(captured)) == 1


def test_locations_are_bounded(capture: Any) -> None:
    """However many places block, the metric has a bounded number of locations."""
    with capture() as captured:
        own = LoopMonitor(recorder.get().config, recorder.get().metrics, None)
        for number in range(LOCATIONS_LIMIT + 20):
            own._count(f"file.py:function_{number}")
        assert captured.metrics.count(catalog.LOOP_BLOCKED) == LOCATIONS_LIMIT + 20
        assert captured.metrics.count(catalog.LOOP_BLOCKED, location="other") == 20


def test_switched_off_no_loop_is_watched(run: Any, capture: Any) -> None:
    """With STREAMING_LOOP_BLOCK=0 loops have no timer of ours and nothing is reported."""
    with capture(loop_block=0) as captured:

        async def main() -> None:
            watch()
            hold(0.3)
            await asyncio.sleep(0.1)

        run(main())
        assert captured.metrics.values(catalog.LOOP_LAG) == []
        assert blocks(captured) == []


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def by_hand(clock: Clock) -> tuple[LoopMonitor, Watched]:
    """A monitor without a thread, watching the running loop."""
    own = LoopMonitor(Config(), recorder.get().metrics, recorder.get().logs, clock=clock)
    meter = Meter(asyncio.get_running_loop())
    meter.watcher = own
    return own, Watched(own, meter, asyncio.get_running_loop())


def test_a_process_that_stood_still_is_told_apart(captured: Any) -> None:
    """When the watching thread came late too and no CPU was used, no line of code is blamed."""

    async def main() -> None:
        clock = Clock()
        own, watched = by_hand(clock)
        assert own._stood_still(clock.now) is False
        clock.now += 30
        assert own._stood_still(clock.now) is True
        own.check(watched, clock.now, stood_still=True)
        assert own._stood_still(clock.now + own.tick) is False

    asyncio.run(main())
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1, location=STOOD_STILL)
    assert "stood still for" in blocks(captured)[0]["message"]


def test_a_clock_that_jumps_back_blames_nobody(captured: Any) -> None:
    """A clock that jumps back gives no negative lag and no block."""

    async def main() -> None:
        clock = Clock()
        own, watched = by_hand(clock)
        clock.now -= 3600
        own.check(watched, clock.now)
        watched.beat()

    asyncio.run(main())
    assert captured.metrics.values(catalog.LOOP_LAG) == []
    assert blocks(captured) == []


def test_a_look_that_fails_is_not_the_last(captured: Any, eventually: Any) -> None:
    """A fault of the watching thread is counted, and the thread goes on."""
    calls: list[int] = []
    faults: list[Exception] = []

    def look() -> None:
        calls.append(1)
        raise RuntimeError("ours")

    own = LoopMonitor(Config(loop_block=0.02), _metrics(), None, look=look, fault=faults.append)

    async def main() -> None:
        own.watch(Meter(asyncio.get_running_loop()))
        await asyncio.sleep(1.3)

    asyncio.run(main())
    own.stop()
    assert len(calls) == len(faults) >= 2


def _metrics() -> Metrics:
    return recorder.get().metrics


def test_the_thread_ends_with_the_recorder(run: Any, capture: Any) -> None:
    """When the recorder is closed, nothing of it watches on."""

    def watching() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "streaming-dd-watch"]

    async def main() -> None:
        watch()
        assert len(watching()) == 1

    with capture():
        run(main())
    assert watching() == []


def test_places_are_users_code_where_there_is_any(run: Any, captured: Any) -> None:
    """A block inside a library is reported at the line of the application that called it."""

    async def main() -> None:
        watch()
        await asyncio.sleep(0.1)
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_500_000)
        await asyncio.sleep(0.1)

    run(main())
    assert blocks(captured)[0]["loop.location"].startswith("test_loops.py:")


def test_a_server_without_a_lifespan_is_watched_from_its_first_request(
    run: Any, captured: Any, soon: Any
) -> None:
    """A loop that answers requests is watched, though nobody announced it and no task of ours runs on it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> None:
        transport = httpx.ASGITransport(app=DatadogMiddleware(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            assert (await client.get("/")).text == "ok"
        await soon(lambda: captured.metrics.values(catalog.LOOP_LAG))

    run(main())
