"""The span of a request, stream or WebSocket: ours, or the one that ddtrace's own integration made. No state.

A span is finished with the response's last byte; what the application does after that has a span of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..catalog import StreamOutcome
from ..output import redaction, tracing
from .cells import Finished
from .messages import Scope
from .routes import UNMATCHED

if TYPE_CHECKING:
    from .streams.open_stream import OpenStream

_MS: Final = 1000.0
_TEXT_LIMIT: Final = 4000


def describe(ended: Finished, scheme: str) -> tracing.Description:
    """What the span of a request says at its end."""
    method, route, status, path, _, _, first_byte, _, outcome, error, stream, _, _, headers = ended
    resource, code = _texts(method, route, status)
    tags: dict[str, Any] = {
        "http.route": route,
        "http.status_code": code,
        "http.url": url(scheme, headers, path),
    }
    if error is not None:
        tags.update(zip(tracing.ERROR_TAGS, error[1:], strict=True))
    if stream is not None:
        tags.update(_of_stream(stream, outcome, first_byte))
    failed = outcome == "error" or (status >= 500 and outcome == "completed")
    return resource, failed, tags


@lru_cache(500)
def _texts(method: str, route: str, status: int) -> tuple[str, str]:
    return f"{method} {route}", str(status)


def foretell(span: Any, scope: Scope, path: str, route: str) -> None:
    """Say on a span that has begun what it will say at its end, as far as that is known."""
    if not span.finished:
        span.resource = f"{scope['method']} {route}"
        span.set_tag("http.route", route)
        span.set_tag("http.url", url(scope.get("scheme", "http"), scope["headers"], path))


def url(scheme: str, headers: Any, path: str) -> str:
    """Return a URL without its query string, which may hold secrets, and without those in its path."""
    path = redaction.mask(path if len(path) <= _TEXT_LIMIT else path[:_TEXT_LIMIT])
    for name, value in headers:
        if name == b"host":
            return _origin(scheme, bytes(value)) + path if value else path
    return path


@lru_cache(200)
def _origin(scheme: str, host: bytes) -> str:
    return f"{scheme}://{host.rpartition(b'@')[2].decode('latin-1')}"


def _of_stream(stream: OpenStream, outcome: StreamOutcome, first_byte: float) -> dict[str, Any]:
    """What a stream sent and how it ended."""
    stream.reader.end(stream)
    tags: dict[str, Any] = {
        "stream.outcome": outcome,
        "stream.events": stream.events,
        "stream.bytes": stream.bytes,
        "stream.gap_ms": stream.gap * _MS,
    }
    if stream.first_event or first_byte:
        tags["stream.first_event_ms"] = ((stream.first_event or first_byte) - stream.started) * _MS
    if stream.reason:
        tags["stream.finish_reason"] = stream.reason
    if stream.counts:
        tags["stream.counted"] = ", ".join(f"{name} {count:g}" for name, count in stream.counts.items())
    if stream.types:
        tags["stream.event_types"] = ", ".join(f"{name} {count}" for name, count in stream.types.items())
    return tags


def tag_stream(span: Any, stream: OpenStream, outcome: StreamOutcome, first_byte: float) -> None:
    """Say on a stream's span that ddtrace made what it sent and how it ended."""
    for key, value in _of_stream(stream, outcome, first_byte).items():
        if isinstance(value, str):
            span.set_tag(key, value)
        else:
            span.set_metric(key, value)


def name(method: str, route: str, error: tuple[str, str, str, str] | None, span: Any) -> None:
    """Give a span of ddtrace's the one form of its route, unless the application named it, and what Django handled."""
    if route != UNMATCHED:
        if span.resource == method or span.resource.startswith(f"{method} "):
            span.resource = f"{method} {route}"
        span.set_tag("http.route", route)
    if error is not None and span.error and not span.get_tag("error.type"):
        for key, value in zip(tracing.ERROR_TAGS, error[1:], strict=True):
            span.set_tag(key, value)


def settle(resource: str, route: str, status: str, outcome: StreamOutcome, span: Any) -> None:
    """Correct what ddtrace says of a stream: a client that left, or a shutdown, is no failure of the server."""
    span.resource = resource  # with its mounts, and in one form for all frameworks
    span.set_tag("http.route", route)
    span.set_tag("http.status_code", status)  # of the wire: ddtrace makes it 500 if the body fails
    if outcome != "error":
        tracing.clear_error(span)


def link_to_task(span: Any, run_span: Any) -> None:
    """Link the span of a stream to that of the task whose progress it shows, once."""
    trace_id = tracing.format_ids(run_span)[0]
    if span.get_tag("task.trace_id") != trace_id:
        span.set_tag("task.trace_id", trace_id)
        tracing.link(span, run_span, {"link.kind": "watches"})
