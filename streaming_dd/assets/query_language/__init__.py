"""Datadog's query language: metric queries, formulas, monitor queries and log/span searches.

`parse_*` turn text into frozen nodes; `str(node)`, for filters and searches `filter_text` and `search_text`, give
Datadog's text back, and parsing that gives the same nodes.
The grammars (`query.lark`, `search.lark`) are the subset that our dashboards, monitors and the local agent
use; what lies outside is refused with the position of the character. State: the two parsers, built once, at
the first parse (`parser.py`). lark comes in here and nowhere else.
"""

from __future__ import annotations

from .boolean import And, Everything, Not, Or, Variable, walk
from .expressions import (
    FUNCTIONS,
    Arithmetic,
    Call,
    Expression,
    Fill,
    Filter,
    In,
    Keyword,
    MetricQuery,
    Negative,
    Number,
    Reference,
    Rollup,
    Tag,
    Text,
    filter_text,
)
from .monitor_queries import (
    ChangeMonitor,
    CompositeMonitor,
    Duration,
    EventMonitor,
    FormulaMonitor,
    MetricMonitor,
    MonitorId,
    MonitorQuery,
    ServiceCheckMonitor,
    Shift,
    SloMonitor,
    Window,
)
from .parser import (
    MONITOR_TYPES,
    NotRead,
    parse_formula,
    parse_metric_query,
    parse_monitor,
    parse_queries,
    parse_query,
    parse_search,
)
from .searches import Compare, Phrase, Range, Search, Term, quantity, search_text

__all__ = [
    "FUNCTIONS",
    "MONITOR_TYPES",
    "And",
    "Arithmetic",
    "Call",
    "ChangeMonitor",
    "Compare",
    "CompositeMonitor",
    "Duration",
    "EventMonitor",
    "Everything",
    "Expression",
    "Fill",
    "Filter",
    "FormulaMonitor",
    "In",
    "Keyword",
    "MetricMonitor",
    "MetricQuery",
    "MonitorId",
    "MonitorQuery",
    "Negative",
    "Not",
    "NotRead",
    "Number",
    "Or",
    "Phrase",
    "Range",
    "Reference",
    "Rollup",
    "Search",
    "ServiceCheckMonitor",
    "Shift",
    "SloMonitor",
    "Tag",
    "Term",
    "Text",
    "Variable",
    "Window",
    "filter_text",
    "parse_formula",
    "parse_metric_query",
    "parse_monitor",
    "parse_queries",
    "parse_query",
    "parse_search",
    "quantity",
    "search_text",
    "walk",
]
