"""CPU time of tasks: theirs, all of it, nobody else's; and nothing about them changes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from asgiref.sync import sync_to_async

from streaming_dd import catalog, recorder, timers
from streaming_dd.tasks.measuring.steps import Meter, Steps
from streaming_dd.tasks.measuring.work import Work

#: CPU milliseconds that a task burns in these tests, and what may come on top on a busy machine.
BURNT = 60.0
SLACK = 40.0
#: CPU milliseconds beyond what a test asked for that its burning took: a virtual machine that stands still counts them.
beyond: list[float] = []


@pytest.fixture(name="burn")
def burn_and_note(burn: Any) -> Iterator[Callable[[float], None]]:
    """Burn CPU time, and note what that took beyond it."""

    def burn_noted(seconds: float) -> None:
        beyond.append((burn(seconds) - seconds) * 1000)

    beyond.clear()
    yield burn_noted
    beyond.clear()


def slack() -> float:
    """What may come on top of the CPU milliseconds that were asked for."""
    return SLACK + sum(beyond)


def the_end(captured: Any) -> dict[str, Any]:
    """The end line of the one task."""
    return captured.logs.one(fields={"task.status": "completed"})


def assert_burnt(captured: Any, expected: float) -> dict[str, Any]:
    """The task's CPU time is what it burnt, on the metric, the span and the log line alike."""
    line = the_end(captured)
    assert expected * 0.95 <= line["task.cpu_ms"] <= expected + slack()
    assert captured.spans.one("task.run").metrics["task.cpu_ms"] == line["task.cpu_ms"]
    (value,) = captured.metrics.assert_values(catalog.TASK_CPU_TIME, 1)
    assert value == pytest.approx(line["task.cpu_ms"], abs=0.01)
    return line


def test_cpu_time_is_that_of_the_steps_and_not_of_waiting(run: Any, captured: Any, burn: Any) -> None:
    """Sleeping, and the steps of other coroutines meanwhile, are not the task's CPU time."""

    @timers.task("reports.export")
    async def export() -> None:
        burn(0.03)
        await asyncio.sleep(0.05)
        burn(0.03)

    async def main() -> None:
        task = asyncio.create_task(export())
        await asyncio.sleep(0)
        burn(0.1)
        await task

    run(main())
    line = assert_burnt(captured, BURNT)
    assert line["task.steps"] == 2


