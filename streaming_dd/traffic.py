"""Requests, streams and WebSockets: the handles they are counted by, and those that are live.

State: `Traffic` (it belongs to the recorder). A cell holds the handles of one combination of tags, so that the end
of a request is a dictionary look-up and a few additions; the access lines are rendered by the recorder's thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol

from . import catalog
from .config import Config
from .logs import Logs
from .metrics import Counter, Gauge, Metrics, Timing
from .peaks import Peak

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
NO_TASK: Final = ("none", "none")
_CELLS_LIMIT: Final = 10_000


class Client(Protocol):
    """A request, as the coordinator's hooks see it: the client of an SSE stream, perhaps."""

    #: The task instance whose progress the stream shows.
    watched: Any

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Note which task this request's stream shows."""

    def __hash__(self) -> int: ...


#: The request being handled in this context; None outside of requests.
current: ContextVar[Client | None] = ContextVar("streaming_dd_request", default=None)


class RequestCell:
    """Handles of the requests with one method, route and status."""

    __slots__ = ("bytes", "duration", "first_byte", "method", "requests", "route", "status")

    def __init__(self, metrics: Metrics, method: str, route: str, status: int) -> None:
        self.method = method
        self.route = route
        self.status = status
        tags = {"method": method, "route": route, "status_class": f"{status // 100}xx"}
        self.requests: Counter = metrics.counter(catalog.HTTP_REQUESTS, status=status, **tags)
        self.first_byte: Timing = metrics.timing(catalog.HTTP_TIME_TO_FIRST_BYTE, **tags)
        self.duration: Timing = metrics.timing(catalog.HTTP_DURATION, **tags)
        self.bytes: Counter = metrics.counter(catalog.HTTP_RESPONSE_BYTES, **tags)


class StreamCell:
    """Handles of the streams of one app, model and route."""

    __slots__ = (
        "bytes",
        "closed",
        "durations",
        "events",
        "first_event",
        "gap",
        "metrics",
        "opened",
        "stalls",
        "tags",
    )

    def __init__(self, metrics: Metrics, app: str, model: str, route: str) -> None:
        self.metrics = metrics
        self.tags = {"app": app, "model": model, "route": route}
        self.opened = metrics.counter(catalog.STREAMS_OPENED, **self.tags)
        self.closed: dict[str, Counter] = {}
        self.durations: dict[str, Timing] = {}
        self.first_event = metrics.timing(catalog.STREAM_FIRST_EVENT, **self.tags)
        self.gap = metrics.timing(catalog.STREAM_GAP, **self.tags)
        self.stalls = metrics.counter(catalog.STREAM_STALLS, **self.tags)
        self.events = metrics.counter(catalog.STREAM_EVENTS, **self.tags)
        self.bytes = metrics.counter(catalog.STREAM_BYTES, **self.tags)

    def close(self, outcome: str, milliseconds: float) -> None:
        """Count a stream that closed."""
        if outcome not in self.closed:
            self.closed[outcome] = self.metrics.counter(catalog.STREAMS_CLOSED, outcome=outcome, **self.tags)
            self.durations[outcome] = self.metrics.timing(
                catalog.STREAM_DURATION, outcome=outcome, **self.tags
            )
        self.closed[outcome].increment()
        self.durations[outcome].record(milliseconds)


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


class ClientKind:
    """The connected SSE clients of one app and model."""

    __slots__ = ("active", "live", "peak", "peak_gauge")

    def __init__(self, metrics: Metrics, app: str, model: str) -> None:
        self.active: Gauge = metrics.gauge(catalog.CLIENTS_ACTIVE, app=app, model=model)
        self.peak_gauge: Gauge = metrics.gauge(catalog.CLIENTS_PEAK, app=app, model=model)
        self.peak = Peak()
        self.live: set[Client] = set()


class Access(NamedTuple):
    """What a request leaves behind for its access line."""

    wall: float
    cell: RequestCell
    path: str
    duration: float
    body_bytes: int
    outcome: str
    ids: tuple[str, str]
    client: str
    user_agent: bytes

    def line(self) -> dict[str, object]:
        """Return the fields of the access line. The query string is left out: it may hold secrets."""
        cell = self.cell
        return {
            "message": f"{cell.method} {self.path} {cell.status}",
            "logger.name": "streaming_dd.access",
            "dd.trace_id": self.ids[0],
            "dd.span_id": self.ids[1],
            "http.method": cell.method,
            "http.url": self.path,
            "http.route": cell.route,
            "http.status_code": cell.status,
            "http.useragent": self.user_agent.decode("latin-1"),
            "network.client.ip": self.client,
            "network.bytes_written": self.body_bytes,
            "duration": int(self.duration * 1e9),
            "outcome": self.outcome,
        }


