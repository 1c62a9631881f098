"""Service checks, logs, spans, composites and SLO alerts; monitors and SLOs that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from laboratory import NOW, Laboratory

from streaming_dd.local_agent.monitors import slos
from streaming_dd.local_agent.monitors.evaluation import load
from streaming_dd.local_agent.monitors.rules import State, both, check_state, either, opposite

DIRECTORY = Path(__file__).parents[2] / "dd-agent"

# --- service checks --------------------------------------------------------------------------------------------------

CHECKS: list[tuple[list[str], dict[str, int], State, State]] = [
    (["ok"], {"critical": 3}, "Skipped", "OK"),
    (["critical"], {"critical": 1}, "OK", "Alert"),
    (["critical", "critical"], {"critical": 3}, "OK", "OK"),
    (["critical"] * 3, {"critical": 3}, "OK", "Alert"),
    (["critical", "ok", "critical", "critical"], {"critical": 3}, "OK", "OK"),
    (["critical"] * 3 + ["ok"], {"critical": 3, "ok": 2}, "Alert", "Alert"),
    (["critical", "ok", "ok"], {"critical": 3, "ok": 2}, "Alert", "OK"),
    (["warning"], {"critical": 3, "warning": 1}, "OK", "Warn"),
    (["critical", "unknown"], {"critical": 1}, "Alert", "Alert"),
]


@pytest.mark.parametrize(("statuses", "thresholds", "before", "after"), CHECKS)
def test_check_needs_so_many_alike_in_a_row(
    statuses: list[str], thresholds: dict[str, int], before: State, after: State
) -> None:
    """A blip neither alerts nor resolves; unknown leaves the state."""
    assert check_state(statuses, thresholds, before)[0] == after


def test_service_check_monitor_by_group_with_scope_and_message(lab: Laboratory) -> None:
    """Runs of all workers of a group count together; what is out of scope or excluded does not."""
    lab.check("health", ["ok", "ok"], "env:prod", "check:cache", "worker:0", at=-20)
    lab.check("health", ["critical"], "env:prod", "check:db", "worker:0", at=-30, message="no route to host")
    lab.check(
        "health", ["critical", "critical"], "env:prod", "check:db", "worker:1", at=-25, message="timed out"
    )
    lab.check("health", ["critical"] * 5, "env:dev", "check:db", at=-50)
    lab.check("health", ["critical"] * 5, "env:prod", "check:old", "ignore:yes", at=-50)
    lab.monitor(
        '"health".over("env:prod").exclude("ignore:yes").by("check").last(4).count_by_status()',
        "service check",
        message="{{check.name}}: {{check_message}} @ops",
        thresholds={"critical": 3, "ok": 1},
    )
    assert lab.at(0) == {"check:cache": "OK", "check:db": "Alert"}
    said = lab.monitors.notifications[0]
    assert (said.title, said.text, said.handles) == (
        "[Triggered on {check:db}] m",
        "db: timed out @ops",
        ("@ops",),
    )


def test_silent_check_goes_missing_only_if_asked(lab: Laboratory) -> None:
    """With notify_no_data a check that is not run any more is No Data after the time frame, else it stays."""
    lab.check("health", ["ok"], "check:db", at=-10)
    query = '"health".over("*").by("check").last(2).count_by_status()'
    lab.monitor(query, "service check", name="told", notify_no_data=True, no_data_timeframe=5)
    lab.monitor(query, "service check", name="calm", notify_no_data=False)
    lab.at(0)
    assert (lab.at(280, "told"), lab.at(280, "calm")) == ({"check:db": "OK"}, {"check:db": "OK"})
    assert (lab.at(300, "told"), lab.at(300, "calm")) == ({"check:db": "No Data"}, {"check:db": "OK"})
    lab.check("health", ["ok"], "check:db", at=310)
    assert lab.at(320, "told") == {"check:db": "OK"}
    assert lab.said() == ["[No data on {check:db}] told", "[Recovered on {check:db}] told"]


# --- logs and spans ---------------------------------------------------------------------------------------------------


def test_log_monitor_counts_in_its_window_by_group(lab: Laboratory) -> None:
    """Only lines that match, inside the window; each group apart."""
    for offset in (-400, -200, -100, -10):
        lab.log(offset, "boom", "error", service="web", model="Summary")
    lab.log(-10, "boom", "error", service="api", model="Export")
    lab.log(-10, "fine", service="web")
    query = 'logs("status:error boom").index("*").rollup("count").by("service,@model").last("5m") > 2'
    lab.monitor(query, "log alert")
    assert lab.at(0) == {"service:web,@model:Summary": "Alert", "service:api,@model:Export": "OK"}
    assert lab.at(150) == {"service:web,@model:Summary": "OK", "service:api,@model:Export": "OK"}


def test_log_monitor_without_groups_is_zero_without_lines(lab: Laboratory) -> None:
    """No line at all is a count of 0, also before the first."""
    lab.monitor('logs("status:error").rollup("count").last("5m") > 2', "log alert")
    assert lab.at(0) == {"*": "OK"}


@pytest.mark.parametrize(
    ("rollup", "value"),
    [
        ('"cardinality", "@user"', 2),
        ('"avg", "@took"', 20),
        ('"max", "@took"', 30),
        ('"min", "@took"', 10),
        ('"sum", "@took"', 60),
        ('"median", "@took"', 20),
        ('"pc95", "@took"', 30),
    ],
)
def test_log_measures(lab: Laboratory, rollup: str, value: float) -> None:
    """Each method over a facet or a measure; what is no number does not count."""
    for user, took in (("a", 10), ("b", 20), ("a", 30), ("a", "n/a")):
        lab.log(-10, "x", user=user, took=took)
    lab.monitor(f'logs("*").rollup({rollup}).last("5m") > 1000', "log alert")
    lab.at(0)
    assert [group.value for group in lab.monitors.monitors["m"].groups.values()] == [value]


def test_trace_monitor_on_errors_and_on_duration(lab: Laboratory) -> None:
    """Spans count when they end; durations are nanoseconds."""
    lab.span(-10, 2.0, error=1, resource="reports.Summary")
    lab.span(-20, 0.5, resource="reports.Summary")
    lab.span(-400, 9.0, error=1, resource="reports.Summary")
    lab.span(-5, 400.0, error=1, resource="reports.Long")
    lab.monitor(
        'trace-analytics("operation_name:task.run status:error").rollup("count").by("resource_name").last("5m") > 0',
        "trace-analytics alert",
        name="errors",
    )
    lab.monitor(
        'trace-analytics("*").rollup("max", "@duration").last("5m") > 1000000000',
        "trace-analytics alert",
        name="slow",
    )
    assert lab.at(0, "errors") == {
        "resource_name:reports.Summary": "Alert",
        "resource_name:reports.Long": "Alert",
    }
    assert lab.at(0, "slow") == {"*": "Alert"}
    assert (
        lab.monitors.monitors["errors"].groups[frozenset({("resource_name", "reports.Summary")})].value == 1
    )


# --- composites -------------------------------------------------------------------------------------------------------

# https://docs.datadoghq.com/monitors/types/composite, the table of trigger conditions
COMPOSED: list[tuple[State, State, State, State]] = [
    ("Alert", "Warn", "Warn", "Alert"),
    ("Alert", "OK", "OK", "Alert"),
    ("Warn", "OK", "OK", "Warn"),
    ("No Data", "Warn", "No Data", "Warn"),
    ("No Data", "OK", "OK", "No Data"),
    ("No Data", "No Data", "No Data", "No Data"),
    ("OK", "OK", "OK", "OK"),
]


@pytest.mark.parametrize(("a", "b", "conjunction", "disjunction"), COMPOSED)
def test_composite_table(a: State, b: State, conjunction: State, disjunction: State) -> None:
    """Every row of Datadog's table, both ways round."""
    assert both(a, b) == both(b, a) == conjunction
    assert either(a, b) == either(b, a) == disjunction


