"""Tasks, and blocks that are timed, stay what they are: names, frames, and ends in other threads, tasks and contexts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import io
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streaming_dd import recorder, timers
from streaming_dd.catalog import Metric
from streaming_dd.tasks.hooks.instances import RUN

RENDER = Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")


class Row:
    pk = 1

    async def process(self) -> int:
        await asyncio.sleep(3600)
        return 1

    async def mark_completed(self, final_value: Any = None) -> None:
        await asyncio.sleep(0)


class Coordinator:
    def __init__(self) -> None:
        self.started: list[asyncio.Task[Any]] = []

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        self.started.append(asyncio.create_task(self._run_task(task_instance, "reports:Row:1")))

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        await task_instance.process()


@timers.task("reports.export")
async def export_rows() -> str:
    await asyncio.sleep(3600)
    return "done"


def test_a_task_shows_the_users_coroutine(configure: Any) -> None:
    """Its name, qualified name, code, frame, state and the top of its printed stack are the user's, as without us."""
    configure()

    async def main() -> None:
        task = asyncio.create_task(export_rows())
        coroutine: Any = task.get_coro()
        assert inspect.iscoroutine(coroutine)
        assert asyncio.iscoroutine(coroutine)
        assert inspect.getcoroutinestate(coroutine) == "CORO_CREATED"
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(coroutine) == "CORO_SUSPENDED"
        assert (coroutine.__name__, coroutine.__qualname__) == ("export_rows", "export_rows")
        assert coroutine.cr_code is inspect.unwrap(export_rows).__code__
        assert "export_rows() running at" in repr(task)
        assert __file__ in repr(task)
        shown = io.StringIO()
        task.print_stack(file=shown)
        assert shown.getvalue().splitlines()[1].strip().startswith(f'File "{__file__}"')
        assert "streaming_dd" not in shown.getvalue()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inspect.getcoroutinestate(coroutine) == "CORO_CLOSED"

    asyncio.run(main(), debug=True)


def test_a_coordinators_task_shows_its_own_method(configure: Any) -> None:
    """Hooked as it is, a coordinator's task is its `_run_task`, not something of ours."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        await coordinator.start_task(Row(), "reports", "Row")
        await asyncio.sleep(0)
        (task,) = coordinator.started
        assert task.get_coro().__qualname__ == "Coordinator._run_task"
        assert task.get_stack()[0].f_code is Coordinator._run_task.__code__
        task.cancel()

    asyncio.run(main())


@pytest.mark.slow
def test_a_task_never_awaited_is_named(configure: Any) -> None:
    """Python's warning names the function that was forgotten."""
    configure()
    gc.collect()  # what earlier tests have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_rows()
        gc.collect()
    said = [str(item.message) for item in caught if item.category is RuntimeWarning]
    assert said == ["coroutine 'export_rows' was never awaited"]


def test_what_is_written_of_an_error_begins_in_the_users_code(capture: Any) -> None:
    """error.stack has no frame of this package before the user's own."""
    with capture() as captured:

        @timers.task("reports.export")
        async def fails() -> None:
            raise LookupError("no such row")

        with pytest.raises(LookupError) as raised:
            asyncio.run(fails())
        span = captured.spans.one("task.run")
        frames = [line for line in span.tags["error.stack"].splitlines() if line.strip().startswith("File")]
        assert frames
        assert all(__file__ in line for line in frames)
        assert traceback.extract_tb(raised.tb)[-1].filename == __file__


@pytest.mark.slow
def test_a_task_that_is_dropped_while_it_waits_is_cancelled(configure: Any, flush: Any) -> None:
    """A loop that is closed with a task pending: it is not active for ever after."""
    configure()
    cleaned: list[str] = []

    @timers.task("reports.export")
    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append("cleaned")

    kept: list[Any] = [waits()]

    async def step() -> None:
        kept[0].send(None)

    asyncio.run(step())
    assert flush().last("streaming.tasks.active") == 1
    kept.clear()
    gc.collect()
    assert cleaned == ["cleaned"]
    assert flush().total("streaming.tasks.cancelled") == 1
    assert flush().last("streaming.tasks.active") == 0


def test_closing_and_throwing_before_the_first_step_end_the_run(configure: Any, flush: Any) -> None:
    """None of the user's code runs then, and the run is over."""
    configure()
    export_rows().close()
    thrown: Any = export_rows()
    with pytest.raises(asyncio.CancelledError):
        thrown.throw(asyncio.CancelledError())
    sender = flush()
    assert sender.total("streaming.tasks.cancelled") == 2
    assert sender.last("streaming.tasks.active") == 0


def test_a_coroutine_stepped_by_two_at_once_is_not_over(configure: Any, flush: Any) -> None:
    """Python's own "already executing" comes from the second one, and the first goes on."""
    configure()
    own: list[Any] = []

    @timers.task("reports.export")
    async def selfish() -> str:
        with pytest.raises((RuntimeError, ValueError), match="already"):
            own[0].send(None)
        return "done"

    own.append(selfish())

    async def main() -> Any:
        return await own[0]

    assert asyncio.run(main()) == "done"
    assert flush().total("streaming.tasks.completed") == 1


