"""Monitor queries as frozen nodes, one class for each family of monitor. No state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

from .boolean import SYMBOLS, And, Not, Or, written
from .expressions import Expression, number_text
from .searches import Search, search_text

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 2_592_000}


def quoted(text: str) -> str:
    """Put `text` in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time: `5m`, `1h`, `7d`, `1w`, `1mo`."""

    count: int
    unit: str

    @property
    def seconds(self) -> int:
        return self.count * SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class Window:
    """The span of time a monitor looks at: `last_5m`, `current_1d` since midnight, or `next_1w` of a forecast."""

    duration: Duration
    current: bool = False
    ahead: bool = False

    @property
    def seconds(self) -> int:
        return self.duration.seconds

    def __str__(self) -> str:
        return f"{'current' if self.current else 'next' if self.ahead else 'last'}_{self.duration}"


@dataclass(frozen=True, slots=True)
class Shift:
    """The time a change monitor compares with: `1w_ago`, or the `last_5m` before."""

    duration: Duration
    ago: bool = True

    def __str__(self) -> str:
        return f"{self.duration}_ago" if self.ago else f"last_{self.duration}"


@dataclass(frozen=True, slots=True)
class MetricMonitor:
    """`sum(last_5m):sum:a{*}.as_count() > 5`; `aggregator` works in time."""

    aggregator: str
    window: Window
    expression: Expression
    comparator: str
    threshold: float

    def __str__(self) -> str:
        condition = f"{self.comparator} {number_text(self.threshold)}"
        return f"{self.aggregator}({self.window}):{self.expression} {condition}"


@dataclass(frozen=True, slots=True)
class ChangeMonitor:
    """`pct_change(avg(last_1h),1w_ago):avg:a{*} > 50`: how far a value moved."""

    function: Literal["change", "pct_change"]
    aggregator: str
    window: Window
    shift: Shift
    expression: Expression
    comparator: str
    threshold: float

    def __str__(self) -> str:
        head = f"{self.function}({self.aggregator}({self.window}),{self.shift})"
        return f"{head}:{self.expression} {self.comparator} {number_text(self.threshold)}"


@dataclass(frozen=True, slots=True)
class ServiceCheckMonitor:
    """`"app.health".over("env:prod").by("service").last(4).count_by_status()`.

    The state of a group follows from how many of its last checks were critical, warning, ok; the thresholds
    for that live in the monitor's options.
    """

    check: str
    over: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    last: int = 2

    def __str__(self) -> str:
        def step(name: str, values: tuple[str, ...]) -> str:
            return f".{name}({','.join(map(quoted, values))})" if values else ""

        groups = step("over", self.over) + step("exclude", self.exclude) + step("by", self.by)
        return f"{quoted(self.check)}{groups}.last({self.last}).count_by_status()"


@dataclass(frozen=True, slots=True)
class EventMonitor:
    """A log or trace-analytics monitor: `logs("status:error").index("*").rollup("count").last("5m") > 5`."""

    source: Literal["logs", "trace-analytics"]
    search: Search
    rollup: str
    measure: str | None
    last: Duration
    comparator: str
    threshold: float
    indexes: tuple[str, ...] = ()
    by: tuple[str, ...] = ()

    def __str__(self) -> str:
        index = f".index({','.join(map(quoted, self.indexes))})" if self.indexes else ""
        measure = f", {quoted(self.measure)}" if self.measure else ""
        by = f".by({quoted(','.join(self.by))})" if self.by else ""
        head = f"{self.source}({quoted(search_text(self.search))}){index}.rollup({quoted(self.rollup)}{measure}){by}"
        return f'{head}.last("{self.last}") {self.comparator} {number_text(self.threshold)}'


@dataclass(frozen=True, slots=True)
class FormulaMonitor:
    """A formula over queries that stand in the monitor's options: `formula("a / b").last("15m") > 5`."""

    formula: Expression
    last: Duration
    comparator: str
    threshold: float
    by: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f".by({quoted(','.join(self.by))})" if self.by else ""
        condition = f"{self.comparator} {number_text(self.threshold)}"
        return f'formula({quoted(str(self.formula))}){by}.last("{self.last}") {condition}'


@dataclass(frozen=True, slots=True)
class SloMonitor:
    """`error_budget("id").over("7d") > 75`, or a burn rate over a long and a short window."""

    function: Literal["error_budget", "burn_rate"]
    slo_id: str
    over: Duration
    comparator: str
    threshold: float
    long_window: Duration | None = None
    short_window: Duration | None = None

    def __str__(self) -> str:
        steps = f'.over("{self.over}")'
        steps += f'.long_window("{self.long_window}")' if self.long_window else ""
        steps += f'.short_window("{self.short_window}")' if self.short_window else ""
        condition = f"{self.comparator} {number_text(self.threshold)}"
        return f"{self.function}({quoted(self.slo_id)}){steps} {condition}"


@dataclass(frozen=True, slots=True)
class MonitorId:
    """Another monitor in a composite: its id, or `${monitor:name}` before it has one."""

    id: str
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.id


Composition: TypeAlias = Union[MonitorId, "Not[Composition]", "And[Composition]", "Or[Composition]"]


@dataclass(frozen=True, slots=True)
class CompositeMonitor:
    """Other monitors, combined: `1 && (2 || !3)`."""

    composition: Composition

    def __str__(self) -> str:
        return written(self.composition, SYMBOLS)


MonitorQuery: TypeAlias = (
    MetricMonitor
    | ChangeMonitor
    | ServiceCheckMonitor
    | EventMonitor
    | FormulaMonitor
    | SloMonitor
    | CompositeMonitor
)
