"""What is written on a span beside its numbers: errors, links, and ids in Datadog's log format. No state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .. import failure
from .private import remove_tag

#: The three fields that Error Tracking reads, in the order of `describe_error`.
ERROR_TAGS: Final = ("error.type", "error.message", "error.stack")


def format_ids(span: Any) -> tuple[str, str]:
    """Return a span's ids in Datadog's log format."""
    return format_trace_id(span.trace_id), str(span.span_id)


def format_trace_id(trace_id: int) -> str:
    """Return 32 hex digits, or a 64-bit id in decimal digits."""
    return "%032x" % trace_id if trace_id >> 64 else str(trace_id)  # noqa: UP031 - in half the time of an f-string


def link(span: Any, target: Any, attributes: Mapping[str, str]) -> None:
    """Link `span` to `target` (a span or a context of ddtrace)."""
    if target.trace_id and target.span_id:
        span.set_link(target.trace_id, target.span_id, attributes=dict(attributes))


def set_error(span: Any, error: BaseException) -> None:
    """Mark a span failed, with the three fields that Error Tracking reads."""
    span.error = 1
    for key, value in zip(ERROR_TAGS, describe_error(error), strict=True):
        span.set_tag(key, value)


def clear_error(span: Any) -> None:
    """Take back what made a span an error."""
    span.error = 0
    for key in ERROR_TAGS:
        remove_tag(span, key)


def describe_error(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's qualified type, message and stack (causes included), secrets masked; never raises."""
    return failure.describe(error)
