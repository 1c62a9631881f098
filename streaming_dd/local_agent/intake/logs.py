"""Log lines: text in, `Log` out, with Datadog's reserved attributes found as its pipelines find them. No state.

Sources of the rules: docs.datadoghq.com/logs/log_configuration/pipelines (which attribute is the date, status,
service, message, trace) and .../processors/log_status_remapper (what the status text becomes).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from .spans import trace_id_of

MAX_LINE = 900_000
"""Bytes of one message: the Agent's `logs_config.max_message_size_bytes`. A longer line is several."""

DATE_KEYS = ("@timestamp", "timestamp", "_timestamp", "Timestamp", "eventTime", "date", "published_date")
STATUS_KEYS = ("status", "severity", "level")
HOST_KEYS = ("host", "hostname")
TRACE_KEYS = ("dd.trace_id", "trace_id", "contextMap.dd.trace_id")
SPAN_KEYS = ("dd.span_id", "span_id", "contextMap.dd.span_id")

SYSLOG = ("emergency", "alert", "critical", "error", "warn", "notice", "info", "debug")
_PREFIXES = (
    ("emerg", "emergency"), ("f", "emergency"), ("a", "alert"), ("c", "critical"), ("err", "error"),
    ("w", "warn"), ("n", "notice"), ("i", "info"), ("d", "debug"), ("t", "debug"), ("v", "debug"),
    ("o", "ok"), ("s", "ok"),
)  # fmt: skip


@dataclass(slots=True)
class Log:
    """One log line. `timestamp` is epoch seconds, `trace_id` 32 hex digits or "", `span_id` decimal or ""."""

    timestamp: float
    status: str
    message: str
    service: str = ""
    source: str = ""
    host: str = ""
    trace_id: str = ""
    span_id: str = ""
    tags: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


def parse(line: bytes, *, now: float, service: str = "", source: str = "", tags: tuple[str, ...] = ()) -> Log:
    """Read one line: a JSON object by its reserved attributes, anything else as a plain message."""
    decoded = _json_object(line)
    if decoded is None:
        text = line.decode("utf-8", "replace")
        return Log(now, "info", text, service=service, source=source, tags=tags)
    attributes = decoded
    return Log(
        _date(_first(attributes, DATE_KEYS), now),
        status_of(_first(attributes, STATUS_KEYS)),
        _string(_first(attributes, ("message", "msg"))),
        service=_string(_first(attributes, ("service", "dd.service"))) or service,
        source=_string(attributes.get("ddsource")) or source,
        host=_string(_first(attributes, HOST_KEYS)),
        trace_id=trace_id_of(_string(_first(attributes, TRACE_KEYS))),
        span_id=_span_id(_string(_first(attributes, SPAN_KEYS))),
        tags=tags + tuple(tag for tag in _string(attributes.get("ddtags")).split(",") if tag),
        attributes=attributes,
    )


def status_of(value: object) -> str:
    """Return Datadog's status for what a log calls its level: `WARNING` and 4 are warn, unknown text is info."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return SYSLOG[int(value)] if 0 <= value <= 7 else "info"
    text = str(value or "").strip().lower()
    if text.isascii() and text.isdigit() and int(text) <= 7:
        return SYSLOG[int(text)]
    return next((status for prefix, status in _PREFIXES if text.startswith(prefix)), "info")


def _json_object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        decoded = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _first(attributes: dict[str, Any], keys: tuple[str, ...]) -> object:
    """Return the first of the attributes that is there; `a.b` is looked up flat and nested."""
    for key in keys:
        value = attributes.get(key)
        if value is None and "." in key:
            outer, _, inner = key.rpartition(".")
            nested = attributes.get(outer)
            value = nested.get(inner) if isinstance(nested, dict) else None
        if value is not None and value != "":
            return value
    return None


def _string(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


def _span_id(text: str) -> str:
    """Return a span id in decimal; OpenTelemetry writes 16 hex digits."""
    if len(text) == 16 and not text.isdigit():
        try:
            return str(int(text, 16))
        except ValueError:
            return ""
    return text if text.isascii() and text.isdigit() and text.strip("0") else ""


def _date(value: object, now: float) -> float:
    """Return epoch seconds from ISO 8601 or Unix milliseconds; `now` for what is neither."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000 if 1e11 < value < 1e14 else now
    if isinstance(value, str) and len(value) >= 10:
        try:
            date = datetime.fromisoformat(value.replace(",", "."))
        except ValueError:
            return now
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return now


def format_time(timestamp: float) -> str:
    """Return epoch seconds as ISO 8601 in UTC, to the millisecond."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(timestamp))
    return f"{seconds}.{int(timestamp % 1 * 1000):03d}Z"