def test_a_blocking_call_holds_the_loop_without_cpu_time(
    run: Any, captured: Any, uncollected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that sleeps in the thread shows as time for which the loop was held, and as the longest step."""
    seen, sample = threading.Event(), Work.sample

    def sample_and_tell(*args: Any) -> None:
        sample(*args)
        seen.set()

    monkeypatch.setattr(Work, "sample", sample_and_tell)

    @timers.task("reports.export")
    async def export() -> None:
        assert time.sleep(0.15) or seen.wait(60)  # noqa: ASYNC251 - the mistake in question
        await asyncio.sleep(0)

    run(export())
    line = the_end(captured)
    assert line["task.cpu_ms"] < SLACK
    assert line["task.loop_ms"] >= 150
    assert line["task.longest_step_ms"] >= 150
    assert captured.metrics.assert_values(catalog.TASK_LONGEST_STEP, 1)[0] >= 150
    sleeping = inspect.getsourcelines(export)[1] + 2
    assert line["task.longest_step_at"].partition(" in ")[0].endswith(f"test_steps.py:{sleeping}")


def test_gathered_tasks_count_to_the_task_that_started_them(run: Any, captured: Any, burn: Any) -> None:
    """asyncio tasks that a task starts burn its CPU time; nobody's are counted to it who were there before."""

    async def part() -> None:
        burn(0.02)
        await asyncio.sleep(0)

    @timers.task("reports.export")
    async def export() -> None:
        await asyncio.gather(part(), part())
        async with asyncio.TaskGroup() as group:
            group.create_task(part())
            await asyncio.sleep(0.01)

    async def main() -> None:
        others = [asyncio.create_task(part()) for _ in range(3)]
        await export()
        await asyncio.gather(*others)

    run(main())
    assert_burnt(captured, BURNT)


def test_children_of_children_and_their_end(run: Any, captured: Any, burn: Any) -> None:
    """A task started by a task's own task counts too, until the run has ended; later it is nobody's."""
    late: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def leaf(seconds: float) -> None:
        await asyncio.sleep(0)
        burn(seconds)

    async def straggler() -> None:
        await over.wait()
        burn(0.05)

    async def branch() -> None:
        await asyncio.gather(leaf(0.03), leaf(0.03))

    @timers.task("reports.export")
    async def export() -> None:
        late.append(asyncio.create_task(straggler()))
        await asyncio.create_task(branch())

    async def main() -> None:
        await export()
        over.set()
        await late[0]

    run(main())
    assert_burnt(captured, BURNT)


def test_a_task_within_a_task_is_counted_once(run: Any, captured: Any, burn: Any) -> None:
    """What an awaited task burns is that task's alone, so that the CPU time of all tasks adds up to what was burnt."""

    @timers.task("reports.render")
    async def render() -> None:
        burn(0.06)
        await asyncio.sleep(0)

    @timers.task("reports.export")
    async def export() -> None:
        burn(0.03)
        await render()
        await asyncio.create_task(render())

    run(export())
    inner = captured.metrics.values(catalog.TASK_CPU_TIME, model="render")
    outer = captured.metrics.values(catalog.TASK_CPU_TIME, model="export")
    assert len(inner) == 2
    assert all(57 <= value <= 60 + slack() for value in inner)
    assert 28 <= outer[0] <= 30 + slack() / 2


@pytest.mark.slow
def test_a_task_within_a_task_that_blocks_is_no_cpu_time(run: Any, captured: Any, uncollected: None) -> None:
    """What an awaited task sleeps through in its thread is neither its own CPU time nor that of who awaits it."""

    @timers.task("reports.render")
    async def render() -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - the mistake in question

    @timers.task("reports.export")
    async def export() -> None:
        await render()

    run(export())
    for model in ("render", "export"):
        (value,) = captured.metrics.values(catalog.TASK_CPU_TIME, model=model)
        assert value < 200


def test_async_generators_count_their_own_steps(run: Any, captured: Any, burn: Any) -> None:
    """A generator task burns what its own steps burn; its consumer's work between two items is not its own."""

    @timers.task("reports.rows")
    async def rows() -> Any:
        for number in range(3):
            burn(0.02)
            await asyncio.sleep(0)
            yield number

    async def main() -> None:
        async for _ in rows():
            burn(0.05)

    run(main())
    line = assert_burnt(captured, BURNT)
    assert line["task.events"] == 3


@pytest.mark.parametrize("how", ["to_thread", "sync_to_async", "executor", "thread_sensitive"])
def test_cpu_time_of_threads(how: str, run: Any, captured: Any, burn: Any) -> None:
    """CPU time in asyncio.to_thread, Django's sync_to_async and run_in_executor counts, and is told apart."""

    @timers.task("reports.export")
    async def export() -> None:
        if how == "to_thread":
            await asyncio.to_thread(burn, 0.06)
        elif how == "executor":
            with ThreadPoolExecutor(1) as pool:
                await asyncio.get_running_loop().run_in_executor(pool, burn, 0.06)
        else:
            await sync_to_async(burn, thread_sensitive=how == "thread_sensitive")(0.06)

    run(export())
    line = assert_burnt(captured, BURNT)
    assert line["task.thread_calls"] == 1
    assert 57 <= line["task.thread_cpu_ms"] <= line["task.cpu_ms"]


def test_executor_calls_of_others_are_left_alone(run: Any, captured: Any) -> None:
    """A call outside of tasks gets its function as it is; one to another process can still be sent there."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        Meter.of_running_loop()
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        with ProcessPoolExecutor(1) as pool:
            return await timers.task("reports.export")(_in_process)(pool)

    assert run(main()) == 8
    assert "task.thread_calls" not in the_end(captured)


async def _in_process(pool: ProcessPoolExecutor) -> int:
    return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 3)


def test_cancellation_passes_through_and_is_counted(run: Any, captured: Any, burn: Any) -> None:
    """A cancelled task sees its cancellation at its await, may burn CPU while it cleans up, and ends as cancelled."""
    seen: list[str] = []

    @timers.task("reports.export")
    async def export() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            burn(0.06)
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(export())
        await asyncio.sleep(0.01)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert task.cancelled()

    run(main())
    assert seen == ["cancelled"]
    line = captured.logs.one(fields={"task.status": "cancelled"})
    assert line["task.cpu_ms"] >= 57


def test_swallowed_cancellation_ends_as_what_it_did(run: Any, captured: Any) -> None:
    """A task that swallows its cancellation goes on, and has completed when it returns."""

    @timers.task("reports.export")
    async def export() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "kept on"

    async def main() -> str:
        task = asyncio.create_task(export())
        await asyncio.sleep(0.01)
        task.cancel()
        return await task

    assert run(main()) == "kept on"
    assert the_end(captured)["task.steps"] == 3


def test_a_failing_child_fails_its_group(run: Any, captured: Any) -> None:
    """A TaskGroup cancels the siblings of a child that raised, and raises the group, as without us."""
    cancelled: list[bool] = []

    async def sibling() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def broken() -> None:
        await asyncio.sleep(0)
        raise LookupError("no such row")

    @timers.task("reports.export")
    async def export() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sibling())
            group.create_task(broken())

    with pytest.raises(ExceptionGroup) as raised:
        run(export())
    assert isinstance(raised.value.exceptions[0], LookupError)
    assert cancelled == [True]
    assert captured.logs.one(fields={"task.status": "failed"})["task.steps"] >= 4


def test_current_task_timeouts_and_context_are_as_without(run: Any, captured: Any) -> None:
    """asyncio.current_task(), timeouts, names and context variables behave in a task and in its children as ever."""
    variable: ContextVar[str] = ContextVar("variable", default="none")

    async def child() -> tuple[str, str]:
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(task, asyncio.Task)
        value = variable.get()
        variable.set("the child's")
        return task.get_name(), value

    @timers.task("reports.export")
    async def export() -> Any:
        own = asyncio.current_task()
        assert own is not None
        variable.set("the parent's")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(child(), name="named")
        assert variable.get() == "the parent's"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.create_task(asyncio.sleep(60)), 0.01)
        assert asyncio.current_task() is own
        assert own.cancelling() == 0
        assert asyncio.get_running_loop().get_task_factory() is not None
        return task.result()

    async def main() -> Any:
        outer = asyncio.current_task()
        found = await export()
        assert asyncio.current_task() is outer
        assert asyncio.get_running_loop().get_task_factory() is None
        return found

    assert run(main()) == ("named", "the parent's")


def test_a_child_task_looks_like_its_coroutine(run: Any, captured: Any) -> None:
    """Tools that look at a child's coroutine (anyio, debuggers) find its name, frame, state and stack."""

    async def child() -> None:
        await asyncio.sleep(60)

    @timers.task("reports.export")
    async def export() -> None:
        task = asyncio.create_task(child())
        coroutine: Any = task.get_coro()
        assert inspect.getcoroutinestate(coroutine) == "CORO_CREATED"
        await asyncio.sleep(0.01)
        assert inspect.getcoroutinestate(coroutine) == "CORO_SUSPENDED"
        assert coroutine.__qualname__.endswith("child")
        assert coroutine.cr_code is child.__code__
        assert "child" in repr(task)
        assert any(frame.f_code is child.__code__ for frame in task.get_stack())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inspect.getcoroutinestate(coroutine) == "CORO_CLOSED"

    run(export())
    the_end(captured)


def test_a_task_factory_of_ones_own_stays(run: Any, captured: Any) -> None:
    """A loop with a task factory keeps it, inside of tasks as well: their children are then not followed."""
    made: list[str] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def child() -> None:
        await asyncio.sleep(0)

    @timers.task("reports.export")
    async def export() -> None:
        await asyncio.create_task(child())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        await export()
        assert loop.get_task_factory() is factory
        assert [name.rpartition(".")[2] for name in made] == ["child"]

    run(main())


def test_a_factory_set_inside_a_task_is_kept(run: Any, captured: Any) -> None:
    """What a task itself sets on the loop is not taken back at the end of its step."""

    def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=loop, **options)

    @timers.task("reports.export")
    async def export() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.sleep(0)

    async def main() -> bool:
        await export()
        return asyncio.get_running_loop().get_task_factory() is factory

    assert run(main())


