"""Metric monitors: Datadog's documented examples, thresholds, recovery, missing data, groups, windows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from laboratory import NOW, Laboratory

from streaming_dd.local_agent.monitors import shares
from streaming_dd.local_agent.monitors.evaluation import Monitor
from streaming_dd.local_agent.monitors.rules import State, level, worst
from streaming_dd.local_agent.monitors.state import in_words

DIRECTORY = Path(__file__).parents[2] / "dd-agent"


def only(lab: Laboratory, name: str = "m") -> Monitor:
    return lab.monitors.monitors[name]


def value(lab: Laboratory, name: str = "m", label: str = "*") -> float | None:
    return next(group.value for group in only(lab, name).groups.values() if group.label == label)


# --- the value -----------------------------------------------------------------------------------------------------


def test_as_count_is_added_up_before_it_is_divided(lab: Laboratory) -> None:
    """Datadog's own example: errors 1 to 5 of 10 requests each give 0.3 with as_count, 1.5 with as_rate.

    https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations
    """
    minutes = range(-300, 0, 60)
    lab.count("requests.error", {offset: number for number, offset in enumerate(minutes, 1)})
    lab.count("requests.total", dict.fromkeys(minutes, 10))
    lab.monitor(
        "sum(last_5m):sum:requests.error{*}.as_count() / sum:requests.total{*}.as_count() > 1",
        name="as_count",
    )
    lab.monitor(
        "sum(last_5m):sum:requests.error{*}.as_rate() / sum:requests.total{*}.as_rate() > 1", name="as_rate"
    )
    lab.at(0)
    assert value(lab, "as_count") == pytest.approx(0.3)
    assert value(lab, "as_rate") == pytest.approx(1.5)
    assert (only(lab, "as_count").overall, only(lab, "as_rate").overall) == ("OK", "Alert")


def test_time_aggregators_over_one_window(lab: Laboratory) -> None:
    """Datadog's guide: ten values 10 to 50 in ten minutes, by average, maximum, minimum, sum.

    https://docs.datadoghq.com/monitors/guide/monitor_aggregators
    """
    values = [10, 15, 12, 8, 11, 14, 13, 25, 37, 45, 50]
    lab.gauge("m", {-660 + 60 * index: value for index, value in enumerate(values)})
    for aggregator in ("avg", "max", "min", "sum"):
        lab.monitor(f"{aggregator}(last_11m):avg:m{{*}} > 1000", name=aggregator)
    lab.at(0)
    for aggregator, expected in (("avg", 240 / 11), ("max", 50), ("min", 8), ("sum", 240)):
        assert value(lab, aggregator) == pytest.approx(expected)


def test_window_ends_at_the_evaluation_less_the_delay(lab: Laboratory) -> None:
    """[now - delay - window, now - delay): older and newer points do not count."""
    lab.count("c", {-310: 100, -300: 1, -10: 2, 0: 100})
    lab.monitor("sum(last_5m):sum:c{*}.as_count() > 50")
    lab.monitor("sum(last_5m):sum:c{*}.as_count() > 50", name="delayed", evaluation_delay=60)
    lab.at(0)
    assert value(lab) == 3
    assert value(lab, "delayed") == 101


def test_percentile_monitor_merges_the_whole_window(lab: Laboratory) -> None:
    """percentile(): one p95 over the window and all series; avg() of p95 is the mean of each bucket's."""
    lab.sketch("d", {-20: [10.0] * 99, -10: [1000.0]})
    lab.monitor("percentile(last_5m):p95:d{*} > 500", name="whole")
    lab.monitor("avg(last_5m):p95:d{*} > 500", name="mean")
    lab.at(0)
    assert value(lab, "whole") == pytest.approx(10, rel=0.01)
    assert value(lab, "mean") == pytest.approx(505, rel=0.01)


