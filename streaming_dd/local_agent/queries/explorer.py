"""Finding spans and logs again: what the trace and log views, and log and trace monitors, ask of `Records`.

Times are epoch seconds, ranges are `start <= t < end`. Rows are dicts; ids of traces and spans are strings.
No state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...assets.query_language import Everything, Search
from ..intake.logs import Log
from ..store import search
from ..store.records import Records, Row
from ..store.search import Fields

SPAN_COLUMNS = (
    "id", "trace_id", "span_id", "parent_id", "name", "resource", "service", "type", "start_ns", "duration_ns",
    "error", "entry",
)  # fmt: skip
_SPAN = ", ".join(SPAN_COLUMNS)
_LOG = "id, timestamp, status, message, service, source, host, trace_id, span_id, tags, attributes"
_ENDED = "(start_ns + duration_ns) / 1e9"


def spans(
    records: Records,
    query: Search | None = None,
    *,
    start: float,
    end: float,
    entries: bool = False,
    roots: bool = False,
    before_id: int | None = None,
    limit: int = 100,
) -> list[Row]:
    """Return the spans that began in the range and match, newest first; `before_id` (of one of them) pages backwards.

    `entries`: services' entry spans only; `roots`: those that began a trace only.
    """
    condition, parameters = search.where(query or Everything(), search.SPANS)
    only = _only(entries, roots)
    if before_id is not None:
        only += "(start_ns, id) < (SELECT start_ns, id FROM spans WHERE id = ?) AND "
        parameters = [before_id, *parameters]
    return records.select(
        f"SELECT {_SPAN}, attributes FROM spans WHERE start_ns >= ? AND start_ns < ? "
        f"AND {only}{condition} ORDER BY start_ns DESC, id DESC LIMIT ?",
        [start * 1e9, end * 1e9, *parameters, limit],
    )


def span_counts(
    records: Records,
    query: Search | None = None,
    *,
    start: float,
    end: float,
    step: float,
    entries: bool = False,
    roots: bool = False,
) -> list[tuple[int, str, int]]:
    """Return (number of the step, `ok` or `error`, spans that began in it and match), for a histogram."""
    condition, parameters = search.where(query or Everything(), search.SPANS)
    return records.select_tuples(
        "SELECT CAST((start_ns - ?) / ? AS INTEGER), CASE WHEN error THEN 'error' ELSE 'ok' END, COUNT(*) FROM spans "
        f"WHERE start_ns >= ? AND start_ns < ? AND {_only(entries, roots)}{condition} GROUP BY 1, 2 ORDER BY 1",
        [start * 1e9, step * 1e9, start * 1e9, end * 1e9, *parameters],
    )


def _only(entries: bool, roots: bool) -> str:
    return "parent_id = '0' AND " if roots else "entry AND " if entries else ""


def trace(records: Records, trace_id: str) -> list[Row]:
    """Return the spans of a trace by start, with attributes, links and events. `trace_id`: 16 or 32 hex digits."""
    return records.select(
        f"SELECT {_SPAN}, attributes, links, events FROM spans WHERE trace_low = ? ORDER BY start_ns, id LIMIT 10000",
        [trace_id[-16:]],
    )


def trace_sizes(records: Records, trace_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (spans, errors) of each trace, by the last 16 digits of its id."""
    lows = sorted({trace_id[-16:] for trace_id in trace_ids})
    rows = records.select_tuples(
        "SELECT trace_low, COUNT(*), SUM(error) FROM spans "
        f"WHERE trace_low IN ({','.join('?' * len(lows))}) GROUP BY trace_low",
        lows,
    )
    return {low: (count, errors) for low, count, errors in rows}


def linked_from(records: Records, trace_id: str) -> list[Row]:
    """Return the spans of other traces that link to this one; `to_span` is the span they link to."""
    return records.select(
        f"SELECT {', '.join(f's.{column}' for column in SPAN_COLUMNS)}, l.to_span AS to_span "
        "FROM links l JOIN spans s ON s.id = l.span WHERE l.to_low = ? AND l.from_low <> l.to_low "
        "ORDER BY s.start_ns LIMIT 200",
        [trace_id[-16:]],
    )


