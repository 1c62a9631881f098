"""OTLP/HTTP logs (protobuf or JSON) as `Log`s, by the rules of the Agent's OTLP intake. No state.

The status is the severity's, ids are in Datadog's form, attributes of the resource are the line's too.
(opentelemetry-proto: logs/v1/logs.proto)
"""

from __future__ import annotations

from typing import Any

from ..logs import MAX_LINE, Log, status_of
from ..names import cut
from ..normalize import YEAR_2000
from .metrics import RESOURCE_TAGS, resource_tags
from .spans import NO_SERVICE, Attributes, any_value, attributes_of, read, reading, text_of

SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")
"""Each stands for four numbers, from 1 on."""


def decode(body: bytes, content_type: str, now: float) -> list[Log]:
    """Return the lines of a request; raise `ValueError` if it is not one, `TooMuch` if it is too large."""
    with reading("logs"):
        request = read(body, content_type, "LogsRequest")
        return [
            _log(record, resource, now)
            for resource_logs in request.get("resourceLogs", ())
            for resource in [attributes_of(resource_logs.get("resource", {}))]
            for scope in resource_logs.get("scopeLogs", ())
            for record in scope.get("logRecords", ())
        ]


def _log(record: dict[str, Any], resource: Attributes, now: float) -> Log:
    body = any_value(record.get("body") or {})
    attributes = {key: value for key, value in resource.items() if key not in RESOURCE_TAGS}
    if isinstance(body, dict):  # a structured line: its fields are attributes, as of a line of JSON
        attributes |= {key: value for key, value in body.items() if key != "message"}
        body = body.get("message", "")
    attributes |= attributes_of(record)
    if name := record.get("eventName"):
        attributes["otel.event_name"] = text_of(name)
    trace_id, span_id = (_id(record.get(key) or "0") for key in ("traceId", "spanId"))
    return Log(
        _time(record, now),
        _status(record),
        cut(text_of(body), MAX_LINE),
        service=text_of(resource.get("service.name") or NO_SERVICE),
        source="otlp",
        host=text_of(resource.get("host.name", "")),
        trace_id=f"{trace_id:032x}" if trace_id else "",
        span_id=str(span_id) if span_id else "",
        tags=resource_tags(resource),
        attributes=attributes,
    )


def _status(record: dict[str, Any]) -> str:
    number = int(record.get("severityNumber", 0))
    if 1 <= number <= 4 * len(SEVERITIES):
        return status_of(SEVERITIES[(number - 1) // 4])
    return status_of(text_of(record.get("severityText", "")))


def _id(text: str) -> int:
    if len(text) > 32:
        raise ValueError("an id has more than 32 digits")
    return int(text, 16)


def _time(record: dict[str, Any], now: float) -> float:
    """Return epoch seconds: the event's, else the collector's, else the arrival's."""
    for key in ("timeUnixNano", "observedTimeUnixNano"):
        if YEAR_2000 <= (nanoseconds := int(record.get(key, 0))) < 2**63:
            return nanoseconds / 1e9
    return now
