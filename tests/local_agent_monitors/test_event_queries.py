"""Widgets and monitors that ask for stored logs and spans: count, cardinality and statistics by facet."""

from __future__ import annotations

from typing import Any

import pytest
from laboratory import NOW, Laboratory

from streaming_dd.errors import QueryError
from streaming_dd.local_agent.queries import events, widget_data
from streaming_dd.local_agent.queries.filters import Choice
from streaming_dd.local_agent.queries.functions import Unsupported


def asked(search: str = "", aggregation: str = "count", metric: str = "", **more: Any) -> dict[str, Any]:
    """Return a query over logs as a dashboard's JSON has it."""
    compute = {"aggregation": aggregation} | ({"metric": metric} if metric else {})
    return {"data_source": "logs", "name": "a", "search": {"query": search}, "compute": compute, **more}


def by(facet: str, **more: Any) -> list[dict[str, Any]]:
    return [{"facet": facet, **more}]


@pytest.fixture
def logs(lab: Laboratory) -> Laboratory:
    """Six lines of two services within a minute, one before it."""
    lines = [
        (5, "web", 10, "u1"),
        (15, "web", 20, "u2"),
        (25, "web", 30, "u1"),
        (35, "api", 100, "u3"),
        (55, "api", 200, "u3"),
    ]
    for offset, service, size, user in lines:
        lab.log(offset, "served", service=service, size=size, user=user)
    lab.log(45, "failed", status="error", service="web")
    lab.log(-5, "before", service="web", size=1000)
    return lab


def rows(lab: Laboratory, *queries: dict[str, Any], **request: Any) -> dict[str, list[float | None]]:
    found = widget_data.rows(
        {"queries": list(queries), **request}, lab.store, NOW, NOW + 60, request.pop("variables", {}), records=lab.records
    )  # fmt: skip
    return {",".join(row.group.values()) or "*": row.values for row in found}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (asked(), {"*": [6.0]}),
        (asked("status:error"), {"*": [1.0]}),
        (asked("service:nobody"), {"*": [0.0]}),
        (asked("@size:>=100"), {"*": [2.0]}),
        (asked(group_by=by("service")), {"web": [4.0], "api": [2.0]}),
        (asked(aggregation="cardinality", metric="@user"), {"*": [3.0]}),
        (asked(aggregation="avg", metric="@size", group_by=by("service")), {"web": [20.0], "api": [150.0]}),
        (asked(aggregation="sum", metric="@size"), {"*": [360.0]}),
        (asked(aggregation="max", metric="@size"), {"*": [200.0]}),
        (asked(aggregation="pc95", metric="@size"), {"*": [200.0]}),
        (asked(aggregation="median", metric="@size"), {"*": [30.0]}),
        (asked(aggregation="avg", metric="@nothing"), {}),
        (asked(group_by=by("service", limit=1)), {"web": [4.0]}),
        (asked(group_by=by("service", limit=1, sort={"order": "asc"})), {"api": [2.0]}),
    ],
)  # fmt: skip
def test_logs_are_computed_by_facet(
    logs: Laboratory, query: dict[str, Any], expected: dict[str, list[float]]
) -> None:
    """One value for each group of what the range holds; the greatest groups are kept."""
    assert rows(logs, query) == expected


def test_logs_over_time_and_in_formulas(logs: Laboratory) -> None:
    """Steps of a chart count what they hold; a formula combines two searches, and a step without a line counts as 0."""
    request = {
        "queries": [asked("status:error"), {**asked(), "name": "b"}],
        "formulas": [{"formula": "b"}, {"formula": "100 * a / b"}],
    }
    chart = widget_data.chart(request, logs.store, NOW, NOW + 60, {}, step=30, records=logs.records)
    assert [curve.values for curve in chart.curves] == [[3.0, 3.0], [0.0, pytest.approx(100 / 3)]]


