"""Metric queries over the store, in Datadog's order: select series, roll up in time, aggregate in space, compute.

* Time comes before space: a gauge is averaged per step unless `.rollup()` says otherwise; of a count `as_count()`
  is the sum, `as_rate()` the sum per second, a bare query the mean rate per second.
* Distributions are merged over time and over series first, then asked for `p95`, `avg` ...; percentiles are never averaged.
* Gauges of several series are interpolated linearly over gaps of at most 300 s before they are added up; counts
  that are missing count as 0.
* `Evaluation.lines` gives values over time, `Evaluation.values` one value for each group.

Source: docs.datadoghq.com/dashboards/guide/query-to-the-graph and /dashboards/functions. No state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...assets.query_language import (
    Arithmetic,
    Call,
    Expression,
    Fill,
    MetricQuery,
    Negative,
    Number,
    Reference,
)
from ...errors import QueryError
from ..store.deadline import Deadline
from ..store.records import Records
from ..store.series import Series, Store
from ..store.sketch import FrozenSketch, merged
from . import events, functions
from .events import EventQuery
from .filters import Choices, where
from .lines import FINEST, MISSING_TAG, STEPS, Grid, Group, Line, Lines, Value, aligned, reduced

INTERPOLATED = 300
"""Seconds over which a gauge is interpolated unless `.fill()` says otherwise."""
FINE_POINTS = 360
"""Most points to which a query is rolled up before it becomes one value."""


@dataclass(slots=True)
class Evaluation:
    """One expression over one range. `queries` are what the references of a formula name.

    `aggregators` holds the aggregator of each named query of a scalar widget. `over_window` makes every query one
    value over the whole range before anything is computed: the `as_count` path of monitors.
    """

    store: Store
    variables: Choices = field(default_factory=dict)
    queries: Mapping[str, Expression | EventQuery] = field(default_factory=dict)
    aggregators: Mapping[str, str] = field(default_factory=dict)
    over_window: str | None = None
    records: Records | None = None
    """Where the logs and spans are that queries may ask for."""
    _deadline: Deadline = field(default_factory=Deadline)

    def lines(self, expression: Expression, grid: Grid, aggregator: str | None = None) -> Lines:
        """Evaluate an expression on a grid. Raises QueryError, or Unsupported for what is not emulated."""
        match expression:
            case Number(value):
                return Lines(grid, constant=value)
            case Negative(operand):
                return functions.mapped(self.lines(operand, grid, aggregator), lambda value: -value)
            case Arithmetic(operator, left, right):
                return arithmetic(
                    operator, self.lines(left, grid, aggregator), self.lines(right, grid, aggregator)
                )
            case MetricQuery():
                return self._query(expression, grid, aggregator)
            case Reference(name, position):
                if name not in self.queries:
                    raise QueryError(f"there is no query {name!r}", str(expression), position)
                named = self.queries[name]
                if not isinstance(named, EventQuery):
                    return self.lines(named, grid, self.aggregators.get(name))
                if self.records is None:
                    raise functions.Unsupported(f"{name} asks for {named.source}, and none are kept", name, 0)
                return events.lines(named, self.records, grid)
            case Call():
                return functions.call(expression, grid, lambda inner, on: self.lines(inner, on, aggregator))
        raise QueryError(f"{expression} cannot stand by itself")

    def values(self, expression: Expression, grid: Grid) -> list[tuple[Group, Value]]:
        """Evaluate an expression to one value for each group; aggregators must be given."""
        found = self.lines(expression, Grid(grid.start, grid.end - grid.start, 1, grid.bounds))
        if found.constant is not None:
            return [({}, found.constant)]
        return [(line.group, line.values[0]) for line in found.lines]

    def _query(self, query: MetricQuery, grid: Grid, aggregator: str | None) -> Lines:
        if query.weighted or (query.rollup and query.rollup.calendar):
            what = "weighted()" if query.weighted else f"rollup by {query.rollup and query.rollup.calendar}"
            raise functions.Unsupported(f"{what} is not evaluated locally", str(query), query.position)
        aggregator = self.over_window or aggregator
        fine = grid if aggregator is None else _fine(query, grid)
        series = self.store.select(
            query.metric, where(query.scope, self.variables), *grid.range, self._deadline
        )
        lines = []
        for group, members in grouped(series, functions.keys(query, self.variables)):
            self._deadline.check()
            sketches = [each for each in members if each.kind == "distribution"]
            if sketches:
                values = _distribution(query, sketches, fine, aggregator)
            else:
                values = _in_space(
                    query, [_rolled_up(query, each, fine) for each in members], members[0].kind, fine
                )
                values = _filled(values, query.fill, fine.step) if query.fill else values
                if aggregator is not None:
                    values = [reduced(values, "avg" if aggregator == "percentile" else aggregator)]
            if any(value is not None for value in values):
                lines.append(Line(group, values, 0.0 if query.kind else None))
        return Lines(grid, lines, counts=query.kind == "count")


def _fine(query: MetricQuery, grid: Grid) -> Grid:
    """Return the grid on which a query is rolled up before it is reduced to one value."""
    start, end = grid.range
    if query.rollup and query.rollup.seconds:
        return aligned(start, end, max(FINEST, -(-query.rollup.seconds // FINEST) * FINEST))
    step = next((each for each in STEPS if (end - start) / each <= FINE_POINTS), STEPS[-1])
    return Grid(start, step, -(-(end - start) // step))


def grouped(series: Iterable[Series], by: tuple[str, ...]) -> list[tuple[Group, list[Series]]]:
    """Sort series into groups by the values of tag keys; a missing tag is `N/A`, as Datadog shows it."""
    if not by:
        members = list(series)
        return [({}, members)] if members else []
    found: dict[tuple[str, ...], list[Series]] = {}
    for each in series:
        found.setdefault(_group_of(each.tags, by), []).append(each)
    return [(dict(zip(by, key, strict=True)), members) for key, members in sorted(found.items())]


def _group_of(tags: frozenset[str], by: tuple[str, ...]) -> tuple[str, ...]:
    values = dict.fromkeys(by, MISSING_TAG)
    for tag in sorted(tags, reverse=True):
        key, _, value = tag.partition(":")
        if key in values:
            values[key] = value
    return tuple(values.values())


# --- time -------------------------------------------------------------------------------------------------------


def _rolled_up(query: MetricQuery, series: Series, grid: Grid) -> list[Value]:
    """Bring one series onto the grid."""
    method = query.rollup.aggregator if query.rollup and query.rollup.aggregator else None
    if series.kind == "count":
        if query.kind is None:  # a count is kept as a rate per second
            per_second = [value / series.interval for value in series.values]
            return _buckets(series.times, per_second, grid, method or "avg")
        summed = _buckets(series.times, series.values, grid, method or "sum")
        if query.kind == "rate":
            return [None if value is None else value / grid.step for value in summed]
        return summed
    return _buckets(series.times, series.values, grid, method or "avg")


def _buckets(times: list[int], values: list[float], grid: Grid, method: str) -> list[Value]:
    result: list[Value] = [None] * grid.count
    if method in ("sum", "avg", "count"):
        seen = [0] * grid.count
        for time, value in zip(times, values, strict=True):
            index = (time - grid.start) // grid.step
            if 0 <= index < grid.count:
                known = result[index]
                result[index] = value if known is None else known + value
                seen[index] += 1
        if method == "count":
            return [float(number) if number else None for number in seen]
        if method == "avg":
            return [
                None if value is None else value / number for value, number in zip(result, seen, strict=True)
            ]
        return result
    better = max if method == "max" else min
    for time, value in zip(times, values, strict=True):
        index = (time - grid.start) // grid.step
        if 0 <= index < grid.count:
            known = result[index]
            result[index] = value if known is None else better(known, value)
    return result


def _filled(values: list[Value], fill: Fill, step: int) -> list[Value]:
    """Fill gaps as `.fill()` asks, at most `limit` seconds after the last value."""
    if fill.mode == "null":
        return values
    if fill.mode == "linear":
        return _interpolated(values, (fill.limit or INTERPOLATED) // step)
    most = (fill.limit or INTERPOLATED) // step
    result, last, since = list(values), None, most
    for index, value in enumerate(values):
        if value is not None:
            last, since = value, 0
            continue
        since += 1
        if fill.mode == "zero":
            result[index] = 0.0 if since <= most or last is None else None
        elif last is not None and since <= most:
            result[index] = last
    return result


def _interpolated(values: list[Value], most: int) -> list[Value]:
    """Draw a line through gaps of at most `most` steps between two values."""
    result, last = list(values), -1
    for index, value in enumerate(values):
        if value is None:
            continue
        before = values[last] if last >= 0 else None
        if before is not None and 1 < index - last <= most + 1:
            for gap in range(last + 1, index):
                result[gap] = before + (value - before) * (gap - last) / (index - last)
        last = index
    return result


# --- space ------------------------------------------------------------------------------------------------------


def _in_space(query: MetricQuery, series: list[list[Value]], kind: str, grid: Grid) -> list[Value]:
    if len(series) == 1:
        if query.aggregator == "count":
            return [None if value is None else 1.0 for value in series[0]]
        if query.aggregator == "stddev":
            return [None if value is None else 0.0 for value in series[0]]
        return series[0]
    if kind == "gauge" and query.fill is None:
        series = [_interpolated(values, INTERPOLATED // grid.step) for values in series]
    aggregator = query.aggregator
    if aggregator.startswith("p") or aggregator == "histogram":
        raise QueryError(f"{aggregator}:{query.metric} needs a distribution; this is a {kind}", str(query), 0)
    return [reduced(column, aggregator) for column in zip(*series, strict=True)]


def _distribution(
    query: MetricQuery, series: list[Series], grid: Grid, aggregator: str | None
) -> list[Value]:
    """Merge sketches over time and series, then ask the merged one."""
    buckets: list[list[FrozenSketch]] = [[] for _ in range(grid.count)]
    for each in series:
        for time, sketch in zip(each.times, each.sketches, strict=True):
            index = (time - grid.start) // grid.step
            if 0 <= index < grid.count:
                buckets[index].append(sketch)
    if aggregator == "percentile":
        everything = [sketch for bucket in buckets for sketch in bucket]
        return [_asked(query, everything, grid.step * grid.count)]
    values = [_asked(query, bucket, grid.step) for bucket in buckets]
    return values if aggregator is None else [reduced(values, aggregator)]


def _asked(query: MetricQuery, sketches: list[FrozenSketch], seconds: int) -> Value:
    """Answer avg, sum, min, max, count or a percentile of what was merged."""
    if not sketches:
        return None
    if query.aggregator in ("count", "sum", "min", "max", "avg"):
        count = sum(sketch.count for sketch in sketches)
        total = sum(sketch.sum for sketch in sketches)
        simple: dict[str, float] = {
            "count": count / seconds if query.kind == "rate" else count,
            "sum": total / seconds if query.kind == "rate" else total,
            "min": min(sketch.min for sketch in sketches),
            "max": max(sketch.max for sketch in sketches),
            "avg": total / count if count else 0.0,
        }
        return simple[query.aggregator]
    if query.aggregator.startswith("p"):
        return merged(sketches).quantile(float(query.aggregator[1:]) / 100)
    raise QueryError(f"{query.aggregator}: cannot be asked of the distribution {query.metric}", str(query), 0)


# --- arithmetic -------------------------------------------------------------------------------------------------


def arithmetic(operator: str, left: Lines, right: Lines) -> Lines:
    """Combine lines group by group. A count that is missing counts as 0, but for a divisor; x / 0 is no value."""
    if left.constant is not None and right.constant is not None:
        return Lines(left.grid, constant=_computed(operator, left.constant, right.constant) or 0.0)
    counts = (left.counts or left.constant is not None) and (right.counts or right.constant is not None)
    result = Lines(left.grid, counts=counts)
    for one, other in _pairs(left, right, divides=operator == "/"):
        values = [
            _computed(operator, *_present(a, b, one.absent, other.absent))
            for a, b in zip(one.values, other.values, strict=True)
        ]
        absent = 0.0 if counts and operator in "+-" else None
        result.lines.append(Line(one.group or other.group, values, absent))
    return result


def _present(a: Value, b: Value, absent_a: Value, absent_b: Value) -> tuple[Value, Value]:
    if a is None and b is None:
        return None, None
    return (absent_a if a is None else a), (absent_b if b is None else b)


def _pairs(left: Lines, right: Lines, *, divides: bool) -> Iterable[tuple[Line, Line]]:
    """Match the groups of both sides; one line without a group goes with all of the other side."""
    size = left.grid.count
    if left.constant is not None:
        yield from ((Line({}, [left.constant] * size), line) for line in right.lines)
    elif right.constant is not None:
        yield from ((line, Line({}, [right.constant] * size)) for line in left.lines)
    elif len(right.lines) == 1 and not right.lines[0].group and left.lines:
        yield from ((line, right.lines[0]) for line in left.lines)
    elif len(left.lines) == 1 and not left.lines[0].group and right.lines:
        yield from ((left.lines[0], line) for line in right.lines)
    else:
        there = {line.key: line for line in right.lines}
        for line in left.lines:
            other = there.pop(line.key, None)
            if other is not None:
                yield line, other
            elif right.counts and not divides:
                yield line, Line(line.group, [None] * size, 0.0)
        if left.counts:
            yield from ((Line(line.group, [None] * size, 0.0), line) for line in there.values())


def _computed(operator: str, a: Value, b: Value) -> Value:
    if a is None or b is None:
        return None
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
    return a / b if b else None
