"""From text to nodes. State: the two lark parsers and a cache of parsed texts, both filled on first use."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...errors import QueryError
from .boolean import Everything, children, walk
from .builder import NotEvaluated, QueryBuilder, Refused
from .chains import event_monitor, formula_monitor, service_check, slo_monitor
from .explain import explained, no_aggregator
from .expressions import Expression, MetricQuery, Reference
from .monitor_queries import CompositeMonitor, MonitorQuery
from .search_builder import SearchBuilder
from .searches import Compare, Range, Search

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

OTHER_TYPES = (
    "audit alert", "ci-pipelines alert", "ci-tests alert", "cost alert", "data-quality alert", "database-monitoring alert",
    "error-tracking alert", "event alert", "event-v2 alert", "llm-observability alert", "network-performance alert",
    "network-path alert", "process alert", "rum alert", "synthetics alert", "datadog-usage alert",
)  # fmt: skip
"""Types that Datadog has and that are not read here."""

LONGEST_TEXT = 10_000
DEEPEST_NODE = 100


_WORD_THRESHOLD = re.compile(r"[<>=]\s*threshold\s*$")


class NotRead(QueryError):
    """Datadog takes it, and it is not understood here."""


@lru_cache(maxsize=1)
def _query_parser() -> Lark:
    from lark import Lark

    starts = ["expression_start", "queries_start", *dict.fromkeys(MONITOR_TYPES.values())]
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


@lru_cache(maxsize=2048)
def parse_queries(text: str) -> tuple[Expression, ...]:
    """Parse what a widget's `q` holds: one or several metric queries, with commas. Raises QueryError."""
    found = _parse(_query_parser(), text, "queries_start")
    for node in (node for expression in found for node in walk(expression)):
        if isinstance(node, Reference):
            raise QueryError(no_aggregator(node.name), text, node.position)
    return cast(tuple[Expression, ...], found)


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
    if type in OTHER_TYPES:
        raise NotRead(f"monitors of type {type!r} are not evaluated locally; Datadog does it", text, 0)
    if type not in MONITOR_TYPES:
        raise QueryError(
            f"monitors of type {type!r} are not understood: {', '.join(MONITOR_TYPES)} are", text, 0
        )
    start = MONITOR_TYPES[type]
    if (word := _WORD_THRESHOLD.search(text)) and start != "composite_start":
        raise NotRead("the word 'threshold' for a number is not evaluated locally", text, word.start())
    if start == "metric_start" and text.lstrip().startswith("formula("):
        start = "event_start"
    parts: Any = _parse(_query_parser(), text, start)
    try:
        if start == "check_start":
            return service_check(parts)
        if start == "event_start" and parts[0] == "formula":
            return formula_monitor(parts, text, parse_formula)
        if start == "event_start":
            return event_monitor(
                parts, "logs" if type == "log alert" else "trace-analytics", text, parse_search
            )
        if start == "slo_start":
            return slo_monitor(parts)
    except Refused as refused:
        kind = NotRead if isinstance(refused, NotEvaluated) else QueryError
        raise kind(refused.message, text, refused.position) from None
    if start == "composite_start":
        return CompositeMonitor(parts)
    for node in walk(parts):
        if isinstance(node, Reference):
            raise QueryError(no_aggregator(node.name), text, node.position)
        if isinstance(node, MetricQuery) and node.bare:
            raise QueryError(no_aggregator(node.metric), text, node.position)
    return cast(MonitorQuery, parts)


@lru_cache(maxsize=2048)
def parse_search(text: str) -> Search:
    """Parse a search over logs or spans; an empty one matches all. Raises QueryError."""
    if not text.strip():
        return Everything()
    search = _parse(_search_parser(), text, "start")
    for node in walk(search):
        if isinstance(node, Compare | Range) and not node.key:
            raise QueryError(f"{str(node)[1:]} needs a field: @key:{str(node)[1:]}", text, 0)
    return cast(Search, search)


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
