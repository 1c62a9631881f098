"""Queries over the stored logs and spans: counts, cardinalities and statistics by facet, over time. No state.

A widget's or monitor's JSON (`data_source` logs or spans, `search`, `compute`, `group_by`) becomes an `EventQuery`; its
lines are what a metric query gives, so formulas combine both. A span counts when it ended, a log line when it was written.
(docs.datadoghq.com/logs/explorer/analytics, and the API's models of `FormulaAndFunctionEventQueryDefinition`)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...assets.query_language import Search, parse_search
from ...errors import QueryError
from ..store import search
from ..store.records import Records
from .filters import Choices, declared
from .functions import Unsupported
from .lines import MISSING_TAG, Grid, Group, Line, Lines, Value, reduced

SOURCES = {"logs": "logs", "logs_stream": "logs", "spans": "spans", "trace_stream": "spans", "apm": "spans"}
LEGACY = {"log_query": "logs", "apm_query": "spans"}
"""The old form: one query in a request, under the name of its source."""
AGGREGATIONS = ("count", "cardinality", "avg", "sum", "min", "max", "median")
MAX_ROWS = 100_000
DEFAULT_LIMIT = 10
_VARIABLE = re.compile(r"\$([A-Za-z][\w\-.]*)")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What is computed of which logs or spans, for each combination of the facets in `by`."""

    source: str
    search: Search
    aggregation: str = "count"
    measure: str | None = None
    by: tuple[str, ...] = ()
    limit: int = 0
    """Groups that are kept, the greatest (or smallest, with `ascending`) first; 0 keeps all."""
    ascending: bool = False


def read(query: Mapping[str, Any], variables: Choices) -> EventQuery:
    """Return the query that JSON asks for. Raises QueryError for one that is wrong, Unsupported for other sources."""
    source = SOURCES.get(str(query.get("data_source")))
    if source is None:
        raise Unsupported(
            f"queries on {query.get('data_source')} are not evaluated locally", str(query.get("name")), 0
        )
    asked = query.get("search") or {}
    compute = query.get("compute") or {}
    facets = query.get("group_by") or []
    aggregation = str(compute.get("aggregation", "count"))
    if aggregation not in AGGREGATIONS and not re.fullmatch(r"pc\d{1,2}", aggregation):
        raise Unsupported(
            f"the aggregation {aggregation!r} is not evaluated locally", str(query.get("name")), 0
        )
    measure = compute.get("metric") or compute.get("facet")
    if aggregation != "count" and not measure:
        raise QueryError(f"{aggregation} needs what it measures: compute.metric", str(query.get("name")), 0)
    first = facets[0] if facets else {}
    sort = first.get("sort") or {}
    return EventQuery(
        source,
        parse_search(filled_in(str(asked.get("query") or ""), variables)),
        aggregation,
        str(measure) if measure and aggregation != "count" else None,
        tuple(str(each["facet"]) for each in facets),
        int(first.get("limit") or DEFAULT_LIMIT) if facets else 0,
        sort.get("order") == "asc",
    )


def legacy(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the queries of a request in the old form, written in the new one."""
    found = []
    for key, source in LEGACY.items():
        if isinstance(query := request.get(key), dict):
            computes = query.get("multi_compute") or [query.get("compute") or {}]
            found += [
                {**query, "data_source": source, "name": f"query{index}", "compute": compute}
                for index, compute in enumerate(computes, 1)
            ]
    return found


def filled_in(text: str, variables: Choices) -> str:
    """Put what is chosen in the place of a search's template variables; one that is not declared means all."""

    def chosen(found: re.Match[str]) -> str:
        name = declared(found[1], variables)
        rest = found[1][len(name) :]
        choice = variables.get(name)
        if choice is None or choice.all:
            return "*"
        if rest.startswith(".value"):
            return choice.values[0] + rest.removeprefix(".value")
        quoted = ['"' + value.replace("\\", "").replace('"', "") + '"' for value in choice.values]
        return "(" + " OR ".join(f"{choice.key}:{value}" for value in quoted) + ")" + rest

    return _VARIABLE.sub(chosen, text)


def lines(query: EventQuery, records: Records, grid: Grid) -> Lines:
    """Compute a query on a grid."""
    start, end = grid.range
    steps: dict[tuple[str, ...], list[list[Any]]] = {} if query.by else {(): [[] for _ in range(grid.count)]}
    for time, value, *group in rows(query, records, start, end):
        buckets = steps.setdefault(tuple(group), [[] for _ in range(grid.count)])
        buckets[min(int(time - grid.start) // grid.step, grid.count - 1)].append(value)
    counting = query.aggregation in ("count", "cardinality")
    absent = 0.0 if counting else None
    found = [
        Line(_group(query, group), [summary(query.aggregation, values) for values in buckets], absent)
        for group, buckets in sorted(_kept(query, steps).items())
    ]
    return Lines(grid, [line for line in found if line.values.count(None) < grid.count], counts=counting)


def rows(query: EventQuery, records: Records, start: float, end: float) -> list[tuple[Any, ...]]:
    """Return (time, value, facets...) of what matches in the range."""
    fields = search.LOGS if query.source == "logs" else search.SPANS
    time = "timestamp" if query.source == "logs" else "(start_ns + duration_ns) / 1e9"
    condition, parameters = search.where(query.search, fields)
    keys = [search.value_of(key, fields) for key in query.by]
    measured = search.value_of(query.measure, fields) if query.measure else ("1", [])
    columns = [time, measured[0], *(f"ifnull(CAST({sql} AS TEXT), '{MISSING_TAG}')" for sql, _ in keys)]
    bound: list[Any] = [*measured[1], *(value for _, values in keys for value in values)]
    return records.select_tuples(
        f"SELECT {', '.join(columns)} FROM {query.source} WHERE {time} >= ? AND {time} < ? AND {condition} LIMIT ?",
        [*bound, start, end, *parameters, MAX_ROWS],
    )


def summary(aggregation: str, values: Sequence[Any]) -> Value:
    """Return count, cardinality, or a statistic of the values that are numbers; None for a statistic of none."""
    if aggregation == "count":
        return float(len(values))
    if aggregation == "cardinality":
        return float(len({value for value in values if value is not None}))
    numbers = sorted(number for number in map(_number, values) if number is not None)
    if not numbers:
        return None
    if aggregation == "median" or aggregation.startswith("pc"):
        share = 0.5 if aggregation == "median" else int(aggregation[2:]) / 100
        return numbers[min(len(numbers) - 1, int(share * len(numbers)))]
    return reduced(numbers, aggregation)


def _kept(
    query: EventQuery, steps: dict[tuple[str, ...], list[list[Any]]]
) -> dict[tuple[str, ...], list[list[Any]]]:
    """Keep the first `limit` groups by what they are over the whole range."""
    if not query.limit or len(steps) <= query.limit:
        return steps
    totals = {
        group: summary(query.aggregation, [value for bucket in buckets for value in bucket]) or 0.0
        for group, buckets in steps.items()
    }
    ranked = sorted(steps, key=lambda group: totals[group], reverse=not query.ascending)
    return {group: steps[group] for group in ranked[: query.limit]}


def _group(query: EventQuery, values: tuple[str, ...]) -> Group:
    return dict(zip(query.by, values, strict=True))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
