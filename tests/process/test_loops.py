"""Event loops: how late they are, and who holds one, with the stack taken while it does."""

from __future__ import annotations

import asyncio
import gc
import inspect
import queue
import threading
import time
import weakref
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streaming_dd import DatadogMiddleware, catalog, recorder, timers
from streaming_dd.config import Config
from streaming_dd.output.metrics import Metrics
from streaming_dd.process import blocks as told
from streaming_dd.process.blocks import LOCATIONS_LIMIT, STOOD_STILL, Block
from streaming_dd.process.loop_monitor import LoopMonitor, Watched
from streaming_dd.tasks.measuring.steps import Meter

#: A collection of all that a suite keeps holds a loop as long as a block does.
pytestmark = pytest.mark.usefixtures("uncollected")


class Holding:
    """What the holding thread waits for: that the watching thread has told of it, and some seconds after that."""

    def __init__(self) -> None:
        self.go_on: Any = queue.SimpleQueue()
        self.seconds = 0.0
        self.until: float | None = None

    def looked(self, block: Block | None) -> None:
        """Let go when it is time; called in the watching thread after each look."""
        now = time.perf_counter()
        if block is not None and self.until is None and block.entry["location"].startswith("test_loops.py:"):
            self.until = now + self.seconds
        if self.until is not None and now >= self.until:
            self.go_on.put(None)


holding = Holding()


def hold(seconds: float) -> None:
    """Block the thread that calls this until the watching thread has told of it, and for so long after that."""
    holding.__init__()  # type: ignore[misc]
    holding.seconds = seconds
    holding.go_on.get(timeout=30)


@pytest.fixture
def punctual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the watching thread come in time as far as it knows: that a busy machine holds it up, too, is told apart.

    It also makes blocks longer than they were meant to be; that theirs was long is for the test of that.
    """
    check = LoopMonitor.check

    def check_and_tell(self: LoopMonitor, watched: Watched, now: float, *, stood_still: bool = False) -> None:
        check(self, watched, now)
        holding.looked(watched.block)

    monkeypatch.setattr(LoopMonitor, "check", check_and_tell)
    monkeypatch.setattr(told, "_WORTH_AN_END", 60.0)


async def beating() -> None:
    """Have the running loop looked after, and wait for its next beat: what comes then has all the time of the limit."""
    watch()
    (own,) = (each for each in monitor()._watched if each.loop() is asyncio.get_running_loop())
    before = own.beats
    while own.beats == before:  # noqa: ASYNC110 - the watching has no event for it
        await asyncio.sleep(0.005)


def monitor() -> LoopMonitor:
    return recorder.get().insight.monitor


def watch() -> None:
    """Have the running loop looked after, as a server has."""
    recorder.get().insight.watch(Meter.of_running_loop())


def blocks(captured: Any) -> list[dict[str, Any]]:
    return [line for line in captured.logs.lines if line.get("logger.name") == "streaming_dd.loop"]


#: Where the tests hold a loop; a machine that is busy enough holds up other code, and that is reported, too.
HOLD = "test_loops.py:hold"


def reported(captured: Any, where: str = HOLD) -> list[dict[str, Any]]:
    """Wait for a report: it may be on its way in the watching thread when the loop has ended."""
    deadline = time.monotonic() + 30
    while not (found := [line for line in blocks(captured) if where in line["loop.location"]]):
        assert time.monotonic() < deadline, "no block was reported"
        time.sleep(0.005)
    return found


def test_lag_is_recorded_also_where_no_task_runs(run: Any, captured: Any, soon: Any) -> None:
    """A loop that serves is measured: how late it runs its timers, once a beat."""

    async def main() -> None:
        watch()
        await soon(lambda: len(captured.metrics.values(catalog.LOOP_LAG)) >= 5)

    run(main())
    assert all(value >= 0 for value in captured.metrics.values(catalog.LOOP_LAG))


@pytest.mark.slow
def test_a_block_gives_one_line_with_the_stack_of_who_holds_the_loop(
    run: Any, captured: Any, punctual: None
) -> None:
    """A task that blocks for long is named while it does: one line, its file and line, its ids; one count."""

    @timers.task("reports.export")
    async def export() -> None:
        await beating()
        hold(0.6)

    run(export())
    (line,) = reported(captured)
    assert line["status"] == "warning"
    assert line["loop.location"] == HOLD
    assert line["loop.held_ms"] >= 100
    held_at = inspect.getsourcelines(hold)[1] + 4
    assert f"test_loops.py:{held_at} in hold" in line["message"]
    assert "reports.export" in line["message"]
    assert "in export\n    hold(0.6)" in line["loop.stack"]
    assert "holding.go_on.get(timeout=30)" in line["loop.stack"].splitlines()[-1]
    task = captured.logs.one(fields={"task.status": "completed"})
    assert line["dd.trace_id"] == task["dd.trace_id"] != "0"
    assert task["task.longest_step_ms"] >= 600
    assert f"test_loops.py:{held_at} in hold" in task["task.longest_step_at"]
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1, location=HOLD)


@pytest.mark.slow
def test_a_request_that_holds_the_loop_is_named(captured: Any, exchange: Any, punctual: None) -> None:
    """Where a request's own code holds the loop, the line has its route and the ids of its span."""

    async def report(request: Request) -> PlainTextResponse:
        await beating()
        hold(0.6)
        return PlainTextResponse("done")

    app = DatadogMiddleware(Starlette(routes=[Route("/reports/{id}", report)]))

    asyncio.run(exchange("/reports/7").run(app))
    (line,) = reported(captured)
    access = captured.logs.one(fields={"logger.name": "streaming_dd.access"})
    assert line["http.route"] == access["http.route"]
    assert "7" not in line["http.route"]
    assert line["dd.trace_id"] == access["dd.trace_id"] != "0"
    assert line["loop.location"] == HOLD