def test_what_is_no_coroutine_is_refused_as_ever(run: Any, captured: Any) -> None:
    """create_task() inside a task raises asyncio's own error for something that is no coroutine."""

    @timers.task("reports.export")
    async def export() -> None:
        not_a_coroutine: Any = 17
        with pytest.raises(TypeError, match="a coroutine was expected"):
            await asyncio.create_task(not_a_coroutine)

    run(export())


def test_switched_off_nothing_is_measured(run: Any, capture: Any, burn: Any) -> None:
    """With STREAMING_TASK_CPU off a task is counted and timed as before, and its steps are not touched."""

    @timers.task("reports.export")
    async def export() -> bool:
        burn(0.01)
        return asyncio.get_running_loop().get_task_factory() is None

    with capture(task_cpu=False) as captured:
        assert run(export())
        captured.metrics.assert_values(catalog.TASK_DURATION, 1)
        assert captured.metrics.values(catalog.TASK_CPU_TIME) == []
        assert "task.cpu_ms" not in the_end(captured)


@pytest.mark.slow
def test_a_loop_and_its_tasks_are_not_kept_alive(run: Any, captured: Any) -> None:
    """When a loop has gone, what was noted of it has gone: a process may make a loop for every call."""
    gone: list[Any] = []

    @timers.task("reports.export")
    async def export() -> None:
        gone.append(weakref.ref(asyncio.get_running_loop()))
        gone.append(weakref.ref(asyncio.current_task()))
        child = asyncio.create_task(asyncio.sleep(0))
        gone.append(weakref.ref(child))
        await child

    run(export())
    gc.collect()
    assert [reference() for reference in gone] == [None, None, None]


