"""`--persist FILE`: events, service checks and how the monitors stand, beside the metrics in the same SQLite file.

State: one `StateFile` per agent. Each kind is one JSON document, written with the metrics once a minute and at the stop.
A monitor whose query has changed begins anew. The time without an agent is Skipped in a monitor's history.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import msgspec

from ..intake.dogstatsd import ServiceCheck
from ..queries.lines import Group, Value
from ..store.points import HOUR, KEEP_HOURS
from ..store.series import CheckRun, KeptEvent, Store
from .evaluation import Monitors
from .rules import State
from .state import TRANSITIONS, GroupState, Monitor, Notification, Transition

SCHEMA = "CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, document BLOB)"

History = list[tuple[float, State]]
T = TypeVar("T")


@dataclass
class _Group:
    """A `GroupState` without its last readings."""

    group: Group
    first_seen: float
    state: State
    since: float
    value: Value
    last_seen: float
    notified: float
    renotified: int
    told: State
    check_message: str
    transitions: History


@dataclass
class _Monitor:
    query: Any
    history: History
    groups: list[_Group]


@dataclass
class _Monitors:
    saved: float
    monitors: dict[str, _Monitor]
    transitions: list[Transition]
    notifications: list[Notification]


class StateFile:
    """Loads events, checks and monitors from a database, and writes them there."""

    def __init__(self, store: Store, connection: sqlite3.Connection, *, made: bool = False) -> None:
        """`made`: the table is there, and the database may be read only."""
        self._store = store
        self._db = connection
        self._monitors: Monitors | None = None
        if not made:
            self._db.execute(SCHEMA)

    def write(self, monitors: Monitors | None) -> None:
        """Write everything once; the caller commits."""
        self._monitors = monitors
        self.save()

    def clear(self) -> None:
        """Drop everything from the file."""
        with self._db:
            self._db.execute("DELETE FROM states")

    def load(self) -> None:
        """Put the events and service checks of the last 24 hours into the store. Raises ValueError."""
        oldest = self._store.clock() - KEEP_HOURS * HOUR
        events = self._read("events", list[KeptEvent]) or []
        self._store.events.extend(kept for kept in events if kept.timestamp >= oldest)
        for run in self._read("checks", list[CheckRun]) or []:
            if run.timestamp >= oldest:
                check = ServiceCheck(run.name, run.status, message=run.message)
                self._store.put_check(run.timestamp, check, run.tags)

    def check(self) -> None:
        """Raise ValueError if the monitors' states cannot be read."""
        self._read("monitors", _Monitors)

    def attach(self, monitors: Monitors) -> None:
        """Let the monitors go on where they were, and write them from now on. Raises ValueError."""
        self._monitors = monitors
        kept = self._read("monitors", _Monitors)
        if kept is None:
            return
        monitors.transitions.extend(kept.transitions)
        monitors.notifications.extend(kept.notifications)
        for name, monitor in monitors.monitors.items():
            before = kept.monitors.get(name)
            if before is not None and before.query == monitor.document.get("query") and not monitor.problem:
                _restore(monitor, before, kept.saved)

    def save(self) -> None:
        """Write everything; the caller commits."""
        self._write("events", list(self._store.events))
        runs = [run for name in self._store.check_names() for one in self._store.checks(name) for run in one]
        self._write("checks", runs)
        if (monitors := self._monitors) is not None:
            found = {name: _kept(monitor) for name, monitor in monitors.monitors.items()}
            transitions, said = list(monitors.transitions), list(monitors.notifications)
            self._write("monitors", _Monitors(self._store.clock(), found, transitions, said))

    def _read(self, name: str, type: type[T]) -> T | None:
        row = self._db.execute("SELECT document FROM states WHERE name = ?", [name]).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=type)

    def _write(self, name: str, document: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", [name, msgspec.json.encode(document)])


def begin_anew(monitors: Monitors) -> None:
    """Forget states, history and what was said."""
    for name, monitor in list(monitors.monitors.items()):
        monitors.add(name, monitor.document)
    monitors.transitions.clear()
    monitors.notifications.clear()


def _kept(monitor: Monitor) -> _Monitor:
    groups = [_kept_group(group) for group in monitor.groups.values()]
    return _Monitor(monitor.document.get("query"), list(monitor.history), groups)


def _kept_group(group: GroupState) -> _Group:
    values = {each.name: getattr(group, each.name) for each in fields(_Group)}
    return _Group(**{**values, "transitions": list(group.transitions)})


def _restore(monitor: Monitor, before: _Monitor, saved: float) -> None:
    for kept in before.groups:
        values = {each.name: getattr(kept, each.name) for each in fields(_Group)}
        values["transitions"] = deque(kept.transitions, maxlen=TRANSITIONS)
        monitor.groups[frozenset(kept.group.items())] = GroupState(**values)
    monitor.history.extend(before.history)
    if before.history:
        monitor.history.append((saved, "Skipped"))
        monitor.overall, monitor.since = "Skipped", saved