@pytest.mark.slow
def test_the_end_of_a_long_block_tells_its_whole_length(
    captured: Any, punctual: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line comes while the loop is held, so that one that never ends is known; a second one tells how long it was."""
    monkeypatch.setattr(told, "_WORTH_AN_END", 1.0)

    async def main() -> None:
        await beating()
        hold(1.2)
        await asyncio.sleep(0.3)

    asyncio.run(main())
    first, last = reported(captured)
    assert first["loop.held_ms"] < last["loop.held_ms"]
    assert last["loop.held_ms"] >= 1000
    assert "in all by test_loops.py:" in last["message"]
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1, location=HOLD)


@pytest.mark.slow
def test_a_callback_that_is_no_task_is_found_too(run: Any, captured: Any, soon: Any, punctual: None) -> None:
    """Whatever holds the loop is found: a request's handler, a callback, without a task of ours."""

    async def main() -> None:
        await beating()
        asyncio.get_running_loop().call_soon(hold, 0.6)
        await asyncio.sleep(0.1)
        await soon(lambda: any(value > 300 for value in captured.metrics.values(catalog.LOOP_LAG)))

    run(main())
    (line,) = reported(captured)
    assert line["loop.location"] == HOLD
    assert "task.app" not in line
    last: Any = recorder.get().insight.monitor.stats()["last_blocks"]
    (block,) = (one for one in last if one["location"] == HOLD)
    assert block["over"] is True
    assert block["seconds"] > 0.3


@pytest.mark.slow
def test_a_block_in_c_that_keeps_the_interpreter_lock(run: Any, captured: Any, punctual: None) -> None:
    """C code that lets no other thread run is reported all the same, once: by the task, or as seen too late."""

    @timers.task("reports.export")
    async def export() -> int:
        await beating()
        found = pow(3, 4_000_000)
        await asyncio.sleep(0)
        return found.bit_length()

    async def main() -> None:
        await export()
        await asyncio.sleep(0.2)

    run(main())
    task = captured.logs.one(fields={"task.status": "completed"})
    assert task["task.longest_step_ms"] > 100
    assert "export" in task["task.longest_step_at"]
    (line,) = reported(captured, "export")
    assert line["loop.location"].startswith("test_loops.py:")
    assert line["task.model"] == "export"
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1, location=line["loop.location"])


