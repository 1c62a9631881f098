"""What a caller's headers say of its trace. No state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

#: Headers that carry a trace context, or baggage, in one of ddtrace's propagation styles.
_HEADERS: Final = frozenset({b"traceparent", b"x-datadog-trace-id", b"b3", b"x-b3-traceid", b"baggage"})


def caller(headers: Iterable[tuple[bytes, bytes]]) -> Any:
    """Return the context that headers name: a trace to go on with, or links and baggage alone; None without one."""
    return None if _HEADERS.isdisjoint(dict(headers)) else _extract(headers)


def remote(trace_id: int, span_id: int | None) -> Any:
    """Return the context of a span somewhere else; without a span id that of a trace that is yet to begin."""
    from ddtrace.trace import Context

    return Context(trace_id=trace_id, span_id=span_id)


def _extract(headers: Iterable[tuple[bytes, bytes]]) -> Any:
    from ddtrace.propagation import http

    propagator: Any = http.HTTPPropagator
    context = propagator.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
    # Without a trace id there may still be a link (DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT=restart) or baggage.
    if context.trace_id or context.get_all_baggage_items() or getattr(context, "_span_links", None):
        return context
    return None
