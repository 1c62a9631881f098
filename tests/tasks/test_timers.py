"""Coordinators, tasks and timers: every outcome counted once, nothing changed for the application."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from streaming_dd import recorder, timers
from streaming_dd.catalog import Metric
from streaming_dd.errors import InstrumentError, MetricError

RENDER = Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")
ROWS = Metric("reports.rows", "count", "row", ("kind",), "Rows.")
DEPTH = Metric("reports.depth", "gauge", "item", (), "Depth.")


class Row:
    """A task instance of the coordinator in the wild."""

    def __init__(self, pk: int, work: Any = None, on_completed: Any = None) -> None:
        self.pk = pk
        self._clients: set[Any] = set()
        self.sent: list[tuple[str, Any]] = []
        self._work = work
        self._on_completed = on_completed

    async def send_event(self, event_type: str, data: Any) -> None:
        self.sent.append((event_type, data))

    async def process(self) -> Any:
        await self.send_event("start", {})
        await asyncio.sleep(0)
        return await self._work(self) if self._work is not None else "done"

    async def mark_completed(self, final_value: Any = None) -> None:
        if self._on_completed is not None:
            raise self._on_completed
        await self.send_event("complete", final_value)


class Coordinator:
    """The coordinator in the wild: swallows exceptions, forgets its entry before the task is done."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._task_instances: dict[str, Any] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        key = f"{app_name}:{model_name}:{task_instance.pk}"
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key in self._tasks:
                return
            self._task_instances[key] = task_instance
            self._tasks[key] = asyncio.create_task(self._run_task(task_instance, key))

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        try:
            value = await task_instance.process()
            await task_instance.mark_completed(final_value=value)
        except Exception as error:  # noqa: BLE001 - as found in the wild
            await task_instance.send_event("error", str(error))
        finally:
            self._tasks.pop(task_key, None)

    async def get_task_instance(self, app_name: str, model_name: str, task_id: int) -> Any:
        return self._task_instances.get(f"{app_name}:{model_name}:{task_id}")


class CancellingCoordinator(Coordinator):
    """The newer relative: reports a cancellation and raises it again."""

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        try:
            value = await task_instance.process()
            await task_instance.mark_completed(final_value=value)
        except asyncio.CancelledError:
            await task_instance.send_event("cancelled", {})
            raise
        except Exception as error:
            await task_instance.send_event("error", str(error))
            raise
        finally:
            self._tasks.pop(task_key, None)


async def fails(row: Any) -> Any:
    raise ValueError("boom")


async def waits(row: Any) -> Any:
    await asyncio.sleep(3600)


async def run_all(coordinator: Any, *rows: Row) -> list[asyncio.Task[Any]]:
    started = []
    for row in rows:
        await coordinator.start_task(row, "reports", "Export")
        started.append(coordinator._tasks[f"reports:Export:{row.pk}"])
    await asyncio.gather(*started, return_exceptions=True)
    return started


TAGS = {"app": "reports", "model": "Export"}


