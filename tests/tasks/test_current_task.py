"""current_task(): what a task says of itself is on its span, its end line and its snapshot; bounded, and never an error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming_dd import recorder, timers
from streaming_dd.tasks.report import snapshot
from streaming_dd.tasks.words import TAGS_LIMIT


def test_a_task_speaks(run: Any, captured: Any) -> None:
    """Progress, status and tags are in the snapshot while it runs, and on the span and the end line afterwards."""

    @timers.task("reports.export", id="report_id")
    async def export(report_id: int) -> None:
        task = timers.current_task()
        assert task
        assert (task.id, task.name) == ("7", "reports.export")
        task.tag("tenant", "acme")
        task.event("chunk")
        task.progress(3, 12)
        task.status("rendering page 3")
        (live,) = recorder.get().tasks.live()
        seen = snapshot(live)
        assert (seen["done"], seen["total"], seen["progress"]) == (3, 12, 0.25)
        assert seen["status_text"] == "rendering page 3"
        assert seen["tags.tenant"] == "acme"
        task.progress(12, 12)
        assert task.tags == {"tenant": "acme"}

    run(export(7))
    span = captured.spans.one("task.run")
    assert (span.metrics["task.done"], span.metrics["task.total"], span.metrics["task.progress"]) == (
        12,
        12,
        1,
    )
    assert span.tags["task.tags.tenant"] == "acme"
    line = captured.logs.one(fields={"task.status": "completed"})
    assert line["task.progress"] == 1.0
    assert line["task.status_text"] == "rendering page 3"
    assert line["task.event_types"] == "chunk:1"
    captured.metrics.assert_count("task.events", 1, event_type="chunk")


def test_a_rate_of_events_is_said_where_it_says_something(run: Any, captured: Any) -> None:
    """Of two events and a second or more; of one, or of a moment, it is left out."""

    @timers.task("reports.export", id="number")
    async def export(number: int, events: int, seconds: float) -> None:
        for _ in range(events):
            timers.current_task().event("chunk")
        await asyncio.sleep(seconds)

    async def main() -> None:
        await asyncio.gather(export(1, 2, 0), export(2, 1, 1.1), export(3, 2, 1.1))

    run(main())
    rates = {
        span.tags["task.id"]: span.metrics.get("task.events_per_second")
        for span in captured.spans.find("task.run")
    }
    rate = rates.pop("3")
    assert rates == {"1": None, "2": None}
    assert rate is not None
    assert 0 < rate <= 2 / 1.1


def test_it_is_the_same_task_in_what_it_starts_and_its_own_in_others(run: Any, captured: Any) -> None:
    """asyncio tasks and threads of a task find it; an inner task finds itself, and the outer one is back afterwards."""

    def ids() -> tuple[str, str]:
        return timers.current_task().id, timers.current_task().name

    async def child() -> tuple[str, str]:
        await asyncio.sleep(0)
        return ids()

    @timers.task("reports.inner", id="key")
    async def inner(key: str) -> tuple[str, str]:
        await asyncio.sleep(0)
        return ids()

    @timers.task("reports.rows", id="key")
    async def rows(key: str) -> Any:
        yield ids()
        await asyncio.sleep(0)
        yield ids()

    @timers.task("reports.outer", id="key")
    async def outer(key: str) -> None:
        mine = (key, "reports.outer")
        assert await asyncio.gather(child(), asyncio.to_thread(ids)) == [mine, mine]
        assert await inner("i") == ("i", "reports.inner")
        assert await asyncio.create_task(inner("j")) == ("j", "reports.inner")
        async for found in rows("r"):
            assert found == ("r", "reports.rows")
            assert ids() == mine
        assert ids() == mine

    async def main() -> None:
        await asyncio.gather(outer("a"), outer("b"))
        assert not timers.current_task()

    run(main())
    captured.metrics.assert_count("tasks.completed", 2, model="outer")


def test_outside_of_tasks_it_is_false_and_does_nothing(configure: Any) -> None:
    """Shared code need not ask."""
    configure()
    task = timers.current_task()
    assert not task
    assert (task.id, task.name, task.tags) == ("", "", {})
    task.event("x")
    task.progress(1, 2)
    task.status("x")
    task.tag("a", "b")


class Loud:
    """An object that raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__
    __float__ = __hash__ = __eq__ = __bool__ = __len__ = __str__  # type: ignore[assignment]


ODD = [Loud(), 10**5000, float("nan"), float("inf"), None, b"\xff", "\ud800", [], "x" * 9999]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_nothing_that_is_said_can_harm(odd: Any, run: Any, captured: Any) -> None:
    """Whatever is said, the task goes on, its span and its line are there, and what is kept is short."""

    @timers.task("reports.export")
    async def export() -> str:
        task = timers.current_task()
        task.progress(odd, odd)
        task.status(odd)
        task.tag(odd, odd)
        task.event(odd)
        for number in range(3 * TAGS_LIMIT):
            task.tag(f"tag {number}", number)
        assert len(task.tags) <= TAGS_LIMIT
        assert all(len(name) <= 50 and len(value) <= 200 for name, value in task.tags.items())
        return "done"

    assert run(export()) == "done"
    assert captured.spans.one("task.run").tags["task.status"] == "completed"
    assert captured.logs.one(fields={"task.status": "completed"})["task.final_value"] == "done"
    captured.metrics.assert_count("tasks.completed", 1)


def test_progress_of_a_segment_is_what_it_was(run: Any, captured: Any) -> None:
    """The span of a segment says how far the task was when it was cut."""

    @timers.task("reports.export")
    async def export() -> None:
        timers.current_task().progress(1, 4)
        (live,) = recorder.get().tasks.live()
        live._segment_at = 0.0
        recorder.get().tasks.cut_long_runs()
        timers.current_task().progress(4, 4)

    run(export())
    first, last = captured.spans.find("task.run")
    assert (first.metrics["task.progress"], last.metrics["task.progress"]) == (0.25, 1.0)


def test_secrets_that_a_task_says_are_masked_on_its_span_its_line_and_its_snapshot(
    run: Any, captured: Any
) -> None:
    """Passwords by their tag's name, by the shape of a text, and where the limit would cut off what shows them."""

    @timers.task("reports.export", id="report_id")
    async def export(report_id: str) -> str:
        task = timers.current_task()
        task.tag("password", "hunter2")
        task.tag("token=hunter2", "x")
        task.tag("long", f"{'x' * 180} postgres://u:{'hunter2' * 20}@h/d")
        task.tag("token_count", 512)
        task.tag("token_type", "input")
        task.status("dsn=postgres://u:hunter2@h/d")
        task.event("token=hunter2")
        (live,) = recorder.get().tasks.live()
        assert "hunter2" not in str(snapshot(live))
        assert task.tags["token_count"] == "512"
        assert task.tags["token_type"] == "input"
        return "api_key=hunter2"

    run(export("token=hunter2"))
    span = captured.spans.one("task.run")
    assert "hunter2" not in str(span.tags)
    assert span.tags["task.tags.password"] == "***"
    assert span.tags["task.status_text"] == "dsn=postgres://u:***@h/d"
    assert span.tags["task.last_events"].startswith("token=*** +")
    assert "hunter2" not in str(captured.logs.one(fields={"task.status": "completed"}))
