"""The rules by which a value becomes a state: thresholds, recovery, missing data, checks, composites. No state.

Sources: docs.datadoghq.com/monitors/configuration, /guide/recovery-thresholds, /guide/on_missing_data,
/types/composite, /types/service_check.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...assets.query_language import Call, EventMonitor, MetricQuery, MonitorQuery, walk
from ..queries.lines import shown

State = Literal["OK", "Warn", "Alert", "No Data", "Skipped", "Ignored"]
SEVERITY: dict[State, int] = {"Ignored": 0, "Skipped": 0, "OK": 1, "No Data": 2, "Warn": 3, "Alert": 4}
COMPARATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
RECOVERED: dict[str, Callable[[float, float], bool]] = {
    ">": operator.le,
    ">=": operator.lt,
    "<": operator.ge,
    "<=": operator.gt,
    "==": operator.ne,
    "!=": operator.eq,
}
RETENTION = 24 * 3600
NEW_GROUP_DELAY = 60

Missing = Literal["zero", "last", "no data", "resolve"]


def worst(states: Sequence[State]) -> State:
    """Return the overall state of several groups; without any there is no data."""
    return max(states, key=lambda state: SEVERITY[state], default="No Data")


def level(value: float, comparator: str, thresholds: Mapping[str, Any], before: State) -> tuple[State, str]:
    """Return the state of a value and the rule that gave it; critical is looked at before warning."""
    compare, recovered = COMPARATORS[comparator], RECOVERED[comparator]
    limits = {name: limit for name, limit in thresholds.items() if limit is not None}
    held = {"critical": before == "Alert", "warning": before in ("Alert", "Warn")}
    names: tuple[tuple[str, State], ...] = (("critical", "Alert"), ("warning", "Warn"))
    for name, state in names:
        if name in limits and compare(value, limits[name]):
            return state, f"{shown(value)} {comparator} {shown(limits[name])}"
        recovery = limits.get(f"{name}_recovery")
        if held[name] and name in limits and recovery is not None and not recovered(value, recovery):
            return state, f"{shown(value)} has not reached the recovery threshold {shown(recovery)}"
    return "OK", f"{shown(value)} is within the thresholds"


@dataclass(frozen=True, slots=True)
class MissingData:
    """What happens when a known group has no value. `after` is the seconds it must be missing."""

    policy: Missing
    notify: bool
    after: float
    rule: str


def missing_data(query: MonitorQuery, options: Mapping[str, Any], window: float) -> MissingData:
    """Read the policy for missing data from a monitor's options."""
    chosen = options.get("on_missing_data")
    if chosen is None and options.get("notify_no_data"):
        minutes = options.get("no_data_timeframe") or 2 * window / 60
        return MissingData("no data", True, minutes * 60, "notify_no_data: No Data, and notify")
    if chosen is None and "notify_no_data" in options:
        return MissingData("last", False, 0, "notify_no_data is off: the last status stays")
    match chosen or "default":
        case "show_no_data":
            return MissingData("no data", False, 0, "show_no_data: No Data, no notification")
        case "show_and_notify_no_data":
            return MissingData("no data", True, 0, "show_and_notify_no_data: No Data, and notify")
        case "resolve":
            return MissingData("resolve", False, 0, "resolve: OK")
    if counts(query):
        return MissingData("zero", False, 0, "default, of a count: evaluated as 0")
    return MissingData("last", False, 0, "default, of anything but a count: the last status stays")


def counts(query: MonitorQuery) -> bool:
    """Say whether a query counts, so that nothing means 0: as_count everywhere and no default_zero()."""
    if isinstance(query, EventMonitor):
        return query.rollup in ("count", "cardinality")
    queries = [node for node in walk(query) if isinstance(node, MetricQuery)]
    zeroed = any(isinstance(node, Call) and node.function == "default_zero" for node in walk(query))
    return bool(queries) and not zeroed and all(each.kind == "count" for each in queries)


def check_state(statuses: Sequence[str], thresholds: Mapping[str, Any], before: State) -> tuple[State, str]:
    """Return the state of a service check from its last statuses, oldest first: so many alike in a row."""
    last = statuses[-1]
    streak = next((i for i, status in enumerate(reversed(statuses)) if status != last), len(statuses))
    needed = (
        thresholds.get({"critical": "critical", "warning": "warning", "ok": "ok"}.get(last, "unknown")) or 1
    )
    reason = f"{streak} {last} in a row, {needed:g} needed"
    if last == "unknown":
        return before if before != "Skipped" else "OK", f"{reason}: unknown leaves the state"
    if streak < needed:
        return ("OK" if before in ("Skipped", "No Data") else before), reason
    states: dict[str, State] = {"critical": "Alert", "warning": "Warn", "ok": "OK"}
    return states[last], reason


def both(a: State, b: State) -> State:
    """`A && B`: OK unless both are alert-worthy, then the less severe of the two."""
    return min(a, b, key=lambda state: SEVERITY[state]) if SEVERITY[a] > 1 and SEVERITY[b] > 1 else "OK"


def either(a: State, b: State) -> State:
    """`A || B`: the more severe of the two."""
    return max(a, b, key=lambda state: SEVERITY[state]) if SEVERITY[a] > 1 or SEVERITY[b] > 1 else "OK"


def opposite(a: State) -> State:
    """`!A`: No Data stays, what is alert-worthy becomes OK, what is not becomes Alert."""
    if a == "No Data":
        return "No Data"
    return "OK" if SEVERITY[a] > 1 else "Alert"


def retention(options: Mapping[str, Any]) -> float:
    """Return for how many seconds a group that sends nothing is remembered."""
    found = re.fullmatch(r"(\d+)(m|h|d)", str(options.get("group_retention_duration") or ""))
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86_400}[found[2]] if found else RETENTION


def cadence(window: float) -> float:
    """Return how often Datadog evaluates a window of so many seconds."""
    return 60 if window < 86_400 else 600 if window < 2 * 86_400 else 1800
