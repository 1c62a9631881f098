"""Metric queries, filters and formulas as frozen nodes. `str(node)` is Datadog's text. No state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

from .boolean import WORDS, And, Everything, Not, Or, Variable, written

FUNCTIONS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("abs", "log2", "log10", "cumsum", "integral", "diff", "derivative", "dt"), (1, 1)),
    **dict.fromkeys(("monotonic_diff", "per_second", "per_minute", "per_hour"), (1, 1)),
    **dict.fromkeys(("count_nonzero", "count_not_null", "default_zero", "exclude_null"), (1, 2)),
    **dict.fromkeys(("clamp_min", "clamp_max", "cutoff_min", "cutoff_max", "timeshift"), (2, 2)),
    **dict.fromkeys(("hour_before", "day_before", "week_before", "month_before"), (1, 1)),
    **dict.fromkeys(("ewma_3", "ewma_5", "ewma_7", "ewma_10", "ewma_20"), (1, 1)),
    **dict.fromkeys(("median_3", "median_5", "median_7", "median_9", "autosmooth"), (1, 1)),
    **dict.fromkeys(("robust_trend", "trend_line", "piecewise_constant"), (1, 1)),
    **dict.fromkeys(
        (f"{end}{count}" for end in ("top", "bottom") for count in (5, 10, 15, 20, 25, 50)), (1, 4)
    ),
    "moving_rollup": (2, 3),
    "rollup": (2, 4),
    "reduce": (1, 2),
    "percentile": (2, 4),
    "calendar_shift": (3, 3),
    "top": (4, 4),
    "top_offset": (5, 5),
    "anomalies": (3, 12),
    "outliers": (2, 5),
    "forecast": (3, 12),
}
"""Datadog's functions that we know, with their least and greatest number of arguments."""


def number_text(value: float) -> str:
    """Write a number the shortest way that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that a series must carry: `env:prod`. `value` may hold `*`; without value, a bare tag."""

    key: str
    value: str | None = None
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}:{self.value}"


@dataclass(frozen=True, slots=True)
class In:
    """One key with one of several values: `env IN (prod,staging)`."""

    key: str
    values: tuple[str, ...]
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.key} IN ({','.join(self.values)})"


Filter: TypeAlias = Union[Everything, Variable, Tag, In, "Not[Filter]", "And[Filter]", "Or[Filter]"]


def filter_text(scope: Filter) -> str:
    """Write a filter: with commas and `!` if it has no more than those can say, else with words."""
    parts = scope.operands if isinstance(scope, And) else (scope,)
    simple = [_symbolic(part) for part in parts]
    if all(part is not None for part in simple):
        return ",".join(part for part in simple if part is not None)
    return written(scope, WORDS, _not_in)


def _symbolic(part: Filter) -> str | None:
    if isinstance(part, Not) and isinstance(part.operand, Tag | Variable):
        return f"!{part.operand}"
    return str(part) if isinstance(part, Tag | Variable | Everything) else None


def _not_in(node: object) -> str | None:
    """Write `env NOT IN (prod,staging)`, where the negation stands in the middle."""
    if isinstance(node, Not) and isinstance(node.operand, In):
        return f"{node.operand.key} NOT IN ({','.join(node.operand.values)})"
    return None


@dataclass(frozen=True, slots=True)
class Rollup:
    """`.rollup(sum, 60)`: how points in time become one, and how many seconds each stands for.

    `calendar` is what stands in the place of seconds in `.rollup(sum, daily)`.
    """

    aggregator: str | None = None
    seconds: int | None = None
    calendar: str | None = None

    def __str__(self) -> str:
        parts = [str(part) for part in (self.aggregator, self.seconds, self.calendar) if part is not None]
        return f".rollup({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Fill:
    """`.fill(zero)`: what stands where there is no point, for at most `limit` seconds."""

    mode: str
    limit: int | None = None

    def __str__(self) -> str:
        return f".fill({self.mode})" if self.limit is None else f".fill({self.mode}, {self.limit})"


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """`sum:streaming.tasks.failed{env:prod} by {model}.as_count()`.

    `aggregator` works in space (avg, sum, min, max, count, stddev, histogram, p95 ...); `kind` is what
    `.as_count()` or `.as_rate()` asked for.
    """

    aggregator: str
    metric: str
    scope: Filter = field(default_factory=Everything)
    by: tuple[str, ...] = ()
    kind: Literal["count", "rate"] | None = None
    rollup: Rollup | None = None
    fill: Fill | None = None
    weighted: bool = False
    position: int = field(default=0, compare=False, repr=False)
    bare: bool = field(default=False, compare=False, repr=False)
    """Written without an aggregator: `avg` on dashboards, refused in monitors."""

    def __str__(self) -> str:
        by = f" by {{{','.join(self.by)}}}" if self.by else ""
        kind = f".as_{self.kind}()" if self.kind else ""
        methods = f"{kind}{self.rollup or ''}{self.fill or ''}{'.weighted()' if self.weighted else ''}"
        return f"{self.aggregator}:{self.metric}{{{filter_text(self.scope)}}}{by}{methods}"


@dataclass(frozen=True, slots=True)
class Number:
    """A number, never negative: `-5` is `Negative(Number(5))`."""

    value: float

    def __str__(self) -> str:
        return number_text(self.value)


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted argument of a function."""

    value: str

    def __str__(self) -> str:
        return f'"{self.value}"' if "'" in self.value else f"'{self.value}'"


@dataclass(frozen=True, slots=True)
class Keyword:
    """A named argument of a function: `direction='above'`."""

    name: str
    value: Expression

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of a query, in a formula."""

    name: str
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to what lies inside: `default_zero(...)`."""

    function: str
    arguments: tuple[Expression, ...]
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Negative:
    """Minus its operand."""

    operand: Expression

    def __str__(self) -> str:
        inner = str(self.operand)
        return f"-({inner})" if isinstance(self.operand, Arithmetic) else f"-{inner}"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two operands and one of `+ - * /`."""

    operator: Literal["+", "-", "*", "/"]
    left: Expression
    right: Expression

    def __str__(self) -> str:
        strong = self.operator in "*/"
        left, right = str(self.left), str(self.right)
        if isinstance(self.left, Arithmetic) and strong and self.left.operator in "+-":
            left = f"({left})"
        if isinstance(self.right, Arithmetic) and (strong or self.right.operator in "+-"):
            right = f"({right})"
        return f"{left} {self.operator} {right}"


Expression: TypeAlias = MetricQuery | Number | Text | Keyword | Reference | Call | Negative | Arithmetic
