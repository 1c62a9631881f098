"""Spans and logs in SQLite, in memory or in a file, bounded; `explorer` finds them again.

State: one `Records` per agent, used on its loop only.

Rows are written in batches (`flush`, also before every read) and the oldest batches go when a table is over its
limit of rows or bytes; `dropped` says how many. Attributes are one flat JSON object per row. Traces are joined on
the low 64 bits of their id, since Datadog too matches full and truncated ids.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ...errors import LocalAgentError
from ..intake.logs import Log
from ..intake.spans import Span
from . import search

Row = dict[str, Any]
SCHEMA_VERSION = 1
MAX_ID = 2**63 - 1
MAX_SECONDS = 2.0
MAX_SAFE = 2**53 - 1
BATCH = 1_000
"""Rows gathered before they are written without waiting for the next tick."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    id INTEGER PRIMARY KEY, trace_low TEXT, trace_id TEXT, span_id TEXT, parent_id TEXT, name TEXT, resource TEXT,
    service TEXT, type TEXT, start_ns INTEGER, duration_ns INTEGER, error INTEGER, entry INTEGER, attributes TEXT,
    links TEXT, events TEXT);
DROP INDEX IF EXISTS spans_trace;
CREATE INDEX IF NOT EXISTS spans_in_trace ON spans (trace_low, span_id);
CREATE INDEX IF NOT EXISTS spans_start ON spans (start_ns);
CREATE TABLE IF NOT EXISTS links (span INTEGER, from_low TEXT, from_span TEXT, to_low TEXT, to_span TEXT);
CREATE INDEX IF NOT EXISTS links_span ON links (span);
CREATE INDEX IF NOT EXISTS links_to ON links (to_low);
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, timestamp REAL, status TEXT, message TEXT, service TEXT, source TEXT, host TEXT,
    trace_low TEXT, trace_id TEXT, span_id TEXT, tags TEXT, attributes TEXT);