def test_negation() -> None:
    """No Data stays, alert-worthy becomes OK, what is not becomes Alert."""
    states: tuple[State, ...] = ("No Data", "Alert", "Warn", "OK")
    assert [opposite(state) for state in states] == ["No Data", "OK", "OK", "Alert"]


def members(lab: Laboratory) -> None:
    """Two grouped monitors with b in common, and one without groups."""
    for name, values in (("x", {"a": 9, "b": 9}), ("y", {"b": 9, "c": 9})):
        for group, value in values.items():
            lab.gauge(name, {-10: value}, f"m:{group}")
        lab.monitor(f"avg(last_5m):avg:{name}{{*}} by {{m}} > 5", name=name)
    lab.gauge("z", {-10: 1})
    lab.monitor("avg(last_5m):avg:z{*} > 5", name="z")


def test_composite_looks_at_common_groups(lab: Laboratory) -> None:
    """Only groups that both members have are judged; a member without groups goes with all."""
    members(lab)
    lab.monitor("${monitor:x} && ${monitor:y}", "composite", name="and")
    lab.monitor("${monitor:x} && !${monitor:z}", "composite", name="with whole")
    lab.monitor("${monitor:x} && ${monitor:z}", "composite", name="without whole")
    assert lab.at(0, "and") == {"m:b": "Alert"}
    assert lab.at(0, "with whole") == {"m:a": "Alert", "m:b": "Alert"}
    assert lab.at(0, "without whole") == {"m:a": "OK", "m:b": "OK"}