def outcomes(sender: Any) -> dict[str, float]:
    return {
        name: sender.total(f"streaming.tasks.{name}", **TAGS)
        for name in ("started", "completed", "failed", "cancelled")
    }


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: Any) -> Any:
    """asyncio.run on either loop."""

    def go(main: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return go


# --- instrument() -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Coordinator, CancellingCoordinator])
def test_outcomes_are_counted_also_if_the_coordinator_swallows_them(
    kind: Any, configure: Any, flush: Any, run: Any
) -> None:
    """Completed, failed in process(), failed in mark_completed(): each once, whatever `_run_task` does with them."""
    configure()
    coordinator = timers.instrument(kind())
    run(run_all(coordinator, Row(1), Row(2, fails), Row(3, on_completed=KeyError("late")), Row(4)))
    sender = flush()
    assert outcomes(sender) == {"started": 4, "completed": 2, "failed": 2, "cancelled": 0}
    assert sender.total("streaming.tasks.failed", error_type="ValueError") == 1
    assert sender.total("streaming.tasks.failed", error_type="KeyError") == 1
    assert sender.last("streaming.tasks.active", **TAGS) == 0
    assert sender.last("streaming.tasks.peak", **TAGS) == 4
    assert len(sender.values("streaming.task.duration", outcome="completed")) == 2
    assert len(sender.values("streaming.task.duration", outcome="failed")) == 2
    assert len(sender.values("streaming.task.queue_time")) == 4
    assert sender.total("streaming.task.events", event_type="start") == 4
    assert sender.total("streaming.task.events", event_type="complete") == 2


@pytest.mark.parametrize("kind", [Coordinator, CancellingCoordinator])
def test_a_cancelled_task_is_cancelled_not_failed(kind: Any, configure: Any, flush: Any, run: Any) -> None:
    """Cancelling is no error, and the CancelledError goes on as before."""
    configure()
    coordinator = timers.instrument(kind())

    async def main() -> None:
        row = Row(1, waits)
        await coordinator.start_task(row, "reports", "Export")
        task = coordinator._tasks["reports:Export:1"]
        for _ in range(5):
            await asyncio.sleep(0)
        assert flush().last("streaming.tasks.active", **TAGS) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())
    assert outcomes(flush()) == {"started": 1, "completed": 0, "failed": 0, "cancelled": 1}


@pytest.mark.slow
def test_a_task_cancelled_before_its_first_step_is_counted_and_gone(
    configure: Any, flush: Any, run: Any
) -> None:
    """It never entered `_run_task`, whose entries stay: the gauge is not fooled."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        await coordinator.start_task(Row(1), "reports", "Export")
        task = coordinator._tasks["reports:Export:1"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    gc.collect()
    sender = flush()
    assert outcomes(sender) == {"started": 1, "completed": 0, "failed": 0, "cancelled": 1}
    assert sender.last("streaming.tasks.active", **TAGS) == 0


def test_starting_a_running_task_again_is_no_start(configure: Any, flush: Any, run: Any) -> None:
    """`start_task` returns silently then, and nothing is counted."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        row = Row(1)
        for _ in range(3):
            await coordinator.start_task(row, "reports", "Export")
        await coordinator._tasks["reports:Export:1"]

    run(main())
    assert outcomes(flush())["started"] == 1


def test_a_base_exception_passes_through(configure: Any, flush: Any) -> None:
    """SystemExit and the like end the loop as without us, and count as failures."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def leaves(row: Any) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        asyncio.run(run_all(coordinator, Row(1, leaves)))
    assert flush().total("streaming.tasks.failed", error_type="SystemExit") == 1


def test_the_application_cannot_tell_the_difference(configure: Any, run: Any) -> None:
    """Events, results, the current task and the instance's methods are as without the hooks."""
    configure()

    async def looks(row: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        assert inspect.iscoroutine(task.get_coro())
        assert task.get_stack()
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return {"value": 1}

    bare, hooked = Row(1, looks), Row(1, looks)
    run(run_all(Coordinator(), bare))
    run(run_all(timers.instrument(Coordinator()), hooked))
    assert hooked.sent == bare.sent
    assert vars(hooked).keys() == vars(bare).keys()
    assert "process" not in vars(hooked)


def test_instrumenting_is_idempotent_and_reversible(configure: Any, flush: Any, run: Any) -> None:
    """Twice counts once; taken off, the coordinator has its own methods again."""
    configure()
    coordinator = Coordinator()
    timers.instrument(timers.instrument(coordinator))
    run(run_all(coordinator, Row(1)))
    assert outcomes(flush())["started"] == 1
    timers.uninstrument(coordinator)
    assert vars(coordinator).keys() == {"_tasks", "_task_instances", "_locks"}
    run(run_all(coordinator, Row(2)))
    assert outcomes(flush())["started"] == 1


def test_hooked_methods_still_pass_for_coroutine_functions() -> None:
    """Whoever asks `iscoroutinefunction` gets the answer it got before."""
    coordinator = timers.instrument(Coordinator())
    assert inspect.iscoroutinefunction(coordinator.start_task)
    assert asyncio.iscoroutinefunction(coordinator._run_task) or inspect.iscoroutinefunction(
        coordinator._run_task
    )


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (object(), "no method start_task"),
        (Coordinator, "is a class"),
        (type("Half", (), {"start_task": lambda self: None})(), "no method _run_task"),
        (
            type(
                "Slots",
                (),
                {"__slots__": (), "start_task": Coordinator.start_task, "_run_task": Coordinator._run_task},
            )(),
            "takes no attributes",
        ),
    ],
)
def test_what_cannot_be_instrumented_says_why_and_what_to_do(thing: Any, message: str) -> None:
    """InstrumentError at instrument time names what is missing and the way around."""
    with pytest.raises(InstrumentError, match=message) as caught:
        timers.instrument(thing)
    assert "decorate" in str(caught.value).lower()