def test_change_monitors(lab: Laboratory) -> None:
    """change is the difference to the earlier window, pct_change that in percent of the earlier value."""
    lab.gauge("g", {-3610: 50, -10: 80}, "m:a")
    lab.gauge("g", {-10: 5}, "m:new")
    lab.monitor("change(avg(last_5m),1h_ago):avg:g{*} by {m} > 100", name="change")
    lab.monitor("pct_change(avg(last_5m),last_1h):avg:g{*} by {m} > 50", name="percent")
    lab.at(0)
    assert value(lab, "change", "m:a") == 30
    assert value(lab, "percent", "m:a") == 60
    assert {group.label for group in only(lab, "change").groups.values()} == {"m:a"}


def test_division_by_zero_gives_no_value(lab: Laboratory) -> None:
    """Without a total there is no rate, hence no alert; the count policy then sees 0."""
    lab.count("failed", {-10: 5})
    lab.count("total", {-10: 0})
    lab.monitor("sum(last_5m):sum:failed{*}.as_count() / sum:total{*}.as_count() > 0.1")
    assert lab.at(0) == {}
    lab.count("total", {0: 10, 10: 0})
    assert lab.at(10) == {"*": "Alert"}


# --- thresholds ------------------------------------------------------------------------------------------------------

LEVELS: list[tuple[float, str, dict[str, float], State, State]] = [
    (6, ">", {"critical": 5, "warning": 3}, "OK", "Alert"),
    (5, ">", {"critical": 5, "warning": 3}, "OK", "Warn"),
    (5, ">=", {"critical": 5, "warning": 3}, "OK", "Alert"),
    (3, ">", {"critical": 5, "warning": 3}, "OK", "OK"),
    (4, "<", {"critical": 5, "warning": 7}, "OK", "Alert"),
    (6, "<", {"critical": 5, "warning": 7}, "OK", "Warn"),
    (5, "<=", {"critical": 5}, "OK", "Alert"),
    (5, "==", {"critical": 5}, "OK", "Alert"),
    (4, "!=", {"critical": 5}, "OK", "Alert"),
    # recovery: > recovers at or below, >= below, < at or above, <= above
    (4.5, ">", {"critical": 5, "critical_recovery": 4}, "Alert", "Alert"),
    (4, ">", {"critical": 5, "critical_recovery": 4}, "Alert", "OK"),
    (4, ">=", {"critical": 5, "critical_recovery": 4}, "Alert", "Alert"),
    (3.9, ">=", {"critical": 5, "critical_recovery": 4}, "Alert", "OK"),
    (6, "<", {"critical": 5, "critical_recovery": 6}, "Alert", "OK"),
    (5.5, "<", {"critical": 5, "critical_recovery": 6}, "Alert", "Alert"),
    (6, "<=", {"critical": 5, "critical_recovery": 6}, "Alert", "Alert"),
    (4.5, ">", {"critical": 5, "critical_recovery": 4}, "OK", "OK"),
    (2.5, ">", {"critical": 5, "warning": 3, "warning_recovery": 2}, "Warn", "Warn"),
    (2.5, ">", {"critical": 5, "warning": 3, "warning_recovery": 2}, "Alert", "Warn"),
    (2, ">", {"critical": 5, "warning": 3, "warning_recovery": 2}, "Warn", "OK"),
    (2.5, ">", {"critical": 5, "warning": 3, "warning_recovery": 2}, "OK", "OK"),
]


@pytest.mark.parametrize(("now", "comparator", "thresholds", "before", "after"), LEVELS)
def test_thresholds_and_recovery(
    now: float, comparator: str, thresholds: dict[str, float], before: State, after: State
) -> None:
    """Critical before warning; a triggered monitor recovers at its recovery threshold, for each comparator."""
    assert level(now, comparator, thresholds, before)[0] == after