@pytest.mark.slow
def test_a_block_of_no_task_that_nobody_could_see_is_counted(run: Any, captured: Any, punctual: None) -> None:
    """A callback in C code that lets no other thread run is reported once, if need be without its place."""

    async def main() -> None:
        await beating()
        asyncio.get_running_loop().call_soon(pow, 3, 6_000_000)
        await asyncio.sleep(0.2)

    run(main())
    assert len(reported(captured, "")) == 1
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 1)


def test_a_step_between_two_looks_is_reported_when_it_is_over(captured: Any) -> None:
    """A task's step is timed exactly: one over the limit is reported, though the thread came too early and too late."""

    @timers.task("reports.export")
    async def export() -> None:
        time.sleep(0.12)  # noqa: ASYNC251 - the mistake in question

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
    (line,) = reported(captured, "export")
    assert "it was over when other code could look" in line["message"]


def test_an_idle_loop_is_not_held(run: Any, captured: Any) -> None:
    """A loop that waits for something to do is not blocked, however long that takes."""

    async def main() -> None:
        watch()
        await asyncio.sleep(0.6)

    run(main())
    # That a busy machine let the whole process stand is told apart.
    found = [line for line in blocks(captured) if line["loop.location"] != STOOD_STILL]
    assert found == []
    stood_still = captured.metrics.count(catalog.LOOP_BLOCKED, location=STOOD_STILL)
    assert captured.metrics.count(catalog.LOOP_BLOCKED) == stood_still


@pytest.mark.slow
def test_a_loop_that_is_not_run_is_not_held(captured: Any, eventually: Any) -> None:
    """Between two run_until_complete() calls nothing is late."""
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        watch()
        await asyncio.sleep(0.08)

    loop.run_until_complete(begin())
    time.sleep(2)
    eventually(lambda: all(watched.paused for watched in monitor()._watched))
    loop.run_until_complete(asyncio.sleep(0.2))
    loop.close()
    assert blocks(captured) == []
    assert max(captured.metrics.values(catalog.LOOP_LAG)) < 1900


@pytest.mark.slow
def test_a_loop_is_let_go_when_it_closes(run: Any, captured: Any, eventually: Any) -> None:
    """A process may make a loop for every call: each is watched, and forgotten with its end."""
    gone: list[weakref.ref[Any]] = []

    async def main() -> None:
        watch()
        gone.append(weakref.ref(asyncio.get_running_loop()))

    for _ in range(3):
        run(main())
    eventually(lambda: not monitor()._watched)

    def collected() -> bool:
        gc.collect()
        return not any(reference() for reference in gone)

    eventually(collected)  # the thread may just be at one of them


