"""One WebSocket as it passes by, from its handshake to its close. State: one `SocketExchange` per WebSocket.

A handshake that is refused, or that fails, is an HTTP request that was answered: it is counted and logged as one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from ..catalog import WS_REQUEST, StreamOutcome
from ..output import failure, told, tracing
from . import outcomes, request_span
from .cells import Finished, SocketCell
from .messages import Message, Owner, Receive, Recording, Scope, Send
from .read_ahead import Receiving
from .watch import Watch

#: Codes by which a client ends a conversation that the app takes part in; and the server's, when it goes down.
_ENDED_WELL: Final = (1000, 1001)
_RESTARTS: Final = 1012
#: What send() raises for a message that is the app's mistake, whatever became of the client; and a cancellation.
_NOT_GONE: Final = (TypeError, ValueError, KeyError, AssertionError, AttributeError, asyncio.CancelledError)
#: What a client is answered whose handshake the app refuses, or fails in.
_REFUSED: Final = 403
_FAILED: Final = 500
_MS: Final = 1000.0


class SocketExchange(Receiving):
    """One WebSocket, from its handshake to its close. Times are `time.perf_counter()` seconds."""

    __slots__ = (
        "__weakref__",
        "_cell",
        "_counted",
        "_ended_by_app",
        "_first_byte",
        "_gone_by",
        "_owner",
        "_root_path",
        "_seen",
        "_send_error",
        "_sent_bytes",
        "_server_send",
        "_status",
        "noted_route",
        "path",
        "scope",
        "span",
    )

    def __init__(
        self, owner: Owner, seen: Recording, scope: Scope, receive: Receive, send: Send, watch: Watch
    ) -> None:
        self.begin(receive, watch)
        seen.traffic.sockets += 1
        self._owner = owner
        self._seen = seen
        self.scope = scope
        self._server_send = send
        # A router changes both below a mount.
        self.path: str = scope["path"]
        self._root_path: str = scope.get("root_path", "")
        self.noted_route: str | None = None
        self.span: Any = None
        self._cell: SocketCell | None = None
        #: Among the connected ones; the status that the handshake was answered with, 101 once accepted.
        self._counted = False
        self._status = 0
        #: The app has closed it, or was told of a close that it expects.
        self._ended_by_app = False
        #: What it was that took the client away.
        self._gone_by: StreamOutcome = "client_disconnect"
        #: What the server's send() has raised.
        self._send_error: BaseException | None = None
        self._first_byte = 0.0
        self._sent_bytes = 0

    # --- what the app receives --------------------------------------------------------------------------------

    def app_got(self, message: Message) -> None:
        """Count a message, and note a disconnect."""
        if message["type"] == "websocket.receive":
            if self._cell is not None:
                self._cell.received.increment()
        elif message["type"] == "websocket.disconnect":
            self._left(message)
            if message.get("code") in _ENDED_WELL:
                self._ended_by_app = True

    def heard(self, message: Message) -> bool:
        """Note a disconnect that nobody has asked for."""
        if message["type"] != "websocket.disconnect":
            return True
        self._left(message)
        return False

    def may_listen(self) -> bool:
        """Once it is accepted: messages wait for the app here as they would at the server, up to a few."""
        return self._status == 101

    def _left(self, message: Message) -> None:
        """The socket is closed: it counts no longer, whatever the app still does."""
        if not self.gone:
            self.gone = True
            if self._seen.stopping or message.get("code") == _RESTARTS:
                self._gone_by = "server_shutdown"
            self._uncount()

    # --- what the app sends -----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Count what passes by, and hand it to the server unchanged."""
        try:
            self._note(message)
        except Exception as error:  # noqa: BLE001 - a fault of ours, or of the message, is not the app's to see here
            self._seen.fault(error)
        try:
            await self._server_send(message)
        except BaseException as error:
            self._send_error = error
            raise

    def _note(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            if self._cell is not None:
                self._cell.sent.increment()
        elif kind == "websocket.accept":
            self._accept()
        elif kind == "websocket.close":
            self._ended_by_app = self._ended_by_app or not self.gone
            self._status = self._status or _REFUSED
        elif kind == "websocket.http.response.start":
            self._status = int(message["status"])
        elif kind == "websocket.http.response.body":
            self._first_byte = self._first_byte or time.perf_counter()
            self._sent_bytes += len(message.get("body") or b"")
            self._ended_by_app = not message.get("more_body")

    def _accept(self) -> None:
        traffic = self._seen.traffic
        self._status = 101
        self._cell = traffic.socket_cell(self.route_template())
        self._cell.opened.increment()
        self._counted = True
        traffic.websockets += 1
        traffic.websocket_peak.note(traffic.websockets)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self._seen.traffic.websockets -= 1

    def route_template(self) -> str:
        """Return the route template, as far as the router has come."""
        return self._owner.templates.template(self.scope, self.path, self._root_path, self.noted_route)

    # --- the end ----------------------------------------------------------------------------------------------

    def start_span(self) -> None:
        """Make the span of this WebSocket, active in its context."""
        try:
            self.span = self._seen.tracing.start_request("websocket", self.scope["headers"], WS_REQUEST)
        except Exception as fault:  # noqa: BLE001 - a socket without a span is better than none
            self._seen.fault(fault)

    def finish(self, error: BaseException | None) -> None:
        """Learn that the application has returned or raised."""
        self.stop_listening()
        self.close(error)

    def close(self, error: BaseException | None) -> None:
        """Record the WebSocket's end, once."""
        if self.closed:
            return
        self.closed = True
        self._watch.remove(self)
        self._seen.traffic.sockets -= 1
        self._uncount()
        try:
            self._close(error)
        except Exception as fault:  # noqa: BLE001 - the connection was served, whatever fails here
            self._seen.fault(fault)

    def _close(self, error: BaseException | None) -> None:
        ended = time.perf_counter()
        outcome = self._judge(error)
        shown = None
        if outcome == "error":
            if error is not None and self._cell is None and self._seen.traffic.writes_lines:
                told.note(error)
            shown = (failure.type_name(error), *failure.describe(error)) if error is not None else _NO_ANSWER
        if self._cell is not None:
            route = self._cell.route
            self._cell.close(outcome, (ended - self.started) * _MS)
        else:
            route = self.route_template()
            self._status = self._status or (_FAILED if outcome == "error" else 499)
        record = self._record(route, outcome, ended, shown)
        if self._cell is None:
            self._seen.traffic.finished(record)
        if self.span is not None:
            scheme = self.scope.get("scheme", "http")
            self._seen.tracing.finish(self.span, ended - self.started, _describe, record, scheme)

    def _judge(self, error: BaseException | None) -> StreamOutcome:
        """Who ended it: the app, the client, the server at its shutdown, or a failure."""
        stopping = self._seen.stopping
        if self.gone and self._gone_by == "server_shutdown":
            return "server_shutdown"
        if self._ended_by_app and (error is None or self.gone or isinstance(error, asyncio.CancelledError)):
            return "completed"
        if self.gone:
            return "client_disconnect"
        if error is not None:
            outcome = outcomes.of_error(error, stopping=stopping, by_send=self._raised_by_send)
            return "server_shutdown" if stopping and outcome == "client_disconnect" else outcome
        if self._status:
            return "completed"
        return "server_shutdown" if stopping else "error"  # it has not even answered the handshake

    def _raised_by_send(self, error: BaseException) -> bool:
        """Whether the server refused a message because the client is gone: each server has its own exception for it."""
        if error is not self._send_error or isinstance(error, _NOT_GONE):
            return False
        if self._status != 101:  # granian takes the answer to a handshake in one piece alone
            return isinstance(error, OSError)
        return not self._ended_by_app or isinstance(error, OSError)

    def _record(
        self, route: str, outcome: StreamOutcome, ended: float, error: tuple[str, str, str, str] | None
    ) -> Finished:
        return (
            "GET",
            route,
            self._status,
            self.path,
            self.started,
            ended,
            self._first_byte,
            self._sent_bytes,
            outcome,
            error,
            None,
            (self.span.trace_id, self.span.span_id) if self.span is not None else None,
            self.scope.get("client"),
            self.scope["headers"],
        )


def _describe(record: Finished, scheme: str) -> tracing.Description:
    """What the span of a WebSocket says at its end."""
    _, failed, tags = request_span.describe(record, scheme)
    return record[1], failed, {**tags, "stream.outcome": record[8]}


_NO_ANSWER: Final = (
    "NoResponse",
    "NoResponse",
    "the application returned without answering the handshake",
    "",
)
