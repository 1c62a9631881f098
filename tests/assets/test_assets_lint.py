"""One example for each thing that the lint catches: a sound document, one change, one rule."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.assets.documents import Asset
from streaming_dd.assets.lint.rules import NOTES, RULES, asset_of, lint
from streaming_dd.assets.options import Options
from streaming_dd.errors import AssetError

Json = dict[str, Any]
MONITOR: Json = {
    "name": "Tasks fail",
    "type": "query alert",
    "query": "sum(last_5m):sum:streaming.tasks.failed{env:prod} by {app}.as_count() > 5",
    "message": "{{app.name}} fails {{value}} times",
    "options": {"thresholds": {"critical": 5, "warning": 2}, "on_missing_data": "default"},
}
CHECK: Json = {
    "name": "Unhealthy",
    "type": "service check",
    "query": '"streaming.health".over("*").by("check").last(4).count_by_status()',
    "options": {"thresholds": {"critical": 3}, "notify_no_data": False},
}
SLO: Json = {
    "name": "Tasks",
    "type": "metric",
    "query": {
        "numerator": "sum:streaming.tasks.completed{*}.as_count()",
        "denominator": "sum:streaming.tasks.started{*}.as_count()",
    },
    "thresholds": [{"timeframe": "7d", "target": 99, "warning": 99.5}],
}
DASHBOARD: Json = {
    "title": "Tasks",
    "layout_type": "ordered",
    "template_variables": [{"name": "env", "prefix": "env", "available_values": [], "defaults": ["*"]}],
    "widgets": [
        {
            "definition": {
                "type": "timeseries",
                "requests": [
                    {
                        "response_format": "timeseries",
                        "queries": [
                            {
                                "data_source": "metrics",
                                "name": "failed",
                                "query": "sum:streaming.tasks.failed{$env} by {app}.as_count()",
                            }
                        ],
                        "formulas": [{"formula": "failed"}],
                    }
                ],
            },
            "layout": {"x": 0, "y": 0, "width": 6, "height": 3},
        },
        {
            "definition": {
                "type": "list_stream",
                "requests": [
                    {
                        "response_format": "event_list",
                        "columns": [{"field": "content", "width": "auto"}],
                        "query": {"data_source": "logs_stream", "query_string": "status:error $env"},
                    }
                ],
            },
            "layout": {"x": 6, "y": 0, "width": 6, "height": 3},
        },
    ],
}
BASES = {"monitor": MONITOR, "check": CHECK, "slo": SLO, "dashboard": DASHBOARD}
FAILED = "sum:streaming.tasks.failed"


def put(path: str, value: Any) -> Callable[[Json], None]:
    """Return a change that sets what lies at a path such as `widgets.0.layout.x`; None removes it."""

    def change(document: Json) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        key = int(last) if isinstance(place, list) else last
        if value is None:
            del place[key]
        else:
            place[key] = value

    return change


def query(text: str) -> Callable[[Json], None]:
    """Return a change of the dashboard's metric query."""
    return put("widgets.0.definition.requests.0.queries.0.query", text)


def search(text: str) -> Callable[[Json], None]:
    """Return a change of the dashboard's log search."""
    return put("widgets.1.definition.requests.0.query.query_string", text)


def formula(text: str) -> Callable[[Json], None]:
    """Return a change of the dashboard's formula."""
    return put("widgets.0.definition.requests.0.formulas.0.formula", text)


def second_query(text: str, name: str = "other") -> Callable[[Json], None]:
    """Return a change that adds a query to the dashboard's request."""

    def change(document: Json) -> None:
        queries = document["widgets"][0]["definition"]["requests"][0]["queries"]
        queries.append({"data_source": "metrics", "name": name, "query": text})

    return change


def both(*changes: Callable[[Json], None]) -> Callable[[Json], None]:
    """Return several changes as one."""
    return lambda document: [change(document) for change in changes] and None


def alert(text: str, critical: float = 5) -> Callable[[Json], None]:
    """Return a change of the monitor's query with a threshold that agrees."""
    return both(put("query", f"{text} > {critical:g}"), put("options.thresholds", {"critical": critical}))


