"""Requests of widgets: charts, tables, top lists, histograms, and why there is nothing to show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from laboratory import NOW, Laboratory

from streaming_dd.errors import QueryError
from streaming_dd.local_agent.queries.filters import Choice
from streaming_dd.local_agent.queries.functions import Unsupported
from streaming_dd.local_agent.queries.widget_data import bins, chart, emptiness, rows

DIRECTORY = Path(__file__).parents[2] / "dd-agent"
ALL: dict[str, Choice] = {name: Choice(name) for name in ("env", "service", "version", "app", "model")}


def request(queries: dict[str, str], *formulas: str | dict[str, Any], aggregator: str = "") -> dict[str, Any]:
    more = {"aggregator": aggregator} if aggregator else {}
    return {
        "queries": [
            {"data_source": "metrics", "name": name, "query": query, **more}
            for name, query in queries.items()
        ],
        "formulas": [{"formula": each} if isinstance(each, str) else each for each in formulas],
    }


def test_chart_of_a_formula_with_its_legend(lab: Laboratory) -> None:
    """Curves carry alias and group; times are the grid's."""
    lab.count("failed", {-20: 1, -10: 1}, "m:a")
    lab.count("done", {-20: 3, -10: 1}, "m:a")
    asked = request(
        {"f": "sum:failed{*} by {m}.as_count()", "d": "sum:done{*} by {m}.as_count()"},
        {"formula": "f / (f + d) * 100", "alias": "failed %"},
        "d",
    )
    found = chart(asked, lab.store, NOW - 20, NOW, {}, 10)
    assert (found.times, found.step) == ([NOW - 20, NOW - 10], 10)
    assert [(curve.alias, curve.group, curve.values) for curve in found.curves] == [
        ("failed %", {"m": "a"}, [25, 50]),
        ("d", {"m": "a"}, [3, 1]),
    ]


def test_chart_takes_the_step_of_a_rollup_and_of_old_requests(lab: Laboratory) -> None:
    """A query's own rollup decides the step; `q` is understood; a formula may be a number."""
    lab.count("c", {-60: 1, -10: 2})
    assert chart({"q": "sum:c{*}.as_count().rollup(sum, 60)"}, lab.store, NOW - 120, NOW, {}).curves[
        0
    ].values == [None, 3]
    by_rollup = chart(
        request({"a": "sum:c{*}.as_count().rollup(sum, 60)"}, "a", "a * 0 + 5", "7"),
        lab.store,
        NOW - 120,
        NOW,
        {},
    )
    assert by_rollup.step == 60
    assert by_rollup.curves[2].values == [7, 7]


def test_rows_reduce_each_query_before_the_formula(lab: Laboratory) -> None:
    """A scalar ratio is the ratio of the sums, not the mean of ratios; groups are joined over formulas."""
    lab.count("failed", {-20: 1, -10: 0}, "m:a")
    lab.count("done", {-20: 1, -10: 8}, "m:a")
    lab.count("done", {-20: 4}, "m:b")
    asked = request(
        {"f": "sum:failed{*} by {m}.as_count()", "d": "sum:done{*} by {m}.as_count()"},
        "f / (f + d)",
        "d",
        aggregator="sum",
    )
    found = {row.group["m"]: row.values for row in rows(asked, lab.store, NOW - 20, NOW, {})}
    assert found == {"a": [0.1, 9], "b": [0, 4]}


@pytest.mark.parametrize(
    ("aggregator", "value"),
    [("avg", 3), ("sum", 9), ("min", 1), ("max", 5), ("last", 3), ("l2norm", 35**0.5)],
)
def test_rows_by_each_aggregator(lab: Laboratory, aggregator: str, value: float) -> None:
    """Each of the API's aggregators over 1, 5, 3."""
    lab.gauge("g", {-30: 1, -20: 5, -10: 3})
    found = rows(request({"a": "avg:g{*}"}, "a", aggregator=aggregator), lab.store, NOW - 30, NOW, {})
    assert found[0].values == [pytest.approx(value)]


def test_rows_percentile_merges_over_time(lab: Laboratory) -> None:
    """The aggregator `percentile` takes the p95 of the whole range."""
    lab.sketch("d", {-20: [10.0] * 99, -10: [1000.0]})
    whole = rows(request({"a": "p95:d{*}"}, "a", aggregator="percentile"), lab.store, NOW - 20, NOW, {})
    mean = rows(request({"a": "p95:d{*}"}, "a", aggregator="avg"), lab.store, NOW - 20, NOW, {})
    assert whole[0].values == [pytest.approx(10, rel=0.01)]
    assert mean[0].values == [pytest.approx(505, rel=0.01)]


