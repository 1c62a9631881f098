"""Errors, grouped: what spans and logs tell of exceptions becomes one row per kind of fault. No state.

A fingerprint is the exception's type, the innermost frame of one's own code (file and function, never the line, which
moves) and the operation. An exception passes through several spans and is logged on its way: within a trace, what has
the same type is one occurrence; so is a line without a
trace (a server's own, say) that tells the same within `SAME` seconds.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...assets.query_language import Everything, Search
from ..store import search
from ..store.records import Records, Row

MAX_ROWS = 5_000
"""Failed spans, and lines with an error, that one answer looks at: the newest."""
MAX_GROUPS = 200
MAX_STACK = 16_000
MAX_TRACES = 20
SAME = 2.0

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_FOREIGN = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python3|^<|[/\\]streaming_dd[/\\]")
_HEAD = "Traceback (most recent call last)"


@dataclass
class Occurrence:
    """One exception, as its spans and its log lines tell it."""

    kind: str
    trace_id: str
    first: float
    service: str
    message: str = ""
    stack: str = ""
    operation: str = ""
    resource: str = ""
    version: str = ""
    env: str = ""
    span_id: str = ""
    outermost: float = -1.0
    """End of the span that gave the operation: that which ends last is the outermost."""
    spans: int = 0
    logs: list[int] = field(default_factory=list)
    tasks: set[tuple[str, str, str]] = field(default_factory=set)

    def add_span(self, span: Row) -> None:
        """Take what a failed span tells; the outermost gives the operation, the longest stack is kept."""
        attributes, end = span["attributes"], _end(span)
        self.spans += 1
        self._tell(attributes, ("error.message", "error.msg"), ("error.stack", "error.traceback"))
        if end > self.outermost:
            self.outermost, self.operation, self.resource = end, span["name"], span["resource"]
            self.service, self.span_id = span["service"], span["span_id"]

    def add_log(self, log: Row) -> None:
        """Take what a log line tells."""
        self.logs.append(log["id"])
        self._tell(log["attributes"], ("error.message",), ("error.stack",))
        self.message = self.message or log["message"]
        if not self.operation and not self.resource:
            self.resource = str(log["attributes"].get("http.route") or "")

    def _tell(self, attributes: dict[str, Any], messages: Sequence[str], stacks: Sequence[str]) -> None:
        self.message = self.message or _first(attributes, messages)
        self.stack = max(self.stack, _first(attributes, stacks), key=len)
        self.version = self.version or _first(attributes, ("version", "dd.version"))
        self.env = self.env or _first(attributes, ("env", "dd.env"))
        if model := attributes.get("task.model"):
            app, task_id = (str(attributes.get(f"task.{name}") or "") for name in ("app", "id"))
            self.tasks.add((app, str(model), task_id))


def _first(attributes: dict[str, Any], keys: Sequence[str]) -> str:
    return next((str(attributes[key]) for key in keys if attributes.get(key)), "")


@lru_cache(maxsize=1024)  # the same fault has the same stack
def place(stack: str) -> tuple[str, int, str]:
    """Return file, line and function of the innermost own frame of a stack; of the innermost one if none is own.

    Of chained exceptions the last counts, which is the one that was seen.
    """
    last = stack.rpartition(_HEAD)[2]
    frames = [(file, int(line), name) for file, line, name in _FRAME.findall(last)]
    own = [frame for frame in frames if not _FOREIGN.search(frame[0])]
    return (own or frames or [("", 0, "")])[-1]


def occurrences(
    records: Records, query: Search | None = None, *, start: float, end: float
) -> list[Occurrence]:
    """Return the exceptions of a range, oldest first."""
    found: dict[tuple[str, str], Occurrence] = {}
    loose: list[Row] = []
    untyped: list[Row] = []

    def take(row: Row, kind: str, at: float) -> Occurrence:
        key = (row["trace_id"][16:], _short(kind))
        one = found.setdefault(key, Occurrence(kind, row["trace_id"], at, row["service"]))
        one.kind, one.first = max(one.kind, kind, key=len), min(one.first, at)
        return one

    for span in _failed_spans(records, query, start, end):
        if kind := _kind(span):
            take(span, kind, _end(span)).add_span(span)
        else:
            untyped.append(span)
    for log in _lines_with_errors(records, query, start, end):
        if log["trace_id"]:
            take(log, _kind(log) or "error", log["timestamp"]).add_log(log)
        else:
            loose.append(log)
    by_trace = {trace: one for (trace, _), one in found.items()}
    for span in untyped:  # a status of 500 alone: what failed within says more, if anything does
        one = by_trace.get(span["trace_id"][16:])
        status = span["attributes"].get("http.status_code")
        one = one or take(span, f"HTTP {status}" if status else "error", _end(span))
        one.add_span(span)
    return sorted(_with_loose(list(found.values()), loose), key=lambda one: one.first)


def _with_loose(known: list[Occurrence], loose: Iterable[Row]) -> list[Occurrence]:
    """Add lines without a trace: to the exception that they tell again, else as exceptions of their own."""
    by_kind: dict[str, list[Occurrence]] = {}
    for one in sorted(known, key=lambda one: one.first):
        by_kind.setdefault(_short(one.kind), []).append(one)
    alone = []
    for log in loose:
        kind, at = _kind(log) or "error", log["timestamp"]
        near = by_kind.get(_short(kind), [])
        since, until = (bisect_left(near, at + by, key=lambda one: one.first) for by in (-SAME, SAME))
        where = place(str(log["attributes"].get("error.stack") or ""))[::2]
        for one in near[since:until]:
            if one.service == log["service"] and (not one.stack or place(one.stack)[::2] == where):
                break
        else:
            one = Occurrence(kind, "", at, log["service"])
            alone.append(one)
        one.add_log(log)
    return known + alone


def _kind(row: Row) -> str:
    """Return the exception's type as a span or a line tells it, "" if it does not."""
    return _first(row["attributes"], ("error.type", "error.kind")).removeprefix("builtins.")


