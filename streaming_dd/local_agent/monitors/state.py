"""What is known of a monitor: its JSON, its query, the state of each of its groups. No state of its own."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...assets.query_language import (
    ChangeMonitor,
    CompositeMonitor,
    EventMonitor,
    FormulaMonitor,
    MetricMonitor,
    MonitorQuery,
    ServiceCheckMonitor,
    SloMonitor,
    search_text,
)
from ..queries.lines import Group, Value
from .rules import MissingData, State, missing_data, worst
from .shares import guarded
from .values import counted_first, group_keys

Json = dict[str, Any]
Key = frozenset[tuple[str, str]]
READINGS = 20
TRANSITIONS = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """One evaluation of one group: the value, the state it gave, and the rule that gave it."""

    time: float
    value: Value
    state: State
    rule: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A group that changed its state. `group` is `{}` for a monitor without groups."""

    time: float
    monitor: str
    group: Group
    before: State
    after: State
    value: Value
    rule: str


@dataclass(frozen=True, slots=True)
class Notification:
    """What would have been sent, and to whom; locally nothing is."""

    time: float
    monitor: str
    groups: tuple[str, ...]
    state: State
    title: str
    text: str
    handles: tuple[str, ...]
    measured: str = ""
    """The true share behind a damped value (`shares.py`); no part of what Datadog would say."""


@dataclass(slots=True)
class GroupState:
    """What is known of one group of one monitor. Times are epoch seconds."""

    group: Group
    first_seen: float
    state: State = "Skipped"
    since: float = 0.0
    value: Value = None
    last_seen: float = 0.0
    notified: float = 0.0
    renotified: int = 0
    told: State = "OK"
    """The state that was notified last."""
    check_message: str = ""
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=READINGS))
    transitions: deque[tuple[float, State]] = field(default_factory=lambda: deque(maxlen=TRANSITIONS))

    @property
    def label(self) -> str:
        return ",".join(f"{key}:{value}" for key, value in self.group.items()) or "*"


NUMBERS = (
    "evaluation_delay",
    "new_group_delay",
    "no_data_timeframe",
    "renotify_interval",
    "renotify_occurrences",
    "timeout_h",
)
THRESHOLDS = ("critical", "warning", "ok", "unknown", "critical_recovery", "warning_recovery")


def plain_options(document: Json) -> Json:
    """Return a monitor's options with the thresholds that are used, and numbers for numbers in quotes."""
    options = document.get("options")
    if not isinstance(options, dict):
        return {}
    found = {key: _number(value) if key in NUMBERS else value for key, value in options.items()}
    thresholds = options.get("thresholds")
    if isinstance(thresholds, dict):
        found["thresholds"] = {key: _number(value) for key, value in thresholds.items() if key in THRESHOLDS}
    return found


def _number(value: Any) -> Any:
    if isinstance(value, str):
        with suppress(ValueError):
            return None if not value.strip() else float(value)
    return value


@dataclass(slots=True)
class Monitor:
    """One monitor: its JSON, its parsed query, its groups. `problem` says why it cannot be evaluated."""

    name: str
    document: Json
    query: MonitorQuery | None = None
    problem: str = ""
    groups: dict[Key, GroupState] = field(default_factory=dict)
    evaluated: float = 0.0
    overall: State = "No Data"
    since: float = 0.0
    history: deque[tuple[float, State]] = field(default_factory=lambda: deque(maxlen=TRANSITIONS))
    """(time, overall state) of each change, oldest first."""
    options: Json = field(init=False)
    """The document's options as far as they are used here; numbers that are written as text are numbers."""

    def __post_init__(self) -> None:
        self.options = plain_options(self.document)

    @property
    def title(self) -> str:
        return str(self.document.get("name") or self.name)

    @property
    def priority(self) -> int | None:
        found = self.document.get("priority")
        return found if isinstance(found, int) else None

    @property
    def thresholds(self) -> Json:
        thresholds = self.options.get("thresholds")
        found = dict(thresholds) if isinstance(thresholds, dict) else {}
        if isinstance(self.query, MetricMonitor | ChangeMonitor | EventMonitor | FormulaMonitor | SloMonitor):
            found.setdefault("critical", self.query.threshold)
        return found

    @property
    def comparator(self) -> str:
        if isinstance(self.query, MetricMonitor | ChangeMonitor | EventMonitor | FormulaMonitor | SloMonitor):
            return self.query.comparator
        return ""

    @property
    def window(self) -> float:
        """Seconds that the query looks back."""
        match self.query:
            case MetricMonitor(window=window) | ChangeMonitor(window=window):
                return window.seconds
            case EventMonitor(last=last) | FormulaMonitor(last=last):
                return last.seconds
            case SloMonitor(over=over):
                return over.seconds
        return 60.0

    @property
    def missing(self) -> MissingData | None:
        return missing_data(self.query, self.options, self.window) if self.query else None

    def segments(self, start: float, end: float) -> list[tuple[float, float, State]]:
        """Return the overall states in a range as (from, to, state): the ribbon on the page."""
        changes = [(time, state) for time, state in self.history if time < end]
        found: list[tuple[float, float, State]] = []
        for index, (time, state) in enumerate(changes):
            until = changes[index + 1][0] if index + 1 < len(changes) else end
            if until > start:
                found.append((max(time, start), until, state))
        return found

    def set_overall(self, now: float) -> None:
        """Bring the overall state up to date with the groups."""
        overall = "Ignored" if self.problem else worst([group.state for group in self.groups.values()])
        if overall != self.overall or not self.history:
            self.overall, self.since = overall, now
            self.history.append((now, overall))


def in_words(monitor: Monitor) -> list[str]:
    """Explain a monitor's query, and the rules that apply, in sentences."""
    query, said = monitor.query, []
    match query:
        case MetricMonitor():
            said.append(f"{query.aggregator} over the last {query.window.duration} of {query.expression}")
            if counted_first(query.expression):
                said.append("as_count: each query is added up over the window first, then computed")
        case ChangeMonitor():
            kind = "change" if query.function == "change" else "change in percent"
            before = f"{query.shift.duration} before"
            said.append(
                f"{kind} of the {query.aggregator} over {query.window.duration} of {query.expression} against {before}"
            )
        case EventMonitor():
            what = query.rollup if query.measure is None else f"{query.rollup} of {query.measure}"
            said.append(
                f"{what} over the last {query.last} of {query.source} that match {search_text(query.search)}"
            )
        case ServiceCheckMonitor():
            said.append(f"the last {query.last} runs of {query.check}: so many alike in a row")
        case SloMonitor():
            said.append(
                f"{query.function.replace('_', ' ')} of {query.slo_id} over {query.over}, here over what is kept"
            )
        case CompositeMonitor():
            said.append(f"the states of other monitors: {query}")
    if share := guarded(query):
        said.append(
            f"{share[2]:g} is added below the line, so that a few events cannot alert: with little traffic the value is "
            "lower than the share that charts show, which stands beside it"
        )
    keys = group_keys(query) if query else ()
    if keys:
        said.append(f"for each {', '.join(keys)} apart")
    limits = [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in monitor.thresholds.items()
        if value is not None
    ]
    if limits:
        said.append(f"thresholds: {' '.join([monitor.comparator, ', '.join(limits)]).strip()}")
    policy = monitor.missing
    if policy and not isinstance(query, CompositeMonitor | SloMonitor):
        said.append(f"missing data: {policy.rule}")
    return said