def test_finished_children_are_forgotten(run: Any, captured: Any) -> None:
    """A long task that starts many short ones does not keep them."""

    @timers.task("reports.export")
    async def export() -> int:
        for _ in range(200):
            await asyncio.create_task(asyncio.sleep(0))
        (live,) = recorder.get().tasks.live()
        return len(live.work.children or ())

    assert run(export()) <= 3


class Clocked:
    """A run for steps that are driven by hand."""

    span = None
    ended = None

    def __init__(self) -> None:
        self.work = Work()

    def follow_span(self, previous: Any, *, child: bool) -> None:
        raise AssertionError("there is no span")


@pytest.mark.parametrize("between", [0.0, 0.001], ids=["quick", "slow"])
def test_a_clock_that_jumps_back_takes_nothing_away(monkeypatch: pytest.MonkeyPatch, between: float) -> None:
    """When the clock jumps back during a step, no negative time is counted; a jump ahead counts no CPU time."""
    offset = 0.0
    real = time.perf_counter

    def read() -> float:
        nonlocal offset
        offset += between  # what a busy machine puts between two readings
        return real() + offset

    monkeypatch.setattr("streaming_dd.tasks.measuring.steps.perf_counter", read)

    async def body() -> None:
        nonlocal offset
        offset = -3600.0
        await asyncio.sleep(0)
        offset = 3600.0
        await asyncio.sleep(0)

    async def main() -> Work:
        run = Clocked()
        await Steps(run, body(), Meter.of_running_loop())
        return run.work

    work = asyncio.run(main())
    assert 0 <= work.cpu < 1
    assert work.steps == 3
    assert work.held >= 0


