"""What Datadog's Agent makes of spans before it keeps them, and which chunks it drops. Pure functions, no state.

Sources: datadog-agent pkg/trace/agent/normalizer.go (a span, a chunk), pkg/trace/agent/truncator.go (lengths, in bytes). The
reasons have the names that they have there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from .names import cut, metric_name, tag_value
from .spans import Span

MAX_NAME = 100
MAX_RESOURCE = 5_000
MAX_TYPE = 100
MAX_KEY = 200
MAX_VALUE = 25_000
YEAR_2000 = 946_684_800 * 10**9
"""Nanoseconds; a span that starts before it has a broken clock."""
UNNAMED_OPERATION = "unnamed_operation"


Note = Callable[[str], object]
"""Is told the reason whenever something was not as it should be."""


@lru_cache(maxsize=4096)
def operation(name: str) -> tuple[str, str]:
    """Return an operation's name, and what was wrong with it."""
    if not name:
        return UNNAMED_OPERATION, "span_name_empty"
    short = cut(name, MAX_NAME)
    found = metric_name(short, MAX_NAME)
    if not found:
        return UNNAMED_OPERATION, "span_name_invalid"
    return found, "span_name_truncate" if short != name else ""


@lru_cache(maxsize=4096)
def service(name: str, language: str = "") -> tuple[str, str]:
    """Return a service's name, and what was wrong with it; without one it is called after the client's language."""
    unnamed = f"unnamed-{language}-service" if language else "unnamed-service"
    if not name:
        return unnamed, "service_empty"
    short = cut(name, MAX_NAME)
    found = tag_value(short)
    if not found:
        return unnamed, "service_invalid"
    return found, "service_truncate" if short != name else ""


def chunk(spans: Sequence[Span], *, now_ns: int, language: str = "", note: Note) -> bool:
    """Put the spans of a chunk right, in place; False if the Agent drops it. `note` gets the reasons."""
    if not spans:
        note("empty_trace")
        return False
    first = spans[0].trace_id[16:]
    for each in spans:
        if not each.trace_id[16:].strip("0"):
            note("trace_id_zero")
            return False
        if each.trace_id[16:] != first:
            note("foreign_span")
            return False
        if each.span_id == "0":
            note("span_id_zero")
            return False
    for each in spans:
        _names(each, language, note)
        _times(each, now_ns, note)
        _meta(each, note)
    return True


def _names(span: Span, language: str, note: Note) -> None:
    span.service, wrong = service(span.service, language)
    span.name, also_wrong = operation(span.name)
    for reason in filter(None, (wrong, also_wrong)):
        note(reason)
    if not span.resource:
        span.resource = span.name
        note("resource_empty")
    span.resource = cut(span.resource, MAX_RESOURCE)
    if len(span.type) > MAX_TYPE // 4 and (short := cut(span.type, MAX_TYPE)) != span.type:
        span.type = short
        note("type_truncate")
    if span.parent_id == span.span_id and int(span.span_id) == int(span.trace_id[16:], 16):
        span.parent_id = "0"  # as Zipkin's clients write a root


def _times(span: Span, now_ns: int, note: Note) -> None:
    if span.duration_ns < 0 or span.duration_ns > 2**63 - 1 - span.start_ns:
        span.duration_ns = 0
        note("invalid_duration")
    if not YEAR_2000 <= span.start_ns < 2**63:
        span.start_ns = now_ns - span.duration_ns if span.duration_ns <= now_ns else now_ns
        note("invalid_start_date")


def _meta(span: Span, note: Note) -> None:
    meta = span.meta
    for key in ("peer.service", "_dd.base_service"):
        if meta.get(key):
            meta[key] = tag_value(cut(meta[key], MAX_NAME))
    if meta.get("env"):
        meta["env"] = tag_value(meta["env"])
    status = meta.get("http.status_code")
    if status is not None and not (
        status.isascii() and status.isdigit() and len(status) < 20 and 100 <= int(status) < 600
    ):
        del meta["http.status_code"]
        note("invalid_http_status_code")
    for key, value in [
        pair for pair in meta.items() if len(pair[0]) > MAX_KEY or len(pair[1]) > MAX_VALUE // 4
    ]:
        if len(key) > MAX_KEY:
            del meta[key]
            key = f"{cut(key, MAX_KEY)}..."
        short = cut(value, MAX_VALUE)
        meta[key] = value if short == value else f"{short}..."
    for link in span.links:
        if isinstance(name := link.attributes.get("link.name"), str):
            link.attributes["link.name"] = operation(name)[0]
