"""What is derived from made-up values by route, worker and host: every shipped place gives the true number.

The values go straight to the aggregation; the questions are those of the shipped dashboards, monitors and SLOs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_agent_helpers import START, Clock

from streaming_dd.assets.lint.dashboards import widgets
from streaming_dd.assets.options import Options
from streaming_dd.assets.query_language import parse_monitor
from streaming_dd.assets.rendering import render
from streaming_dd.local_agent.monitors import slos
from streaming_dd.local_agent.monitors.values import metric_values
from streaming_dd.local_agent.page_server import capacity_figures
from streaming_dd.local_agent.page_server.overview import services
from streaming_dd.local_agent.queries import widget_data
from streaming_dd.local_agent.queries.filters import Choice
from streaming_dd.local_agent.store.aggregate import Aggregator
from streaming_dd.local_agent.store.series import Store

END = START + 60
#: Half a bin of a sketch, and the three decimals with which values are sent.
SKETCH = 0.0079
EVERYTHING = {name: Choice(name, ()) for name in ("env", "service", "version", "app", "model")}
ASSETS = {
    timers: {(asset.kind, asset.name): asset.document for asset in render(Options(timers=timers))}  # type: ignore[arg-type]
    for timers in ("distribution", "timer")
}
Part = tuple[str, int]
"""A route (or a kind of task) and the worker that it was measured in."""


def stored(lines: Sequence[str]) -> Store:
    """Aggregate datagrams that come within ten seconds."""
    clock = Clock(START)
    store = Store(clock=clock)
    aggregator = Aggregator(store, clock=clock)
    for line in lines:
        aggregator.feed(line.encode())
    clock.now = END
    aggregator.advance()
    return store


def widget(name: str, title: str, timers: str = "distribution") -> dict[str, Any]:
    """Return the request of a shipped dashboard's widget."""
    found = [each for _, each in widgets(ASSETS[timers]["dashboard", name]) if each.get("title") == title]
    assert len(found) == 1, f"{len(found)} widgets of {name} are called {title!r}"
    request: dict[str, Any] = found[0]["requests"][0]
    return request


def scalar(store: Store, name: str, title: str, timers: str = "distribution") -> float | None:
    """Evaluate a widget that shows one number."""
    rows = widget_data.rows(widget(name, title, timers), store, START, END, EVERYTHING)
    return rows[0].values[0] if rows else None


def monitor(store: Store, name: str, timers: str = "distribution") -> dict[tuple[str, ...], float | None]:
    """Evaluate a monitor's query now: a value for each group."""
    document = ASSETS[timers]["monitor", name]
    query = parse_monitor(document["query"], document["type"])
    return {tuple(group.values()): value for group, value in metric_values(query, store, END)}  # type: ignore[arg-type]