R = "widgets.0.definition.requests.0"
EXAMPLES: list[tuple[str, str, Callable[[Json], None], str]] = [
    ("schema", "dashboard", put("reflow", "auto"), "reflow: unknown field"),
    ("schema", "dashboard", put("widgets.0.definition.type", "timeserie"), "did you mean 'timeseries'"),
    ("schema", "dashboard", put(f"{R}.display_type", "dots"), "display_type: \"dots\" is not one of"),
    ("schema", "dashboard", put(f"{R}.queries.0.aggregator", "p95x"), "queries[0].aggregator"),
    ("schema", "dashboard", put(f"{R}.queries.0.name", None), "the field 'name' is missing"),
    ("schema", "dashboard", put("widgets.0.layout.x", -1), "-1 is below 0"),
    ("schema", "monitor", put("options.notify_no_dta", True), "did you mean 'notify_no_data'"),
    ("schema", "monitor", put("type", "metrics alert"), "did you mean 'metric alert'"),
    ("schema", "monitor", put("options.on_missing_data", "ignore"), "not one of default, resolve"),
    ("schema", "slo", put("thresholds.0.timeframe", "14d"), "not one of 30d, 7d, 90d, custom"),
    ("query-syntax", "monitor", put("query", "avg(last_5m):streaming.tasks.failed{*} > 5"), "has no aggregator"),
    ("query-syntax", "dashboard", query(f"{FAILED}{{$env"), "found the end"),
    ("query-syntax", "dashboard", formula("failed /"), "found the end"),
    ("query-syntax", "dashboard", search("status: error $env"),
     "right after ':'"),
    ("unknown-metric", "monitor", alert("sum(last_5m):sum:streaming.task.failed{*} by {app}.as_count()"),
     "did you mean streaming.tasks.failed"),
    ("unknown-metric", "dashboard", query("avg:streaming.task.duration.95percentile{$env}"),
     "did you mean streaming.task.duration?"),
    ("unknown-metric", "dashboard", query("avg:system.cpu.user{$env}"), "nothing emits system.cpu.user"),
    ("wrong-kind", "dashboard", query("p95:streaming.tasks.failed{$env}"), "p95 needs a distribution"),
    ("wrong-kind", "dashboard", query("sum:streaming.tasks.active{$env}.as_count()"), "is a gauge"),
    ("wrong-kind", "dashboard", put(f"{R}.queries.0.aggregator", "percentile"), "needs a query such as p95"),
    ("wrong-kind", "monitor", alert("percentile(last_5m):avg:streaming.tasks.active{*} by {app}"), "needs p95:"),
    ("tag-not-emitted", "monitor", alert(f"sum(last_5m):{FAILED}{{route:x}} by {{app}}.as_count()"),
     "has no tag 'route'"),
    ("tag-not-emitted", "dashboard", query(f"{FAILED}{{$env}} by {{host,user}}.as_count()"), "has no tag 'user'"),
    ("trace-tag", "dashboard", query("sum:trace.task.run.hits{$env} by {model}.as_count()"), "has no tag 'model'"),
    ("unknown-function", "dashboard", formula("default_zer(failed)"), "did you mean default_zero"),
    ("unknown-function", "dashboard", formula("top(failed, 5)"), "takes 4 arguments, not 2"),
    ("group-mismatch", "monitor", alert(f"avg(last_5m):{FAILED}{{*}} by {{app}} / {FAILED}{{*}} by {{model}}"),
     "{app} and {model}"),
    ("group-mismatch", "dashboard", both(second_query(f"{FAILED}{{$env}} by {{model}}"), formula("failed / other")),
     "grouped differently"),
    ("undefined-query", "dashboard", formula("failed / total"), "there is no query 'total'"),
    ("unused-query", "dashboard", second_query(f"{FAILED}{{$env}}.as_count()"), "no formula uses the query 'other'"),
    ("undeclared-variable", "dashboard", query(f"{FAILED}{{$env,$app}} by {{app}}.as_count()"), "$app is not declared"),
    ("undeclared-variable", "dashboard", query(f"{FAILED}{{$env,app:$ap.value}} by {{app}}.as_count()"),
     "$ap is not declared"),
    ("undeclared-variable", "monitor", alert(f"sum(last_5m):{FAILED}{{$env}} by {{app}}.as_count()"),
     "on dashboards only"),
    ("unused-variable", "dashboard", put("template_variables", [{"name": "env"}, {"name": "region"}]),
     "$region is declared and used nowhere"),
    ("as-count", "monitor", alert(f"avg(last_5m):{FAILED}{{*}} by {{app}}.as_count()"), "only sum makes sense"),
    ("as-count", "monitor", alert(f"sum(last_5m):{FAILED}{{*}} by {{app}}"), "rate per second without"),
    ("as-count", "dashboard", query("avg:streaming.tasks.failed{$env}.as_count()"), "as_count goes with sum:"),
    ("as-count", "slo", put("query.numerator", "sum:streaming.tasks.completed{*}"), "write .as_count()"),
    ("threshold-mismatch", "monitor", put("options.thresholds.critical", 6),
     "the query alerts at 5, the threshold says 6"),
    ("threshold-order", "monitor", put("options.thresholds.warning", 7), "must lie below critical 5"),
    ("threshold-order", "slo", put("thresholds.0.warning", 98), "must lie above the target 99"),
    ("recovery-side", "monitor", put("options.thresholds.critical_recovery", 6),
     "must lie below the critical threshold"),
    ("recovery-side", "monitor", put("options.thresholds.warning_recovery", 3), "must lie below the warning threshold"),
    ("missing-data", "monitor", put("options.notify_no_data", True), "keep one"),
    ("missing-data", "monitor", put("options.on_missing_data", None), "no policy"),
    ("missing-data", "check", both(put("options.notify_no_data", None), put("options.on_missing_data", "resolve")),
     "know notify_no_data only"),
    ("check-window", "check", put("options.thresholds.critical", 5), "among the last 4"),
    ("unknown-check", "check", put("query", '"streaming.helth".over("*").last(4).count_by_status()'),
     "nothing reports"),
    ("unknown-operation", "dashboard", search("operation_name:task.runn $env"),
     "task.runn"),
    ("priority", "monitor", put("priority", 9), "outside 1"),
    ("message", "monitor", put("message", "{{#is_alrt}}x{{/is_alrt}}"), "unknown section"),
    ("message", "monitor", put("message", "{{#is_alert}}x"), "never closed"),
    ("message", "monitor", put("message", "{{model.name}}"), "stays empty"),
    ("reference", "slo", both(put("type", "monitor"), put("query", None), put("monitor_ids", ["${monitor:nope}"])),
     "no monitor 'nope'"),
    ("duplicate", "dashboard", second_query(f"{FAILED}{{$env}} by {{app}}.as_count()", "failed"), "stands twice"),
    ("layout", "dashboard", put("widgets.1.layout.x", 5), "overlaps widgets[0]"),
    ("layout", "dashboard", put("widgets.1.layout.width", 7), "reaches to column 13"),
]  # fmt: skip