def _short(kind: str) -> str:
    """Return a type without its module: spans carry it, log lines often do not."""
    return kind.rpartition(".")[2]


def _end(span: Row) -> float:
    return float(span["start_ns"] + span["duration_ns"]) / 1e9


def _failed_spans(records: Records, query: Search | None, start: float, end: float) -> list[Row]:
    condition, parameters = search.where(query or Everything(), search.SPANS)
    return records.select(
        "SELECT trace_id, span_id, name, resource, service, start_ns, duration_ns, attributes FROM spans "
        f"WHERE start_ns >= ? AND start_ns < ? AND error <> 0 AND {condition} ORDER BY start_ns DESC LIMIT ?",
        [start * 1e9, end * 1e9, *parameters, MAX_ROWS],
    )


def _lines_with_errors(records: Records, query: Search | None, start: float, end: float) -> list[Row]:
    condition, parameters = search.where(query or Everything(), search.LOGS)
    return records.select(
        "SELECT id, timestamp, message, service, trace_id, attributes FROM logs WHERE timestamp >= ? AND timestamp < ? "
        "AND (instr(attributes, '\"error.kind\":') OR instr(attributes, '\"error.stack\":')) "
        f"AND {condition} ORDER BY timestamp DESC LIMIT ?",
        [start, end, *parameters, MAX_ROWS],
    )


def groups(
    records: Records, query: Search | None = None, *, start: float, end: float, steps: int = 60
) -> list[dict[str, Any]]:
    """Return one row per fingerprint, the latest seen first: counts by step, first and last seen, one stack."""
    rows: dict[str, dict[str, Any]] = {}
    step = (end - start) / steps
    found = occurrences(records, query, start=start, end=end)
    # A line without its span (which comes when it ends) is of the operation that failed so before.
    places = [(_short(one.kind), place(one.stack)) for one in found]
    operations = {
        (kind, file, name): one.operation
        for one, (kind, (file, _, name)) in zip(found, places, strict=True)
        if one.operation
    }
    for one, (kind, (file, line, function)) in zip(found, places, strict=True):
        operation = one.operation or operations.get((kind, file, function), "")
        mark = hashlib.sha256("\0".join((kind, file, function, operation)).encode()).hexdigest()[:16]
        row = rows.get(mark)
        if row is None:
            row = rows[mark] = {
                "fingerprint": mark, "kind": one.kind, "file": file, "function": function, "operation": operation,
                "first": one.first, "count": 0, "counts": [0] * steps, "step": step, "start": start,
                "services": set(), "versions": set(), "envs": set(), "resources": set(), "tasks": {}, "traces": [],
                "logs": 0, "stack": "", "loose_logs": [],
            }  # fmt: skip
        _add(row, one, line, min(steps - 1, max(0, int((one.first - start) / step))))
    latest = sorted(rows.values(), key=lambda row: -row["last"])[:MAX_GROUPS]
    return [_shown(row) for row in latest]


def _add(row: dict[str, Any], one: Occurrence, line: int, at: int) -> None:
    """Count an occurrence; the newest gives message, line and stack."""
    row["count"] += 1
    row["counts"][at] += 1
    row["last"], row["line"], row["message"] = one.first, line, one.message[:2_000]
    row["stack"] = one.stack[-MAX_STACK:] or row["stack"]
    row["logs"] += len(one.logs)
    told = {"services": one.service, "versions": one.version, "envs": one.env, "resources": one.resource}
    for name, value in told.items():
        if value:
            row[name].add(value)
    for task in one.tasks:
        row["tasks"][task] = one.trace_id
    if one.trace_id:
        row["traces"].append({"trace_id": one.trace_id, "span_id": one.span_id, "time": one.first})
    elif len(row["loose_logs"]) < MAX_TRACES:
        row["loose_logs"] += one.logs[:1]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON takes it, its lists bounded."""
    tasks = [
        {"app": app, "model": model, "id": id, "trace_id": trace_id}
        for (app, model, id), trace_id in row["tasks"].items()
    ]
    return {
        **row,
        **{name: sorted(row[name])[:20] for name in ("services", "versions", "envs", "resources")},
        "tasks": tasks[-MAX_TRACES:][::-1],
        "task_count": len(tasks),
        "trace_count": len(row["traces"]),
        "traces": row["traces"][-MAX_TRACES:][::-1],
    }
