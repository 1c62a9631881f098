"""A task counts once, whichever two ways of instrumenting it meet."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from streaming_dd import timers
from streaming_dd.tasks.hooks import wrapping


@pytest.fixture(autouse=True)
def _forget_doubles() -> Any:
    wrapping._doubles.clear()
    yield
    wrapping._doubles.clear()


class Row:
    def __init__(self, pk: int = 1) -> None:
        self.pk = pk

    async def process(self) -> int:
        await asyncio.sleep(0)
        return 7

    async def mark_completed(self, final_value: Any = None) -> None:
        await asyncio.sleep(0)

    async def send_event(self, event_type: str, data: Any) -> None:
        await asyncio.sleep(0)


class Base:
    """A coordinator as in the wild."""

    def __init__(self) -> None:
        self.started: list[asyncio.Task[Any]] = []

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        key = f"{app_name}:{model_name}:{task_instance.pk}"
        self.started.append(asyncio.create_task(self._run_task(task_instance, key)))

    async def _run_task(self, task_instance: Any, task_key: str) -> Any:
        value = await task_instance.process()
        await task_instance.mark_completed(final_value=value)
        return value


def plainly(function: Any) -> Any:
    """A decorator of the application's own that uses `wraps`."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


def opaquely(function: Any) -> Any:
    """A decorator of the application's own that hides what it decorates."""

    async def call(self: Any, task_instance: Any, task_key: str) -> Any:
        return await function(self, task_instance, task_key)

    return call


def decorated(run: Callable[[Any], Any], start: Callable[[Any], Any] = lambda method: method) -> Base:
    """A coordinator whose methods are decorated by these."""
    body = {"start_task": start(Base.start_task), "_run_task": run(Base._run_task)}
    return type("Decorated", (Base,), body)()


def calls_base(base: type[Base], decorator: Any) -> Base:
    """A coordinator that overrides `_run_task` and calls its base class' own."""

    class Sub(base):  # type: ignore[valid-type, misc]
        @decorator
        async def _run_task(self, task_instance: Any, task_key: str) -> Any:
            return await super()._run_task(task_instance, task_key)

    return Sub()


class TaskDecorated(Base):
    @timers.task("reports.Export")
    async def _run_task(self, task_instance: Any, task_key: str) -> Any:
        return await super()._run_task(task_instance, task_key)


class RunsDecorated(Base):
    @timers.runs_task
    async def _run_task(self, task_instance: Any, task_key: str) -> Any:
        return await super()._run_task(task_instance, task_key)


class TaskRow(Row):
    @timers.task("reports.Export")
    async def process(self) -> int:
        return await super().process()


WAYS = {
    "instrument_twice": lambda: timers.instrument(timers.instrument(Base())),
    "decorated_and_instrument": lambda: timers.instrument(decorated(timers.runs_task, timers.starts_task)),
    "decorated_twice": lambda: decorated(lambda method: timers.runs_task(timers.runs_task(method))),
    "task_and_runs_task": lambda: decorated(
        lambda method: timers.runs_task(timers.task("reports.Export")(method))
    ),
    "runs_task_and_task": lambda: decorated(
        lambda method: timers.task("reports.Export")(timers.runs_task(method))
    ),
    "task_twice": lambda: decorated(
        lambda method: timers.task("reports.Export")(timers.task("reports.Export")(method))
    ),
    "task_and_instrument": lambda: timers.instrument(decorated(timers.task("reports.Export"))),
    "a_decorator_between": lambda: timers.instrument(
        decorated(lambda method: plainly(timers.runs_task(method)))
    ),
    "a_decorator_between_and_task": lambda: timers.instrument(
        decorated(lambda method: plainly(timers.task("reports.Export")(method)))
    ),
    "a_decorator_that_hides": lambda: timers.instrument(
        decorated(lambda method: opaquely(timers.runs_task(method)))
    ),
    "subclass_and_base": lambda: calls_base(RunsDecorated, timers.runs_task),
    "subclass_and_base_as_tasks": lambda: calls_base(TaskDecorated, timers.task("reports.Export")),
    "subclass_task_base_runs": lambda: calls_base(RunsDecorated, timers.task("reports.Export")),
    "subclass_runs_base_task": lambda: calls_base(TaskDecorated, timers.runs_task),
    "instrumented_subclass_of_decorated": lambda: timers.instrument(
        calls_base(RunsDecorated, lambda method: method)
    ),
    "instrumented_subclass_of_task": lambda: timers.instrument(
        calls_base(TaskDecorated, lambda method: method)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_counts_once(way: str, configure: Any, flush: Any) -> None:
    """Each pair of ways gives one start, one end, the value as without us; and the pair is known afterwards."""
    configure()
    coordinator = WAYS[way]()

    async def main() -> list[Any]:
        for pk in range(3):
            await coordinator.start_task(Row(pk), "reports", "Export")
        return await asyncio.gather(*coordinator.started)

    assert asyncio.run(main()) == [7, 7, 7]
    sender = flush()
    assert sender.total("streaming.tasks.started") == 3
    assert sender.total("streaming.tasks.completed") == 3
    assert bool(wrapping.doubles()) == (way != "instrument_twice")


def test_a_task_decorator_on_process_is_the_coordinators_task(configure: Any, flush: Any) -> None:
    """`@timers.task` on the object's own process() does not make the run of a hooked coordinator two."""
    configure()
    coordinator = timers.instrument(Base())

    async def main() -> None:
        await coordinator.start_task(TaskRow(), "reports", "Export")
        await asyncio.gather(*coordinator.started)

    asyncio.run(main())
    assert flush().total("streaming.tasks.started") == 1
    assert any("process" in found for found in wrapping.doubles())


def test_what_is_two_tasks_stays_two(configure: Any, flush: Any) -> None:
    """A task that awaits another, calls itself, or starts its object once more through its coordinator, is not one task."""
    configure()
    coordinator = timers.instrument(Base())

    class Again(Row):
        async def process(self) -> int:
            if len(coordinator.started) < 3:
                await coordinator.start_task(self, "reports", "Export")
            return 1

    class Tree:
        @timers.task("reports.walk")
        async def walk(self, depth: int) -> int:
            return 1 + (await self.walk(depth - 1) if depth else 0)

        @timers.task("reports.other")
        async def other(self) -> int:
            return await self.walk(1)

    async def main() -> None:
        assert await Tree().other() == 2
        await coordinator.start_task(Again(), "reports", "Export")
        while not all(task.done() for task in coordinator.started):
            await asyncio.gather(*coordinator.started)

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.tasks.started", model="walk") == 2
    assert sender.total("streaming.tasks.started", model="other") == 1
    assert sender.total("streaming.tasks.started", model="Export") == 3
    assert wrapping.doubles() == []
