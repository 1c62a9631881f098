"""Requests, streams and WebSockets: the handles they are counted by, and those that are live.

State: `Traffic` (it belongs to the recorder). A cell holds the handles of one combination of tags. The end of a
request only puts it into a queue; the recorder's thread counts and logs it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from . import catalog
from .access_log import AccessLog
from .catalog import StreamOutcome
from .config import Config
from .metrics import Counter, Gauge, Metrics, Timing

if TYPE_CHECKING:
    from .logs import Logs
from .peaks import Peak

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
NO_TASK: Final = ("none", "none")
_CELLS_LIMIT: Final = 10_000
#: Requests that wait for the recorder's thread; more are settled where they end.
_FINISHED_LIMIT: Final = 5_000
_MS: Final = 1000.0


class Request(Protocol):
    """A request as the coordinator's hooks see it while it runs."""

    #: The task instance whose progress the stream shows.
    watched: Any
    stream: OpenStream | None

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Note which task this request's stream shows."""

    def close(self, error: BaseException | None) -> None:
        """End the request, unless it has ended."""

    def __hash__(self) -> int: ...


#: The request being handled in this context; None outside of requests.
current: ContextVar[Request | None] = ContextVar("streaming_dd_request", default=None)


class RequestCell:
    """Handles of the requests with one method, route and status."""

    __slots__ = ("bytes", "duration", "first_byte", "members", "method", "requests", "route", "status")

    def __init__(self, metrics: Metrics, method: str, route: str, status: int) -> None:
        self.method = method
        self.route = route
        self.status = status
        tags = {"method": method, "route": route, "status_class": f"{status // 100}xx"}
        self.requests: Counter = metrics.counter(catalog.HTTP_REQUESTS, status=status, **tags)
        self.first_byte: Timing = metrics.timing(catalog.HTTP_TIME_TO_FIRST_BYTE, **tags)
        self.duration: Timing = metrics.timing(catalog.HTTP_DURATION, **tags)
        self.bytes: Counter = metrics.counter(catalog.HTTP_RESPONSE_BYTES, **tags)
        #: What the access lines of the cell have in common; the access log renders it once.
        self.members = ""


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

    def close(self, outcome: str, seconds: float) -> None:
        """Count a stream that closed."""
        if outcome not in self.closed:
            self.closed[outcome] = self.metrics.counter(catalog.STREAMS_CLOSED, outcome=outcome, **self.tags)
            self.durations[outcome] = self.metrics.timing(
                catalog.STREAM_DURATION, outcome=outcome, **self.tags
            )
        self.closed[outcome].increment()
        self.durations[outcome].record(seconds * _MS)


class OpenStream:
    """What one open stream has sent so far; times are `time.perf_counter()` seconds."""

    __slots__ = (
        "_reported_bytes",
        "_reported_events",
        "_stalled_at",
        "bytes",
        "cell",
        "clients",
        "events",
        "gap",
        "last_event",
        "started",
    )

    def __init__(self, cell: StreamCell, clients: ClientKind, started: float) -> None:
        self.cell = cell
        self.clients = clients
        self.started = started
        self.events = 0
        self.bytes = 0
        self.last_event = 0.0
        self.gap = 0.0
        self._reported_events = 0
        self._reported_bytes = 0
        self._stalled_at = 0.0
        cell.opened.increment()

    def report(self) -> None:
        """Count what was sent since the last report, while the stream is open; called under the traffic's lock."""
        events, sent = self.events, self.bytes
        self.cell.events.total += events - self._reported_events
        self.cell.bytes.total += sent - self._reported_bytes
        self._reported_events, self._reported_bytes = events, sent

    def note_stall(self, now: float, limit: float) -> None:
        """Count a stream that has sent nothing for longer than `limit` seconds, once until it moves again."""
        last = self.last_event or self.started
        if self._stalled_at != last and now - last > limit:
            self._stalled_at = last
            self.cell.stalls.increment()


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
        self.live: set[Request] = set()

    def came(self, client: Request) -> None:
        """Count a connected client, until it is taken out of `live`."""
        self.live.add(client)
        self.peak.note(len(self.live))


#: What a request leaves behind: method, route, status, path, started, ended and first byte (perf_counter seconds,
#: 0 for none), bytes, outcome, error (class name, qualified name, message, stack) and stream, if any, (trace id, span
#: id), client address and headers. A plain tuple: nothing that the garbage collector has to walk stays alive for it.
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
        self._finished: deque[Finished] = deque()
        self._settling = threading.Lock()
        self._access_log = AccessLog(logs) if logs is not None and config.access_log else None
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
            # The zero that an error rate needs before the first error.
            self.metrics.counter(catalog.HTTP_ERRORS, method=method, route=route, error_type="none")
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

    def count_error(self, method: str, route: str, error_type: str) -> None:
        """Count a request or stream that ended by an exception, or by a 5xx status."""
        key = (method, route, error_type)
        counter = self._errors.get(key)
        if counter is None:
            method = method if method in METHODS else "OTHER"
            counter = self.metrics.counter(catalog.HTTP_ERRORS, method=method, route=route, error_type=key[2])
            if len(self._errors) < _CELLS_LIMIT:
                self._errors[key] = counter
        counter.increment()

    def finished(self, request: Finished) -> None:
        """Take a request that ended; the recorder's thread counts and logs it, or this one if that is behind."""
        self._finished.append(request)
        if len(self._finished) > _FINISHED_LIMIT:
            self.settle()

    def settle(self) -> None:
        """Count what open streams have sent, and count and log the requests that ended.

        Called by the recorder's thread, and before somebody reads.
        """
        with self._settling:
            for kind in list(self.clients.values()):
                for request in kind.live.copy():
                    if request.stream is not None:
                        request.stream.report()
            counted = [(request, self._count(request)) for request in self._take()]
            if self._access_log is not None and counted:
                self._access_log.write(counted)

    def _take(self) -> Iterator[Finished]:
        while self._finished:
            yield self._finished.popleft()

    def _count(self, request: Finished) -> RequestCell:
        method, route, status, _, started, ended, first_byte, body_bytes, result, error, stream = request[:11]
        cell = self.request_cell(method, route, status)
        if stream is None:
            cell.requests.total += 1
            cell.duration.record((ended - started) * _MS)
        else:
            stream.report()
            stream.cell.close(result, ended - started)
            if stream.gap:
                stream.cell.gap.record(stream.gap * _MS)
        cell.bytes.total += body_bytes
        if first_byte:
            cell.first_byte.record((first_byte - started) * _MS)
        if status >= 500 or result == "error":
            self.count_error(method, cell.route, error[0] if error is not None else "none")
        return cell

    def clients_by_instance(self) -> dict[int, int]:
        """Return how many connected clients watch each task instance, by the instance's id()."""
        counts: dict[int, int] = {}
        for kind in list(self.clients.values()):
            for exchange in kind.live.copy():
                if exchange.watched is not None:
                    counts[id(exchange.watched)] = counts.get(id(exchange.watched), 0) + 1
        return counts

    def abandon(self) -> None:
        """End every open stream: the process goes down, and they resist being cancelled."""
        for kind in list(self.clients.values()):
            for request in kind.live.copy():
                request.close(asyncio.CancelledError())

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
        self._finished.clear()
        self._settling = threading.Lock()
        for kind in self.clients.values():
            kind.live = set()
            kind.peak = Peak()
