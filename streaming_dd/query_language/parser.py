"""From text to nodes. State: the two lark parsers and a cache of parsed texts, both filled on first use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import QueryError
from .boolean import Everything, children, walk
from .builder import QueryBuilder, Refused, SearchBuilder
from .chains import event_monitor, service_check, slo_monitor
from .explain import explained, no_aggregator
from .expressions import Expression, MetricQuery, Reference
from .monitor_queries import CompositeMonitor, MonitorQuery
from .searches import Search

if TYPE_CHECKING:
    from lark import Lark

MONITOR_TYPES = {
    "metric alert": "metric_start",
    "query alert": "metric_start",
    "service check": "check_start",
    "log alert": "event_start",
    "trace-analytics alert": "event_start",
    "slo alert": "slo_start",
    "composite": "composite_start",
}
"""The monitor types that are understood, and the rule of the grammar that reads each one's query."""

LONGEST_TEXT = 10_000
DEEPEST_NODE = 100


@lru_cache(maxsize=1)
def _query_parser() -> Lark:
    from lark import Lark

    starts = ["expression_start", *dict.fromkeys(MONITOR_TYPES.values())]
    grammar = Path(__file__).with_name("query.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", start=starts, maybe_placeholders=False, transformer=cast(Any, QueryBuilder())
    )


@lru_cache(maxsize=1)
def _search_parser() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("search.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False, transformer=cast(Any, SearchBuilder()))


@lru_cache(maxsize=2048)
def parse_query(text: str) -> Expression:
    """Parse a metric query, or arithmetic and functions over metric queries. Raises QueryError."""
    expression = _parse(_query_parser(), text, "expression_start")
    for node in walk(expression):
        if isinstance(node, Reference):
            raise QueryError(no_aggregator(node.name), text, node.position)
    return cast(Expression, expression)


def parse_metric_query(text: str) -> MetricQuery:
    """Parse a single metric query, as `queries[].query` of a widget holds it. Raises QueryError."""
    expression = parse_query(text)
    if not isinstance(expression, MetricQuery):
        raise QueryError("expected one metric query; put arithmetic and functions into a formula", text, 0)
    return expression


@lru_cache(maxsize=2048)
def parse_formula(text: str) -> Expression:
    """Parse a formula over the names of queries: `failed / (failed + completed) * 100`. Raises QueryError."""
    expression = _parse(_query_parser(), text, "expression_start")
    for node in walk(expression):
        if isinstance(node, MetricQuery):
            message = "a formula combines the names of queries; the metric query goes into 'queries'"
            raise QueryError(message, text, node.position)
    return cast(Expression, expression)


@lru_cache(maxsize=2048)
def parse_monitor(text: str, type: str = "query alert") -> MonitorQuery:
    """Parse a monitor's query; `type` is Datadog's monitor type. Raises QueryError."""
    if type not in MONITOR_TYPES:
        raise QueryError(
            f"monitors of type {type!r} are not understood: {', '.join(MONITOR_TYPES)} are", text, 0
        )
    start = MONITOR_TYPES[type]
    parts: Any = _parse(_query_parser(), text, start)
    try:
        if start == "check_start":
            return service_check(parts)
        if start == "event_start":
            return event_monitor(
                parts, "logs" if type == "log alert" else "trace-analytics", text, parse_search
            )
        if start == "slo_start":
            return slo_monitor(parts)
    except Refused as refused:
        raise QueryError(refused.message, text, refused.position) from None
    if start == "composite_start":
        return CompositeMonitor(parts)
    for node in walk(parts):
        if isinstance(node, Reference):
            raise QueryError(no_aggregator(node.name), text, node.position)
    return cast(MonitorQuery, parts)


@lru_cache(maxsize=2048)
def parse_search(text: str) -> Search:
    """Parse a search over logs or spans; an empty one matches all. Raises QueryError."""
    if not text.strip():
        return Everything()
    return cast(Search, _parse(_search_parser(), text, "start"))


# --- one parse ----------------------------------------------------------------------------------------------


def _parse(parser: Lark, text: str, start: str) -> Any:
    from lark import UnexpectedInput

    if len(text) > LONGEST_TEXT:
        raise QueryError(f"a query of {len(text)} characters is too long: at most {LONGEST_TEXT}", "", 0)
    try:
        node = parser.parse(text, start=start)
    except Refused as refused:
        raise QueryError(refused.message, text, refused.position) from None
    except UnexpectedInput as error:
        raise explained(error, text) from None
    pending = [(each, 1) for each in (node if isinstance(node, list | tuple) else [node])]
    while pending:
        each, depth = pending.pop()
        if depth > DEEPEST_NODE:
            raise QueryError(f"a query nested deeper than {DEEPEST_NODE} levels is refused", text, 0)
        pending.extend((child, depth + 1) for child in children(each))
    return node