def test_a_row_without_room_for_hooks_is_judged_by_its_run(configure: Any, flush: Any, run: Any) -> None:
    """An instance with slots runs as it is; its outcome is that of `_run_task`."""
    configure()

    class Slim:
        __slots__ = ("pk",)

        def __init__(self) -> None:
            self.pk = 1

        async def process(self) -> int:
            raise ValueError("swallowed by the coordinator")

        async def send_event(self, event_type: str, data: Any) -> None:
            pass

    coordinator = timers.instrument(Coordinator())
    run(run_all(coordinator, Slim()))  # type: ignore[arg-type]
    assert outcomes(flush())["completed"] == 1


def test_app_and_model_come_from_the_row_itself(configure: Any, flush: Any, run: Any) -> None:
    """A Django row's own names win over what the URL said; a key with more colons is no trap."""
    configure()

    class DjangoRow(Row):
        _meta = type("Meta", (), {"app_label": "library"})

    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        await coordinator.start_task(DjangoRow(1), "evil:app", "x" * 500)
        await asyncio.gather(*coordinator._tasks.values())

    run(main())
    assert flush().total("streaming.tasks.started", app="library", model="DjangoRow") == 1


def test_clients_of_a_task_without_the_middleware_are_its_queues(configure: Any, flush: Any) -> None:
    """Where no socket is seen, the instance's own set of clients is counted."""
    configure()
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        row = Row(1, waits)
        row._clients = {object(), object()}
        await coordinator.start_task(row, "reports", "Export")
        await asyncio.sleep(0)
        assert flush().last("streaming.task.clients", **TAGS) == 2
        coordinator._tasks["reports:Export:1"].cancel()

    asyncio.run(main())


