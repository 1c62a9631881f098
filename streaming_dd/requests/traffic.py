"""Requests, streams and WebSockets: what is live, and the counting of what has ended.

State: `Traffic` (it belongs to the recorder). The end of a request only puts it into a queue; the recorder's thread
counts and logs it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from .. import catalog
from ..catalog import TaskOutcome
from ..config import Config
from ..output.metrics import Counter, Gauge, Metrics
from ..output.peaks import Peak
from .access_log import AccessLog
from .cells import METHODS, BackgroundCell, Finished, RequestCell, SocketCell
from .streams.open_stream import EventReader
from .streams.reconnects import Reconnects
from .streams.stream_cells import ClientKind, Request, StreamCell
from .streams.upkeep import Upkeep
from .watch import Watches

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru

_CELLS_LIMIT: Final = 10_000
#: Requests that wait for the recorder's thread; more are settled where they end.
_FINISHED_LIMIT: Final = 5_000
_MS: Final = 1000.0

#: The request being handled in this context; None outside of requests.
current: ContextVar[Request | None] = ContextVar("streaming_dd_request", default=None)


class Traffic:
    """The requests, streams and WebSockets of this process."""

    def __init__(self, config: Config, metrics: Metrics, logs: Logs | None) -> None:
        self.config = config
        self.metrics = metrics
        self.logs = logs
        #: What is open now, and what its streams have sent that is yet to be read.
        self.watches = Watches()
        self.events = EventReader()
        self.reconnects = Reconnects()
        #: WebSockets whose handshake has begun; and those connected now.
        self.sockets = 0
        self.websockets = 0
        self.websocket_peak = Peak()
        self.clients: dict[tuple[str, str], ClientKind] = {}
        #: Of clients of all kinds together: the peaks of the kinds need not have been at the same moment.
        self.client_peak = Peak()
        self._worker_peak = metrics.gauge(catalog.CLIENTS_WORKER_PEAK)
        self._requests: dict[tuple[str, str, int], RequestCell] = {}
        self._streams: dict[tuple[str, str, str], StreamCell] = {}
        self._sockets: dict[str, SocketCell] = {}
        self._background: dict[tuple[str, str], BackgroundCell] = {}
        self._errors: dict[tuple[str, str, str], Counter] = {}
        self._upkeep = Upkeep(config.stream_stall, config.stream_zombie)
        self._finished: deque[Finished] = deque()
        self._settling = threading.Lock()
        #: Whether the end of each request is on a line.
        self.writes_lines = logs is not None and config.access_log
        self._access_log = AccessLog(logs) if logs is not None and config.access_log else None
        self._http_active = metrics.gauge(catalog.HTTP_ACTIVE)
        self._ws_active = metrics.gauge(catalog.WS_ACTIVE)
        self._ws_peak = metrics.gauge(catalog.WS_PEAK)
        metrics.add_gauges(self._gauges)

    # --- cells ----------------------------------------------------------------------------------------------

    def request_cell(self, method: str, route: str, status: int) -> RequestCell:
        """Return the handles of requests with this method, route and status."""
        key = (method if method in METHODS else "OTHER", route, status)
        cell = self._requests.get(key)
        if cell is None:
            method = key[0]
            if len(self._requests) >= _CELLS_LIMIT:
                route = "other"
            cell = RequestCell(self.metrics, method, route, status, self.config.first_byte_limit)
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
            kind = ClientKind(self.metrics, *task, self._note_clients)
            if len(self.clients) < _CELLS_LIMIT:
                self.clients[task] = kind
        return kind

    def _note_clients(self) -> None:
        self.client_peak.note(sum(len(kind.live) for kind in list(self.clients.values())))

    # --- what happens ---------------------------------------------------------------------------------------

    def count_error(self, method: str, route: str, error_type: str) -> None:
        """Count a request or stream that ended by an exception, or by a 5xx status."""
        key = (method if method in METHODS else "OTHER", route, error_type)
        counter = self._errors.get(key)
        if counter is None:
            counter = self.metrics.counter(
                catalog.HTTP_ERRORS, method=key[0], route=route, error_type=error_type
            )
            if len(self._errors) < _CELLS_LIMIT:
                self._errors[key] = counter
        counter.increment()

    def finished(self, request: Finished) -> None:
        """Take a request that ended; the recorder's thread counts and logs it, or this one if that is behind."""
        self._finished.append(request)
        if len(self._finished) > _FINISHED_LIMIT:
            self.settle()

    def settle(self) -> None:
        """Read what open streams have sent, and count and log the requests that ended.

        Called by the recorder's thread, and before somebody reads.
        """
        with self._settling:
            self.events.read_all()
            count, take = self._count, self._finished.popleft
            counted = [count(take()) for _ in range(len(self._finished))]
            if self._access_log is not None and counted:
                self._access_log.write(counted)
            self._upkeep.look(list(self.clients.values()), time.perf_counter())

    def _count(self, request: Finished) -> tuple[Finished, RequestCell]:
        method, route, status, _, started, ended, first_byte, body_bytes, result, error, stream = request[:11]
        # Its method may be none that has cells of its own.
        cell = self._requests.get((method, route, status)) or self.request_cell(method, route, status)
        if stream is None:
            cell.requests.total += 1
            cell.duration.record((ended - started) * _MS)
            if first_byte:
                cell.begun(first_byte - started)
        else:
            self.events.end(stream)
            body_bytes += stream.bytes if method != "HEAD" else 0
            request = (*request[:7], body_bytes, *request[8:])
            stream.cell.close(result, ended - started)
            if stream.gap:
                stream.cell.gap.record(stream.gap * _MS)
        cell.bytes.total += body_bytes
        if result == "error" or (status >= 500 and result == "completed"):
            self.count_error(method, cell.route, error[0] if error is not None else "none")
        return request, cell

    def background(self, method: str, route: str, outcome: TaskOutcome, seconds: float) -> None:
        """Record what an application did after the last byte of a response."""
        key = (method if method in METHODS else "OTHER", route)
        cell = self._background.get(key)
        if cell is None:
            cell = BackgroundCell(self.metrics, *key)
            if len(self._background) < _CELLS_LIMIT:
                self._background[key] = cell
        cell.record(outcome, seconds)

    @property
    def active(self) -> int:
        """HTTP requests whose response has not ended."""
        return max(0, len(self.watches) - self.sockets)

    def clients_by_instance(self) -> dict[int, int]:
        """Return how many connected clients watch each task instance, by the instance's id()."""
        counts: dict[int, int] = {}
        for kind in list(self.clients.values()):
            for exchange in kind.live.copy():
                if exchange.watched is not None:
                    counts[id(exchange.watched)] = counts.get(id(exchange.watched), 0) + 1
        return counts

    def abandon(self) -> None:
        """End everything that is open: the process goes down, whatever the server or the application still does.

        A real end that comes later is not counted again. May be called in any thread.
        """
        for one in self.watches.open():
            one.close(asyncio.CancelledError())

    def _gauges(self) -> Iterable[tuple[Gauge, float]]:
        now = time.monotonic()
        yield self._http_active, self.active
        yield self._ws_active, self.websockets
        yield self._ws_peak, self.websocket_peak.read(self.websockets, now)
        kinds = list(self.clients.values())
        yield self._worker_peak, self.client_peak.read(sum(len(kind.live) for kind in kinds), now)
        for kind in kinds:
            level = len(kind.live)
            yield kind.active, level
            yield kind.peak_gauge, kind.peak.read(level, now)
            yield kind.zombie_gauge, len(kind.zombies)

    def after_fork(self) -> None:
        """Forget in a forked child the connections of the parent."""
        self.sockets = self.websockets = 0
        self.watches.forget()
        self.events.after_fork()
        self.websocket_peak = Peak()
        self.client_peak = Peak()
        self._finished.clear()
        self._settling = threading.Lock()
        for kind in self.clients.values():
            kind.live = set()
            kind.zombies = {}
            kind.peak = Peak()