def test_logs_and_metrics_share_a_formula(logs: Laboratory) -> None:
    """A count of lines may be divided by a metric."""
    logs.count("requests", {0: 10, 10: 2})
    metric = {
        "data_source": "metrics",
        "name": "m",
        "query": "sum:requests{*}.as_count()",
        "aggregator": "sum",
    }
    assert rows(logs, asked(), metric, formulas=[{"formula": "a / m"}]) == {"*": [0.5]}


def test_spans_are_computed_by_their_end(lab: Laboratory) -> None:
    """Spans count when they ended; their duration is in nanoseconds, as Datadog has it."""
    for ended, duration, resource in (
        (5, 1.0, "GET /a"),
        (15, 3.0, "GET /a"),
        (25, 2.0, "GET /b"),
        (70, 1.0, "GET /a"),
    ):
        lab.span(ended, duration, resource=resource)
    spans = {"data_source": "spans", "name": "a", "search": {"query": "service:web"}}
    count = {**spans, "compute": {"aggregation": "count"}, "group_by": by("resource_name")}
    slow = {**spans, "compute": {"aggregation": "max", "metric": "@duration"}}
    assert rows(lab, count) == {"GET /a": [2.0], "GET /b": [1.0]}
    assert rows(lab, slow) == {"*": [3e9]}


def test_template_variables_of_searches_are_filled_in(logs: Laboratory) -> None:
    """`$service` is its choice, all of it where nothing is chosen; a name may hold dots."""
    choices = {"service": Choice("service", ("api",)), "user.name": Choice("@user", ("u1", "u2"))}
    assert events.filled_in("$service x $other", choices) == '(service:"api") x *'
    assert events.filled_in("$user.name", choices) == '(@user:"u1" OR @user:"u2")'
    assert events.filled_in("host:$service.value-1", choices) == "host:api-1"
    request = {"queries": [asked("$service")]}
    (row,) = widget_data.rows(request, logs.store, NOW, NOW + 60, choices, records=logs.records)
    assert row.values == [2.0]


def test_old_form_of_a_request_is_read(logs: Laboratory) -> None:
    """`log_query` with several computes is as many queries."""
    request = {
        "log_query": {
            "index": "*", "search": {"query": "@size:*"}, "group_by": by("service"),
            "multi_compute": [{"aggregation": "count"}, {"aggregation": "sum", "facet": "@size"}],
        }
    }  # fmt: skip
    found = widget_data.rows(request, logs.store, NOW, NOW + 60, {}, records=logs.records)
    assert {row.group["service"]: row.values for row in found} == {"web": [3.0, 60.0], "api": [2.0, 300.0]}


@pytest.mark.parametrize("source", ["rum", "security_signals", "ci_pipelines", None])
def test_other_sources_say_so(source: str | None) -> None:
    """What is not kept here is named, and is no error of the query."""
    with pytest.raises(Unsupported, match="not evaluated locally"):
        events.read({**asked(), "data_source": source}, {})


def test_statistic_without_a_measure_is_refused() -> None:
    """`avg` of nothing is a mistake in Datadog as well."""
    with pytest.raises(QueryError, match="needs what it measures"):
        events.read(asked(aggregation="avg"), {})


def test_monitor_on_a_formula_over_logs_is_evaluated(lab: Laboratory) -> None:
    """The queries of `formula("a / b * 100")` stand in the monitor's options."""
    for offset in range(-100, 0, 10):
        lab.log(offset, status="error" if offset % 20 else "info", service="web")
    variables = [
        asked("status:error", group_by=by("service")),
        {**asked(group_by=by("service")), "name": "b"},
    ]
    lab.monitor(
        'formula("a / b * 100").last("5m") > 40',
        "log alert",
        variables=variables,
        thresholds={"critical": 40},
    )
    assert lab.at(0) == {"service:web": "Alert"}
    (group,) = lab.monitors.monitors["m"].groups.values()
    assert group.value == 50.0