def test_overall_state_is_the_worst_of_the_groups() -> None:
    """Alert, Warn, No Data, OK; what is skipped or ignored does not count against; nothing at all is No Data."""
    assert worst(["OK", "Warn", "Alert"]) == "Alert"
    assert worst(["OK", "No Data"]) == "No Data"
    assert worst(["Skipped", "OK"]) == "OK"
    assert worst([]) == "No Data"


def test_each_group_has_a_state_of_its_own(lab: Laboratory) -> None:
    """`by {model}` alerts for one model and not for the other."""
    lab.count("failed", {-10: 9}, "model:a")
    lab.count("failed", {-10: 1}, "model:b")
    lab.monitor("sum(last_5m):sum:failed{*} by {model}.as_count() > 5")
    assert lab.at(0) == {"model:a": "Alert", "model:b": "OK"}
    assert only(lab).overall == "Alert"


# --- missing data ------------------------------------------------------------------------------------------------------


def test_a_count_without_data_is_zero_by_default(lab: Laboratory) -> None:
    """When failures stop being sent, the count is 0 and the alert ends."""
    lab.count("failed", {-10: 9}, "m:a")
    lab.monitor("sum(last_1m):sum:failed{*} by {m}.as_count() > 5")
    assert lab.at(0) == {"m:a": "Alert"}
    assert lab.at(120) == {"m:a": "OK"}
    assert "evaluated as 0" in only(lab).groups[frozenset({("m", "a")})].readings[-1].rule


def test_a_count_below_a_threshold_alerts_when_it_stops(lab: Laboratory) -> None:
    """`< 1` of a count that is not sent any more alerts: 0 is below 1."""
    lab.count("done", {-10: 9})
    lab.monitor("sum(last_1m):sum:done{*}.as_count() < 1")
    assert lab.at(0) == {"*": "OK"}
    assert lab.at(120) == {"*": "Alert"}


def test_default_zero_and_gauges_keep_the_last_state_by_default(lab: Laboratory) -> None:
    """Without data, a gauge and a count with default_zero() stay as they were."""
    lab.gauge("g", {-10: 9})
    lab.count("c", {-10: 9})
    lab.monitor("avg(last_1m):avg:g{*} > 5", name="gauge")
    lab.monitor("sum(last_1m):default_zero(sum:c{*}.as_count()) > 5", name="zeroed")
    assert (lab.at(0, "gauge"), lab.at(0, "zeroed")) == ({"*": "Alert"}, {"*": "Alert"})
    assert (lab.at(120, "gauge"), lab.at(120, "zeroed")) == ({"*": "Alert"}, {"*": "Alert"})


@pytest.mark.parametrize(
    ("policy", "state", "said"),
    [
        ("show_no_data", "No Data", ["[Triggered] m"]),
        ("show_and_notify_no_data", "No Data", ["[Triggered] m", "[No data] m"]),
        ("resolve", "OK", ["[Triggered] m", "[Recovered] m"]),
        ("default", "Alert", ["[Triggered] m"]),
    ],
)
def test_missing_data_policies(lab: Laboratory, policy: str, state: State, said: list[str]) -> None:
    """Each policy gives its state and its notification."""
    lab.gauge("g", {-10: 9})
    lab.monitor("avg(last_1m):avg:g{*} > 5", on_missing_data=policy)
    assert lab.at(0) == {"*": "Alert"}
    assert lab.at(120) == {"*": state}
    assert lab.said() == said


def test_legacy_no_data_waits_for_its_time_frame(lab: Laboratory) -> None:
    """notify_no_data speaks after no_data_timeframe minutes, without one after twice the window."""
    lab.gauge("g", {-10: 1})
    lab.monitor("avg(last_5m):avg:g{*} > 5", notify_no_data=True, no_data_timeframe=20)
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="double", notify_no_data=True)
    assert lab.at(0) == {"*": "OK"}
    assert (lab.at(599), lab.at(599, "double")) == ({"*": "OK"}, {"*": "OK"})
    assert (lab.at(610), lab.at(900, "double")) == ({"*": "OK"}, {"*": "No Data"})
    assert lab.at(1500) == {"*": "No Data"}