def test_composite_combines_a_coarse_and_a_fine_grouping(lab: Laboratory) -> None:
    """(device, host) goes with (host): each device with its host's state. (host, url) has no common group with it.

    The example of docs.datadoghq.com/monitors/types/composite, "Monitor group by two or more dimensions".
    """
    for device, host, value in (("sda", "web1", 9), ("sdb", "web1", 1), ("sda", "web2", 9)):
        lab.gauge("disk", {-10: value}, f"device:{device}", f"host:{host}")
    lab.gauge("load", {-10: 9}, "host:web1")
    lab.gauge("load", {-10: 1}, "host:web2")
    lab.gauge("hits", {-10: 9}, "host:web1", "url:x")
    lab.monitor("max(last_5m):max:disk{*} by {device,host} > 5", name="disk")
    lab.monitor("max(last_5m):max:load{*} by {host} > 5", name="load")
    lab.monitor("max(last_5m):max:hits{*} by {host,url} > 5", name="hits")
    lab.monitor("${monitor:disk} && ${monitor:load}", "composite", name="both")
    lab.monitor("${monitor:load} && ${monitor:disk}", "composite", name="turned")
    lab.monitor("${monitor:disk} && ${monitor:hits}", "composite", name="apart")
    expected = {
        "device:sda,host:web1": "Alert", "device:sdb,host:web1": "OK", "device:sda,host:web2": "OK",
    }  # fmt: skip
    assert lab.at(0, "both") == expected
    assert lab.at(0, "turned") == expected
    assert lab.at(0, "apart") == {}


def test_numbers_in_quotes_and_unused_options_are_taken(lab: Laboratory) -> None:
    """Exported monitors write `"renotify_interval": "0"` and `thresholds.comparison`: they are evaluated all the same."""
    lab.gauge("g", {-10: 9})
    lab.monitor(
        "max(last_5m):max:g{*} > 5", renotify_interval="0", timeout_h="", new_group_delay="0",
        thresholds={"critical": "5", "warning": "3", "comparison": ">", "unknown": None},
    )  # fmt: skip
    assert lab.at(0) == {"*": "Alert"}
    assert lab.monitors.monitors["m"].thresholds == {"critical": 5.0, "warning": 3.0, "unknown": None}


def test_composite_by_ids_and_of_what_is_missing(lab: Laboratory) -> None:
    """Ids work as in Datadog; a member that is not there makes the composite Ignored, with the reason."""
    members(lab)
    lab.monitors.monitors["x"].document["id"] = 17
    lab.monitor("17 || 18", "composite", name="lost")
    lab.monitor("17", "composite", name="found")
    lab.at(0)
    assert lab.monitors.monitors["found"].overall == "Alert"
    assert lab.monitors.monitors["lost"].overall == "Ignored"
    assert "there is no monitor 18" in lab.monitors.monitors["lost"].problem


def test_composite_without_data_keeps_its_last_state_unless_asked(lab: Laboratory) -> None:
    """A member's No Data becomes the composite's only with notify_no_data."""
    lab.gauge("g", {-10: 9})
    lab.monitor("avg(last_1m):avg:g{*} > 5", name="g", on_missing_data="show_no_data")
    lab.monitor("${monitor:g} && ${monitor:g}", "composite", name="calm")
    lab.monitor("${monitor:g} && ${monitor:g}", "composite", name="told", notify_no_data=True)
    assert (lab.at(0, "calm"), lab.at(0, "told")) == ({"*": "Alert"}, {"*": "Alert"})
    assert (lab.at(120, "calm"), lab.at(120, "told")) == ({"*": "Alert"}, {"*": "No Data"})


# --- SLOs --------------------------------------------------------------------------------------------------------------