def changed(base: str, change: Callable[[Json], None]) -> Asset:
    document = copy.deepcopy(BASES[base])
    change(document)
    return Asset("monitor" if base == "check" else base, "example", document)  # type: ignore[arg-type]


@pytest.mark.parametrize("base", sorted(BASES))
def test_base_documents_are_sound(base: str) -> None:
    """Without a change, nothing is found: what the examples find is their change."""
    assert lint([changed(base, lambda document: None)]) == []


@pytest.mark.parametrize(
    ("rule", "base", "change", "message"),
    EXAMPLES,
    ids=[f"{i}-{example[0]}" for i, example in enumerate(EXAMPLES)],
)
def test_each_mistake_is_found_by_its_rule(
    rule: str, base: str, change: Callable[[Json], None], message: str
) -> None:
    """One mistake gives one kind of problem, that says what is wrong."""
    problems = lint([changed(base, change)])
    assert {problem.rule for problem in problems} == {rule}
    assert any(message in str(problem) for problem in problems)


def test_every_rule_has_an_example() -> None:
    """The list of rules and the examples agree."""
    assert {example[0] for example in EXAMPLES} == set(RULES) - NOTES


def test_every_rule_is_in_the_readme_with_an_example() -> None:
    """Whoever reads dd-agent/README.md finds each rule in the table."""
    readme = (Path(__file__).parents[2] / "dd-agent/README.md").read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"| `{rule}` |" not in readme] == []