def test_rows_are_ranked_and_cut(lab: Laboratory) -> None:
    """A limit sorts by its formula, greatest first or last, and cuts."""
    for name, value in (("a", 1), ("b", 3), ("c", 2)):
        lab.gauge("g", {-10: value}, f"n:{name}")
    for order, names in (("desc", ["b", "c"]), ("asc", ["a", "c"])):
        asked = request({"a": "avg:g{*} by {n}"}, {"formula": "a", "limit": {"count": 2, "order": order}})
        assert [row.group["n"] for row in rows(asked, lab.store, NOW - 10, NOW, {})] == names


def test_bins_hold_every_value_once(lab: Laboratory) -> None:
    """A histogram's counts add up; its bins cover smallest to greatest."""
    lab.sketch("d", {-20: [1.0, 2.0, 3.0], -10: [4.0, 100.0]})
    found = bins("histogram:d{*}", lab.store, NOW - 20, NOW, {}, 10)
    assert sum(count for _, _, count in found) == 5
    assert (found[0][0], found[-1][1]) == (1, 100)
    assert found[0][2] == 4
    assert bins("histogram:none{*}", lab.store, NOW - 20, NOW, {}) == []
    with pytest.raises(Unsupported, match="only the distribution of one metric"):
        bins("avg:d{*}", lab.store, NOW - 20, NOW, {})


def test_foreign_data_sources_are_not_evaluated(lab: Laboratory) -> None:
    """A query on RUM events in a chart says that it is not evaluated here."""
    with pytest.raises(Unsupported, match="queries on rum"):
        chart(
            {"queries": [{"data_source": "rum", "name": "a"}], "formulas": []}, lab.store, NOW - 20, NOW, {}
        )


def test_formula_that_names_nothing_is_an_error(lab: Laboratory) -> None:
    """An undefined query is named."""
    with pytest.raises(QueryError, match="there is no query 'b'"):
        chart(request({"a": "avg:g{*}"}, "b"), lab.store, NOW - 20, NOW, {})


def test_emptiness_says_why(lab: Laboratory) -> None:
    """Never sent, filtered out, or sent at another time: three different empty states."""
    lab.gauge("g", {-10: 1}, "env:prod")
    lab.gauge("old", {-4000: 1}, "env:prod")
    asked = request({"a": "avg:g{$env}", "b": "avg:old{*}", "c": "avg:never{*}"}, "a", "b", "c")
    found = emptiness(asked, lab.store, NOW - 20, NOW, {"env": Choice("env", ("dev",))})
    assert sorted((each.metric, each.reason, each.last_time and each.last_time - NOW) for each in found) == [
        ("g", "filtered", -10),
        ("never", "never", 0),
        ("old", "not in range", -4000),
    ]
    assert emptiness(request({"a": "avg:g{*}"}, "a"), lab.store, NOW - 20, NOW, {}) == []


@pytest.mark.parametrize(
    "path", sorted((DIRECTORY / "dashboards").glob("*.json")), ids=lambda path: path.stem
)
def test_every_shipped_widget_is_evaluated(lab: Laboratory, path: Path) -> None:
    """Each request of the shipped dashboards is answered, on an empty store and on one with data."""
    tags = ("env:prod", "service:web", "app:a", "model:b", "worker:0")
    for metric in ("streaming.tasks.active", "streaming.process.rss", "streaming.task.duration.95percentile"):
        lab.gauge(metric, {-10: 5}, *tags)
    for metric in ("streaming.tasks.failed", "streaming.tasks.completed", "streaming.http.requests"):
        lab.count(metric, {-10: 5}, *tags)
    answered = 0
    pending = list(json.loads(path.read_text(encoding="utf-8"))["widgets"])
    while pending:
        definition = pending.pop()["definition"]
        pending += definition.get("widgets", [])
        for asked in definition.get("requests", []):
            if asked.get("response_format") == "timeseries":
                chart(asked, lab.store, NOW - 3600, NOW, ALL)
                answered += 1
            elif asked.get("response_format") == "scalar":
                rows(asked, lab.store, NOW - 3600, NOW, ALL)
                answered += 1
    assert answered > 8