@pytest.mark.parametrize("broken", ["submit", "began", "finished"])
def test_a_fault_of_ours_costs_no_task(broken: str, configure: Any, flush: Any, monkeypatch: Any) -> None:
    """Whatever fails in here, the task runs to its end, and the fault is counted."""
    found = configure()

    def fail(*args: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(found.tasks, broken, fail)
    coordinator = timers.instrument(Coordinator())
    row = Row(1)
    asyncio.run(run_all(coordinator, row))
    assert row.sent == [("start", {}), ("complete", "done")]
    assert found.metrics.dropped["internal_error"] >= 1


# --- decorators ---------------------------------------------------------------------------------------------


def test_ones_own_coordinator_is_decorated(configure: Any, flush: Any, run: Any) -> None:
    """@starts_task and @runs_task on a class do what instrument() does on an object."""
    configure()

    class Own(Coordinator):
        start_task = timers.starts_task(Coordinator.start_task)
        _run_task = timers.runs_task(Coordinator._run_task)

    run(run_all(Own(), Row(1), Row(2, fails)))
    assert outcomes(flush()) == {"started": 2, "completed": 1, "failed": 1, "cancelled": 0}


@pytest.mark.slow
def test_any_coroutine_function_is_a_task(configure: Any, flush: Any, run: Any) -> None:
    """@task counts each call, returns its value, raises its error."""
    configure()

    @timers.task("reports.Export")
    async def export(rows: int) -> int:
        """Export."""
        if rows < 0:
            raise ValueError("rows")
        return rows * 2

    async def main() -> None:
        assert await export(2) == 4
        with pytest.raises(ValueError, match="rows"):
            await export(-1)
        task = asyncio.create_task(export(3))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert export.__doc__ == "Export."
    assert inspect.iscoroutinefunction(export) or asyncio.iscoroutinefunction(export)
    gc.collect()
    assert outcomes(flush()) == {"started": 3, "completed": 1, "failed": 1, "cancelled": 1}


@pytest.mark.slow
def test_a_task_never_awaited_is_cancelled(configure: Any, flush: Any) -> None:
    """A coroutine that is thrown away ends its run, with Python's own warning once."""
    configure()

    @timers.task("reports.Export")
    async def export() -> None:
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export()
        gc.collect()
    assert len([item for item in caught if "never awaited" in str(item.message)]) == 1
    assert outcomes(flush())["cancelled"] == 1


def test_wrong_arguments_raise_where_they_are_given(configure: Any, flush: Any) -> None:
    """A TypeError comes at the call, as without the decorator, and nothing is counted."""
    configure()

    @timers.task("reports.Export")
    async def export() -> None:
        pass

    with pytest.raises(TypeError):
        export(1)  # type: ignore[call-arg]
    assert outcomes(flush())["started"] == 0


def test_default_names_come_from_the_function(configure: Any, flush: Any, run: Any) -> None:
    """Without a name, the module and the function name the task."""
    configure()

    @timers.task
    async def nightly() -> None:
        pass

    run(nightly())
    samples = flush().samples("streaming.tasks.completed")
    (model,) = {tags["model"] for _, tags in samples}
    assert model.endswith("nightly")


@pytest.mark.parametrize("name", ["export", "export.", ".export", ""])
def test_a_name_without_app_and_model_is_refused(name: str) -> None:
    """`app.model` is asked for at decoration."""

    async def export() -> None:
        pass

    with pytest.raises(InstrumentError, match=r"app\.model"):
        timers.task(name)(export)


def test_a_plain_function_is_no_task() -> None:
    """Decorating one says what to use instead."""
    with pytest.raises(InstrumentError, match="timer"):
        timers.task("a.b")(lambda: None)


def test_an_async_generator_is_a_task(configure: Any, flush: Any, run: Any) -> None:
    """Its items pass through, asend, athrow and aclose work; breaking off is cancelling."""
    configure()

    @timers.task("reports.Export")
    async def rows(count: int) -> AsyncIterator[Any]:
        for number in range(count):
            try:
                sent = yield number
            except KeyError:
                sent = yield "caught"
            if sent == "fail":
                raise ValueError("asked for")

    assert inspect.isasyncgenfunction(rows)

    async def main() -> None:
        assert [item async for item in rows(3)] == [0, 1, 2]
        generator: Any = rows(3)
        assert await generator.__anext__() == 0
        assert await generator.athrow(KeyError()) == "caught"
        with pytest.raises(ValueError, match="asked for"):
            await generator.asend("fail")
        broken_off: Any = rows(3)
        async for _ in broken_off:
            break
        await broken_off.aclose()

    run(main())
    sender = flush()
    assert outcomes(sender) == {"started": 3, "completed": 1, "failed": 1, "cancelled": 1}


def test_gathering_and_task_groups_keep_outcomes_apart(configure: Any, flush: Any, run: Any) -> None:
    """A failing sibling cancels the others: one failed, the rest cancelled, the group's error as before."""
    configure()

    @timers.task("reports.Export")
    async def step(seconds: float, error: bool = False) -> None:
        await asyncio.sleep(seconds)
        if error:
            raise ValueError("boom")

    async def main() -> None:
        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(step(0, error=True))
                group.create_task(step(3600))
                group.create_task(step(3600))

        with pytest.raises(ExceptionGroup):
            await grouped()
        await asyncio.gather(*(step(0) for _ in range(5)))

    run(main())
    sender = flush()
    assert outcomes(sender) == {"started": 8, "completed": 5, "failed": 1, "cancelled": 2}
    assert sender.last("streaming.tasks.peak", **TAGS) == 5


# --- timer() and samples ------------------------------------------------------------------------------------


def test_a_block_is_timed_also_if_it_raises(configure: Any, flush: Any, run: Any) -> None:
    """As a context manager, sync and async."""
    configure()

    async def main() -> None:
        with timers.timer(RENDER, kind="a"):
            pass
        async with timers.timer(RENDER, kind="a"):
            await asyncio.sleep(0.01)
        with pytest.raises(KeyError), timers.timer(RENDER, kind="a"):
            raise KeyError

    run(main())
    values = flush().values("reports.render", kind="a")
    assert len(values) == 3
    assert values[1] >= 9


def test_functions_of_every_kind_are_timed_whole(configure: Any, flush: Any, run: Any) -> None:
    """Functions, coroutine functions, generators and async generators: until their end, not their creation."""
    configure()
    timed = timers.timer(RENDER, kind="f")

    @timed
    def plain() -> int:
        return 1

    @timed
    async def coroutine() -> int:
        await asyncio.sleep(0.01)
        return 2

    @timed
    def generator() -> Any:
        yield 3
        return 4

    @timed
    async def agenerator() -> Any:
        await asyncio.sleep(0.01)
        yield 5

    async def main() -> None:
        assert plain() == 1
        assert await coroutine() == 2
        assert list(generator()) == [3]
        assert [item async for item in agenerator()] == [5]

    run(main())
    values = flush().values("reports.render", kind="f")
    assert len(values) == 4
    assert sorted(values)[2] >= 9


def test_one_timer_object_serves_tasks_at_once(configure: Any, flush: Any, run: Any) -> None:
    """Overlapping uses of one object measure their own time each."""
    configure()
    shared = timers.timer(RENDER, kind="s")
    took: list[tuple[float, float]] = []

    async def use(seconds: float) -> None:
        before = time.perf_counter()
        with shared:
            inside = time.perf_counter()
            await asyncio.sleep(seconds)
            least = time.perf_counter() - inside
        took.append((least * 1000, (time.perf_counter() - before) * 1000))

    async def main() -> None:
        await asyncio.gather(use(0.15), use(0.01))

    run(main())
    values = sorted(flush().values("reports.render", kind="s"))
    for value, least, most in zip(values, *(sorted(each) for each in zip(*took, strict=True)), strict=True):
        assert least - 0.01 <= value <= most + 0.01


def test_a_timer_needs_a_timers_metric() -> None:
    """A count or anything else is refused where it is written."""
    for thing in (ROWS, "reports.render", None):
        with pytest.raises(MetricError):
            timers.timer(thing)  # type: ignore[arg-type]


def test_samples_by_metric_and_tags(configure: Any, flush: Any) -> None:
    """increment, gauge and record work by metric; misuse is counted and raises nothing."""
    configure()
    timers.increment(ROWS, 12, kind="csv")
    timers.increment(ROWS, kind="csv")
    timers.gauge(DEPTH, 4)
    timers.record(RENDER, 1.25, kind="x")
    timers.increment(DEPTH)
    timers.gauge(ROWS, 1, kind="csv")
    timers.record(ROWS, 1, kind="csv")
    timers.increment(ROWS, 1, user_id=7)
    timers.increment(ROWS, 1, kind=["unhashable"])
    sender = flush()
    assert sender.total("reports.rows", kind="csv") == 13
    assert sender.last("reports.depth") == 4
    assert sender.values("reports.render", kind="x") == [1.25]
    dropped = recorder.get().metrics.dropped
    assert dropped == {"wrong_kind": 3, "undeclared": 1}