def test_a_group_that_was_never_seen_cannot_go_missing(lab: Laboratory) -> None:
    """Before the first data there is no group; the monitor waits, it does not alert."""
    lab.monitor("avg(last_5m):avg:g{*} by {m} > 5", on_missing_data="show_and_notify_no_data")
    assert lab.at(0) == {}
    assert only(lab).overall == "No Data"
    assert lab.said() == []


def test_a_group_is_forgotten_after_a_day_or_its_own_retention(lab: Laboratory) -> None:
    """Groups of a model that is gone do not stay for ever."""
    lab.gauge("g", {-10: 1}, "m:a")
    lab.monitor("avg(last_5m):avg:g{*} by {m} > 5", name="day")
    lab.monitor("avg(last_5m):avg:g{*} by {m} > 5", name="hour", group_retention_duration="1h")
    lab.at(0)
    assert (lab.at(3700, "day"), lab.at(3700, "hour")) == ({"m:a": "OK"}, {})
    assert lab.at(24 * 3600 + 100, "day") == {}


def test_timeout_resolves_when_data_stopped(lab: Laboratory) -> None:
    """timeout_h ends an alert whose metric went silent, not one that still reports."""
    lab.gauge("g", {-10: 9}, "m:silent")
    lab.gauge("g", dict.fromkeys(range(-10, 7300, 60), 9), "m:loud")
    lab.monitor("avg(last_5m):avg:g{*} by {m} > 5", timeout_h=1)
    assert lab.at(0) == {"m:loud": "Alert", "m:silent": "Alert"}
    lab.at(250)
    assert lab.at(3500) == {"m:loud": "Alert", "m:silent": "Alert"}
    assert lab.at(4000) == {"m:loud": "Alert", "m:silent": "OK"}


# --- when a group is looked at ------------------------------------------------------------------------------------------


def test_new_groups_wait(lab: Laboratory) -> None:
    """new_group_delay (60 s unless set) spares a group that has just appeared; ungrouped monitors do not wait."""
    lab.gauge("g", dict.fromkeys(range(-10, 200, 10), 9), "m:a")
    lab.monitor("avg(last_5m):avg:g{*} by {m} > 5", new_group_delay=None)
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="whole", new_group_delay=None)
    assert (lab.at(0), lab.at(0, "whole")) == ({"m:a": "Skipped"}, {"*": "Alert"})
    assert lab.at(50) == {"m:a": "Skipped"}
    assert lab.at(60) == {"m:a": "Alert"}


def test_require_full_window_waits_for_the_window(lab: Laboratory) -> None:
    """Partial windows are evaluated unless require_full_window is set."""
    lab.gauge("g", dict.fromkeys(range(-10, 400, 10), 9))
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="partial")
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="full", require_full_window=True)
    assert (lab.at(0, "partial"), lab.at(0, "full")) == ({"*": "Alert"}, {"*": "Skipped"})
    assert lab.at(220, "full") == {"*": "Skipped"}
    assert lab.at(240, "full") == {"*": "Alert"}


