"""What looking at tasks costs: a step, a request, an event, a look at 10,000 tasks, memory, profiles, an idle loop.

Each part is compared, within one run of interleaved rounds, with the same work uninstrumented or with the part off.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import uvloop

from . import apps
from .rounds import Variant, median_of, run

Goal = tuple[str, float, float, bool]

ROUNDS = 15
STEPS = 20_000
REQUESTS = 2_000
LIVE = 10_000
LOOKS = 15

_QUIET = {"tracing_enabled": False, "logs_enabled": False}
_OFF = {"task_cpu": False, "loop_block": 0, "task_silence": 0, "task_max_age_p95": 0, "task_event_history": 0}


# --- a step of a task ---------------------------------------------------------------------------------------


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _allocating(count: int) -> None:
    for _ in range(count):
        [str(number) for number in range(20)]
        await asyncio.sleep(0)


def _stepping(body: Callable[[int], Any], loop: Callable[[], Any], **settings: Any) -> apps.Prepared:
    """A task of `count` steps; with settings it is a task of ours, without it is a coroutine."""
    flush: Callable[[], None] = apps.nothing
    function = body
    if settings:
        from streaming_dd import timers

        flush = apps.configure(**{**_QUIET, **settings})
        function = timers.task("reports.Export")(body)
    runner = asyncio.Runner(loop_factory=loop)
    return lambda count: runner.run(function(count)), flush


def bare_asyncio() -> apps.Prepared:
    return _stepping(_steps, asyncio.new_event_loop)


def ours_asyncio() -> apps.Prepared:
    return _stepping(_steps, asyncio.new_event_loop, task_cpu=True)


def off_asyncio() -> apps.Prepared:
    return _stepping(_steps, asyncio.new_event_loop, **_OFF)


def bare_uvloop() -> apps.Prepared:
    return _stepping(_steps, uvloop.new_event_loop)


def ours_uvloop() -> apps.Prepared:
    return _stepping(_steps, uvloop.new_event_loop, task_cpu=True)


def off_uvloop() -> apps.Prepared:
    return _stepping(_steps, uvloop.new_event_loop, **_OFF)


def allocating() -> apps.Prepared:
    return _stepping(_allocating, asyncio.new_event_loop, task_cpu=True)


def allocating_traced() -> apps.Prepared:
    return _stepping(_allocating, asyncio.new_event_loop, task_memory=True)


# --- a request ----------------------------------------------------------------------------------------------


def _request(**settings: Any) -> apps.Prepared:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from streaming_dd import DatadogMiddleware, recorder

    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    flush = apps.configure(**{**_QUIET, **settings})
    app = DatadogMiddleware(Starlette(routes=[Route("/page/{number}", page)]))
    runner = asyncio.Runner()

    async def serve() -> None:
        recorder.get().insight.serve()

    runner.run(serve())

    async def requests(count: int) -> None:
        for number in range(count):
            await app(apps.scope(f"/page/{number % 10}"), apps.receive, apps.send)

    return lambda count: runner.run(requests(count)), flush


def request_on() -> apps.Prepared:
    return _request()


def request_off() -> apps.Prepared:
    return _request(**_OFF)


# --- an event -----------------------------------------------------------------------------------------------


def _events(**settings: Any) -> apps.Prepared:
    from streaming_dd import recorder

    flush = apps.configure(**{**_QUIET, **settings})
    run_ = recorder.get().tasks.submit("reports", "Export")
    run_.started = time.perf_counter()

    def send(count: int) -> None:
        for _ in range(count):
            run_.event("progress")

    return send, flush


def events() -> apps.Prepared:
    return _events()


VARIANTS = {
    function.__name__: function
    for function in (
        bare_asyncio,
        ours_asyncio,
        off_asyncio,
        bare_uvloop,
        ours_uvloop,
        off_uvloop,
        allocating,
        allocating_traced,
        request_on,
        request_off,
        events,
    )
}


# --- in this process ----------------------------------------------------------------------------------------


def look_at_many() -> tuple[float, ...]:
    """Return, for 10,000 live tasks, in milliseconds: the loop's longest wait without a look and during one, the
    longest slice of a look, and its CPU time.
    """
    from streaming_dd import recorder, timers
    from streaming_dd.tasks.watchdog import Watchdog

    apps.configure(**{**_QUIET, "task_silence": 3600})
    gate = asyncio.Event()
    without: list[float] = []
    waits: list[float] = []
    slices: list[float] = []
    whole: list[float] = []
    marks: list[float] = []

    @timers.task("reports.Export")
    async def export() -> None:
        await gate.wait()

    def pause() -> None:
        marks.append(time.thread_time())
        time.sleep(0.001)
        marks.append(time.thread_time())

    def look(dog: Watchdog) -> None:
        marks[:] = [time.thread_time()]
        dog.look()
        marks.append(time.thread_time())
        pairs = list(itertools.pairwise(marks))[::2]
        slices.append(max(after - before for before, after in pairs))
        whole.append(sum(after - before for before, after in pairs))

    async def longest_wait(until: threading.Event) -> float:
        """The longest that a callback of the loop waited for its turn."""
        longest, last = 0.0, time.perf_counter()
        while not until.is_set():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        return longest

    async def during(work: Callable[..., object], *arguments: Any) -> float:
        done = threading.Event()
        working = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        working.add_done_callback(lambda _: done.set())
        longest = await longest_wait(done)
        await working
        return longest

    async def main() -> None:
        tasks = [asyncio.create_task(export()) for _ in range(LIVE)]
        await asyncio.sleep(1.1)  # younger ones are not looked up
        found = recorder.get()
        found.insight.monitor.stop()
        dog = Watchdog(found.config, found.tasks, pause=pause)
        gc.disable()  # a collection of what 10,000 tasks hold takes longer than all that is measured here
        for _ in range(LOOKS):
            without.append(await during(time.sleep, 0.3))
            waits.append(await during(look, dog))
        gc.enable()
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    return tuple(statistics.median(item) * 1000 for item in (without, waits, slices, whole))


def idle_loop() -> float:
    """Return the CPU that watching an idle loop takes, in percent of a core."""
    from streaming_dd import recorder

    apps.configure(**_QUIET)

    async def main() -> list[float]:
        found = []
        recorder.get().insight.serve()
        for _ in range(5):
            start = time.process_time()
            await asyncio.sleep(1)
            watched = time.process_time() - start
            recorder.get().insight.monitor.stop()
            await asyncio.sleep(0.3)
            start = time.process_time()
            await asyncio.sleep(1)
            found.append(100 * (watched - (time.process_time() - start)))
            recorder.get().insight.serve()
        return found

    return statistics.median(asyncio.run(main()))


def profile() -> float:
    """Return by how much a profile of 100 samples a second slows what runs meanwhile: 1.1 is a tenth."""
    from streaming_dd import timers
    from streaming_dd.endpoints import profiling

    apps.configure(**_QUIET)

    @timers.task("reports.Export")
    async def crunch() -> int:
        """Steps of about a millisecond for a second, and how many were done per second of CPU time."""
        done, end, start = 0, time.perf_counter() + 1, time.thread_time()
        while time.perf_counter() < end:
            sum(range(20_000))
            done += 1
            await asyncio.sleep(0)
        return done / (time.thread_time() - start)

    async def main() -> list[float]:
        found = []
        for _ in range(5):
            alone = await crunch()
            taking = asyncio.get_running_loop().run_in_executor(None, profiling.sample, 1.0, 100)
            found.append(alone / await crunch())
            await taking
        return found

    return statistics.median(asyncio.run(main()))


# --- the figures --------------------------------------------------------------------------------------------


def _added(found: dict[str, Variant], on: str, off: str) -> float:
    """Microseconds of CPU time that `on` takes more than `off`."""
    return median_of(lambda index: found[on].total[index] - found[off].total[index], ROUNDS)


def _goal(name: str, figure: float, limit: float) -> Goal:
    return name, figure, limit, figure <= limit


def measure() -> list[Goal]:
    """Return (goal, figure, limit, met)."""
    names = [name for name in VARIANTS if not name.startswith(("request", "events"))]
    steps = run("insight", names, rounds=ROUNDS, count=STEPS)
    requests = run("insight", ["request_on", "request_off"], rounds=2 * ROUNDS, count=REQUESTS)
    events_ = run("insight", ["events"], rounds=ROUNDS, count=STEPS)["events"]
    memory = median_of(
        lambda index: steps["allocating_traced"].total[index] / steps["allocating"].total[index], ROUNDS
    )
    per_request = median_of(
        lambda index: requests["request_on"].main[index] / requests["request_off"].main[index], 2 * ROUNDS
    )
    without, wait, longest_slice, whole = look_at_many()
    return [
        *(
            _goal(
                f"3 us that {what} adds to a step, {loop}", _added(steps, f"{on}_{loop}", f"bare_{loop}"), 2.0
            )
            for on, what in (
                ("ours", "everything on by default"),
                ("off", "a task with all of it switched off"),
            )
            for loop in ("asyncio", "uvloop")
        ),
        _goal("3 a request with all of it on, of one with it off (loop's thread)", per_request, 1.05),
        _goal(
            "3 us of noting a task's event: type, gap, the last ones", statistics.median(events_.total), 2.0
        ),
        _goal("3 ms of the longest slice of a look at 10,000 live tasks", longest_slice, 5.0),
        _goal("3 ms that such a look adds to the loop's longest wait meanwhile", wait - without, 5.0),
        _goal("  ms of CPU of such a look, in the watching thread", whole, 50.0),
        _goal("3 percent of a core that watching an idle loop takes", idle_loop(), 1.0),
        _goal("3 a step of 20 allocations with STREAMING_TASK_MEMORY, of one without", memory, 15.0),
        _goal("3 work meanwhile, of the same during a profile at 100 Hz", profile(), 1.25),
    ]
