"""Decorators for coordinators of any signature: names from arguments, and refusals where a task could not be named."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from streaming_dd import timers
from streaming_dd.errors import InstrumentError


class Job:
    def __init__(self, pk: int, tenant: str) -> None:
        self.pk = pk
        self.tenant = tenant


class Jobs:
    """Coordinators of several shapes."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    @timers.starts_task
    def start(self, job_id: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(self.by_id(job_id))
        self.tasks.append(task)
        return task

    @timers.runs_task(name="reports.export", id="job_id")
    async def by_id(self, job_id: str) -> str:
        await asyncio.sleep(0)
        return f"did {job_id}"

    @timers.runs_task(app="app_name", model="kind", id="job_id")
    async def by_words(self, app_name: str, kind: str, *, job_id: int = 0) -> int:
        return job_id

    @timers.runs_task(app="job.tenant", model="kind", id="job.pk", instance="job")
    async def by_object(self, kind: str, job: Job) -> None:
        pass

    @timers.runs_task
    async def usual(self, task: Job, task_key: str) -> None:
        pass

    @timers.runs_task
    async def nothing_known(self, something: Any) -> None:
        pass

    @timers.runs_task
    async def either(self, task: Job | None = None, task_key: str | int = "") -> None:
        pass

    @timers.runs_task
    async def behind_an_option(self, timeout: float | None = 5.0, task_instance: Job | None = None) -> None:
        pass

    @timers.runs_task
    async def by_key(self, rows: list[int], task_key: str = "") -> None:
        pass

    @timers.runs_task(name="reports.options", id="options_id")
    async def any_keyword(self, **options: Any) -> None:
        pass


def test_names_come_from_the_arguments_that_are_named(capture: Any) -> None:
    """App, model and id are those arguments' (or an attribute of theirs), by position or by name."""

    async def main() -> None:
        jobs = Jobs()
        assert await jobs.start("a-1") == "did a-1"
        assert await jobs.by_words("shop", "Import", job_id=7) == 7
        await jobs.by_object("Sync", job=Job(3, "acme"))
        await jobs.usual(Job(4, "acme"), "reports:Usual:4")
        await jobs.nothing_known(object())
        await jobs.any_keyword(options_id="o-9")
        await jobs.behind_an_option(task_instance=Job(5, "acme"))
        await jobs.by_key([1, 2], task_key="reports:Key:6")

    with capture() as captured:
        asyncio.run(main())
        runs = [(span.resource, span.tags.get("task.id", "")) for span in captured.spans.find("task.run")]
        assert runs == [
            ("reports.export", "a-1"),
            ("shop.Import", "7"),
            ("acme.Sync", "3"),
            ("reports.Usual", "4"),
            ("test_naming.Jobs.nothing_known", ""),
            ("reports.options", "o-9"),
            ("test_naming.Job", "5"),
            ("reports.Key", "6"),
        ]
        captured.metrics.assert_values("task.queue_time", 8)


def test_a_plain_function_that_starts_tasks_may_be_decorated(configure: Any, flush: Any) -> None:
    """Queue time counts from the call of a start method that is no coroutine function, too."""
    configure()

    async def main() -> None:
        await Jobs().start("a-1")

    asyncio.run(main())
    assert flush().values("streaming.task.queue_time", app="reports", model="export")


@pytest.mark.parametrize(
    ("id_of", "shown"), [("report_id", "7"), ("owner.pk", "3"), ("kind", "csv"), ("missing", "")]
)
def test_a_task_function_has_an_id(id_of: str, shown: str, capture: Any) -> None:
    """`@timers.task(id=...)` takes it from an argument, its attribute or the argument's default; else there is none."""

    async def export(report_id: int, owner: Job, kind: str = "csv", **more: Any) -> None:
        pass

    with capture() as captured:
        asyncio.run(timers.task("reports.export", id=id_of)(export)(7, owner=Job(3, "acme")))
        assert captured.spans.one("task.run").tags.get("task.id", "") == shown
        assert captured.logs.one(fields={"task.status": "completed"}).get("task.id", "") == shown


def test_an_id_that_cannot_be_had_costs_the_id_alone(capture: Any) -> None:
    """An argument without the attribute: the task runs, is counted and traced, without an id."""

    async def export(owner: Any) -> int:
        return 1

    with capture() as captured:
        assert asyncio.run(timers.task("reports.export", id="owner.pk")(export)(object())) == 1
        assert "task.id" not in captured.spans.one("task.run").tags


async def _no_arguments(self: Any) -> None:
    pass


async def _by_str(self: Any, job_id: str) -> None:
    pass


async def _by_uuid(self: Any, job_id: UUID) -> None:
    pass


async def _rows(self: Any, task: Any) -> Any:
    yield 1


def _plain(self: Any, task: Any) -> None:
    pass


async def _by_optional(self: Any, job_id: str | None = None) -> None:
    pass


async def _by_list(self: Any, rows: list[Job]) -> None:
    pass


async def _by_default(self: Any, limit=100):  # type: ignore[no-untyped-def]
    pass


async def _by_quoted(self: Any, job_id: "Optional[int]") -> None:  # type: ignore[name-defined]  # noqa: F821, UP037
    pass


@pytest.mark.parametrize(
    "function",
    [
        _no_arguments,
        _by_str,
        _by_uuid,
        _by_optional,
        _by_list,
        _by_default,
        _by_quoted,
        _rows,
        _plain,
        17,
        None,
    ],
)
def test_what_cannot_work_is_refused_at_decoration(function: Any) -> None:
    """A method whose arguments name no task, or that is not awaited, says what to write instead."""
    with pytest.raises(InstrumentError, match=r"name='reports\.export'|is no coroutine function"):
        timers.runs_task()(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "export"}, r"write 'app\.model'"),
        ({"name": "a.b", "app": "job_id"}, "not both"),
        ({"id": "job"}, r"has no parameter 'job' \(its parameters: self, job_id\)"),
        ({"instance": "job"}, "has no parameter 'job'"),
        ({"app": 7}, "write the name of a parameter"),
    ],
)
def test_wrong_options_are_refused_at_decoration(options: dict[str, Any], message: str) -> None:
    """A name without a dot, two ways to name, a parameter that is not there: the message has what is."""
    with pytest.raises(InstrumentError, match=message):
        timers.runs_task(**options)(_by_str)


def test_a_wrong_id_of_a_task_function_is_refused() -> None:
    """The same for @timers.task."""

    async def export(report_id: int) -> None:
        pass

    with pytest.raises(InstrumentError, match="has no parameter 'report'"):
        timers.task("reports.export", id="report.pk")(export)
    with pytest.raises(InstrumentError, match="is no function"):
        timers.starts_task()(7)  # type: ignore[type-var]
