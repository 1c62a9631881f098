"""OTLP/HTTP traces (protobuf or JSON) as Datadog spans, by the rules of the Agent's OTLP intake. No state.

Names follow the Agent's second generation (`operation.name`, else protocol and kind: `http.server.request`,
`postgresql.query`, ...). Top-level are roots and spans of kind server or consumer (the Agent's
`compute_top_level_by_span_kind`), since an OTLP request may hold half a trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from ..spans import Span, SpanLink, TooMuch
from . import protobuf

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
NO_SERVICE = "otlpresourcenoservicename"
"""What Datadog's Agent calls a service that does not say its name."""

_RESOURCE_KEYS = {
    "deployment.environment.name": "env",
    "deployment.environment": "env",
    "service.version": "version",
}
_SPAN_KEYS = {"http.response.status_code": "http.status_code", "http.request.method": "http.method"}
_SPAN_FIELDS = frozenset(("operation.name", "resource.name", "service.name", "span.type"))
"""Attributes that become the span's own fields."""

Attributes = dict[str, Any]


def decode(body: bytes, content_type: str) -> list[list[Span]]:
    """Return the traces of an OTLP request; raise `ValueError` if it is not one, `TooMuch` if it is too large."""
    with reading("trace"):
        request = read(body, content_type, "Request")
        spans = [
            _span(span, resource)
            for resource_spans in request.get("resourceSpans", ())
            for resource in [attributes_of(resource_spans.get("resource", {}))]
            for scope in resource_spans.get("scopeSpans", ())
            for span in scope.get("spans", ())
        ]
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return list(traces.values())


