"""From a monitor's query to one value for each group, over the stores. No state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..query_language import (
    ChangeMonitor,
    EventMonitor,
    Expression,
    MetricMonitor,
    MetricQuery,
    ServiceCheckMonitor,
    Tag,
    walk,
)
from . import filters, search
from .evaluate import FINE_POINTS, Evaluation
from .functions import Unsupported
from .lines import FINEST, STEPS, Grid, Group, Value, reduced
from .records import Records
from .store import CheckRun, Store

Values = list[tuple[Group, Value]]
MAX_EVENTS = 100_000
"""Values that a percentile over logs or spans looks at."""


def metric_values(query: MetricMonitor | ChangeMonitor, store: Store, end: float) -> Values:
    """Evaluate a metric or change monitor over the window that ends at `end`."""
    if query.window.current:
        raise Unsupported(f"cumulative windows ({query.window}) are not evaluated locally", str(query), 0)
    window = query.window.seconds
    now = _over_window(query.expression, query.aggregator, store, end, window)
    if isinstance(query, MetricMonitor):
        return now
    before = {
        frozenset(group.items()): value
        for group, value in _over_window(
            query.expression, query.aggregator, store, end - query.shift.duration.seconds, window
        )
    }
    return [
        (group, _change(query.function, value, before.get(frozenset(group.items())))) for group, value in now
    ]


def _change(function: str, now: Value, before: Value) -> Value:
    if now is None or before is None:
        return None
    if function == "change":
        return now - before
    return (now - before) / abs(before) * 100 if before else None


def _over_window(expression: Expression, aggregator: str, store: Store, end: float, window: int) -> Values:
    """Reduce an expression to one value for each group.

    With arithmetic and `as_count`, every query is added up over the window before anything is computed (0.3 in
    Datadog's example); else points are computed first and aggregated afterwards (1.5).
    """
    start = int(end) - window
    evaluation = Evaluation(store)
    if counted_first(expression) or aggregator == "percentile":
        evaluation.over_window = aggregator
        return evaluation.values(expression, Grid(start, window, 1))
    rollups = [
        node.rollup.seconds for node in walk(expression) if isinstance(node, MetricQuery) and node.rollup
    ]
    step = max((each for each in rollups if each), default=0)
    step = -(-step // FINEST) * FINEST or next(
        each for each in (*STEPS, window) if window / each <= FINE_POINTS
    )
    lines = evaluation.lines(expression, Grid(start, step, -(-window // step)))
    if lines.constant is not None:
        return [({}, lines.constant)]
    return [(line.group, reduced(line.values, aggregator)) for line in lines.lines]


def counted_first(expression: Expression) -> bool:
    """Say whether a monitor takes the `as_count` path: arithmetic or a function, and a query with as_count."""
    return not isinstance(expression, MetricQuery) and any(
        isinstance(node, MetricQuery) and node.kind == "count" for node in walk(expression)
    )


def group_keys(query: object) -> tuple[str, ...]:
    """Return the tag keys by which a monitor alerts apart."""
    if isinstance(query, ServiceCheckMonitor | EventMonitor):
        return query.by
    return next((node.by for node in walk(query) if isinstance(node, MetricQuery) and node.by), ())


def check_runs(query: ServiceCheckMonitor, store: Store) -> list[tuple[Group, list[CheckRun]]]:
    """Return the last runs of a service check for each group, oldest first."""
    scope = [filters.where(Tag(*_split(tag))) for tag in query.over if tag != "*"]
    without = [filters.where(Tag(*_split(tag))) for tag in query.exclude]

    def fits(tags: frozenset[str]) -> bool:
        return all(each(tags) for each in scope if each) and not any(each(tags) for each in without if each)

    groups: dict[frozenset[tuple[str, str]], tuple[Group, list[CheckRun]]] = {}
    for runs in store.checks(query.check, fits):
        by_key = dict(tag.partition(":")[::2] for tag in runs[0].tags)
        group = {key: by_key.get(key, "N/A") for key in query.by}
        groups.setdefault(frozenset(group.items()), (group, []))[1].extend(runs)
    return [
        (group, sorted(runs, key=lambda run: run.timestamp)[-query.last :]) for group, runs in groups.values()
    ]


def _split(tag: str) -> tuple[str, str | None]:
    key, colon, value = tag.partition(":")
    return key, value if colon else None


def event_values(query: EventMonitor, records: Records, end: float) -> Values:
    """Evaluate a log or trace-analytics monitor. A span counts when it ended, a log line when it was written."""
    start = end - query.last.seconds
    logs = query.source == "logs"
    fields = search.LOGS if logs else search.SPANS
    time = "timestamp" if logs else "(start_ns + duration_ns) / 1e9"
    condition, parameters = search.where(query.search, fields)
    keys = [search.value_of(key, fields) for key in query.by]
    measured = search.value_of(query.measure, fields) if query.measure else ("1", [])
    columns = ", ".join([*(f"ifnull(CAST({sql} AS TEXT), 'N/A')" for sql, _ in keys), measured[0]])
    sql = f"SELECT {columns} FROM {'logs' if logs else 'spans'} WHERE {time} >= ? AND {time} < ? AND {condition} LIMIT ?"
    bound: list[Any] = [value for _, values in keys for value in values]
    rows = records.select_tuples(sql, [*bound, *measured[1], start, end, *parameters, MAX_EVENTS])
    groups: dict[tuple[Any, ...], list[Any]] = {} if query.by else {(): []}
    for *group, value in rows:
        groups.setdefault(tuple(group), []).append(value)
    return [
        (dict(zip(query.by, group, strict=True)), _summary(query.rollup, values))
        for group, values in sorted(groups.items())
    ]


def _summary(rollup: str, values: Sequence[Any]) -> Value:
    """Return count, cardinality, or a statistic of the values that are numbers."""
    if rollup == "count":
        return float(len(values))
    if rollup == "cardinality":
        return float(len({value for value in values if value is not None}))
    numbers = sorted(number for number in map(_number, values) if number is not None)
    if not numbers:
        return None
    if rollup == "median" or rollup.startswith("pc"):
        share = 0.5 if rollup == "median" else int(rollup[2:]) / 100
        return numbers[min(len(numbers) - 1, int(share * len(numbers)))]
    return reduced(numbers, rollup)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
