"""A clock to set, and spans to change: what the local agent's tests are made of."""

from __future__ import annotations

from streaming_dd.local_agent import Span

START = 1_700_000_000
"""A bucket start: a multiple of 10, and 13 min 20 s after a full hour."""


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now: float = START) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        return self.now


def make_span(**changes: object) -> Span:
    """Return a root span with changes."""
    values = {
        "trace_id": f"{1:032x}",
        "span_id": "1",
        "parent_id": "0",
        "name": "web.request",
        "resource": "GET /",
        "service": "web",
        "type": "web",
        "start_ns": START * 10**9,
        "duration_ns": 10**9,
        "error": 0,
    }
    return Span(**{**values, **changes})  # type: ignore[arg-type]
