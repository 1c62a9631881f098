"""What the dashboards share: template variables, units, and the log columns. No state."""

from __future__ import annotations

from ..options import Options
from ..widgets import unit

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
