"""The monitors: evaluated over the stores as Datadog evaluates them, with states, history and what would be said.

State: one `Monitors` per agent, used on its loop only; each `Monitor` keeps its groups, their last readings and the
transitions of the last hours. Call `evaluate(now)` with the end of each bucket that closes. Datadog evaluates every
minute; we do so every 10 seconds unless `strict_cadence` is set.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...assets.query_language import (
    ChangeMonitor,
    CompositeMonitor,
    EventMonitor,
    FormulaMonitor,
    MetricMonitor,
    MonitorId,
    ServiceCheckMonitor,
    SloMonitor,
    walk,
)
from ...errors import QueryError
from ..queries.lines import Group, Value
from ..store.records import Records
from ..store.series import Store
from . import announce
from . import slos as objectives
from .composites import common_groups, composed, member_state
from .files import read, read_folder
from .rules import NEW_GROUP_DELAY, cadence, check_state, level, missing_data, retention
from .shares import measured
from .state import GroupState, Json, Monitor, Notification, Reading, Transition
from .values import check_runs, event_values, formula_values, gaps, metric_values

SYMBOL = re.compile(r"\$\{(monitor|slo):([a-z0-9-]+)\}")


class Monitors:
    """All monitors of an agent, with the SLOs that they name."""

    def __init__(
        self,
        store: Store,
        records: Records,
        *,
        monitors: Mapping[str, Json] | None = None,
        slos: Mapping[str, Json] | None = None,
        strict_cadence: bool = False,
        on_transition: Callable[[Transition], None] = lambda transition: None,
        on_notification: Callable[[Notification], None] = lambda notification: None,
    ) -> None:
        self.store = store
        self.records = records
        self.slos: dict[str, Json] = {}
        self.problems: list[str] = []
        """What is wrong with SLOs that cannot be used."""
        self.strict_cadence = strict_cadence
        self.on_transition = on_transition
        self.on_notification = on_notification
        self.transitions: deque[Transition] = deque(maxlen=1_000)
        self.notifications: deque[Notification] = deque(maxlen=500)
        self.monitors: dict[str, Monitor] = {}
        for name, document in (slos or {}).items():
            self._add_slo(name, document)
        for name, document in (monitors or {}).items():
            self.add(name, document)

    def add(self, name: str, document: Json) -> Monitor:
        """Take a monitor in; one that cannot be read is kept with its problem, state Ignored."""
        monitor = self.monitors[name] = read(name, document)
        return monitor

    def _add_slo(self, name: str, document: Json) -> None:
        try:
            objectives.check(document)
        except QueryError as error:
            self.problems.append(f"SLO {name}: {error}")
        else:
            self.slos[name] = document

    def find(self, reference: str) -> Monitor | None:
        """Return the monitor that a symbol `${monitor:name}` or an id names."""
        found = SYMBOL.fullmatch(reference)
        if found:
            return self.monitors.get(found[2])
        return next(
            (each for each in self.monitors.values() if str(each.document.get("id")) == reference), None
        )

    def slo(self, reference: str) -> Json | None:
        """Return the SLO that a symbol `${slo:name}` or an id names."""
        found = SYMBOL.fullmatch(reference)
        if found:
            return self.slos.get(found[2])
        return next((each for each in self.slos.values() if str(each.get("id")) == reference), None)

    def slo_status(self, name: str, now: float, timeframe: str = "7d") -> objectives.Status:
        """Return how an SLO stands; raises KeyError for one that does not exist."""
        return objectives.status(self.slos[name], self.store, self.uptime, now, timeframe)

    def uptime(self, reference: str, start: float, end: float) -> Value:
        """Return the percentage of a range in which a monitor was evaluated and not in Alert."""
        monitor = self.find(reference)
        if monitor is None:
            return None
        known = [
            (a, b, state)
            for a, b, state in monitor.segments(start, end)
            if state not in ("Skipped", "Ignored")
        ]
        judged = [(a, b, state) for a, b, state in known if state != "No Data" or _down_without_data(monitor)]
        total = sum(b - a for a, b, _ in judged)
        down = sum(b - a for a, b, state in judged if state in ("Alert", "No Data"))
        return 100 * (1 - down / total) if total else None

    def evaluate(self, now: float) -> list[Transition]:
        """Evaluate every monitor that is due over the window that ends at `now`; return what changed."""
        changed: list[Transition] = []
        ordered = sorted(
            self.monitors.values(), key=lambda each: isinstance(each.query, CompositeMonitor | SloMonitor)
        )
        for monitor in ordered:
            if self.strict_cadence and now - monitor.evaluated < cadence(monitor.window):
                continue
            monitor.evaluated = now
            changed += self._evaluate(monitor, now)
        return changed

    def replay(
        self, name: str, start: float, end: float, step: int = 60
    ) -> list[tuple[float, list[tuple[Group, Value]]]]:
        """Return the values that a monitor would have had: for charts, and to try other thresholds on."""
        monitor = self.monitors[name]
        first = -(-int(start) // step) * step
        return [(float(time), self._values(monitor, time)) for time in range(first, int(end) + 1, step)]

    def _evaluate(self, monitor: Monitor, now: float) -> list[Transition]:
        if monitor.query is None:
            monitor.set_overall(now)
            return []
        try:
            judged = list(self._judged(monitor, now))
        except (QueryError, TimeoutError) as error:
            monitor.problem = str(error)
            monitor.set_overall(now)
            return []
        monitor.problem = ""
        changed = [transition for reading in judged for transition in self._take(monitor, *reading)]
        self._forget(monitor, now)
        monitor.set_overall(now)
        shares = partial(measured, monitor.query, self.store, _end(monitor, now))
        for said in announce.notifications(monitor, now, changed, shares):
            self.notifications.append(said)
            self.on_notification(said)
        return changed

    # --- the state of each group ---------------------------------------------------------------------------------

    def _judged(self, monitor: Monitor, now: float) -> Iterator[tuple[GroupState, Reading]]:
        """Give a reading for each group of a monitor."""
        match monitor.query:
            case ServiceCheckMonitor():
                yield from self._checks(monitor, monitor.query, now)
            case CompositeMonitor():
                yield from self._composite(monitor, monitor.query, now)
            case _:
                yield from self._valued(monitor, now)

    def _valued(self, monitor: Monitor, now: float) -> Iterator[tuple[GroupState, Reading]]:
        values = {frozenset(group.items()): (group, value) for group, value in self._values(monitor, now)}
        full = bool(monitor.options.get("require_full_window"))
        holes = gaps(monitor.query, self.store, _end(monitor, now)) if full else {}
        for key, (group, value) in values.items():
            if key not in monitor.groups and value is not None:
                monitor.groups[key] = GroupState(group, first_seen=now, since=now)
        for key, state in monitor.groups.items():
            value = values[key][1] if key in values else None
            if value is None:
                yield state, self._without_value(monitor, state, now)
                continue
            state.last_seen = now
            if skipped := _too_new(monitor, state, now):
                yield state, Reading(now, value, "Skipped", skipped)
                continue
            if hole := holes.get(key):
                yield state, Reading(now, value, state.state, f"require_full_window: {hole}")
                continue
            after, rule = level(value, monitor.comparator, monitor.thresholds, state.state)
            yield state, Reading(now, value, after, rule)

    def _values(self, monitor: Monitor, now: float) -> list[tuple[Group, Value]]:
        end = _end(monitor, now)
        match monitor.query:
            case MetricMonitor() | ChangeMonitor():
                return metric_values(monitor.query, self.store, end)
            case EventMonitor():
                return event_values(monitor.query, self.records, end)
            case FormulaMonitor():
                variables = monitor.options.get("variables") or []
                return formula_values(monitor.query, variables, self.store, self.records, end)
            case SloMonitor():
                slo = self.slo(monitor.query.slo_id)
                if slo is None:
                    raise QueryError(f"there is no SLO {monitor.query.slo_id}", "", 0)
                return [({}, objectives.alert_value(monitor.query, slo, self.store, self.uptime, now))]
        return []

    def _without_value(self, monitor: Monitor, state: GroupState, now: float) -> Reading:
        """Apply the policy for missing data, and auto-resolve."""
        policy = missing_data(monitor.query, monitor.options, monitor.window)  # type: ignore[arg-type]
        hours = float(monitor.options.get("timeout_h") or 0)
        if hours and state.state in announce.TRIGGERED and now - state.last_seen >= hours * 3600:
            return Reading(now, None, "OK", f"no data for {hours:g} h: resolved by timeout_h")
        if policy.policy == "zero":
            after, rule = level(0.0, monitor.comparator, monitor.thresholds, state.state)
            return Reading(now, 0.0, after, f"no data, {policy.rule}: {rule}")
        if policy.policy == "resolve":
            return Reading(now, None, "OK", f"no data, {policy.rule}")
        if policy.policy == "no data" and now - state.last_seen >= policy.after:
            return Reading(now, None, "No Data", f"no data, {policy.rule}")
        return Reading(now, None, state.state, f"no data, {policy.rule}")

    def _checks(
        self, monitor: Monitor, query: ServiceCheckMonitor, now: float
    ) -> Iterator[tuple[GroupState, Reading]]:
        policy = missing_data(query, monitor.options, monitor.window)
        for group, runs in check_runs(query, self.store):
            key = frozenset(group.items())
            state = monitor.groups.setdefault(key, GroupState(group, first_seen=now, since=now))
            state.last_seen = runs[-1].timestamp
            state.check_message = runs[-1].message
            silent = now - state.last_seen
            if policy.policy == "no data" and silent >= policy.after:
                yield state, Reading(now, None, "No Data", f"no run for {silent:.0f} s: {policy.rule}")
                continue
            after, rule = check_state([run.status for run in runs], monitor.thresholds, state.state)
            yield state, Reading(now, None, after, rule)

    def _composite(
        self, monitor: Monitor, query: CompositeMonitor, now: float
    ) -> Iterator[tuple[GroupState, Reading]]:
        """Judge each group that all grouped members have in common."""
        members = {node.id: self.find(node.id) for node in walk(query) if isinstance(node, MonitorId)}
        lost = [id for id, member in members.items() if member is None]
        if lost:
            raise QueryError(f"there is no monitor {', '.join(lost)}", str(query), 0)
        for values, group in common_groups([member for member in members.values() if member]).items():
            states = {id: member_state(member, values) for id, member in members.items() if member}
            after = composed(query.composition, states)
            state = monitor.groups.setdefault(frozenset(group.items()), GroupState(group, now, since=now))
            rule = ", ".join(f"{id} is {found}" for id, found in states.items())
            if after == "No Data" and not monitor.options.get("notify_no_data"):
                after = "OK" if state.state == "Skipped" else state.state
                rule = f"{rule}: the last status stays"
            state.last_seen = now
            yield state, Reading(now, None, after, rule)

    def _take(self, monitor: Monitor, state: GroupState, reading: Reading) -> Iterator[Transition]:
        """Note a reading; give the transition if the state changed."""
        state.readings.append(reading)
        state.value = reading.value
        if reading.state == state.state and state.transitions:
            return
        before, state.state = state.state, reading.state
        state.since = reading.time
        state.transitions.append((reading.time, reading.state))
        if reading.state == before:
            return
        transition = Transition(
            reading.time, monitor.name, state.group, before, reading.state, reading.value, reading.rule
        )
        self.transitions.append(transition)
        self.on_transition(transition)
        yield transition

    def _forget(self, monitor: Monitor, now: float) -> None:
        """Drop groups that sent nothing for the retention time."""
        keep = retention(monitor.options)
        for key in [
            key
            for key, state in monitor.groups.items()
            if now - max(state.last_seen, state.first_seen) > keep
        ]:
            del monitor.groups[key]


def _down_without_data(monitor: Monitor) -> bool:
    policy = monitor.missing
    return bool(policy and policy.notify)


def _end(monitor: Monitor, now: float) -> float:
    """Return when the window ends."""
    return now - float(monitor.options.get("evaluation_delay") or 0)


def _too_new(monitor: Monitor, state: GroupState, now: float) -> str:
    """Say why a group is not evaluated yet, "" if it is."""
    delay = monitor.options.get("new_group_delay")
    delay = NEW_GROUP_DELAY if delay is None else float(delay)
    if state.group and now - state.first_seen < delay:
        return f"a new group: evaluated after {delay:g} s"
    return ""


def load(directory: Path, store: Store, records: Records, **options: Any) -> tuple[Monitors, list[str]]:
    """Read `monitors/` and `slos/` below a directory; return the monitors and what could not be read."""
    monitors, wrong = read_folder(directory / "monitors")
    slos, also_wrong = read_folder(directory / "slos")
    found = Monitors(store, records, monitors=monitors, slos=slos, **options)
    return found, wrong + also_wrong + found.problems