class Traffic:
    """The requests, streams and WebSockets of this process."""

    def __init__(self, config: Config, metrics: Metrics, logs: Logs | None) -> None:
        self.config = config
        self.metrics = metrics
        self.logs = logs
        self.active = 0
        self.websockets = 0
        self.websocket_peak = Peak()
        self.clients: dict[tuple[str, str], ClientKind] = {}
        self._requests: dict[tuple[str, str, int], RequestCell] = {}
        self._streams: dict[tuple[str, str, str], StreamCell] = {}
        self._sockets: dict[str, SocketCell] = {}
        self._errors: dict[tuple[str, str, str], Counter] = {}
        self._accesses: list[Access] = []
        #: Access lines that were dropped because the thread that writes them was behind.
        self.lines_dropped = 0
        self._log_access = logs is not None and config.access_log
        self._http_active = metrics.gauge(catalog.HTTP_ACTIVE)
        self._ws_active = metrics.gauge(catalog.WS_ACTIVE)
        self._ws_peak = metrics.gauge(catalog.WS_PEAK)
        metrics.add_gauges(self._gauges)

    # --- cells ----------------------------------------------------------------------------------------------

    def request_cell(self, method: str, route: str, status: int) -> RequestCell:
        """Return the handles of requests with this method, route and status."""
        key = (method, route, status)
        cell = self._requests.get(key)
        if cell is None:
            if method not in METHODS:
                method = "OTHER"
            if len(self._requests) >= _CELLS_LIMIT:
                route = "other"
            cell = RequestCell(self.metrics, method, route, status)
            if len(self._requests) < _CELLS_LIMIT:
                self._requests[key] = cell
        return cell

    def stream_cell(self, task: tuple[str, str], route: str) -> StreamCell:
        """Return the handles of streams of this (app, model) and route."""
        key = (*task, route)
        cell = self._streams.get(key)
        if cell is None:
            cell = StreamCell(self.metrics, *key)
            if len(self._streams) < _CELLS_LIMIT:
                self._streams[key] = cell
        return cell

    def socket_cell(self, route: str) -> SocketCell:
        """Return the handles of WebSockets of this route."""
        cell = self._sockets.get(route)
        if cell is None:
            cell = SocketCell(self.metrics, route)
            if len(self._sockets) < _CELLS_LIMIT:
                self._sockets[route] = cell
        return cell

    def client_kind(self, task: tuple[str, str]) -> ClientKind:
        """Return the connected clients of this (app, model)."""
        kind = self.clients.get(task)
        if kind is None:
            kind = ClientKind(self.metrics, *task)
            if len(self.clients) < _CELLS_LIMIT:
                self.clients[task] = kind
        return kind

    # --- what happens ---------------------------------------------------------------------------------------

    def client_came(self, exchange: Client, task: tuple[str, str]) -> ClientKind:
        """Count a connected client."""
        kind = self.client_kind(task)
        kind.live.add(exchange)
        kind.peak.note(len(kind.live))
        return kind

    def count_error(self, method: str, route: str, error: BaseException | None) -> None:
        """Count a request or stream that ended by an exception, or by a 5xx status."""
        key = (method, route, "none" if error is None else type(error).__name__)
        counter = self._errors.get(key)
        if counter is None:
            method = method if method in METHODS else "OTHER"
            counter = self.metrics.counter(catalog.HTTP_ERRORS, method=method, route=route, error_type=key[2])
            if len(self._errors) < _CELLS_LIMIT:
                self._errors[key] = counter
        counter.increment()

    def log_access(self, access: Access) -> None:
        """Keep a request for its access line."""
        if self._log_access:
            if len(self._accesses) < self.config.log_queue:
                self._accesses.append(access)
            else:
                self.lines_dropped += 1

    def write_accesses(self) -> None:
        """Render and write the access lines of the requests that ended; called by the recorder's thread."""
        if self.logs is None or not self._accesses:
            return
        batch = self._accesses[:]
        del self._accesses[: len(batch)]
        for access in batch:
            level = "ERROR" if access.cell.status >= 500 else "INFO"
            self.logs.emit(access.line(), level, timestamp=access.wall)

    def clients_by_instance(self) -> dict[int, int]:
        """Return how many connected clients watch each task instance, by the instance's id()."""
        counts: dict[int, int] = {}
        for kind in list(self.clients.values()):
            for exchange in kind.live.copy():
                if exchange.watched is not None:
                    counts[id(exchange.watched)] = counts.get(id(exchange.watched), 0) + 1
        return counts

    def _gauges(self) -> Iterable[tuple[Gauge, float]]:
        now = time.monotonic()
        yield self._http_active, self.active
        yield self._ws_active, self.websockets
        yield self._ws_peak, self.websocket_peak.read(self.websockets, now)
        for kind in list(self.clients.values()):
            level = len(kind.live)
            yield kind.active, level
            yield kind.peak_gauge, kind.peak.read(level, now)

    def after_fork(self) -> None:
        """Forget in a forked child the connections of the parent."""
        self.active = self.websockets = 0
        self.websocket_peak = Peak()
        self._accesses = []
        for kind in self.clients.values():
            kind.live = set()
            kind.peak = Peak()


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the peer's address as the server tells it, or ''."""
    client = scope.get("client")
    return str(client[0]) if client else ""