METRIC: dict[str, Any] = {
    "type": "metric",
    "query": {"numerator": "sum:good{*}.as_count()", "denominator": "sum:all{*}.as_count()"},
    "thresholds": [{"timeframe": "7d", "target": 99}],
}
SLICE: dict[str, Any] = {
    "type": "time_slice",
    "sli_specification": {
        "time_slice": {
            "query": {
                "formulas": [{"formula": "q"}],
                "queries": [{"data_source": "metrics", "name": "q", "query": "avg:lag{*}"}],
            },
            "query_interval_seconds": 300,
            "comparator": "<=",
            "threshold": 100,
        }
    },
    "thresholds": [{"timeframe": "7d", "target": 90}],
}


def test_metric_slo_indicator_and_budget(lab: Laboratory) -> None:
    """995 good of 1,000 against 99 %: half of the budget is left."""
    lab.count("good", {-3600: 500, -10: 495})
    lab.count("all", {-3600: 500, -10: 500})
    lab.monitors.slos["s"] = METRIC
    found = lab.monitors.slo_status("s", NOW)
    assert found.indicator == pytest.approx(99.5)
    assert found.budget == pytest.approx(50)
    assert found.covered == 86_400


def test_slo_without_data_has_no_indicator(lab: Laboratory) -> None:
    """Nothing happened: neither good nor bad."""
    lab.monitors.slos["s"] = METRIC
    assert lab.monitors.slo_status("s", NOW).indicator is None


def test_time_slice_slo_counts_slices(lab: Laboratory) -> None:
    """Of the last hour's twelve slices three are slow; slices without data are good."""
    lab.gauge("lag", dict.fromkeys(range(-900, 0, 10), 500))
    lab.gauge("lag", dict.fromkeys(range(-1800, -900, 10), 5))
    value = slos.indicator(SLICE, lab.store, lab.monitors.uptime, NOW - 3600, NOW)
    assert value == pytest.approx(75)


def test_monitor_slo_is_the_time_without_alert(lab: Laboratory) -> None:
    """A quarter of the time in Alert is 75 % of uptime."""
    lab.gauge("g", {offset: 9 if 100 <= offset < 200 else 1 for offset in range(-60, 400, 10)})
    lab.monitor("max(last_1m):avg:g{*} > 5")
    lab.monitors.slos["s"] = {
        "type": "monitor",
        "monitor_ids": ["${monitor:m}"],
        "thresholds": [{"timeframe": "7d", "target": 99}],
    }
    for offset in range(0, 401, 10):
        lab.at(offset)
    uptime = lab.monitors.uptime("${monitor:m}", NOW, NOW + 400)
    assert uptime == pytest.approx(100 - (260 - 110) / 400 * 100)
    assert lab.monitors.slo_status("s", NOW + 400).indicator == pytest.approx(uptime)


def test_error_budget_and_burn_rate_alerts(lab: Laboratory) -> None:
    """2 % failures against 1 % allowed: the budget is spent twice, and burns at twice the speed in both windows."""
    for offset in range(-3600, 0, 10):
        lab.count("good", {offset: 98})
        lab.count("all", {offset: 100})
    lab.monitors.slos["s"] = METRIC
    lab.monitor('error_budget("${slo:s}").over("7d") > 150', "slo alert", name="budget")
    lab.monitor(
        'burn_rate("${slo:s}").over("7d").long_window("1h").short_window("5m") > 1.5',
        "slo alert",
        name="burn",
    )
    lab.monitor(
        'burn_rate("${slo:s}").over("7d").long_window("1h").short_window("5m") > 2.5',
        "slo alert",
        name="calm",
    )
    lab.at(0)
    states = {name: monitor.overall for name, monitor in lab.monitors.monitors.items()}
    assert states == {"budget": "Alert", "burn": "Alert", "calm": "OK"}


def test_burn_rate_needs_both_windows(lab: Laboratory) -> None:
    """Once the last minutes are good, a long window that still remembers does not alert."""
    for offset in range(-3600, 0, 10):
        bad = offset < -600
        lab.count("good", {offset: 90 if bad else 100})
        lab.count("all", {offset: 100})
    lab.monitors.slos["s"] = METRIC
    lab.monitor('burn_rate("${slo:s}").over("7d").long_window("1h").short_window("5m") > 2', "slo alert")
    assert lab.at(0) == {"*": "OK"}