@pytest.mark.slow
def test_several_loops_at_once(captured: Any, punctual: None) -> None:
    """Each loop's blocks are its own thread's: the loop beside it is not blamed."""
    over = threading.Event()

    async def held() -> None:
        await beating()
        hold(0.6)
        over.set()

    async def free() -> None:
        watch()
        while not over.is_set():  # noqa: ASYNC110 - another loop's
            await asyncio.sleep(0.01)

    threads = [threading.Thread(target=asyncio.run, args=(function(),)) for function in (held, free)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # On a busy machine the other may be late by itself; were it blamed, the place would be there twice.
    assert len(reported(captured)) == 1


@pytest.mark.slow
def test_a_chronic_block_is_counted_each_time_and_written_once(
    run: Any, captured: Any, punctual: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks at one place in a row: each counts, one line is written for ten seconds."""
    began = time.perf_counter()
    monkeypatch.setattr(monitor().blocks, "_clock", lambda: began)  # all of them within ten seconds

    async def main() -> None:
        await beating()
        for _ in range(3):
            hold(0.1)
            await beating()

    run(main())
    captured.metrics.assert_count(catalog.LOOP_BLOCKED, 3, location=HOLD)
    assert len(reported(captured)) == 1


def test_locations_are_bounded(capture: Any) -> None:
    """However many places block, the metric has a bounded number of locations."""
    with capture() as captured:
        own = LoopMonitor(recorder.get().config, recorder.get().metrics, None)
        for number in range(LOCATIONS_LIMIT + 20):
            own.blocks._count(f"file.py:function_{number}")
        assert captured.metrics.count(catalog.LOOP_BLOCKED) == LOCATIONS_LIMIT + 20
        assert captured.metrics.count(catalog.LOOP_BLOCKED, location="other") == 20


def test_switched_off_no_loop_is_watched(run: Any, capture: Any) -> None:
    """With STREAMING_LOOP_BLOCK=0 loops have no timer of ours and nothing is reported."""
    with capture(loop_block=0) as captured:

        async def main() -> None:
            watch()
            time.sleep(0.3)  # noqa: ASYNC251 - the mistake in question
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
    assert "stood still for" in reported(captured, STOOD_STILL)[0]["message"]


def test_the_thread_sleeps_longer_where_no_task_runs(captured: Any) -> None:
    """Without tasks the thread looks when a loop can be overdue, and no later; a task that begins to run rings it."""

    async def main() -> None:
        clock = Clock()
        own, watched = by_hand(clock)
        own._watched.append(watched)
        assert own._next_pause() == own.limit > own.tick
        clock.now = watched.due + own.limit / 2
        assert own._next_pause() == pytest.approx(own.limit / 2)
        assert not own._bell.is_set()
        watched.meter.put_on()
        assert own._bell.is_set()
        assert own._next_pause() == own.tick
        watched.meter.rest()
        assert own._next_pause() > own.tick

    asyncio.run(main())


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


def test_an_end_that_is_asked_for_at_the_bell_is_not_slept_over(captured: Any) -> None:
    """Who stops the thread just when it has woken does not wait for its next look."""
    stop = threading.Event()

    class Bell(threading.Event):
        waits = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.waits += 1
            return True

        def clear(self) -> None:
            stop.set()
            self.set()
            super().clear()

    bell = Bell()
    LoopMonitor(Config(), _metrics(), None)._run(stop, bell)
    assert bell.waits == 1


def test_a_closed_loop_may_be_let_go_by_two_at_once(captured: Any) -> None:
    """The monitor is stopped while its thread finds a loop closed: that is no fault."""
    loops: list[tuple[LoopMonitor, Watched]] = []

    async def main() -> None:
        loops.append(by_hand(Clock()))

    asyncio.run(main())
    own, watched = loops[0]
    assert own._watched == []  # as `stop` leaves it
    own.check(watched, own.clock())


@pytest.mark.slow
def test_a_look_that_fails_is_not_the_last(captured: Any, soon: Any, eventually: Any) -> None:
    """A fault of the watching thread is counted, and the thread goes on."""
    calls: list[int] = []
    faults: list[Exception] = []

    def look() -> None:
        calls.append(1)
        raise RuntimeError("ours")

    own = LoopMonitor(Config(loop_block=0.02), _metrics(), None, look=look, fault=faults.append)

    async def main() -> None:
        own.watch(Meter(asyncio.get_running_loop()))
        await soon(lambda: len(faults) >= 2)

    asyncio.run(main())
    own.stop()
    eventually(lambda: len(calls) == len(faults))


def _metrics() -> Metrics:
    return recorder.get().metrics


def test_the_thread_ends_with_the_recorder(run: Any, capture: Any, eventually: Any) -> None:
    """When the recorder is closed, nothing of it watches on."""
    before = threading.enumerate()

    def watching() -> list[threading.Thread]:
        here = [thread for thread in threading.enumerate() if thread.name == "streaming-dd-watch"]
        return [thread for thread in here if thread not in before]

    async def main() -> None:
        watch()
        assert len(watching()) == 1

    with capture():
        run(main())
    eventually(lambda: watching() == [])


@pytest.mark.slow
def test_places_are_users_code_where_there_is_any(run: Any, captured: Any, punctual: None) -> None:
    """A block inside a library is reported at the line of the application that called it."""

    async def main() -> None:
        await beating()
        holding.__init__()  # type: ignore[misc]
        holding.go_on = queue.Queue()  # which waits in code of its own
        holding.go_on.get(timeout=30)

    run(main())
    (line,) = reported(captured, "main")
    assert line["loop.location"].startswith("test_loops.py:")
    assert "queue.py" in line["loop.stack"]


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