def logs(
    records: Records,
    query: Search | None = None,
    *,
    start: float,
    end: float,
    before_id: int | None = None,
    after_id: int | None = None,
    limit: int = 200,
) -> list[Row]:
    """Return the matching logs of the range, newest first.

    `before_id` (of one of them) pages backwards, by time: a line that came late is where its time says. `after_id` tails.
    """
    condition, parameters = search.where(query or Everything(), search.LOGS)
    page, ids = "", []
    if before_id is not None:
        page += "(timestamp, id) < (SELECT timestamp, id FROM logs WHERE id = ?) AND "
        ids.append(before_id)
    if after_id is not None:
        page += "id > ? AND "
        ids.append(after_id)
    return records.select(
        f"SELECT {_LOG} FROM logs WHERE timestamp >= ? AND timestamp < ? "
        f"AND {page}{condition} ORDER BY timestamp DESC, id DESC LIMIT ?",
        [start, end, *ids, *parameters, limit],
    )


def log(records: Records, row_id: int) -> Row | None:
    """Return one log."""
    rows = records.select(f"SELECT {_LOG} FROM logs WHERE id = ?", [row_id])
    return rows[0] if rows else None


def trace_logs(records: Records, trace_id: str) -> list[Row]:
    """Return the logs that carry a trace's id, oldest first."""
    return records.select(
        f"SELECT {_LOG} FROM logs WHERE trace_low = ? AND trace_low <> '' ORDER BY timestamp, id LIMIT 5000",
        [trace_id[-16:]],
    )


def task_logs(records: Records) -> list[Log]:
    """Return the last lines that tell of tasks, oldest first: what `Tasks` is made of after a restart."""
    rows = records.select(
        f"SELECT * FROM (SELECT {_LOG} FROM logs WHERE json_extract(attributes, '$.\"task.model\"') IS NOT NULL "
        "ORDER BY id DESC LIMIT 5000) ORDER BY id",
        [],
    )
    return [
        Log(
            row["timestamp"], row["status"], row["message"], row["service"], trace_id=row["trace_id"],
            span_id=row["span_id"], attributes=row["attributes"],
        )
        for row in rows
    ]  # fmt: skip


def log_counts(
    records: Records, query: Search | None = None, *, start: float, end: float, step: float
) -> list[tuple[int, str, int]]:
    """Return (number of the step, status, matching logs), for a histogram by level."""
    condition, parameters = search.where(query or Everything(), search.LOGS)
    return records.select_tuples(
        "SELECT CAST((timestamp - ?) / ? AS INTEGER), status, COUNT(*) FROM logs "
        f"WHERE timestamp >= ? AND timestamp < ? AND {condition} GROUP BY 1, 2 ORDER BY 1",
        [start, step, start, end, *parameters],
    )


def log_facets(
    records: Records,
    keys: Sequence[str],
    query: Search | None = None,
    *,
    start: float,
    end: float,
    limit: int = 20,
) -> dict[str, list[tuple[Any, int]]]:
    """Return the most frequent (value, count) of each key among the matching logs."""
    condition, parameters = search.where(query or Everything(), search.LOGS)
    found = {}
    for key in keys:
        value, needed = search.value_of(key, search.LOGS)
        found[key] = records.select_tuples(
            f"SELECT {value} AS value, COUNT(*) FROM logs WHERE timestamp >= ? AND timestamp < ? AND {condition} "
            "AND value <> '' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
            [*needed, start, end, *parameters, limit],
        )
    return found


def log_values(
    records: Records,
    query: Search | None = None,
    measure: str | None = None,
    by: Sequence[str] = (),
    *,
    start: float,
    end: float,
) -> list[tuple[Any, ...]]:
    """Return (time, value of `measure` or 1, value of each key of `by`...) of each matching log: for monitors."""
    return _values(records, "logs", "timestamp", search.LOGS, query, (measure, *by), start, end)


def span_values(
    records: Records,
    query: Search | None = None,
    measure: str | None = None,
    by: Sequence[str] = (),
    *,
    start: float,
    end: float,
) -> list[tuple[Any, ...]]:
    """Return the same of each matching span that ended in the range."""
    return _values(records, "spans", _ENDED, search.SPANS, query, (measure, *by), start, end)


def _values(
    records: Records,
    table: str,
    time: str,
    fields: Fields,
    query: Search | None,
    keys: Sequence[str | None],
    start: float,
    end: float,
) -> list[tuple[Any, ...]]:
    condition, parameters = search.where(query or Everything(), fields)
    columns: list[str] = [time]
    needed: list[object] = []
    for key in keys:
        value, more = search.value_of(key, fields) if key else ("1", [])
        columns.append(value)
        needed += more
    return records.select_tuples(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {time} >= ? AND {time} < ? AND {condition}",
        [*needed, start, end, *parameters],
    )
