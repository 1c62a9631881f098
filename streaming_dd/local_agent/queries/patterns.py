"""Log patterns: lines that say the same of other things are one row. No state.

What differs from line to line (numbers, ids, addresses, what is quoted) is replaced by a mark; lines with the same rest,
service and status are one pattern.
"""

from __future__ import annotations

import re
from typing import Any

from ...assets.query_language import Everything, Search
from ..store import search
from ..store.records import Records

MAX_ROWS = 5_000
"""Lines that one answer looks at: the newest."""
MAX_PATTERNS = 200
MAX_TEXT = 500
"""Characters of a message that make its pattern: of a long one the beginning tells what it is."""

_VARIABLE = re.compile(
    r"""(?P<text>"[^"]*"|(?<!\w)'[^']*'(?!\w))"""
    r"|(?P<id>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b|\b0x[0-9a-fA-F]+\b)"
    r"|(?P<address>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)"
    r"|(?P<number>(?<![A-Za-z_])[-+]?\d+(?:[.,:]\d+)*)"
)


def pattern(message: str) -> str:
    """Return what a message says, with a mark such as `<number>` for what differs from line to line."""
    return _VARIABLE.sub(lambda found: f"<{found.lastgroup}>", message[:MAX_TEXT])


def patterns(
    records: Records, query: Search | None = None, *, start: float, end: float, steps: int = 60
) -> dict[str, Any]:
    """Return the patterns of the newest lines of a range that match, the most frequent first, with counts by step."""
    condition, parameters = search.where(query or Everything(), search.LOGS)
    rows = records.select_tuples(
        f"SELECT id, timestamp, substr(message, 1, {MAX_TEXT}), service, status FROM logs "
        f"WHERE timestamp >= ? AND timestamp < ? AND {condition} ORDER BY timestamp DESC, id DESC LIMIT ?",
        [start, end, *parameters, MAX_ROWS],
    )
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    step = (end - start) / steps
    for row_id, timestamp, message, service, status in rows:
        key = (pattern(message), service, status)
        row = found.get(key)
        if row is None:
            row = found[key] = {
                "pattern": key[0], "service": service, "status": status, "count": 0, "counts": [0] * steps,
                "last": timestamp, "last_id": row_id, "example": message,
            }  # fmt: skip
        row["count"] += 1
        row["first"] = timestamp
        row["counts"][min(steps - 1, int((timestamp - start) / step))] += 1
    frequent = sorted(found.values(), key=lambda row: (-row["count"], -row["last"]))
    return {"looked_at": len(rows), "all": len(rows) < MAX_ROWS, "patterns": frequent[:MAX_PATTERNS]}
