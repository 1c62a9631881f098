"""What a dashboard's widget shows: a request of its JSON in, curves, rows or bins out. No state.

Raises QueryError where Datadog would refuse the query, Unsupported (a QueryError) where only we cannot answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...assets.query_language import Expression, MetricQuery, parse_formula, parse_queries, parse_query, walk
from ..store.records import Records
from ..store.series import Store
from ..store.sketch import merged, value_of
from . import events
from .evaluate import Evaluation
from .events import EventQuery
from .filters import Choices, where
from .functions import Unsupported
from .lines import Grid, Group, Value, grid

Json = Mapping[str, Any]
METRICS = "metrics"


@dataclass(slots=True)
class Curve:
    """One line of a chart: its legend, its group and its values on the chart's times."""

    alias: str
    group: Group
    values: list[Value]


@dataclass(slots=True)
class Chart:
    """The curves of a request on common times; `step` is in seconds."""

    times: list[int]
    step: int
    curves: list[Curve] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """One group of a scalar request, with a value for each formula."""

    group: Group
    values: list[Value]


@dataclass(slots=True)
class Emptiness:
    """Why a request has nothing to show: `never` sent, `filtered` out, or nothing `in_range`."""

    metric: str
    reason: str
    last_time: int = 0


def chart(
    request: Json,
    store: Store,
    start: float,
    end: float,
    variables: Choices,
    step: int | None = None,
    *,
    records: Records | None = None,
) -> Chart:
    """Evaluate a request over time; `records` has the logs and spans that it may ask for."""
    queries, formulas = parts(request, variables)
    asked = [*queries.values(), *(expression for _, expression in formulas)]
    steps = [node.rollup.seconds for each in asked for node in _metric_queries(each) if node.rollup]
    wanted = max((each for each in steps if each), default=step)
    on = grid(start, end, wanted)
    evaluation = Evaluation(store, variables, queries, records=records)
    result = Chart(on.times, on.step)
    for alias, expression in formulas:
        lines = evaluation.lines(expression, on)
        if lines.constant is not None:
            result.curves.append(Curve(alias, {}, [lines.constant] * on.count))
        result.curves += [Curve(alias, line.group, line.values) for line in lines.lines]
    return result


def rows(
    request: Json,
    store: Store,
    start: float,
    end: float,
    variables: Choices,
    *,
    records: Records | None = None,
) -> list[Row]:
    """Evaluate a scalar request: a row for each group, in the order and number that its formulas ask for."""
    queries, formulas = parts(request, variables)
    aggregators = {query["name"]: query.get("aggregator", "avg") for query in request.get("queries", [])}
    evaluation = Evaluation(store, variables, queries, aggregators, records=records)
    first = int(start) // 10 * 10
    on = Grid(first, max(10, -(-(int(end) - first) // 10) * 10), 1)
    found: dict[frozenset[tuple[str, str]], Row] = {}
    for index, (_, expression) in enumerate(formulas):
        for group, value in evaluation.values(expression, on):
            row = found.setdefault(frozenset(group.items()), Row(group, [None] * len(formulas)))
            row.values[index] = value
    return _limited(list(found.values()), request)


def _limited(found: list[Row], request: Json) -> list[Row]:
    """Sort and cut by the first formula that has a limit."""
    for index, formula in enumerate(request.get("formulas") or []):
        limit = formula.get("limit")
        if limit:
            descending = limit.get("order", "desc") == "desc"
            there = [(row.values[index], row) for row in found]
            ranked = sorted(
                ((value, row) for value, row in there if value is not None),
                key=lambda pair: pair[0],
                reverse=descending,
            )
            without = [row for value, row in there if value is None]
            return ([row for _, row in ranked] + without)[: limit.get("count", 10)]
    return found


def bins(
    query: str, store: Store, start: float, end: float, variables: Choices, count: int = 40
) -> list[tuple[float, float, int]]:
    """Spread the values of a distribution (`histogram:...`) over `count` bins of equal width: (low, high, values)."""
    expression = parse_query(query)
    if not isinstance(expression, MetricQuery) or expression.aggregator != "histogram":
        raise Unsupported(
            "only the distribution of one metric, histogram:name{...}, is evaluated locally", query, 0
        )
    series = store.select(expression.metric, where(expression.scope, variables), start, end)
    whole = merged(sketch for each in series for sketch in each.sketches)
    if not whole.count:
        return []
    low, width = whole.min, (whole.max - whole.min) / count or 1.0
    result = [0] * count
    for key, number in whole.items():
        value = min(max(value_of(key), whole.min), whole.max)
        result[min(int((value - low) / width), count - 1)] += number
    return [(low + width * index, low + width * (index + 1), number) for index, number in enumerate(result)]


def parts(
    request: Json, variables: Choices | None = None
) -> tuple[dict[str, Expression | EventQuery], list[tuple[str, Expression]]]:
    """Return a request's queries by name, and its formulas with their legends. The old `q` is one of both."""
    if "q" in request:
        return {}, [("", each) for each in parse_queries(str(request["q"]))]
    queries: dict[str, Expression | EventQuery] = {}
    for query in request.get("queries") or events.legacy(request):
        if query.get("data_source") == METRICS:
            queries[query["name"]] = parse_query(query["query"])
        else:
            queries[query["name"]] = events.read(query, variables or {})
    formulas = [
        (str(formula.get("alias") or formula["formula"]), parse_formula(formula["formula"]))
        for formula in request.get("formulas") or [{"formula": name} for name in queries]
    ]
    return queries, formulas


def emptiness(request: Json, store: Store, start: float, end: float, variables: Choices) -> list[Emptiness]:
    """Say for each metric of a request that gave nothing why that may be."""
    queries, formulas = parts(request, variables)
    expressions = [*queries.values(), *(expression for _, expression in formulas)]
    found = []
    for query in {str(each): each for node in expressions for each in _metric_queries(node)}.values():
        if store.select(query.metric, where(query.scope, variables), start, end):
            continue
        known = store.metric(query.metric)
        if known is None:
            found.append(Emptiness(query.metric, "never"))
        elif store.select(query.metric, None, start, end):
            found.append(Emptiness(query.metric, "filtered", known.last_time))
        else:
            found.append(Emptiness(query.metric, "not in range", known.last_time))
    return found


def _metric_queries(node: Expression | EventQuery) -> list[MetricQuery]:
    return [each for each in walk(node) if isinstance(each, MetricQuery)]