def test_alert_on_an_slo_that_is_not_there(lab: Laboratory) -> None:
    """The monitor is Ignored and says which SLO is missing."""
    lab.monitor('error_budget("${slo:nope}").over("7d") > 75', "slo alert")
    lab.at(0)
    assert lab.monitors.monitors["m"].overall == "Ignored"
    assert "there is no SLO ${slo:nope}" in lab.monitors.monitors["m"].problem


# --- what cannot be read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "needs the texts 'type' and 'query'"),
        ({"type": "query alert", "query": 5}, "needs the texts"),
        ({"type": "query alert", "query": "hello"}, "found 'hello'"),
        ({"type": "rum alert", "query": "x"}, "not evaluated locally"),
        (
            {"type": "query alert", "query": "avg(last_5m):avg:g{*} > 5", "options": []},
            "must be JSON objects",
        ),
        (
            {
                "type": "query alert",
                "query": "avg(last_5m):avg:g{*} > 5",
                "options": {"thresholds": {"critical": "five"}},
            },
            "'critical' must be a number",
        ),
        (
            {"type": "query alert", "query": "avg(last_5m):avg:g{*} > 5", "options": {"timeout_h": True}},
            "'timeout_h' must be a number",
        ),
        (
            {"type": "query alert", "query": "avg(last_5m):avg:g{*} > 5", "options": {"notify_by": "m"}},
            "'notify_by' must be a list",
        ),
    ],
)
def test_broken_monitor_is_named_and_the_rest_works(
    lab: Laboratory, document: dict[str, Any], problem: str
) -> None:
    """One monitor that cannot be read is Ignored with its reason; the others are evaluated."""
    lab.gauge("g", {-10: 9})
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="good")
    broken = lab.monitors.add("broken", document)
    assert problem in broken.problem
    lab.at(0)
    assert broken.overall == "Ignored"
    assert lab.monitors.monitors["good"].overall == "Alert"


@pytest.mark.parametrize(
    "query",
    [
        "avg(last_4h):anomalies(avg:g{*}, 'basic', 2) >= 1",
        "avg(current_1d):avg:g{*} > 5",
        "avg(last_5m):p95:g{*} by {m} > 5",
    ],
)
def test_what_we_cannot_evaluate_is_ignored_never_ok(lab: Laboratory, query: str) -> None:
    """A monitor that only Datadog can evaluate does not look healthy here."""
    lab.gauge("g", {-10: 9}, "host:a")
    lab.gauge("g", {-10: 9}, "host:b")
    lab.monitor(query)
    lab.at(0)
    monitor = lab.monitors.monitors["m"]
    assert monitor.overall == "Ignored"
    assert monitor.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "magic"}, "is none of metric"),
        ({"thresholds": []}, "'thresholds' is empty"),
        ({"thresholds": [{"timeframe": "7d"}]}, "'target'"),
        ({"thresholds": [{"timeframe": "7d", "target": "many"}]}, "wrong type"),
        ({"query": {"numerator": "sum:a{*}"}}, "'denominator'"),
        ({"query": {"numerator": "good", "denominator": "x"}}, "no aggregator"),
        ({"query": None}, "wrong type"),
    ],
)
def test_broken_slo_is_named(lab: Laboratory, change: dict[str, Any], problem: str) -> None:
    """An SLO that cannot be evaluated is refused with the field."""
    from streaming_dd.local_agent.monitors.evaluation import Monitors

    monitors = Monitors(lab.store, lab.records, slos={"s": METRIC | change, "good": SLICE})
    assert list(monitors.slos) == ["good"]
    assert len(monitors.problems) == 1
    assert problem in monitors.problems[0]
    assert monitors.problems[0].startswith("SLO s: ")


def test_folder_with_broken_files(lab: Laboratory, tmp_path: Path) -> None:
    """Files that are no JSON, or no object, are named; the others are loaded."""
    (tmp_path / "monitors").mkdir()
    (tmp_path / "monitors/a.json").write_text("{")
    (tmp_path / "monitors/b.json").write_text("[]")
    (tmp_path / "monitors/c.json").write_bytes(b"\xff")
    (tmp_path / "monitors/d.json").write_text(
        json.dumps({"type": "query alert", "query": "avg(last_5m):avg:g{*} > 5"})
    )
    monitors, problems = load(tmp_path, lab.store, lab.records)
    assert list(monitors.monitors) == ["d"]
    assert [Path(problem.partition(": ")[0]).name for problem in problems] == ["a.json", "b.json", "c.json"]