def test_a_row_is_left_as_it_was(configure: Any) -> None:
    """While the run is on its hooks are on the object; afterwards it has none."""
    configure()
    coordinator = timers.instrument(Coordinator())
    row = Row()

    async def main() -> None:
        await coordinator.start_task(row, "reports", "Row")
        await asyncio.sleep(0)
        assert RUN in vars(row)
        coordinator.started[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await coordinator.started[0]

    asyncio.run(main())
    assert vars(row) == {}


# --- what decides the outcome -------------------------------------------------------------------------------


class Swallows(Coordinator):
    """Fails between process() and mark_completed(), and tells its clients; as found in the wild."""

    def __init__(self, fails_with: Exception | None, tells: bool = True) -> None:
        super().__init__()
        self.fails_with, self.tells = fails_with, tells

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        try:
            value = await task_instance.process()
            if self.fails_with is not None:
                raise self.fails_with
            await task_instance.mark_completed(final_value=value)
        except Exception as error:  # noqa: BLE001 - as found in the wild
            if self.tells:
                await task_instance.send_event("error", str(error))


class QuickRow(Row):
    async def process(self) -> int:
        return 1

    async def send_event(self, event_type: str, data: Any) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("coordinator", "error_type"),
    [
        (Swallows(None), None),
        (Swallows(ConnectionError("redis is gone")), "ConnectionError"),
        (Swallows(ConnectionError("redis is gone"), tells=False), "NotCompleted"),
    ],
    ids=["marked", "told", "silent"],
)
def test_what_is_not_marked_completed_has_failed(
    coordinator: Any, error_type: str | None, configure: Any, flush: Any
) -> None:
    """A coordinator that fails after process() and swallows it has not completed the task: its row will run again."""
    configure()
    timers.instrument(coordinator)

    async def main() -> None:
        await coordinator.start_task(QuickRow(), "reports", "Row")
        await coordinator.started[-1]

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.tasks.completed") == (error_type is None)
    if error_type is not None:
        assert sender.total("streaming.tasks.failed", error_type=error_type) == 1


def test_a_coordinator_that_marks_nothing_completes_by_its_own_end(configure: Any, flush: Any) -> None:
    """Where the coordinator's code has no mark_completed(), objects that have one need not be marked."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        await coordinator.start_task(QuickRow(), "reports", "Row")
        await coordinator.started[-1]

    asyncio.run(main())
    assert flush().total("streaming.tasks.completed") == 1


def test_a_group_of_one_kind_of_error_is_named_by_it(configure: Any, flush: Any) -> None:
    """error_type is what failed in a TaskGroup, also in groups of groups; a group of several kinds by those."""
    configure()

    @timers.task("reports.export")
    async def export(error: Exception) -> None:
        raise error

    async def main() -> None:
        one = ExceptionGroup("a", [ValueError(1), ExceptionGroup("b", [ValueError(2)])])
        for error in (one, ExceptionGroup("c", [ValueError(1), KeyError(2)])):
            with pytest.raises(ExceptionGroup):
                await export(error)

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.tasks.failed", error_type="ValueError") == 1
    assert sender.total("streaming.tasks.failed", error_type="KeyError/ValueError") == 1


# --- blocks of code -----------------------------------------------------------------------------------------


def test_a_generators_block_may_end_in_another_thread(configure: Any, flush: Any) -> None:
    """Sync generators of a web app are entered and left in different threads of a pool."""
    configure()
    shared = timers.timer(RENDER, kind="shared")

    def body() -> Any:
        with timers.timer(RENDER, kind="own"), shared:
            for _ in range(5):
                yield 1

    generators = [body() for _ in range(8)]
    for _ in range(6):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda generator: next(generator, None), generators))
    sender = flush()
    assert len(sender.values("reports.render", kind="own")) == 8
    assert len(sender.values("reports.render", kind="shared")) == 8
    assert shared._starts == {}


@pytest.mark.slow
def test_a_block_may_end_in_another_task_or_late_or_never(configure: Any, flush: Any) -> None:
    """Async generators that another task closes, generators that the collector closes, and blocks left by hand."""
    configure()
    shared = timers.timer(RENDER, kind="shared")

    async def rows() -> Any:
        async with shared:
            while True:
                yield 1

    def late() -> Any:
        with shared:
            yield 1

    async def main() -> None:
        generator = rows()
        assert await anext(generator) == 1
        await asyncio.create_task(generator.aclose())

    asyncio.run(main())
    generator = late()
    next(generator)
    del generator
    gc.collect()
    thread = threading.Thread(target=shared.__enter__)
    thread.start()
    thread.join()
    shared.__exit__(None, None, None)
    shared.__exit__(None, None, None)  # without a block that is open: nothing to measure, nothing to raise
    assert len(flush().values("reports.render", kind="shared")) == 3


def test_overlapping_blocks_of_exit_stacks_keep_their_own_time(configure: Any, flush: Any) -> None:
    """Entered by contextlib's stacks in several tasks at once, one object still measures each block by itself."""
    configure()
    shared = timers.timer(RENDER, kind="shared")
    least: list[float] = []
    most: list[float] = []

    async def use(seconds: float) -> None:
        before = time.perf_counter()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(shared)
            inside = time.perf_counter()
            await asyncio.sleep(seconds)
            least.append((time.perf_counter() - inside) * 1000)
        most.append((time.perf_counter() - before) * 1000)

    async def main() -> None:
        await asyncio.gather(use(0.3), use(0.01), use(0.01))

    asyncio.run(main())
    values = sorted(flush().values("reports.render", kind="shared"))
    for value, low, high in zip(values, sorted(least), sorted(most), strict=True):
        assert low - 0.01 <= value <= high + 0.01


def test_open_blocks_are_bounded(configure: Any) -> None:
    """Blocks that are entered and never left do not add up for ever."""
    configure()
    shared = timers.timer(RENDER, kind="shared")
    for number in range(timers._OPEN_LIMIT + 10):
        shared._starts[-number - 1] = [0.0]
    shared.__enter__()
    assert len(shared._starts) <= timers._OPEN_LIMIT + 10
    assert recorder.get() is not None
