"""One WebSocket as it passes by, from its handshake to its close. State: one `SocketExchange` per WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

from . import tracing
from .catalog import StreamOutcome
from .http_exchange import Message, Owner, Receive, Scope, Send
from .recorder import Recorder
from .traffic import SocketCell

_MS: Final = 1000.0


class SocketExchange:
    """One WebSocket, from its handshake to its close."""

    __slots__ = (
        "_accepted",
        "_cell",
        "_closed",
        "_gone",
        "_owner",
        "_receive",
        "_seen",
        "_send",
        "noted_route",
        "scope",
        "span",
        "started",
    )

    def __init__(self, owner: Owner, seen: Recorder, scope: Scope, receive: Receive, send: Send) -> None:
        self._owner = owner
        self._seen = seen
        self.scope = scope
        self._receive = receive
        self._send = send
        self.started = time.perf_counter()
        self.noted_route: str | None = None
        self.span: Any = None
        self._cell: SocketCell | None = None
        self._accepted = False
        self._closed = False
        self._gone = False

    async def receive(self) -> Message:
        """Pass the next message on, and count it."""
        message = await self._receive()
        if message["type"] == "websocket.receive":
            if self._cell is not None:
                self._cell.received.increment()
        elif message["type"] == "websocket.disconnect":
            self._left(message.get("code", 1005))
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Count what passes by, and hand it to the server unchanged."""
        kind = message["type"]
        if kind == "websocket.send":
            if self._cell is not None:
                self._cell.sent.increment()
        elif kind == "websocket.accept":
            self._accept()
        elif kind == "websocket.close":
            self._closed = True
        return self._send(message)

    def _accept(self) -> None:
        scope = self.scope
        route = self._owner.routes.template(
            scope, scope["path"], scope.get("root_path", ""), self.noted_route
        )
        self._cell = self._seen.traffic.socket_cell(route)
        self._cell.opened.increment()
        self._accepted = True
        traffic = self._seen.traffic
        traffic.websockets += 1
        traffic.websocket_peak.note(traffic.websockets)

    def _left(self, code: int) -> None:
        """The socket is closed: it counts no longer, whatever the app still does."""
        self._gone = True
        self._closed = self._closed or code in (1000, 1001)
        self._uncount()

    def _uncount(self) -> None:
        if self._accepted:
            self._accepted = False
            self._seen.traffic.websockets -= 1

    def close(self, error: BaseException | None) -> None:
        """Record the WebSocket's end."""
        try:
            self._close(error)
        except Exception as fault:  # noqa: BLE001 - the connection was served, whatever fails here
            self._seen.fault(fault)

    def _close(self, error: BaseException | None) -> None:
        self._uncount()
        if error is None or self._gone:
            outcome: StreamOutcome = "completed" if self._closed or not self._gone else "client_disconnect"
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            outcome = "server_shutdown" if self._seen.stopping else "client_disconnect"
        else:
            outcome = "error"
        if self._cell is not None:
            self._cell.close(outcome, (time.perf_counter() - self.started) * _MS)
        span = self.span
        if span is None:
            return
        span.set_tag("component", "streaming_dd")
        span.set_tag("span.kind", "server")
        span.resource = self._cell.route if self._cell is not None else "unmatched"
        span.set_tag("stream.outcome", outcome)
        if outcome == "error" and error is not None:
            tracing.set_error(span, error)
        span.finish()
