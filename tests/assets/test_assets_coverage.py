"""The closed loop's comparison: what is asked and not sent, sent and not asked."""

from __future__ import annotations

from streaming_dd import catalog
from streaming_dd.assets.coverage import OCCASIONAL, compare
from streaming_dd.assets.documents import Asset
from streaming_dd.assets.options import Options
from streaming_dd.assets.rendering import render

UNIVERSAL = ("env", "service", "version")
EMITTED = {metric.full_name("streaming"): (*metric.tags, *UNIVERSAL) for metric in catalog.METRICS}
OPERATIONS = {operation.name for operation in catalog.SPAN_OPERATIONS}


def test_nothing_is_missing_when_everything_was_sent(assets: list[Asset]) -> None:
    """The whole catalogue on the wire satisfies every asset, whichever way timers are sent."""
    for options in (Options(), Options(timers="timer")):
        coverage = compare(render(options), EMITTED, OPERATIONS, {"streaming.health"}, options)
        assert (coverage.missing, coverage.occasional, coverage.unused) == ([], [], [])


def test_a_metric_that_was_not_sent_is_named_with_who_asks(assets: list[Asset]) -> None:
    """One line for the name, none for each of its tags."""
    emitted = {name: tags for name, tags in EMITTED.items() if name != "streaming.task.duration"}
    coverage = compare(assets, emitted, OPERATIONS, {"streaming.health"})
    assert [str(gap) for gap in coverage.missing] == [
        "streaming.task.duration, asked by dashboards/tasks.json, monitors/task-duration.json"
    ]


def test_a_tag_that_was_not_sent_is_named(assets: list[Asset]) -> None:
    """A metric that came without a tag that is grouped by is a gap of its own."""
    emitted = {**EMITTED, "streaming.streams.closed": UNIVERSAL}
    coverage = compare(assets, emitted, OPERATIONS, {"streaming.health"})
    assert {(gap.name, gap.tag) for gap in coverage.missing} == {
        ("streaming.streams.closed", "outcome"),
        ("streaming.streams.closed", "route"),
    }


def test_spans_and_service_checks_are_part_of_the_loop(assets: list[Asset]) -> None:
    """A span operation and a service check that nobody saw are missing too."""
    coverage = compare(assets, EMITTED, OPERATIONS - {"sse.request"}, set())
    assert {gap.name for gap in coverage.missing} == {"sse.request", "streaming.health"}


def test_what_happens_only_sometimes_is_told_apart(assets: list[Asset]) -> None:
    """A run without WebSockets and without stalls is no failure, and is said."""
    emitted = {
        name: tags for name, tags in EMITTED.items() if name.removeprefix("streaming.") not in OCCASIONAL
    }
    coverage = compare(assets, emitted, OPERATIONS, {"streaming.health"})
    assert coverage.missing == []
    assert "only with WebSockets" in {gap.occasional for gap in coverage.occasional}


def test_what_is_sent_and_used_by_nothing_is_named(assets: list[Asset]) -> None:
    """A metric that no asset shows is listed."""
    emitted = {**EMITTED, "reports.rows": ("kind",)}
    assert compare(assets, emitted, OPERATIONS, {"streaming.health"}).unused == ["reports.rows"]


def test_table_has_a_line_for_each_name(assets: list[Asset]) -> None:
    """The table shows what is asked and what is sent side by side."""
    table = compare(assets, {"streaming.loop.lag": ("env",)}, (), ()).table()
    assert "name" in table.splitlines()[0]
    assert [line.split() for line in table.splitlines() if line.startswith("streaming.loop.lag ")] == [
        ["streaming.loop.lag", "env,service", "env"]
    ]
