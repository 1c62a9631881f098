"""From a monitor's query to one value for each group, over the stores. No state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...assets.query_language import (
    Call,
    ChangeMonitor,
    EventMonitor,
    Expression,
    FormulaMonitor,
    MetricMonitor,
    MetricQuery,
    MonitorQuery,
    ServiceCheckMonitor,
    Tag,
    walk,
)
from ..queries import events, filters
from ..queries.evaluate import FINE_POINTS, Evaluation
from ..queries.events import EventQuery
from ..queries.functions import Unsupported
from ..queries.lines import FINEST, STEPS, Grid, Group, Line, Lines, Value, aligned, reduced
from ..queries.widget_data import parts
from ..store.points import COARSE
from ..store.records import Records
from ..store.series import CheckRun, Store

Values = list[tuple[Group, Value]]


def metric_values(query: MetricMonitor | ChangeMonitor, store: Store, end: float) -> Values:
    """Evaluate a metric or change monitor over the window that ends at `end`."""
    if query.window.ahead:
        raise Unsupported(f"forecasts ({query.window}) are not evaluated locally", str(query), 0)
    if query.window.current:
        raise Unsupported(f"cumulative windows ({query.window}) are not evaluated locally", str(query), 0)
    expression, aggregator = query.expression, query.aggregator
    start = int(end) - query.window.seconds
    if isinstance(query, ChangeMonitor):
        return _changes(query, store, start, int(end))
    if counted_first(expression) or aggregator == "percentile":
        return counted_values(expression, aggregator, store, start, int(end))
    lines = Evaluation(store).lines(expression, _grid(expression, start, int(end)))
    return _reduced(lines, aggregator)


def counted_values(expression: Expression, aggregator: str, store: Store, start: int, end: int) -> Values:
    """Add every query up over the window before anything is computed: 0.3 in Datadog's example, not 1.5."""
    return Evaluation(store, over_window=aggregator).values(expression, Grid(start, end - start, 1))


def _reduced(lines: Lines, aggregator: str) -> Values:
    if lines.constant is not None:
        return [({}, lines.constant)]
    return [(line.group, reduced(line.values, aggregator)) for line in lines.lines]


def _grid(expression: Expression, start: int, end: int, finest: int = FINEST) -> Grid:
    """Return the steps of a window: those of `.rollup()`, aligned to the clock, else as many as are drawn."""
    rollups = [
        node.rollup.seconds for node in walk(expression) if isinstance(node, MetricQuery) and node.rollup
    ]
    if step := max((each for each in rollups if each), default=0):
        return aligned(start, end, max(finest, -(-step // FINEST) * FINEST))
    window = end - start
    step = next(each for each in (*STEPS, window) if window / each <= FINE_POINTS and each >= finest)
    return Grid(start, step, -(-window // step))


def _changes(query: ChangeMonitor, store: Store, start: int, end: int) -> Values:
    """Subtract point by point, then aggregate (docs.datadoghq.com/monitors/guide/change-alert).

    Counts that are added up before they are computed, and percentiles, are one value each before they are compared.
    """
    expression, aggregator, ago = query.expression, query.aggregator, query.shift.duration.seconds
    if counted_first(expression) or aggregator == "percentile":
        before = {
            frozenset(group.items()): value
            for group, value in counted_values(expression, aggregator, store, start - ago, end - ago)
        }
        return [
            (group, _change(query.function, value, before.get(frozenset(group.items()))))
            for group, value in counted_values(expression, aggregator, store, start, end)
        ]
    grid = _grid(expression, start, end, COARSE if start - ago < store.coarse_before else FINEST)
    evaluation = Evaluation(store)
    now, then = evaluation.lines(expression, grid), evaluation.lines(expression, grid.shifted(ago))
    if now.constant is not None:
        return [({}, _change(query.function, now.constant, then.constant))]
    there = {line.key: line.values for line in then.lines}
    changes = Lines(grid)
    for line in now.lines:
        earlier = there.get(line.key, [None] * grid.count)
        points = [_change(query.function, *pair) for pair in zip(line.values, earlier, strict=True)]
        changes.lines.append(Line(line.group, points))
    return _reduced(changes, aggregator)


def _change(function: str, now: Value, before: Value) -> Value:
    if now is None or before is None:
        return None
    if function == "change":
        return now - before
    return (now - before) / before * 100 if before else None


BUCKETS = ((2 * 3600, 60), (86_400, 600), (604_800, 3600))
"""Windows shorter than the first are looked at in buckets of the second."""
MOST_EMPTY = 3


def gaps(query: MonitorQuery | None, store: Store, end: float) -> dict[frozenset[tuple[str, str]], str]:
    """Say for each group why its window is not full, "" if it is: the first bucket has data, at most three have none."""
    if not isinstance(query, MetricMonitor | ChangeMonitor):
        return {}
    window, nodes = query.window.seconds, list(walk(query.expression))
    bucket = next((size for limit, size in BUCKETS if window < limit), 4 * 3600)
    start, count = int(end) - window, max(1, window // bucket)
    evaluation, filled = Evaluation(store), dict[frozenset[tuple[str, str]], list[bool]]()
    for node in nodes:
        if isinstance(node, MetricQuery):
            for line in evaluation.lines(node, Grid(start, bucket, count)).lines:
                known = filled.get(line.key, [False] * count)
                filled[line.key] = [
                    had or value is not None for had, value in zip(known, line.values, strict=True)
                ]
    if any(isinstance(node, Call) and node.function == "default_zero" for node in nodes):
        return dict.fromkeys(filled, "")
    return {key: _gap(buckets, bucket) for key, buckets in filled.items()}


def _gap(buckets: list[bool], size: int) -> str:
    empty = buckets.count(False)
    if not buckets[0]:
        return f"no data in the window's first {size // 60} min"
    return f"{empty} of the window's {len(buckets)} buckets are empty" if empty > MOST_EMPTY else ""


def counted_first(expression: Expression) -> bool:
    """Say whether a monitor takes the `as_count` path: arithmetic or a function, and a query with as_count."""
    return not isinstance(expression, MetricQuery) and any(
        isinstance(node, MetricQuery) and node.kind == "count" for node in walk(expression)
    )


def group_keys(query: object) -> tuple[str, ...]:
    """Return the tag keys by which a monitor alerts apart."""
    if isinstance(query, ServiceCheckMonitor | EventMonitor | FormulaMonitor):
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
    """Evaluate a log or trace-analytics monitor."""
    source = "logs" if query.source == "logs" else "spans"
    asked = EventQuery(source, query.search, query.rollup, query.measure, query.by)
    start = int(end) - query.last.seconds
    found = events.lines(asked, records, Grid(start, query.last.seconds, 1, (start, int(end))))
    return [(line.group, line.values[0]) for line in found.lines]


def formula_values(
    query: FormulaMonitor, variables: Sequence[Mapping[str, Any]], store: Store, records: Records, end: float
) -> Values:
    """Evaluate a monitor's formula over the queries in its options, each over the whole window."""
    queries, _ = parts({"queries": list(variables)})
    start = int(end) - query.last.seconds
    aggregators = {str(each.get("name")): str(each.get("aggregator", "avg")) for each in variables}
    evaluation = Evaluation(store, queries=queries, aggregators=aggregators, records=records)
    return evaluation.values(query.formula, Grid(start, query.last.seconds, 1))
