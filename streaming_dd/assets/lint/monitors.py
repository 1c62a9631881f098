"""Checks of monitors: thresholds, recovery, missing data, messages. No state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...errors import QueryError
from ..documents import REFERENCE
from ..query_language import (
    ChangeMonitor,
    EventMonitor,
    MetricMonitor,
    MonitorQuery,
    NotRead,
    ServiceCheckMonitor,
    SloMonitor,
    parse_monitor,
    search_text,
)
from .queries import Finding, Known, check_expression, check_search, metric_queries

Json = dict[str, Any]
SECTIONS = {
    "is_alert",
    "is_warning",
    "is_no_data",
    "is_recovery",
    "is_alert_recovery",
    "is_warning_recovery",
    "is_no_data_recovery",
    "is_alert_to_warning",
    "is_warning_to_alert",
    "is_renotify",
    "is_unknown",
    "is_priority",
    "is_match",
    "is_exact_match",
}
VALUES = {
    "value",
    "threshold",
    "warn_threshold",
    "ok_threshold",
    "comparator",
    "check_message",
    "last_triggered_at",
}
_TEMPLATE = re.compile(r"\{\{\s*([#/^]?)\s*([^}]*?)\s*\}\}")


def check(document: Json, known: Known) -> Iterator[Finding]:
    """Check one monitor that fits the schema."""
    priority = document.get("priority")
    if priority is not None and not 1 <= priority <= 5:
        yield "priority", "priority", f"{priority} is outside 1 (highest) to 5"
    try:
        query = parse_monitor(plain(document["query"]), document["type"])
    except NotRead as unread:
        yield "query", "not-checked", unread.message
        return
    except QueryError as error:
        yield "query", "query-syntax", str(error)
        return
    yield from _query(query, known)
    yield from _thresholds(query, document.get("options", {}))
    yield from _missing_data(query, document)
    yield from _message(document, query)


def plain(text: str) -> str:
    """Put an id in the place of symbols outside of quotes, where the grammar wants one."""
    return REFERENCE.sub(lambda found: "1" if found[1] == "monitor" else found[0], text)


def _query(query: MonitorQuery, known: Known) -> Iterator[Finding]:
    if isinstance(query, MetricMonitor | ChangeMonitor):
        yield from check_expression(query.expression, "query", known)
        yield from _as_count(query, known)
    elif isinstance(query, EventMonitor):
        yield from check_search(search_text(query.search), "query", known)
    elif isinstance(query, ServiceCheckMonitor) and known.strict and query.check not in known.checks:
        yield "query", "unknown-check", f"nothing reports the service check {query.check!r}"


def _as_count(query: MetricMonitor | ChangeMonitor, known: Known) -> Iterator[Finding]:
    for each in metric_queries(query.expression):
        emitted = known.metrics.get(each.metric)
        # Of metrics of others it may be meant: Datadog takes the mean or the greatest of their counts, too.
        if each.kind == "count" and query.aggregator != "sum" and (known.strict or emitted):
            yield (
                "query",
                "as-count",
                f"{each.metric}.as_count() is aggregated by {query.aggregator}; only sum makes sense",
            )
        if emitted and emitted.kind == "count" and each.kind is None and query.aggregator == "sum":
            message = f"{each.metric} is a rate per second without .as_count(); its sum over a window is no number of events"
            yield "query", "as-count", message
        if query.aggregator == "percentile" and not each.aggregator.startswith("p"):
            yield "query", "wrong-kind", f"percentile(...) needs p95: or the like, found {each.aggregator}:"


def _thresholds(query: MonitorQuery, options: Json) -> Iterator[Finding]:
    thresholds = options.get("thresholds", {})
    critical = thresholds.get("critical")
    if isinstance(query, ServiceCheckMonitor):
        for level, value in thresholds.items():
            if value is not None and not 1 <= value <= query.last:
                message = f"{value} runs cannot be found among the last {query.last}"
                yield f"options.thresholds.{level}", "check-window", message
        return
    if not isinstance(query, MetricMonitor | ChangeMonitor | EventMonitor | SloMonitor):
        return
    if critical is not None and critical != query.threshold:
        message = f"the query alerts at {query.threshold:g}, the threshold says {critical}"
        yield "options.thresholds.critical", "threshold-mismatch", message
        return
    rising = query.comparator.startswith(">")
    falling = query.comparator.startswith("<")
    yield from _order(thresholds, rising, falling)
    for level in ("critical", "warning"):
        value, recovery = thresholds.get(level), thresholds.get(f"{level}_recovery")
        if value is None or recovery is None:
            continue
        if (rising and recovery >= value) or (falling and recovery <= value):
            side = "below" if rising else "above"
            message = f"the recovery {recovery:g} must lie {side} the {level} threshold {value:g}"
            yield f"options.thresholds.{level}_recovery", "recovery-side", message


def _order(thresholds: Json, rising: bool, falling: bool) -> Iterator[Finding]:
    critical, warning = thresholds.get("critical"), thresholds.get("warning")
    if critical is None or warning is None:
        return
    if (rising and warning >= critical) or (falling and warning <= critical):
        side = "below" if rising else "above"
        message = f"the warning {warning:g} must lie {side} critical {critical:g}, or it is never seen"
        yield "options.thresholds.warning", "threshold-order", message


def _missing_data(query: MonitorQuery, document: Json) -> Iterator[Finding]:
    options = document.get("options", {})
    modern, legacy = "on_missing_data" in options, "notify_no_data" in options
    if modern and (legacy or "no_data_timeframe" in options):
        message = "on_missing_data replaces notify_no_data and no_data_timeframe: keep one"
        yield "options", "missing-data", message
    if isinstance(query, ServiceCheckMonitor) and modern:
        yield "options.on_missing_data", "missing-data", "service checks know notify_no_data only"
    if isinstance(query, MetricMonitor | ChangeMonitor | EventMonitor) and not modern and not legacy:
        yield (
            "options",
            "missing-data",
            "no policy: say on_missing_data default, show_no_data, resolve or the like",
        )


def _message(document: Json, query: MonitorQuery) -> Iterator[Finding]:
    groups = set(group_keys(query))
    opened: list[str] = []
    for kind, content in _TEMPLATE.findall(document.get("message", "")):
        if kind in ("#", "^"):
            section = content.partition(" ")[0]  # `is_match "env.name" "prod"` is closed by `is_match`
            opened.append(section)
            if section not in SECTIONS:
                yield (
                    "message",
                    "message",
                    f"unknown section {{{{{kind}{content}}}}}: {', '.join(sorted(SECTIONS))} are known",
                )
        elif kind == "/":
            if not opened or opened.pop() != content:
                yield "message", "message", f"{{{{/{content}}}}} closes nothing that is open"
        elif content.startswith("host.") and "host" in groups:
            continue  # each tag of a host can be said of it: {{host.availability-zone}}
        elif content not in VALUES and groups and not {content, content.removesuffix(".name")} & groups:
            yield (
                "message",
                "message",
                f"{{{{{content}}}}} stays empty: the monitor groups by {', '.join(sorted(groups))}",
            )
    for section in opened:
        yield "message", "message", f"{{{{#{section}}}}} is never closed"


def group_keys(query: MonitorQuery) -> tuple[str, ...]:
    """Return the tag keys by which a monitor alerts apart."""
    if isinstance(query, MetricMonitor | ChangeMonitor):
        return next((each.by for each in metric_queries(query.expression) if each.by), ())
    return query.by if isinstance(query, ServiceCheckMonitor | EventMonitor) else ()