CREATE INDEX IF NOT EXISTS logs_time ON logs (timestamp);
CREATE INDEX IF NOT EXISTS logs_trace ON logs (trace_low) WHERE trace_low <> '';
"""
_INSERT_SPAN = f"INSERT INTO spans VALUES ({','.join('?' * 16)})"
_INSERT_LOG = f"INSERT INTO logs VALUES ({','.join('?' * 12)})"


@dataclass(slots=True)
class _Table:
    """What is known of a table without asking SQLite: enough to keep it within its limits."""

    name: str
    max_rows: int
    max_bytes: int
    rows: int = 0
    bytes: int = 0
    dropped: int = 0
    next_id: int = 1
    pending: list[tuple[Any, ...]] = field(default_factory=list)
    pending_bytes: int = 0
    batches: deque[tuple[int, int, int]] = field(default_factory=deque)
    """(last id, rows, bytes) of each batch, oldest first."""


class Records:
    """Keeps spans and logs. `path` None keeps them in memory."""

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        max_spans: int = 50_000,
        max_logs: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.path = path or "memory"
        self.problem = ""
        """Why rows could not be written, "" if all could."""
        self.connection = _open(path)
        self._spans = _Table("spans", max_spans, max_bytes)
        self._logs = _Table("logs", max_logs, max_bytes)
        self._links: list[tuple[int, str, str, str, str]] = []
        for table in (self._spans, self._logs):
            self._count(table)

    def close(self) -> None:
        self.flush()
        self.connection.close()

    def add_spans(self, spans: Iterable[Span]) -> None:
        """Keep spans."""
        table = self._spans
        for span in spans:
            row_id = table.next_id
            low = span.trace_id[16:]
            attributes = _encode({**span.meta, **span.metrics})
            links = events = ""
            if span.links:
                links = _encode(
                    [_link_row(link.trace_id, link.span_id, link.attributes) for link in span.links]
                )
                self._links += [
                    (row_id, low, span.span_id, link.trace_id[16:], link.span_id) for link in span.links
                ]
            if span.events:
                events = _encode(span.events)
            entry = span.parent_id == "0" or span.metrics.get("_dd.top_level") == 1
            self._append(
                table,
                (
                    row_id, low, span.trace_id, span.span_id, span.parent_id, span.name, span.resource, span.service,
                    span.type, span.start_ns, span.duration_ns, span.error, int(entry), attributes, links, events,
                ),
                300 + len(attributes) + len(links) + len(events) + len(span.resource),
            )  # fmt: skip

    def add_logs(self, logs: Iterable[Log]) -> None:
        """Keep logs."""
        table = self._logs
        for log in logs:
            attributes = _encode(flat(log.attributes))
            tags = f",{','.join(log.tags)}," if log.tags else ""
            self._append(
                table,
                (
                    table.next_id, log.timestamp, log.status, log.message, log.service, log.source, log.host,
                    log.trace_id[16:], log.trace_id, log.span_id, tags, attributes,
                ),
                200 + len(log.message) + len(attributes),
            )  # fmt: skip

    def flush(self) -> None:
        """Write what is pending and drop the oldest beyond the limits; rows that cannot be written are dropped."""
        if not self._spans.pending and not self._logs.pending:
            return
        try:
            with self.connection:
                for table, insert in ((self._spans, _INSERT_SPAN), (self._logs, _INSERT_LOG)):
                    if table.pending:
                        self.connection.executemany(insert, table.pending)
                self.connection.executemany("INSERT INTO links VALUES (?,?,?,?,?)", self._links)
        except sqlite3.Error as error:  # a full disk, a file on a drive that went away
            self.problem = f"{self.path}: {error}; what came in meanwhile is lost"
            for table in (self._spans, self._logs):
                table.dropped += len(table.pending)
                table.pending, table.pending_bytes = [], 0
            self._links = []
            return
        self._links = []
        for table in (self._spans, self._logs):
            if table.pending:
                table.batches.append((table.next_id - 1, len(table.pending), table.pending_bytes))
                table.rows += len(table.pending)
                table.bytes += table.pending_bytes
                table.pending, table.pending_bytes = [], 0
                self._evict(table)

    def clear(self) -> None:
        """Drop all spans and logs; ids go on."""
        self._links = []
        with self.connection:
            for name in ("links", "spans", "logs"):
                self.connection.execute(f"DELETE FROM {name}")
        for table in (self._spans, self._logs):
            table.rows = table.bytes = table.dropped = table.pending_bytes = 0
            table.pending = []
            table.batches.clear()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return rows, bytes, limits and dropped rows of both tables."""
        return {
            table.name: {
                "rows": table.rows + len(table.pending),
                "bytes": table.bytes + table.pending_bytes,
                "dropped": table.dropped,
                "max_rows": table.max_rows,
                "max_bytes": table.max_bytes,
            }
            for table in (self._spans, self._logs)
        }

    def select(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """Run a query and return its rows as dicts, JSON columns decoded; `TimeoutError` after `MAX_SECONDS`."""
        names, rows = self._fetch(sql, parameters)
        return [_decoded(dict(zip(names, row, strict=True))) for row in rows]

    def select_tuples(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a query and return its rows as they are."""
        return self._fetch(sql, parameters)[1]

    def _fetch(self, sql: str, parameters: Sequence[object]) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query within `MAX_SECONDS`: it shares the loop with the intake."""
        self.flush()
        deadline = time.monotonic() + MAX_SECONDS
        self.connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            with closing(self.connection.execute(sql, parameters)) as cursor:
                return [column[0] for column in cursor.description], cursor.fetchall()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TimeoutError(
                    f"the search took longer than {MAX_SECONDS:g} s: narrow the time range"
                ) from None
            raise
        finally:
            self.connection.set_progress_handler(None, 0)

    def _append(self, table: _Table, row: tuple[Any, ...], size: int) -> None:
        table.pending.append(row)
        table.pending_bytes += size
        table.next_id += 1
        if len(table.pending) >= BATCH:
            self.flush()

    def _evict(self, table: _Table) -> None:
        last = 0
        while len(table.batches) > 1 and (table.rows > table.max_rows or table.bytes > table.max_bytes):
            last, rows, size = table.batches.popleft()
            table.rows -= rows
            table.bytes -= size
            table.dropped += rows
        if last:
            with self.connection:
                self.connection.execute(f"DELETE FROM {table.name} WHERE id <= ?", [last])
                if table is self._spans:
                    self.connection.execute("DELETE FROM links WHERE span <= ?", [last])

    def _count(self, table: _Table) -> None:
        """Learn what a file from an earlier run holds."""
        text = "attributes" if table is self._spans else "message || attributes"
        for last, rows, size in self.connection.execute(
            f"SELECT MAX(id), COUNT(*), SUM(300 + length({text})) FROM {table.name} GROUP BY id / {BATCH} ORDER BY 1"
        ).fetchall():
            table.batches.append((last, rows, size))
            table.rows += rows
            table.bytes += size
            table.next_id = last + 1


def flat(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return nested objects as dotted names (`{"http": {"method": ..}}` becomes `{"http.method": ..}`).

    Integers that a browser's numbers cannot hold become strings.
    """
    if not any(isinstance(value, dict | int) for value in attributes.values()):
        return attributes
    result: dict[str, Any] = {}
    pending = list(attributes.items())[::-1]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict) and value and key.count(".") < 20:
            pending += [(f"{key}.{inner}", deeper) for inner, deeper in value.items()][::-1]
        else:
            result[key] = str(value) if isinstance(value, int) and abs(value) > MAX_SAFE else value
    return result


def _open(path: str | Path | None) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path or ":memory:", check_same_thread=False)
    except sqlite3.Error as error:
        raise LocalAgentError(
            f"--persist {path}: {error}. Its directory must exist and be writable."
        ) from error
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise LocalAgentError(
                f"--persist {path}: the file was written by another version. Delete it or choose another."
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(SCHEMA)
        db.execute("UPDATE logs SET status = 'warn' WHERE status = 'warning'")  # as files before 0.3 have it
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except (sqlite3.Error, LocalAgentError) as error:
        db.close()
        if isinstance(error, LocalAgentError):
            raise
        raise LocalAgentError(
            f"--persist {path}: {error}. Choose another file, or delete this one."
        ) from error
    db.create_function("has_word", 2, search.has_word, deterministic=True)
    db.create_function("tag_of", 2, search.tag_of, deterministic=True)
    return db


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _link_row(trace_id: str, span_id: str, attributes: dict[str, Any]) -> Row:
    return {"trace_id": trace_id, "span_id": span_id, "attributes": attributes}


def _decoded(row: Row) -> Row:
    for key in ("attributes", "links", "events"):
        if key in row:
            row[key] = msgspec.json.decode(row[key]) if row[key] else ({} if key == "attributes" else [])
    if "tags" in row:
        row["tags"] = [tag for tag in row["tags"].split(",") if tag]
    return row
