"""Datadog's functions over lines: those that the page and the monitors evaluate; others say that they are not. No state."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import log2, log10

from ...assets.query_language import Call, Expression, MetricQuery, Negative, Number, Text
from ...errors import QueryError
from .filters import Choices
from .lines import MISSING_TAG, Grid, Line, Lines, Value, reduced

Evaluate = Callable[[Expression, Grid], Lines]
SHIFTS = {"hour_before": 3600, "day_before": 86_400, "week_before": 604_800, "month_before": 2_592_000}


class Unsupported(QueryError):
    """The query is right and Datadog answers it; the local agent does not."""


def call(node: Call, grid: Grid, evaluate: Evaluate) -> Lines:
    """Evaluate a function call."""
    name, arguments = node.function, node.arguments
    if not arguments:
        raise QueryError(f"{name}() needs a query", str(node), node.position)
    if name in SHIFTS:
        return _shifted(arguments[0], SHIFTS[name], grid, evaluate)
    if name == "timeshift":
        return _shifted(arguments[0], -int(_number(node, 1)), grid, evaluate)
    if name in _OVER_TIME:
        return _each_line(evaluate(arguments[0], grid), lambda values: _OVER_TIME[name](values, grid.step))
    if name in _PER_VALUE:
        return mapped(evaluate(arguments[0], grid), _PER_VALUE[name])
    if name in ("clamp_min", "clamp_max", "cutoff_min", "cutoff_max"):
        return mapped(evaluate(arguments[0], grid), _limited(name, _number(node, 1)))
    if name.startswith(("ewma_", "median_")) and name.partition("_")[2].isdigit():
        return _each_line(evaluate(arguments[0], grid), _smoothing(name))
    if found := re.fullmatch(r"(top|bottom)(\d+)", name):
        lines = evaluate(arguments[0], grid)
        return _ranked(lines, int(found[2]), "avg", descending=found[1] == "top")
    special = _SPECIAL.get(name)
    if special is None:
        raise Unsupported(f"{name}() is not evaluated locally; Datadog does it", str(node), node.position)
    return special(node, evaluate(arguments[0], grid))


def mapped(lines: Lines, function: Callable[[float], Value]) -> Lines:
    """Apply a function to every value."""
    if lines.constant is not None:
        return Lines(lines.grid, constant=function(lines.constant))
    return _each_line(lines, lambda values: [None if value is None else function(value) for value in values])


def _each_line(lines: Lines, function: Callable[[list[Value]], list[Value]]) -> Lines:
    done = [Line(line.group, function(line.values), line.absent) for line in lines.lines]
    return Lines(lines.grid, done, lines.constant, lines.counts)


def _number(node: Call, index: int) -> float:
    """Return an argument that is a number."""
    given = node.arguments[index] if index < len(node.arguments) else None
    if isinstance(given, Number):
        return given.value
    if isinstance(given, Negative) and isinstance(given.operand, Number):
        return -given.operand.value
    raise QueryError(f"{node.function}(): argument {index + 1} must be a number", str(node), node.position)


def _text(node: Call, index: int, default: str) -> str:
    given = node.arguments[index] if index < len(node.arguments) else None
    return given.value if isinstance(given, Text) else default


def _shifted(query: Expression, seconds: int, grid: Grid, evaluate: Evaluate) -> Lines:
    """Evaluate a query as it was `seconds` earlier, and lay it over the present grid."""
    found = evaluate(query, grid.shifted(seconds))
    return Lines(grid, found.lines, found.constant, found.counts)


# --- one value at a time ------------------------------------------------------------------------------------------

_PER_VALUE: dict[str, Callable[[float], Value]] = {
    "abs": abs,
    "log2": lambda value: log2(value) if value > 0 else None,
    "log10": lambda value: log10(value) if value > 0 else None,
}


def _limited(name: str, limit: float) -> Callable[[float], Value]:
    if name == "clamp_min":
        return lambda value: max(value, limit)
    if name == "clamp_max":
        return lambda value: min(value, limit)
    if name == "cutoff_min":
        return lambda value: value if value >= limit else None
    return lambda value: value if value <= limit else None


# --- over the values of a line ---------------------------------------------------------------------------------------


def _diff(values: list[Value]) -> list[Value]:
    result: list[Value] = [None] * len(values)
    last: Value = None
    for index, value in enumerate(values):
        if value is not None:
            result[index] = None if last is None else value - last
            last = value
    return result


def _cumsum(values: list[Value]) -> list[Value]:
    total, result = 0.0, []
    for value in values:
        total += value or 0.0
        result.append(total)
    return list(result)


def _times(values: list[Value], factor: float) -> list[Value]:
    return [None if value is None else value * factor for value in values]


def _monotonic(values: list[Value]) -> list[Value]:
    return [None if value is None else max(value, 0.0) for value in _diff(values)]


_OVER_TIME: dict[str, Callable[[list[Value], int], list[Value]]] = {
    "default_zero": lambda values, step: [0.0 if value is None else value for value in values],
    "diff": lambda values, step: _diff(values),
    "monotonic_diff": lambda values, step: _monotonic(values),
    "derivative": lambda values, step: _times(_diff(values), 1 / step),
    "per_second": lambda values, step: _times(_monotonic(values), 1 / step),
    "per_minute": lambda values, step: _times(_monotonic(values), 60 / step),
    "per_hour": lambda values, step: _times(_monotonic(values), 3600 / step),
    "dt": lambda values, step: [None if value is None else float(step) for value in values],
    "cumsum": lambda values, step: _cumsum(values),
    "integral": lambda values, step: _cumsum(_times(values, step)),
}


def _smoothing(name: str) -> Callable[[list[Value]], list[Value]]:
    kind, _, span = name.partition("_")
    width = int(span)

    def median(values: list[Value]) -> list[Value]:
        result: list[Value] = []
        for index, value in enumerate(values):
            near = [each for each in values[max(0, index - width + 1) : index + 1] if each is not None]
            result.append(None if value is None else sorted(near)[len(near) // 2])
        return result

    def ewma(values: list[Value]) -> list[Value]:
        alpha, last, result = 2 / (width + 1), None, []
        for value in values:
            last = last if value is None else value if last is None else alpha * value + (1 - alpha) * last
            result.append(None if value is None else last)
        return list(result)

    return ewma if kind == "ewma" else median


# --- over groups ----------------------------------------------------------------------------------------------------


def _moving_rollup(node: Call, lines: Lines) -> Lines:
    width = max(1, round(_number(node, 1) / lines.grid.step))
    aggregator = _text(node, 2, "avg")

    def roll(values: list[Value]) -> list[Value]:
        return [reduced(values[max(0, i - width + 1) : i + 1], aggregator) for i in range(len(values))]

    return _each_line(lines, roll)


def _top(node: Call, lines: Lines) -> Lines:
    count = int(_number(node, 1))
    by = {"mean": "avg", "norm": "l2norm"}.get(_text(node, 2, "mean"), _text(node, 2, "mean"))
    return _ranked(lines, count, by, descending=_text(node, 3, "desc") == "desc")


def _ranked(lines: Lines, count: int, by: str, *, descending: bool) -> Lines:
    ranked = [(reduced(line.values, by), line) for line in lines.lines]
    there = [(value, line) for value, line in ranked if value is not None]
    there.sort(key=lambda pair: pair[0], reverse=descending)
    return Lines(lines.grid, [line for _, line in there[:count]], counts=lines.counts)


def _exclude_null(node: Call, lines: Lines) -> Lines:
    kept = [line for line in lines.lines if MISSING_TAG not in line.group.values()]
    return Lines(lines.grid, kept, counts=lines.counts)


def _count_groups(counted: Callable[[float], bool]) -> Callable[[Call, Lines], Lines]:
    def count(node: Call, lines: Lines) -> Lines:
        if not lines.lines:
            return lines
        columns = zip(*(line.values for line in lines.lines), strict=True)
        values: list[Value] = [
            float(sum(value is not None and counted(value) for value in column)) for column in columns
        ]
        return Lines(lines.grid, [Line({}, values)])

    return count


_SPECIAL: dict[str, Callable[[Call, Lines], Lines]] = {
    "moving_rollup": _moving_rollup,
    "top": _top,
    "exclude_null": _exclude_null,
    "count_nonzero": _count_groups(lambda value: value != 0),
    "count_not_null": _count_groups(lambda value: True),
}


def keys(query: MetricQuery, variables: Choices) -> tuple[str, ...]:
    """Return the keys of `by {$group,host}`: a template variable stands for the keys that are chosen for it."""
    found: list[str] = []
    for key in query.by:
        if not key.startswith("$"):
            found.append(key)
        elif (choice := variables.get(key[1:])) is None or choice.all:
            raise Unsupported(f"nothing is chosen for {key}, by which it groups", str(query), query.position)
        else:
            found += choice.values
    return tuple(found)
