"""What a release gate asks of the monitors: each group's value against its thresholds, also of groups that are new.

No state. Datadog leaves a new group alone for a minute and some monitors until their window is full; a load test of a
minute would pass unseen. Such a group is judged here by the value that it has, and says what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .evaluation import Monitors
from .rules import COMPARATORS, State, level
from .state import GroupState, Monitor


def judged(monitors: Monitors) -> list[dict[str, Any]]:
    """Return a row for each group of each monitor, as it stood at the last evaluation; one for a monitor without."""
    return [row for monitor in monitors.monitors.values() for row in _rows(monitor)]


def evaluated(monitors: Monitors) -> float:
    """Return the end of the last bucket that every monitor was evaluated for, 0 before the first."""
    return min((monitor.evaluated for monitor in monitors.monitors.values()), default=0.0)


def _rows(monitor: Monitor) -> Iterator[dict[str, Any]]:
    row = {
        "monitor": monitor.name,
        "title": monitor.title,
        "comparator": monitor.comparator,
        "critical": monitor.thresholds.get("critical"),
        "warning": monitor.thresholds.get("warning"),
    }
    if monitor.problem:
        yield {**row, "group": "", "state": "Ignored", "value": None, "rule": monitor.problem, "waits": ""}
        return
    for group in monitor.groups.values():
        state, rule, waits = _state(monitor, group)
        yield {
            **row, "group": group.label, "state": state, "value": group.value, "rule": rule, "waits": waits
        }  # fmt: skip
    if not monitor.groups:
        yield {**row, "group": "", "state": "No Data", "value": None, "rule": "no data", "waits": ""}


def _state(monitor: Monitor, group: GroupState) -> tuple[State, str, str]:
    """Return a group's state, the rule that gave it, and what Datadog would wait for before it gave one."""
    rule = group.readings[-1].rule if group.readings else ""
    if group.state != "Skipped" or group.value is None or monitor.comparator not in COMPARATORS:
        return group.state, rule, ""
    state, reason = level(group.value, monitor.comparator, monitor.thresholds, "OK")
    return state, reason, rule
