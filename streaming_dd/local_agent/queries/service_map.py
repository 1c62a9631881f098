"""Who calls whom: services joined by the parents and the links of their spans. Pure functions over `Records`, no state."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from ..store.points import INTERVAL
from ..store.records import Records

MAX_SPANS = 20_000
"""Calls and links of a range that are looked at, each: the newest."""
MAX_EDGES = 200
_CALLS = (
    "SELECT p.service, c.service, c.duration_ns, c.error, c.start_ns FROM spans c "
    "JOIN spans p ON p.trace_low = c.trace_low AND p.span_id = c.parent_id "
    "WHERE c.start_ns >= ? AND c.start_ns < ? AND c.entry AND c.parent_id <> '0' AND p.service <> c.service "
    "ORDER BY c.start_ns DESC LIMIT ?"
)
_LINKS = (
    "SELECT t.service, s.service, s.duration_ns, s.error, s.start_ns FROM spans s JOIN links l ON l.span = s.id "
    "JOIN spans t ON t.trace_low = l.to_low AND t.span_id = l.to_span "
    "WHERE s.start_ns >= ? AND s.start_ns < ? AND l.from_low <> l.to_low ORDER BY s.start_ns DESC LIMIT ?"
)


def edges(records: Records, start: float, end: float, now: float) -> dict[str, Any]:
    """Return the edges of the map, the busiest first.

    A `call` leads from a span's service to that of its child, a `link` from the service of the span that is linked to (which
    submitted a task, say) to the one that links. Durations are those of the called side, in seconds, its outcome the error.
    Rates are per second of the time that is covered: from the first span of the range to its end, or to now.
    """
    first = records.select_tuples(
        "SELECT MIN(start_ns) FROM spans WHERE start_ns >= ? AND start_ns < ?", [start * 1e9, end * 1e9]
    )[0][0]
    found: list[dict[str, Any]] = []
    left_out = 0
    for kind, sql in (("call", _CALLS), ("link", _LINKS)):
        rows = records.select_tuples(sql, [start * 1e9, end * 1e9, MAX_SPANS + 1])
        if len(rows) > MAX_SPANS:
            left_out += 1
            first = rows[MAX_SPANS - 1][-1]
        covered = max(INTERVAL, min(end, now) - (first or 0) / 1e9)
        by_pair: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for source, target, duration, error, _ in rows[:MAX_SPANS]:
            by_pair[source, target].append((duration, error))
        for (source, target), ends in by_pair.items():
            durations = sorted(duration for duration, _ in ends)
            errors = sum(error for _, error in ends)
            found.append(
                {
                    "from": source,
                    "to": target,
                    "kind": kind,
                    "calls": len(ends),
                    "per_second": len(ends) / covered,
                    "errors": errors,
                    "error_rate": errors / len(ends),
                    "p95": durations[math.ceil(0.95 * len(durations)) - 1] / 1e9,
                }
            )
    found.sort(key=lambda edge: (-edge["calls"], edge["from"], edge["to"]))
    return {
        "edges": found[:MAX_EDGES],
        "left_out": max(0, len(found) - MAX_EDGES),
        "newest_only": MAX_SPANS if left_out else None,
    }
