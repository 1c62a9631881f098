"""What a monitor would have said, when, and to whom; states and history over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laboratory import NOW, Laboratory

from streaming_dd.local_agent.monitors.notification import Occasion, handles, render
from streaming_dd.local_agent.monitors.rules import State
from streaming_dd.local_agent.queries.lines import shown

ALERT = Occasion(
    "Alert",
    "OK",
    7.25,
    {"model": "summary", "app": "reports"},
    {"critical": 5, "warning": 2},
    ">",
    "timed out",
)


def occasion(state: State, before: State) -> Occasion:
    return Occasion(state, before, 1, {}, {})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("{{value}} > {{threshold}}", "7.25 > 5"),
        ("{{ model.name }} of {{app.name}}", "summary of reports"),
        ("{{comparator}} {{warn_threshold}} {{check_message}}", "> 2 timed out"),
        ("{{#is_alert}}A{{/is_alert}}{{#is_warning}}W{{/is_warning}}", "A"),
        ("{{^is_recovery}}wrong{{/is_recovery}}{{#is_recovery}}over{{/is_recovery}}", "wrong"),
        ("{{#is_alert}}a{{#is_recovery}}b{{/is_recovery}}c{{/is_alert}}", "ac"),
        ('{{#is_match "model.name" "summ" "other"}}yes{{/is_match}}', "yes"),
        (
            '{{#is_exact_match "model.name" "summ"}}yes{{/is_exact_match}}{{^is_match "app.name" "x"}}no{{/is_match}}',
            "no",
        ),
        ("{{unknown.thing}} stays", "{{unknown.thing}} stays"),
        ("{{#is_alert}}open", "open"),
        ("{{/is_alert}}closed", "closed"),
        ("{{#is_nonsense}}x{{/is_nonsense}}y", "y"),
        ("", ""),
    ],
)
def test_templates(message: str, text: str) -> None:
    """Variables, sections, negations, matches; what is not understood stays as it was written."""
    assert render(message, ALERT) == text


@pytest.mark.parametrize(
    ("state", "before", "flags"),
    [
        ("Alert", "OK", {"is_alert"}),
        ("Alert", "Warn", {"is_alert", "is_warning_to_alert"}),
        ("Warn", "Alert", {"is_warning", "is_alert_to_warning"}),
        ("OK", "Alert", {"is_recovery", "is_alert_recovery"}),
        ("OK", "Warn", {"is_recovery", "is_warning_recovery"}),
        ("OK", "No Data", {"is_recovery", "is_no_data_recovery"}),
        ("No Data", "OK", {"is_no_data"}),
    ],
)
def test_conditions_of_a_transition(state: State, before: State, flags: set[str]) -> None:
    """Each transition switches on the sections that Datadog documents for it."""
    assert occasion(state, before).flags() == flags


@given(st.text(st.sampled_from(list("{}#^/ ab\n")), max_size=60), st.sampled_from(["Alert", "OK"]))
def test_no_message_breaks_the_rendering(message: str, state: State) -> None:
    """Whatever is written, there is a text."""
    assert isinstance(render(message, occasion(state, "OK")), str)


def test_values_are_short_and_handles_are_found() -> None:
    """Three decimals at most; addresses and handles, each once, without the full stop after them."""
    assert [shown(value) for value in (5.0, 0.123456, 1e6, None)] == ["5", "0.123", "1000000", ""]
    text = "Call @slack-ops, @ops@example.com and @slack-ops. Mail me@example.com."
    assert handles(text) == ("@slack-ops", "@ops@example.com")


def test_life_of_an_alert(lab: Laboratory) -> None:
    """Warn, Alert, Warn, OK: a notification for each, with value, title and text; then silence."""
    values = {0: 1, 60: 3, 120: 9, 180: 4, 240: 1, 300: 1}
    lab.gauge("g", values, "m:a")
    lab.monitor(
        "max(last_1m):avg:g{*} by {m} > 5",
        thresholds={"critical": 5, "warning": 2},
        message="{{^is_recovery}}{{m.name}} is at {{value}}{{/is_recovery}}{{#is_recovery}}over{{/is_recovery}} @slack-ops",
    )
    for offset in range(10, 371, 60):
        lab.at(offset)
    assert [(said.title, said.text) for said in lab.monitors.notifications] == [
        ("[Warn on {m:a}] m", "a is at 3 @slack-ops"),
        ("[Triggered on {m:a}] m", "a is at 9 @slack-ops"),
        ("[Warn on {m:a}] m", "a is at 4 @slack-ops"),
        ("[Recovered on {m:a}] m", "over @slack-ops"),
    ]
    assert [(t.before, t.after) for t in lab.monitors.transitions] == [
        ("Skipped", "OK"),
        ("OK", "Warn"),
        ("Warn", "Alert"),
        ("Alert", "Warn"),
        ("Warn", "OK"),
    ]


def test_history_is_a_ribbon_without_gaps(lab: Laboratory) -> None:
    """The overall states of a range, joined end to end, clipped to it."""
    lab.gauge("g", {offset: 9 if 60 <= offset < 120 else 1 for offset in range(-60, 300, 10)})
    lab.monitor("max(last_1m):avg:g{*} > 5")
    for offset in range(0, 301, 10):
        lab.at(offset)
    segments = lab.monitors.monitors["m"].segments(NOW + 30, NOW + 300)
    assert [(a - NOW, b - NOW, state) for a, b, state in segments] == [
        (30, 70, "OK"),
        (70, 180, "Alert"),
        (180, 300, "OK"),
    ]
    group = next(iter(lab.monitors.monitors["m"].groups.values()))
    assert len(group.readings) == 20
    assert group.readings[-1].rule == "1 is within the thresholds"


def test_renotification(lab: Laboratory) -> None:
    """Every renotify_interval minutes while it is not resolved, with the escalation message, at most so often."""
    lab.gauge("g", dict.fromkeys(range(-10, 4000, 10), 9))
    lab.monitor(
        "avg(last_5m):avg:g{*} > 5",
        renotify_interval=10,
        renotify_occurrences=2,
        escalation_message="still {{value}} @boss",
    )
    for offset in range(0, 3600, 60):
        lab.at(offset)
    assert [(int(said.time - NOW), said.title) for said in lab.monitors.notifications] == [
        (0, "[Triggered] m"),
        (600, "[Re-Triggered] m"),
        (1200, "[Re-Triggered] m"),
    ]
    assert lab.monitors.notifications[-1].text.endswith("still 9 @boss")


def test_warnings_are_repeated_only_if_asked(lab: Laboratory) -> None:
    """By default alert and no data are repeated; renotify_statuses changes that."""
    lab.gauge("g", dict.fromkeys(range(-10, 1000, 10), 3))
    thresholds = {"critical": 5, "warning": 2}
    lab.monitor("avg(last_5m):avg:g{*} > 5", name="calm", thresholds=thresholds, renotify_interval=5)
    lab.monitor(
        "avg(last_5m):avg:g{*} > 5",
        name="warned",
        thresholds=thresholds,
        renotify_interval=5,
        renotify_statuses=["warn"],
    )
    for offset in range(0, 700, 60):
        lab.at(offset)
    by_monitor = [said.monitor for said in lab.monitors.notifications]
    assert (by_monitor.count("calm"), by_monitor.count("warned")) == (1, 3)


def test_notifications_are_merged_by_notify_by(lab: Laboratory) -> None:
    """notify_by names the keys that make a notification; `*` makes one of all groups."""
    for app, model in (("a", "x"), ("a", "y"), ("b", "x")):
        lab.gauge("g", {-10: 9}, f"app:{app}", f"model:{model}")
    query = "avg(last_5m):avg:g{*} by {app,model} > 5"
    lab.monitor(query, name="each")
    lab.monitor(query, name="by app", notify_by=["app"])
    lab.monitor(query, name="one", notify_by=["*"])
    lab.at(0)
    groups = [(said.monitor, said.groups) for said in lab.monitors.notifications]
    assert [name for name, _ in groups].count("each") == 3
    assert [found for name, found in groups if name == "by app"] == [
        ("app:a,model:x", "app:a,model:y"),
        ("app:b,model:x",),
    ]
    assert [len(found) for name, found in groups if name == "one"] == [3]


def test_listeners_hear_transitions_and_notifications(lab: Laboratory) -> None:
    """Whoever wants to forward them is called for each."""
    heard: list[str] = []
    lab.monitors.on_transition = lambda transition: heard.append(f"{transition.before} > {transition.after}")
    lab.monitors.on_notification = lambda said: heard.append(said.title)
    lab.gauge("g", {-10: 9})
    lab.monitor("avg(last_5m):avg:g{*} > 5")
    lab.at(0)
    assert heard == ["Skipped > Alert", "[Triggered] m"]


def test_clock_that_steps_back_breaks_nothing(lab: Laboratory) -> None:
    """After the laptop's clock was corrected, evaluation goes on."""
    lab.gauge("g", dict.fromkeys(range(-600, 600, 10), 9))
    lab.monitor("avg(last_5m):avg:g{*} > 5", renotify_interval=1)
    lab.at(500)
    assert lab.at(0) == {"*": "Alert"}
    assert lab.at(510) == {"*": "Alert"}
