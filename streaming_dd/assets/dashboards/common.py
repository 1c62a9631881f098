"""What the dashboards share: template variables, units, and the log columns. No state."""

from __future__ import annotations

from collections.abc import Sequence

from ...catalog import Metric
from ..options import Options
from ..queries import Queries
from .widgets import Line, unit

MILLISECONDS = unit("millisecond")
SECONDS = unit("second")
BYTES = unit("byte")
PERCENT = unit("percent")
PER_SECOND = {
    "task": unit("task", "second"),
    "request": unit("request", "second"),
    "event": unit("event", "second"),
    "connection": unit("connection", "second"),
    "byte": unit("byte", "second"),
}

LOG_FIELDS = ("status_line", "timestamp", "service", "content")
SPAN_FIELDS = ("timestamp", "service", "resource_name", "@duration", "status")


def variables(options: Options, *keys: str) -> list[tuple[str, str]]:
    """Return template variables with the options' scope as their default."""
    fixed = {"env": options.env, "service": options.service}
    return [(key, fixed.get(key) or "*") for key in ("env", "service", "version", *keys)]


def share(part: str, *others: str) -> str:
    """Return the formula of a part in percent of itself and the others; no division by zero on an idle system."""
    return f"{part} / ({' + '.join([part, *others])}) * 100"


def above_zero(name: str) -> str:
    """Return the formula of a count in a ranking: the zeros that are sent on purpose have no place in it."""
    return f"cutoff_min({name}, 1)"


def statistics(
    q: Queries, metric: Metric, names: Sequence[str] = ("p50", "p95", "max"), outcome: str = ""
) -> tuple[dict[str, str], list[Line]]:
    """Return the queries of a timer's statistics, and their lines with what they are of."""
    where = {"outcome": outcome} if outcome else {}
    queries = {name: q.timer(metric, name, (), **where) for name in names}
    return queries, [Line(name, q.called(metric, name)) for name in names]