def test_full_window_has_its_first_bucket_and_few_holes(lab: Laboratory) -> None:
    """A known group with one point in the last of ten minutes is not evaluated and keeps its state.

    docs.datadoghq.com/monitors/configuration, "Require a full window": data in the first bucket, at most three empty.
    """
    lab.gauge("g", dict.fromkeys(range(-600, 0, 10), 1), "m:a")
    lab.monitor("max(last_10m):max:g{*} by {m} > 5", require_full_window=True)
    assert lab.at(0) == {"m:a": "OK"}
    lab.gauge("g", {3590: 9}, "m:a")
    assert lab.at(3600) == {"m:a": "OK"}
    assert "first 1 min" in lab.monitors.monitors["m"].groups[frozenset({("m", "a")})].readings[-1].rule
    lab.gauge("g", dict.fromkeys(range(3600, 4190, 120), 9), "m:a")
    assert lab.at(4200) == {"m:a": "OK"}  # five of ten minutes are empty
    lab.gauge("g", dict.fromkeys(range(3660, 4200, 240), 9), "m:a")
    assert lab.at(4200) == {"m:a": "Alert"}  # two are


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("pct_change(avg(last_5m),last_5m):avg:g{*} > 1000", 405.0),
        ("change(max(last_5m),last_5m):avg:g{*} > 1000", 9.0),
        ("change(min(last_5m),last_5m):avg:g{*} > 1000", -90.0),
        ("change(avg(last_5m),5m_ago):avg:g{*} > 1000", -40.5),
        ("change(sum(last_5m),5m_ago):avg:g{*} > 1000", -1215.0),
    ],
)
def test_change_is_subtracted_point_by_point(lab: Laboratory, query: str, value: float) -> None:
    """Before: 15 points of 1, 15 of 100; now 30 of 10. The points are compared first, then aggregated.

    The steps of docs.datadoghq.com/monitors/guide/change-alert.
    """
    lab.gauge("g", {offset: 1.0 if offset < -450 else 100.0 for offset in range(-600, -300, 10)})
    lab.gauge("g", dict.fromkeys(range(-300, 0, 10), 10.0))
    lab.monitor(query)
    lab.at(0)
    (group,) = lab.monitors.monitors["m"].groups.values()
    assert group.value == pytest.approx(value)


def test_change_of_a_negative_value_is_divided_by_it(lab: Laboratory) -> None:
    """`((a - b) / b) * 100`, as the guide has it: from -10 to -5 is -50 percent."""
    lab.gauge("g", dict.fromkeys(range(-600, -300, 10), -10.0))
    lab.gauge("g", dict.fromkeys(range(-300, 0, 10), -5.0))
    lab.monitor("pct_change(avg(last_5m),last_5m):avg:g{*} > 1000")
    lab.at(0)
    (group,) = lab.monitors.monitors["m"].groups.values()
    assert group.value == pytest.approx(-50.0)


def test_rollup_is_aligned_to_the_clock(lab: Laboratory) -> None:
    """At half past the minute the first and the last interval hold half: their sum is 3, and that can alert.

    docs.datadoghq.com/dashboards/functions/rollup, "Rollups in monitors".
    """
    lab.count("req", dict.fromkeys(range(-600, 100, 10), 1.0))
    lab.monitor("min(last_5m):sum:req{*}.rollup(sum, 60).as_count() < 4")
    assert lab.at(0) == {"*": "OK"}
    assert lab.at(30) == {"*": "Alert"}
    (group,) = lab.monitors.monitors["m"].groups.values()
    assert group.value == 3.0


def test_strict_cadence_evaluates_once_a_minute(lab: Laboratory) -> None:
    """With strict_cadence, windows below a day are looked at every 60 s as in Datadog, else at every bucket."""
    lab.gauge("g", {-10: 1, 10: 9, 20: 9, 30: 9})
    lab.monitors.strict_cadence = True
    lab.monitor("max(last_5m):avg:g{*} > 5")
    lab.at(0)
    assert lab.at(40) == {"*": "OK"}
    assert lab.at(60) == {"*": "Alert"}


# --- the shipped ones ---------------------------------------------------------------------------------------------------


def shipped(lab: Laboratory, name: str) -> None:
    document = json.loads((DIRECTORY / "monitors" / f"{name}.json").read_text(encoding="utf-8"))
    document["options"]["new_group_delay"] = 0
    assert not lab.monitors.add(name, document).problem


TAGS = ("env:prod", "service:web", "app:reports", "model:summary")
LABEL = "env:prod,service:web,app:reports,model:summary"