def percentile_holds(value: float | None, values: Sequence[float], share: float = 0.95) -> bool:
    """Say whether a value lies between the two that stand around the rank, within a sketch's error."""
    ordered, rank = sorted(values), share * (len(values) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    return value is not None and low * (1 - SKETCH) - 0.001 <= value <= high * (1 + SKETCH) + 0.001


def packed(name: str, letter: str, parts: Mapping[Part, Sequence[float]], tag: str = "route") -> list[str]:
    return [
        f"streaming.{name}:{':'.join(f'{value:.3f}' for value in values)}|{letter}|#{tag}:{key},worker:{worker},"
        f"host:h{worker % 2},env:e,service:s"
        for (key, worker), values in parts.items()
    ]


parts = st.dictionaries(
    st.tuples(st.sampled_from(["/fast", "/slow", "/rare"]), st.integers(0, 3)),
    st.lists(st.floats(1, 600_000), min_size=1, max_size=60),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(parts)
def test_a_percentile_over_routes_and_workers_is_that_of_all_values(
    measured: dict[Part, list[float]],
) -> None:
    """However the values fall on routes, workers and hosts, the p95 that is shown is the p95 of all of them."""
    store = stored(packed("http.time_to_first_byte", "d", measured))
    everything = [value for values in measured.values() for value in values]
    assert percentile_holds(scalar(store, "overview", "p95 time to first byte"), everything)
    by_route = {
        route: [value for (of, _), values in measured.items() if of == route for value in values]
        for route, _ in measured
    }
    alerts = monitor(store, "time-to-first-byte")
    assert {route for *_, route in alerts} == set(by_route)
    for (*_, route), value in alerts.items():
        assert percentile_holds(value, by_route[route])


def test_one_slow_route_with_few_requests_does_not_move_the_p95_of_many() -> None:
    """980 responses of 10 ms and 20 of 2 s: the p95 is 10 ms, whatever a mean of two p95s says."""
    store = stored(
        packed("http.time_to_first_byte", "d", {("/fast", 0): [10.0] * 980, ("/slow", 1): [2000.0] * 20})
    )
    assert scalar(store, "overview", "p95 time to first byte") == pytest.approx(10, rel=SKETCH)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["/fast", "/slow"]), st.integers(0, 3)),
        st.lists(st.floats(1, 600_000), min_size=1, max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_of_timers_only_the_highest_percentile_is_shown(measured: dict[Part, list[float]]) -> None:
    """Timers cannot be put together: what is shown bears that name, and the true p95 is not above it."""
    repeated = {part: [value for value in values for _ in range(20)] for part, values in measured.items()}
    store = stored(packed("http.time_to_first_byte", "ms", repeated))
    everything = sorted(value for values in repeated.values() for value in values)
    shown = scalar(store, "overview", "highest p95 time to first byte", "timer")
    assert shown is not None
    assert shown * (1 + SKETCH) + 0.001 >= everything[math.ceil(0.95 * len(everything)) - 1]
    assert shown <= everything[-1] + 0.001


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["Quick", "Long", "Rare"]), st.integers(0, 3)),
        st.lists(st.sampled_from([0.01, 0.5, 30.0, 600.0]), min_size=1, max_size=30),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 40),
)
def test_task_seconds_give_concurrency_and_mean(measured: dict[Part, list[float]], failed: int) -> None:
    """A kind that takes ten minutes beside one that takes 10 ms: the mean is of tasks, not of kinds or workers."""
    total = sum(sum(values) for values in measured.values())
    completed = sum(len(values) for values in measured.values())
    lines = [
        f"streaming.tasks.{name}:{value:.10g}|c|#app:a,model:{model},host:h{worker % 2},env:e,service:s"
        for (model, worker), values in measured.items()
        for name, value in (
            ("started", len(values)),
            ("completed", len(values)),
            ("seconds", sum(values)),
            ("failed", 0),
            ("cancelled", 0),
        )
    ]
    lines.append(f"streaming.tasks.failed:{failed}|c|#app:a,model:Quick,error_type:E,host:h0,env:e,service:s")
    lines.append("streaming.process.cpu_seconds:3.5|c|#host:h0,env:e,service:s")
    lines.append("streaming.process.workers:1|g|#worker:0,host:h0,env:e,service:s")
    store = stored(lines)
    mean = total / (completed + failed)
    assert scalar(store, "capacity", "A task takes, queue included") == pytest.approx(mean)
    figures = capacity_figures.figures(store, START, END)
    assert figures["seconds"] == 10
    assert figures["duration"]["value"] == pytest.approx(mean)
    assert figures["concurrency"]["value"] == pytest.approx(total / 10)
    assert figures["cpu_per_task"]["value"] == pytest.approx(3.5 / (completed + failed))
    assert scalar(store, "overview", "Task errors") == pytest.approx(failed / (completed + failed) * 100)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["/a", "/b"]), st.integers(0, 3)),
        st.tuples(st.integers(0, 500), st.integers(0, 50)),
        min_size=1,
    )
)
def test_the_slo_on_first_bytes_weighs_every_response_alike(measured: dict[Part, tuple[int, int]]) -> None:
    """In time among all, over routes and workers; nothing to judge without a response."""
    store = stored(
        [
            f"streaming.http.first_bytes:{count}|c|#route:{route},in_time:{in_time},host:h{worker}"
            for (route, worker), (good, bad) in measured.items()
            for in_time, count in (("true", good), ("false", bad))
        ]
    )
    good, bad = (sum(pair[i] for pair in measured.values()) for i in (0, 1))
    document = ASSETS["distribution"]["slo", "time-to-first-byte"]
    value = slos.indicator(document, store, lambda *_: None, START, END)
    assert value == (pytest.approx(good / (good + bad) * 100) if good + bad else None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_peaks_of_workers_are_not_added_up(peaks: list[int]) -> None:
    """The highest peak of a worker is shown as that: the workers need not have peaked at the same moment."""
    store = stored(
        [f"streaming.tasks.worker_peak:{peak}|g|#worker:{worker}" for worker, peak in enumerate(peaks)]
    )
    assert scalar(store, "tasks", "Highest peak of a worker") == max(peaks)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_capacity_is_planned_for_the_worst_case(peaks: list[int]) -> None:
    """The page has the workers' peaks, added up, as the command has from /stats; a sample now and then misses them."""
    store = stored(
        [f"streaming.tasks.worker_peak:{peak}|g|#worker:{worker}" for worker, peak in enumerate(peaks)]
        + ["streaming.tasks.active:1|g|#worker:0"]
    )
    figure = capacity_figures.figures(store, START, END)["peak_concurrency"]
    assert (figure["value"], figure["samples"]) == (sum(peaks), len(peaks))


def test_without_the_workers_peaks_samples_stand_for_them() -> None:
    """What another version sends is enough for a figure, which says what it is."""
    store = stored([f"streaming.clients.active:{number}|g|#worker:{number}" for number in (2, 3)])
    figure = capacity_figures.figures(store, START, END)["clients"]
    assert (figure["value"], figure["note"]) == (5, "highest sample of clients.active")


def test_an_error_rate_without_errors_is_zero_not_nothing() -> None:
    """Trace metrics have no error series before the first error; the rate is 0 then."""
    store = stored(["trace.task.run.hits:7|c|#resource_name:a,service:s"])
    chart = widget_data.chart(widget_of_group("Task runs", "Error rate"), store, START, END, EVERYTHING)
    assert {value for curve in chart.curves for value in curve.values if value is not None} == {0.0}


def widget_of_group(group: str, title: str) -> dict[str, Any]:
    for _, each in widgets(ASSETS["distribution"]["dashboard", "apm"]):
        if each.get("title") == group:
            inner = [one["definition"] for one in each["widgets"] if one["definition"]["title"] == title]
            request: dict[str, Any] = inner[0]["requests"][0]
            return request
    raise AssertionError(group)


def test_what_is_stacked_adds_up_to_what_there_is() -> None:
    """Hits with and without errors are drawn on top of each other: together they are the hits."""
    store = stored(
        [
            "trace.task.run.hits:7|c|#resource_name:a,service:s",
            "trace.task.run.errors:3|c|#resource_name:a,service:s",
        ]
    )
    request = widget_of_group("Task runs", "Hits, with and without errors")
    chart = widget_data.chart(request, store, START, END, EVERYTHING)
    assert [curve.values[0] for curve in chart.curves] == [4.0, 3.0]


def test_a_ranking_has_no_zeros() -> None:
    """The zeros that counters send on purpose stand in no toplist."""
    store = stored(
        [
            "streaming.tasks.failed:0|c|#app:a,model:Sound,error_type:none",
            "streaming.tasks.failed:2|c|#app:a,model:Broken,error_type:ValueError",
        ]
    )
    rows = widget_data.rows(widget("overview", "Failed tasks by error"), store, START, END, EVERYTHING)
    assert [(row.group["model"], row.values[0]) for row in rows if row.values[0] is not None] == [
        ("broken", 2.0)
    ]


def test_a_rate_of_services_is_divided_by_the_time_covered() -> None:
    """Twelve hits within the last minute of an hour's range are 0.2 per second, not 0.0033; nor less while the next
    bucket is open: what falls into that is not in the hits."""
    store = stored(["trace.asgi.request.hits:12|c|#service:s,resource_name:get_/"])
    (row,) = services(store, END - 3600, END)
    assert row["per_second"] == pytest.approx(12 / 60)
    store.clock = lambda: END + 7.0
    (row,) = services(store, END - 3600, END + 8)
    assert row["per_second"] == pytest.approx(12 / 60)


@pytest.mark.parametrize("restart", [False, True], ids=["steady", "agent restarted in between"])
def test_nothing_is_made_up_where_there_is_too_little(restart: bool) -> None:
    """Without a task that ended there is no mean, no CPU of a task and no p95: nothing is shown, never 0."""
    store = stored(
        [] if restart else ["streaming.tasks.started:3|c|#app:a,model:m", "streaming.tasks.seconds:20|c"]
    )
    figures = capacity_figures.figures(store, START, END)
    for name in ("duration", "duration_p95", "cpu_per_task", "memory_per_task"):
        assert figures[name]["value"] is None


def test_the_memory_of_a_worker_is_the_least_of_the_largest() -> None:
    """Of each worker the least that was seen, of those the highest: what a worker takes before its tasks."""
    lines = ["streaming.process.rss:90|g|#worker:0", "streaming.process.rss:120|g|#worker:1"]
    found = capacity_figures.figures(stored(lines), START, END)["worker_memory"]
    assert (found["value"], found["samples"]) == (120, 2)
    assert capacity_figures.figures(stored([]), START, END)["worker_memory"]["value"] is None