def read(body: bytes, content_type: str, message: str) -> dict[str, Any]:
    """Return a request in its JSON form. Raises `ValueError`."""
    if "json" not in content_type:
        return protobuf.decode(body, message)
    if body.count(b"{") + body.count(b"[") + body.count(b",") // 4 > protobuf.MAX_MESSAGES:
        raise protobuf.TooMany(f"the request has more than {protobuf.MAX_MESSAGES} parts")
    return msgspec.json.decode(body, type=dict[str, Any])


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Make one kind of error of all that a request of the wrong shape can cause."""
    try:
        yield
    except TooMuch:
        raise
    except protobuf.TooMany as error:
        raise TooMuch(str(error)) from error
    except (
        msgspec.MsgspecError, AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(f"not an OTLP {what} request: {type(error).__name__}: {error}") from error


def _span(wire: dict[str, Any], resource: Attributes) -> Span:
    attributes = attributes_of(wire)
    kind = KINDS[kind] if 0 <= (kind := int(wire.get("kind", 0))) < len(KINDS) else KINDS[0]
    status = wire.get("status", {})
    events = [_event(event) for event in wire.get("events", ())]
    meta, metrics = _tags(resource, attributes)
    meta["span.kind"] = kind
    failed = int(status.get("code", 0)) == 2
    if failed:
        _describe_error(meta, status.get("message", ""), events)
    parent = int(wire.get("parentSpanId") or "0", 16)
    if parent == 0 or kind in ("server", "consumer"):
        metrics["_dd.top_level"] = 1.0
    start, end = int(wire.get("startTimeUnixNano", 0)), int(wire.get("endTimeUnixNano", 0))
    return Span(
        _trace_id(wire["traceId"]),
        str(int(wire["spanId"], 16)),
        str(parent),
        _operation(kind, attributes),
        _resource(wire.get("name", ""), attributes),
        text_of(attributes.get("service.name") or resource.get("service.name") or NO_SERVICE),
        _type(kind, attributes),
        start,
        end - start,
        int(failed),
        meta,
        metrics,
        [
            SpanLink(_trace_id(link["traceId"]), str(int(link["spanId"], 16)), attributes_of(link))
            for link in wire.get("links", ())
        ],
        events,
    )


def _event(wire: dict[str, Any]) -> dict[str, Any]:
    return {
        "time_unix_nano": int(wire.get("timeUnixNano", 0)),
        "name": wire.get("name", ""),
        "attributes": attributes_of(wire),
    }


def _tags(resource: Attributes, attributes: Attributes) -> tuple[dict[str, str], dict[str, float]]:
    meta: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for source, renamed in ((resource, _RESOURCE_KEYS), (attributes, _SPAN_KEYS)):
        for key, value in source.items():
            if key in _SPAN_FIELDS:
                continue
            key = renamed.get(key, key)
            if isinstance(value, int | float) and not isinstance(value, bool) and key != "http.status_code":
                metrics[key] = value
            else:
                meta[key] = text_of(value)
    return meta, metrics


def _describe_error(meta: dict[str, str], message: str, events: Iterable[dict[str, Any]]) -> None:
    for event in events:
        if event["name"] == "exception":
            thrown = event["attributes"]
            for key, name in (("type", "type"), ("message", "message"), ("stacktrace", "stack")):
                if text := thrown.get(f"exception.{key}"):
                    meta.setdefault(f"error.{name}", text_of(text))
    if message:
        meta.setdefault("error.message", message)


def _operation(kind: str, attributes: Attributes) -> str:
    if name := attributes.get("operation.name"):
        return text_of(name)
    protocol = _protocol(attributes)
    if protocol == "http" and kind in ("server", "client"):
        return f"http.{kind}.request"
    if protocol == "db" and kind == "client":
        return f"{text_of(attributes.get('db.system') or attributes.get('db.system.name')).lower()}.query"
    if protocol == "messaging":
        operation = (
            attributes.get("messaging.operation.type") or attributes.get("messaging.operation") or kind
        )
        return f"{text_of(attributes['messaging.system'])}.{text_of(operation)}".lower()
    if protocol == "rpc" and kind in ("server", "client"):
        return f"{text_of(attributes['rpc.system'])}.{kind}.request".lower()
    return f"{kind}.request" if kind in ("server", "client") else kind


def _resource(name: str, attributes: Attributes) -> str:
    if resource := attributes.get("resource.name"):
        return text_of(resource)
    if _protocol(attributes) == "http":
        method = attributes.get("http.request.method") or attributes.get("http.method")
        route = attributes.get("http.route") or ""
        return f"{text_of(method)} {text_of(route)}".strip() if method else name
    return name


def _type(kind: str, attributes: Attributes) -> str:
    if given := attributes.get("span.type"):
        return text_of(given)
    if kind == "server":
        return "web"
    protocol = _protocol(attributes) if kind == "client" else ""
    return {"http": "http", "db": "db", "rpc": "http"}.get(protocol, "custom")


def _protocol(attributes: Attributes) -> str:
    if "http.request.method" in attributes or "http.method" in attributes:
        return "http"
    if "db.system" in attributes or "db.system.name" in attributes:
        return "db"
    if "messaging.system" in attributes:
        return "messaging"
    return "rpc" if "rpc.system" in attributes else ""


def attributes_of(holder: dict[str, Any]) -> Attributes:
    """Return the attributes of a message by key."""
    return _by_key(holder.get("attributes", ()))


def _by_key(items: Iterable[dict[str, Any]]) -> Attributes:
    found = {item["key"]: any_value(item.get("value") or {}) for item in items}
    if not all(isinstance(key, str) for key in found):
        raise TypeError("the key of an attribute is no text")
    return found


def any_value(value: dict[str, Any]) -> Any:
    """Return the one value that an AnyValue holds."""
    for kind, held in value.items():
        match kind:
            case "intValue":
                if not -(2**63) <= (number := int(held)) < 2**64:
                    raise ValueError("an integer has more than 64 bits")
                return number
            case "doubleValue":
                return float(held)
            case "stringValue" if not isinstance(held, str):
                raise TypeError("a text value is no text")
            case "arrayValue":
                return [any_value(item) for item in held.get("values", ())]
            case "kvlistValue":
                return _by_key(held.get("values", ()))
            case _:
                return held
    return ""


def text_of(value: object) -> str:
    """Return a value as a tag has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode()


def _trace_id(text: str) -> str:
    return f"{int(text, 16):032x}"