@pytest.mark.parametrize(
    ("failed", "completed", "state"),
    [(1, 0, "Warn"), (0, 1, "OK"), (2, 0, "Alert"), (60, 940, "Alert"), (10, 990, "OK"), (30, 970, "Warn")],
)
def test_shipped_task_error_rate_guards_against_small_numbers(
    lab: Laboratory, failed: int, completed: int, state: State
) -> None:
    """One failure among few only warns; a true rate above the threshold alerts."""
    lab.count("streaming.tasks.failed", {-100: 0, -50: failed}, *TAGS, "error_type:valueerror")
    lab.count("streaming.tasks.completed", {-100: completed}, *TAGS)
    shipped(lab, "task-error-rate")
    assert lab.at(0, "task-error-rate") == {LABEL: state}


def test_shipped_progress_monitor_needs_active_tasks_and_none_completing(lab: Laboratory) -> None:
    """Half an hour of activity without a completion alerts; an idle system, a pause and one completion do not."""
    span = range(-1800, 0, 10)
    for service, active, done in (("stuck", 3, 0), ("idle", 0, 0), ("paused", 3, 0), ("busy", 3, 0)):
        tags = ("env:prod", f"service:{service}", "app:a", "model:b")
        lab.gauge("streaming.tasks.active", dict.fromkeys(span, active), *tags, "worker:0")
        lab.count("streaming.tasks.completed", dict.fromkeys(span, done), *tags)
    lab.gauge(
        "streaming.tasks.active", {-900: 0}, "env:prod", "service:paused", "app:a", "model:b", "worker:0"
    )
    lab.count("streaming.tasks.completed", {-900: 1}, "env:prod", "service:busy", "app:a", "model:b")
    shipped(lab, "tasks-not-completing")
    assert lab.at(0, "tasks-not-completing") == {
        "env:prod,service:busy": "OK",
        "env:prod,service:idle": "OK",
        "env:prod,service:paused": "OK",
        "env:prod,service:stuck": "Alert",
    }
    assert value(lab, "tasks-not-completing", "env:prod,service:stuck") == 3
    assert value(lab, "tasks-not-completing", "env:prod,service:busy") == 0
    lab.monitors.evaluate(NOW)
    shown = [group.value for group in only(lab, "tasks-not-completing").groups.values()]
    assert all(each is None or 0 <= each <= 3 for each in shown)  # numbers that a person can read


def test_shipped_no_data_monitor_speaks_when_the_application_is_gone(lab: Laboratory) -> None:
    """Five minutes after the last sample the group has no data, and that is said."""
    lab.gauge(
        "streaming.process.workers",
        dict.fromkeys(range(-60, 60, 10), 1.0),
        "env:prod",
        "service:web",
        "worker:0",
    )
    shipped(lab, "no-data")
    assert lab.at(60, "no-data") == {"env:prod,service:web": "OK"}
    assert lab.at(350, "no-data") == {"env:prod,service:web": "OK"}
    assert lab.at(370, "no-data") == {"env:prod,service:web": "No Data"}
    assert lab.said() == ["[No data on {env:prod,service:web}] [Streaming] The application is gone"]


def test_every_shipped_monitor_is_evaluated(lab: Laboratory) -> None:
    """None of the shipped monitors has a problem here, and none alerts on a system that has sent nothing."""
    from streaming_dd.local_agent.monitors.evaluation import load

    monitors, problems = load(DIRECTORY, lab.store, lab.records)
    assert problems == []
    monitors.evaluate(NOW)
    assert {monitor.name: monitor.problem for monitor in monitors.monitors.values() if monitor.problem} == {}
    assert {monitor.overall for monitor in monitors.monitors.values()} == {"No Data"}


def test_explanation_names_the_path_and_the_policy(lab: Laboratory) -> None:
    """The page can say in words what a monitor does."""
    shipped(lab, "task-error-rate")
    said = in_words(only(lab, "task-error-rate"))
    assert said[1] == "as_count: each query is added up over the window first, then computed"
    assert "for each env, service, app, model apart" in said
    assert "thresholds: > critical 5, warning 2" in said
    assert said[-1] == "missing data: default, of a count: evaluated as 0"


