"""What requests and WebSockets are counted by: one cell of handles for each combination of tags.

State: in each cell; `Traffic` keeps them. A request that ends is a plain tuple, `Finished`.
"""

from __future__ import annotations

from typing import Any, Final

from .. import catalog
from ..catalog import StreamOutcome, TaskOutcome
from ..output.metrics import Counter, Metrics, Timing
from .streams.open_stream import OpenStream

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
_MS: Final = 1000.0


class RequestCell:
    """Handles of the requests with one method, route and status."""

    __slots__ = (
        "bytes",
        "duration",
        "first_byte",
        "late",
        "limit",
        "members",
        "method",
        "on_time",
        "requests",
        "route",
        "status",
    )

    def __init__(self, metrics: Metrics, method: str, route: str, status: int, limit: float) -> None:
        #: Seconds within which a body has begun in time.
        self.limit = limit
        self.method = method
        self.route = route
        self.status = status
        tags = {"method": method, "route": route, "status_class": f"{status // 100}xx"}
        self.requests: Counter = metrics.counter(catalog.HTTP_REQUESTS, status=status, **tags)
        self.first_byte: Timing = metrics.timing(catalog.HTTP_TIME_TO_FIRST_BYTE, **tags)
        self.duration: Timing = metrics.timing(catalog.HTTP_DURATION, **tags)
        self.bytes: Counter = metrics.counter(catalog.HTTP_RESPONSE_BYTES, **tags)
        self.on_time: Counter = metrics.counter(catalog.HTTP_FIRST_BYTES, route=route, in_time="true")
        self.late: Counter = metrics.counter(catalog.HTTP_FIRST_BYTES, route=route, in_time="false")
        #: What the access lines of the cell have in common; the access log renders it once.
        self.members = b""

    def begun(self, seconds: float) -> None:
        """Record when the body began, seconds after the request: of a stream while it is open."""
        self.first_byte.record(seconds * _MS)
        (self.on_time if seconds <= self.limit else self.late).total += 1


class BackgroundCell:
    """Handles of what the application did after the responses of one method and route."""

    __slots__ = ("metrics", "tags")

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self.metrics = metrics
        self.tags = {"method": method, "route": route}

    def record(self, outcome: TaskOutcome, seconds: float) -> None:
        """Record one such piece of work."""
        self.metrics.timing(catalog.HTTP_BACKGROUND, outcome=outcome, **self.tags).record(seconds * _MS)


class SocketCell:
    """Handles of the WebSockets of one route."""

    __slots__ = ("closed", "durations", "metrics", "opened", "received", "route", "sent")

    def __init__(self, metrics: Metrics, route: str) -> None:
        self.metrics = metrics
        self.route = route
        self.opened = metrics.counter(catalog.WS_OPENED, route=route)
        self.received = metrics.counter(catalog.WS_RECEIVED, route=route)
        self.sent = metrics.counter(catalog.WS_SENT, route=route)

    def close(self, outcome: str, milliseconds: float) -> None:
        """Count a WebSocket that closed."""
        self.metrics.counter(catalog.WS_CLOSED, route=self.route, outcome=outcome).increment()
        self.metrics.timing(catalog.WS_DURATION, route=self.route, outcome=outcome).record(milliseconds)


#: What a request leaves behind: method, route, status, path, started, ended and first byte (perf_counter seconds,
#: 0 for none), bytes, outcome, error (class name, qualified name, message, stack) and stream, if any, (trace id, span
#: id), client address and headers. A plain tuple: nothing of the request itself, and no span, stays alive for it.
Finished = tuple[
    str,
    str,
    int,
    str,
    float,
    float,
    float,
    int,
    StreamOutcome,
    tuple[str, str, str, str] | None,
    OpenStream | None,
    tuple[int, int] | None,
    Any,
    Any,
]
