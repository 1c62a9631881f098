"""One HTTP request or stream as it passes by. State: one `HttpExchange` per request.

The middleware makes it and wraps the server's receive() and send() in its own. A response ends with its last byte; how
it ended (outcomes.py) goes to its span (request_span.py) and to the recorder's thread (traffic.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ..catalog import HTTP_BACKGROUND_WORK, StreamOutcome, TaskOutcome
from ..output import failure, told, tracing
from . import outcomes, request_span
from .http_response import Sending
from .messages import Message, Owner, Receive, Recording, Scope, Send
from .streams.open_stream import OpenStream
from .watch import Watch

#: Seconds after the last byte from which on an application's further work is worth a sample and a span: a busy machine
#: takes a part of that to come back from the send().
_BACKGROUND: Final = 0.05
#: What is said of an application that returned too early: the server answers 500, or cuts the connection.
_NO_RESPONSE: Final = ("NoResponse", "NoResponse", "the application returned without a response", "")
_NO_END: Final = (
    "UnfinishedResponse",
    "UnfinishedResponse",
    "the application returned without ending its response",
    "",
)
_now = time.perf_counter


class HttpExchange(Sending):
    """One HTTP request and its response, as they pass by. Times are `time.perf_counter()` seconds."""

    # What every request sets has a slot, here and in the classes below; what most never set is a default on the
    # class, and a dictionary is made for the few that do. Nothing that every request reads is such a default.
    __slots__ = ("_body_read", "_owner", "noted_route", "root_path", "route")

    #: What it came to.
    result: StreamOutcome = "completed"
    #: An exception that the framework answered itself, described.
    noted_error: tuple[str, str, str, str] | None = None

    def __init__(
        self, owner: Owner, seen: Recording, scope: Scope, receive: Receive, send: Send, watch: Watch
    ) -> None:
        # Those of the classes below, too: a constructor that calls others costs as much as what it does.
        self._owner = owner
        self._seen = seen
        self._server_receive = receive
        self._server_send = send
        self._watch = watch
        self._ahead = self.span = self.stream = self.length = None
        self._asked = self._body_read = self.gone = self.receiving = False
        self.closed = self.completed = self.own_span = self._trailers = False
        self.scope = scope
        # A router changes both below a mount.
        self.path = scope["path"]
        self.root_path: str = scope.get("root_path", "")
        self.route = ""
        #: A route that the framework told us (Django's resolver), relative to where it is mounted.
        self.noted_route: str | None = None
        self.status = self.body_bytes = 0
        self.first_byte = self.ended = 0.0
        self.started = _now()
        watch.young.add(self)
        if not watch.scheduled:
            watch.schedule()

    # --- what the app receives --------------------------------------------------------------------------------

    def app_got(self, message: Message) -> None:
        """Note a disconnect, and the end of an upload."""
        if message["type"] == "http.disconnect":
            self.client_left()
        elif not message.get("more_body"):
            self._body_read = True

    def heard(self, message: Message) -> bool:
        """Note a disconnect that nobody has asked for."""
        if message["type"] == "http.disconnect":
            self.client_left()
            return False
        return not message.get("more_body")

    def may_listen(self) -> bool:
        """Not while an upload is on its way: it goes at the app's own pace, in the pieces that it would have anyway."""
        return self._body_read or not _uploads(self.scope)

    def client_left(self) -> None:
        """Note that the client's socket is closed: it no longer counts as connected."""
        if self.completed or self.closed or self.gone:  # servers report a disconnect after the last byte, too
            return
        self.gone = True
        if self.stream is not None:
            self.stream.clients.left(self)
            self.stream.reader.left(self.stream)

    # --- the end ----------------------------------------------------------------------------------------------

    def start_span(self) -> Any:
        """Make this request's span, active in the request's context; return what was active there before."""
        scope, spans = self.scope, self._seen.tracing
        try:
            self.span, before = spans.begin_request(scope["method"], scope["headers"])
            self.own_span = True
        except Exception as fault:  # noqa: BLE001 - a request without a span is better than none
            self._seen.fault(fault)
            return None
        if spans.sampled_by_rules:
            self.foretell()
        return before

    def finish(self, error: BaseException | None) -> None:
        """Learn that the application has returned or raised: mostly long after the response has ended."""
        if self._ahead is not None:
            self.stop_listening()
        if not self.closed:
            self.close(error)
        elif self.completed:
            seconds = _now() - self.ended
            if seconds > _BACKGROUND or (error is not None and not isinstance(error, asyncio.CancelledError)):
                self._note_background(seconds, error)

    def close(self, error: BaseException | None) -> None:
        """Judge the outcome and finish the span, once: with the last byte, or when the app ends or the server gives it up.

        What is to be counted and logged is left to the recorder's thread: the request is not kept waiting for it.
        """
        if self.closed:
            return
        self.closed = True
        if not self.ended:
            self.ended = _now()
        watch = self._watch
        watch.young.discard(self)
        if watch.settled:
            watch.settled.discard(self)
        seen, stream = self._seen, self.stream
        result: StreamOutcome = "completed"
        shown = None
        try:
            if error is not None or self.gone or not self.completed:
                result, shown = self._close_badly(error)
            elif self.status >= 500 and self.noted_error is not None:
                self.result = result = "error"
                shown = self.noted_error
            if stream is not None:
                self._close_stream(stream)
            scope, span = self.scope, self.span
            method, route = scope["method"], self.route
            if not route:
                route = self.route = self._owner.templates.template(
                    scope, self.path, self.root_path, self.noted_route
                )
            ended = (
                method,
                route,
                self.status,
                self.path,
                self.started,
                self.ended,
                self.first_byte,
                0 if method == "HEAD" else self.body_bytes,
                result,
                shown,
                stream,
                (span.trace_id, span.span_id) if span is not None else None,
                scope.get("client"),
                scope["headers"],
            )
            if self.own_span:
                seconds = self.ended - self.started
                seen.tracing.finish(span, seconds, request_span.describe, ended, scope.get("scheme", "http"))
                if "datadog" in scope:
                    self._owner.spans_are_doubled()
            elif span is not None:
                self._close_span(span)
            seen.traffic.finished(ended)
        except Exception as fault:  # noqa: BLE001 - the request is served, whatever fails here
            seen.fault(fault)

    def _close_stream(self, stream: OpenStream) -> None:
        stream.clients.gone(self)
        if self.result != "completed":
            scope, reconnects = self.scope, self._seen.traffic.reconnects
            reconnects.closed(scope.get("client"), self.path, scope["headers"], self.ended)

    def _note_background(self, seconds: float, error: BaseException | None) -> None:
        """The application went on after its response: a sample and a span of their own."""
        try:
            method, seen = self.scope["method"], self._seen
            outcome: TaskOutcome = "completed"
            if error is not None:
                outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
            seen.traffic.background(method, self.route, outcome, seconds)
            if self.own_span:
                shown = error if outcome == "failed" else None
                seen.tracing.past(HTTP_BACKGROUND_WORK, f"{method} {self.route}", self.span, seconds, shown)
        except Exception as fault:  # noqa: BLE001 - the request is served, whatever fails here
            self._seen.fault(fault)

    def _close_badly(
        self, error: BaseException | None
    ) -> tuple[StreamOutcome, tuple[str, str, str, str] | None]:
        """Return the outcome, and the error that is shown, of what did not end well."""
        started = bool(self.status)
        result = self.result = self._judge(error)
        shown = None
        if result == "error":
            if error is not None:
                shown = self._described(error)
            elif not self.completed:
                shown = _NO_END if started else _NO_RESPONSE
        if not started:
            self.status = 500 if result == "error" else 499
        elif self._unheard and result == "client_disconnect":
            self.status = 499
        return result, shown

    def note_error(self, error: BaseException) -> None:
        """Note an exception that the framework makes a 5xx of itself (Django); it counts if that is what is sent."""
        if self.noted_error is None:
            self.noted_error = self._described(error)

    def _described(self, error: BaseException) -> tuple[str, str, str, str]:
        if self._seen.traffic.writes_lines:
            told.note(error)
        return failure.type_name(error), *failure.describe(error)

    def _judge(self, error: BaseException | None) -> StreamOutcome:
        if self.gone:
            return "client_disconnect"
        stopping = self._seen.stopping
        if error is not None and not (self.completed and isinstance(error, asyncio.CancelledError)):
            by_send = partial(outcomes.raised_by, self._server_send)
            return outcomes.of_error(error, stopping=stopping, by_send=by_send)
        if self.completed:
            return "completed"
        return "server_shutdown" if stopping else "error"

    def _close_span(self, span: Any) -> None:
        """Complete a span that ddtrace made, if it has not been sent already."""
        if self.stream is not None:
            request_span.tag_stream(span, self.stream, self.result, self.first_byte)
        if not span.finished:  # ddtrace's middleware is further out than ours
            tracing.complete_when_sent(span, self._settlement(self.result))

    def _settlement(self, outcome: StreamOutcome) -> Callable[[Any], None]:
        method = self.scope["method"]
        if self.stream is None:
            return partial(request_span.name, method, self.route_template(), self.noted_error)
        return partial(request_span.settle, f"{method} {self.route}", self.route, str(self.status), outcome)

    def complete_span(self, span: Any) -> None:
        """Give a span that ddtrace made its route, and a stream's its true end. Called when it is sent: mostly before
        our own close(), because ddtrace's middleware is further in, and finishes it first.
        """
        outcome, stream = self.result, self.stream
        if stream is not None:
            if not self.closed:
                name = span.get_tag("error.type")
                outcome = outcomes.of_name(name, stopping=self._seen.stopping) if name else self._judge(None)
                outcome = "client_disconnect" if self.gone else outcome
            request_span.tag_stream(span, stream, outcome, self.first_byte)
        self._settlement(outcome)(span)

    def foretell(self) -> None:
        """Say on the span already what the user's sampling rules may look at: a call to another service decides early."""
        if self.own_span and self.span is not None and self._seen.tracing.sampled_by_rules:
            route = self._owner.templates.template(self.scope, self.path, self.root_path, self.noted_route)
            request_span.foretell(self.span, self.scope, self.path, route)

    def route_template(self) -> str:
        """Return the route template of the request, found once."""
        if not self.route:
            self.route = self._owner.templates.template(
                self.scope, self.path, self.root_path, self.noted_route
            )
        return self.route


def _uploads(scope: Scope) -> bool:
    """Whether the request has a body, by its headers."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return True
    return False