def test_two_assets_with_one_title_are_found() -> None:
    """Two monitors of the same name could not be told apart in Datadog."""
    first, second = (Asset("monitor", name, copy.deepcopy(MONITOR)) for name in ("one", "two"))
    assert [str(problem) for problem in lint([first, second])] == [
        "monitors/two.json: 'Tasks fail' is also the title of monitors/one.json [duplicate]"
    ]


def test_widgets_inside_groups_are_checked() -> None:
    """A mistake inside a group is found with its whole path."""
    inner = copy.deepcopy(DASHBOARD["widgets"])
    inner[1]["layout"]["x"] = 5
    group = {
        "definition": {"type": "group", "layout_type": "ordered", "widgets": inner},
        "layout": {"x": 0, "y": 0, "width": 12, "height": 4},
    }
    document = {**copy.deepcopy(DASHBOARD), "widgets": [group]}
    assert [problem.path for problem in lint([Asset("dashboard", "example", document)])] == [
        "widgets[0].definition.widgets[1].layout"
    ]


def test_foreign_metrics_are_fine_in_files_of_others() -> None:
    """Without `strict`, other people's metrics pass, misspelt ones of ours do not."""
    foreign = changed("monitor", alert("avg(last_5m):avg:system.cpu.user{*} by {app}"))
    misspelt = changed("monitor", alert("avg(last_5m):avg:streaming.task.actve{*} by {app}"))
    assert lint([foreign], strict=False) == []
    assert [problem.rule for problem in lint([misspelt], strict=False)] == ["unknown-metric"]


def test_what_datadogs_own_export_writes_is_a_note() -> None:
    """Unknown fields of a foreign file are notes and the other rules go on; in a file of ours they are faults."""
    document = copy.deepcopy(DASHBOARD)
    document["widgets"][0]["definition"]["title_sizes"] = "16"
    document["widgets"][0]["definition"]["requests"][0]["queries"][0]["query"] = "avg:a{*"
    asset = Asset("dashboard", "example", document)
    found = lint([asset], strict=False)
    assert [(each.rule, each.note) for each in found] == [("unknown-field", True), ("query-syntax", False)]
    assert str(found[0]).startswith("note: ")
    assert [each.rule for each in lint([asset])] == ["schema"]


@pytest.mark.parametrize(
    ("base", "change", "rule", "note"),
    [
        (DASHBOARD, lambda d: d["widgets"][0]["definition"].update(type="custom"), "unknown-kind", True),
        (DASHBOARD, lambda d: d["widgets"][0]["definition"].update(type="timeserie"), "schema", False),
        (MONITOR, lambda d: d["options"].update(renotify_interval="60"), "loose-type", True),
        (MONITOR, lambda d: d["options"].update(renotify_interval="often"), "schema", False),
        (MONITOR, lambda d: d["options"].update(escalation_message=None), "loose-type", True),
    ],
)
def test_what_datadog_takes_beyond_its_models_is_a_note(
    base: Json, change: Any, rule: str, note: bool
) -> None:
    """A kind of widget that is nearly none that is known, a number as text, null for nothing; a slip stays a fault."""
    document = copy.deepcopy(base)
    change(document)
    asset = Asset("dashboard" if base is DASHBOARD else "monitor", "example", document)
    assert {
        (each.rule, each.note) for each in lint([asset], strict=False) if each.rule in ("schema", rule)
    } == {(rule, note)}
    assert "schema" in {each.rule for each in lint([asset])}