def test_replay_gives_the_values_that_would_have_been(lab: Laboratory) -> None:
    """Over what is kept, a monitor's values can be computed again, for a chart or another threshold."""
    lab.count("c", {-120: 4, -60: 8})
    lab.monitor("sum(last_1m):sum:c{*}.as_count() > 5")
    found = lab.monitors.replay("m", NOW - 60, NOW, 60)
    assert found == [(NOW - 60.0, [({}, 4)]), (NOW + 0.0, [({}, 8)])]


def test_a_damped_share_is_said_with_what_it_really_is(lab: Laboratory) -> None:
    """Beside the value of `failed / (all + 20)` stand the true share and its volume, in the notification's own field."""
    lab.count("streaming.tasks.failed", {-60: 12}, *TAGS)
    lab.count("streaming.tasks.completed", {-60: 102}, *TAGS)
    lab.count("streaming.tasks.failed", {-60: 0}, "env:prod", "service:web", "app:reports", "model:calm")
    lab.count("streaming.tasks.completed", {-60: 4}, "env:prod", "service:web", "app:reports", "model:calm")
    shipped(lab, "task-error-rate")
    lab.at(0, "task-error-rate")
    monitor = only(lab, "task-error-rate")
    said = {dict(key)["model"]: text for key, text in shares.measured(monitor.query, lab.store, NOW).items()}
    assert said == {"summary": "12 of 114, 10.5 %", "calm": "0 of 4, 0 %"}
    assert value(lab, "task-error-rate", LABEL) == pytest.approx(12 / 134 * 100)
    (notification,) = lab.monitors.notifications
    assert notification.measured == "12 of 114, 10.5 %"
    assert "10.5" not in notification.text  # the text is what Datadog would write
    assert any(sentence.startswith("20 is added below the line") for sentence in in_words(monitor))


def test_only_a_share_with_a_constant_has_a_true_one(lab: Laboratory) -> None:
    """A plain share, a level and other kinds of monitors have nothing to add."""
    for query in ("sum(last_5m):sum:a{*}.as_count() / sum:b{*}.as_count() > 1", "avg(last_5m):avg:a{*} > 1"):
        lab.monitor(query)
        assert shares.measured(only(lab, "m").query, lab.store, NOW) == {}
    assert shares.measured(None, lab.store, NOW) == {}


AGGREGATED = (10, 15, 12, 8, 11, 14, 13, 25, 37, 45)
"""Datadog's example of a window of ten minutes (docs monitors/guide/monitor_aggregators)."""


@pytest.mark.parametrize(
    ("aggregator", "number"), [("avg", 19.0), ("max", 45.0), ("min", 8.0), ("sum", 190.0)]
)
def test_the_guides_window_by_each_aggregator(lab: Laboratory, aggregator: str, number: float) -> None:
    """One point a minute: each aggregator makes its one value of the ten."""
    lab.gauge("g", {-600 + 60 * n: each for n, each in enumerate(AGGREGATED)})
    lab.monitor(f"{aggregator}(last_10m):avg:g{{*}}.rollup(avg, 60) > 0")
    lab.at(0)
    assert value(lab) == number


def test_sparse_points_are_left_out_of_a_division(lab: Laboratory) -> None:
    """10/0, 10/1 and 10/nothing add up to 10 (docs monitors/guide/monitor-arithmetic-and-sparse-metrics)."""
    lab.gauge("a", {-180: 10, -120: 10, -60: 10})
    lab.gauge("b", {-180: 0, -120: 1})
    lab.monitor("sum(last_3m):avg:a{*}.rollup(avg, 60) / avg:b{*}.rollup(avg, 60) > 0")
    lab.at(0)
    assert value(lab) == 10