def test_the_cpu_clock_is_exact_where_it_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short steps in a row, between which the CPU clock is hardly read, add up to the CPU time that they take."""
    monkeypatch.setattr("streaming_dd.tasks.measuring.steps._CONTINUOUS", 200e-6)  # on a slow machine, too
    reads = 0
    real = time.thread_time

    def counting() -> float:
        nonlocal reads
        reads += 1
        return real()

    monkeypatch.setattr("streaming_dd.tasks.measuring.steps.thread_time", counting)
    worked = 0.0

    async def body() -> None:
        nonlocal worked
        for _ in range(10_000):
            start = real()
            sum(range(200))
            worked += real() - start
            await asyncio.sleep(0)

    async def main() -> tuple[float, float]:
        run = Clocked()
        meter = Meter.of_running_loop()
        start = real()
        await Steps(run, body(), meter)
        return run.work.cpu, real() - start

    counted, used = asyncio.run(main())
    assert reads < 10_000
    assert 0.7 * worked < counted <= used


def test_a_thread_call_can_be_sent_elsewhere() -> None:
    """What is handed to an executor can be pickled wherever the function alone can."""
    from streaming_dd.tasks.measuring.executor_calls import _ThreadCall

    assert pickle.loads(pickle.dumps(_ThreadCall(Work(), len))) is len


def test_anyio_works_inside_a_task(run: Any, captured: Any, burn: Any) -> None:
    """anyio looks at its tasks' coroutines: its groups, cancel scopes and timeouts work, and count to the task."""

    async def part(*, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started("ready")
        burn(0.03)
        await anyio.lowlevel.checkpoint()

    @timers.task("reports.export")
    async def export() -> str:
        async with anyio.create_task_group() as group:
            said = await group.start(part)
            group.start_soon(part)
            group.start_soon(anyio.sleep, 60)
            with anyio.move_on_after(0.1) as scope:
                await anyio.sleep(60)
            assert scope.cancelled_caught
            group.cancel_scope.cancel()
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await anyio.sleep(60)
        return str(said)

    assert run(export()) == "ready"
    assert_burnt(captured, BURNT)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has it first")
def test_eager_tasks_stay_eager(captured: Any, burn: Any) -> None:
    """A loop with asyncio's eager task factory keeps it, inside of tasks as well: their first step runs at once."""
    order: list[str] = []

    async def child() -> None:
        order.append("child")
        burn(0.06)
        await asyncio.sleep(0)

    @timers.task("reports.export")
    async def export() -> None:
        task = asyncio.create_task(child())
        order.append("parent")
        await task

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        await export()

    asyncio.run(main())
    assert order == ["child", "parent"]
    assert_burnt(captured, BURNT)


def test_a_segment_says_what_the_task_took_so_far(capture: Any, burn: Any) -> None:
    """The span of a long task's first segment has its CPU time up to then; the last one has all of it."""
    with capture() as captured:

        @timers.task("reports.export")
        async def export() -> None:
            burn(0.06)
            await asyncio.sleep(0)
            (live,) = recorder.get().tasks.live()
            live._segment_at = 0.0  # it is due, without waiting for it
            recorder.get().tasks.cut_long_runs()
            burn(0.06)

        asyncio.run(export())
        first, last = captured.spans.find("task.run")
        assert 57 <= first.metrics["task.cpu_ms"] <= 60 + slack()
        assert 114 <= last.metrics["task.cpu_ms"] <= 120 + 2 * slack()