def test_mean_of_others_counts_is_theirs_to_ask() -> None:
    """`avg(...)` of a count is a fault for a metric of ours, whoever wrote the monitor; for a metric of others it is not."""
    document = copy.deepcopy(MONITOR)
    for metric, rules in (("other.requests", []), ("streaming.http.requests", ["as-count"])):
        document["query"] = f"avg(last_5m):sum:{metric}{{*}}.as_count() > 5"
        document["options"]["thresholds"] = {"critical": 5}
        found = lint([Asset("monitor", "example", document)], strict=False)
        assert [each.rule for each in found if not each.note and each.rule == "as-count"] == rules


def test_a_hosts_tags_can_be_said_of_it() -> None:
    """A monitor by host may name any tag of the host, as Datadog documents: `{{host.availability-zone}}`."""
    document = copy.deepcopy(MONITOR)
    document["query"] = (
        document["query"].replace(" by {", " by {host,")
        if " by {" in document["query"]
        else document["query"]
    )
    document["message"] = "{{host.availability-zone}} {{host.name}}"
    assert "host" in document["query"]
    assert [
        each for each in lint([Asset("monitor", "example", document)], strict=False) if each.rule == "message"
    ] == []


def test_shape_that_is_wrong_does_not_stop_the_lint() -> None:
    """A foreign file with a missing field has that said, whatever else cannot be looked at."""
    document = copy.deepcopy(DASHBOARD)
    del document["widgets"][0]["definition"]["requests"][0]["queries"][0]["name"]
    found = lint([Asset("dashboard", "example", document)], strict=False)
    assert any("'name' is missing" in each.message for each in found if each.rule == "schema")


def test_column_break_starts_a_column() -> None:
    """After a widget with `is_column_break` the rows begin again at 0; without it the same boxes overlap."""
    document = copy.deepcopy(DASHBOARD)
    for widget in document["widgets"]:
        widget["layout"] = {"x": 0, "y": 0, "width": 12, "height": 2}
    asset = Asset("dashboard", "example", document)
    assert {each.rule for each in lint([asset])} == {"layout"}
    for widget in document["widgets"][1:]:
        widget["layout"]["is_column_break"] = True
    assert lint([asset]) == []


def test_monitor_that_is_not_read_is_a_note() -> None:
    """A monitor on RUM events is checked by Datadog; that it is not here is said."""
    rum = changed(
        "monitor", lambda document: document.update(type="rum alert", query='rum("x").last("5m") > 1')
    )
    assert [(each.rule, each.note) for each in lint([rum], strict=False)] == [("not-checked", True)]


def test_distributions_change_what_may_be_asked() -> None:
    """What is right for Agent-side percentiles is wrong for distributions, and the reverse."""
    suffixed = changed("dashboard", query("avg:streaming.task.duration.95percentile{$env}"))
    true = changed("dashboard", query("p95:streaming.task.duration{$env}"))
    assert lint([true]) == []
    assert [problem.rule for problem in lint([suffixed])] == ["unknown-metric"]
    options = Options(timers="timer")
    assert lint([suffixed], options) == []
    assert [problem.rule for problem in lint([true], options)] == ["unknown-metric"]


def test_kind_of_a_file_is_found_by_its_content() -> None:
    """Dashboards, monitors and SLOs are told apart; anything else is refused with what was looked for."""
    assert asset_of("x/My Tasks.json", json.dumps(DASHBOARD)).kind == "dashboard"
    assert asset_of("m.json", json.dumps(MONITOR)).kind == "monitor"
    assert asset_of("s.json", json.dumps(SLO)).kind == "slo"
    assert asset_of("x/My Tasks.json", json.dumps(DASHBOARD)).path == "x/My Tasks.json"
    for text, message in (
        ('{"widgets": [}', "b.json: line 1, column 14: not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "neither a dashboard"),
        ("\ud800", "not JSON"),
    ):
        with pytest.raises(AssetError, match=message):
            asset_of("b.json", text)


@pytest.mark.slow
def test_committed_files_pass_one_by_one() -> None:
    """Each committed file passes alone as well, as a reader of the repository would check it."""
    directory = Path(__file__).parents[2] / "dd-agent"
    for folder in ("dashboards", "monitors", "slos"):
        for file in (directory / folder).glob("*.json"):
            assert lint([asset_of(file.name, file.read_text(encoding="utf-8"))], strict=False) == []
