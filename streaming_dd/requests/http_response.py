"""What the application sends for one request: its status, its bytes, its end. State: in each `Sending`.

A response ends with its last byte, with a file that the server sends in place of the app, or with its trailers.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from ..output import tracing
from ..output.tracing import weakly
from . import request_span
from .messages import Message, Recording, Scope, Send
from .read_ahead import Receiving
from .streams.event_formats import JSON_ARRAY, UNKNOWN, format_of
from .streams.open_stream import SMALL, OpenStream
from .streams.position import Format
from .streams.stream_cells import NO_TASK

#: A response without a length that is still sending after this many seconds is a stream, whatever its type.
_STREAM_AFTER: Final = 2.0
#: Bytes of a JSON text without a length that are kept until it is known whether it is a stream.
_EARLY_BYTES: Final = 65_536
_SEQUENCES: Final = (list, tuple)
_now = time.perf_counter


class Sending(Receiving):
    """The response of one HTTP request, as it passes by. Times are `time.perf_counter()` seconds."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_seen",
        "_server_send",
        "_trailers",
        "body_bytes",
        "completed",
        "ended",
        "first_byte",
        "length",
        "own_span",
        "path",
        "scope",
        "sender",
        "span",
        "status",
        "stream",
    )

    _seen: Recording
    _server_send: Send
    scope: Scope
    path: str
    status: int
    first_byte: float
    body_bytes: int
    #: The content-length that the response has announced, as it stands in its header.
    length: bytes | None
    #: The last byte has been handed to the server.
    completed: bool
    ended: float
    span: Any
    own_span: bool
    stream: OpenStream | None
    #: The asyncio task that sends the stream; set where there is one.
    sender: weakref.ref[asyncio.Task[Any]] | None
    #: What follows the body, and ends the response.
    _trailers: bool

    #: (app, model) of the task that this stream shows, and its instance.
    task = NO_TASK
    watched: Any = None
    #: The response began when the client had gone: nobody has seen its status.
    _unheard = False
    _early: list[tuple[bytes, float]] | None = None

    def send(self, message: Message) -> Awaitable[None]:
        """Note what passes by, and hand it to the server unchanged. The hottest function: written out on purpose."""
        stream = self.stream
        if stream is not None:
            write = stream.write
            if write is not None:  # it sends many: kept for the recorder's thread
                try:
                    kept = message["more_body"] and write(message["body"])
                except Exception:  # noqa: BLE001 - a message of another shape is looked at below
                    kept = 0
                if kept:
                    if kept > SMALL:
                        stream.check()
                    return self._server_send(message)
        if self.ended:
            return self._server_send(message)
        try:
            kind = message["type"]
            if kind == "http.response.body":
                more, body = message.get("more_body"), message.get("body")
                if body:
                    when = 0.0
                    if not self.first_byte:
                        when = self.first_byte = _now()
                    if stream is not None:
                        stream.keep(body, when)
                    else:
                        self.body_bytes += len(body)
                        if more and self.length is None:
                            self._note_progress(body)
                if not more and not self._trailers:
                    return self._send_last(message)
            elif kind == "http.response.start":
                message = self._note_start(message)
            elif self._note_extension(kind, message):
                return self._send_last(message)
        except Exception as error:  # noqa: BLE001 - a fault of ours, or of the message, is not the app's to see here
            self._seen.fault(error)
        return self._server_send(message)

    async def _send_last(self, message: Message) -> None:
        """Hand the message that ends the response to the server: the request ends here, whatever the app does next."""
        await self._server_send(message)
        self.completed = True
        self.ended = _now()
        if self.status < 500:
            self.close(None)
        else:  # an error page; the exception that it stands for is about to follow
            self._watch.remove(self)

    def _note_start(self, message: Message) -> Message:
        status = message["status"]
        self.status = status if type(status) is int else int(status)  # some servers take text, too
        if self.gone:
            self._unheard = True
        headers = message.get("headers", ())
        if message.get("trailers"):
            self._trailers = True
        # An iterator could not be read twice.
        known = isinstance(headers, _SEQUENCES)
        kind = self._note_headers(headers) if known else None
        span = self.span
        if span is None and "datadog" in self.scope:
            span = self.span = self._seen.tracing.span_of_integration(self.scope)
            if span is not None:
                tracing.complete_when_sent(span, weakly(self.complete_span))
        if kind is not None:
            self.open_stream(kind)
        if span is None or not known:
            return message
        header = self._seen.config.trace_header
        if not header:
            return message
        return _with_header(message, headers, header.lower().encode(), tracing.format_ids(span)[0].encode())

    def _note_headers(self, headers: Any) -> Format | None:
        """Note the response's length, and return the format of its events if it is a stream by its type."""
        found: dict[Any, Any] = dict(headers)
        content_type, length = found.get(b"content-type"), found.get(b"content-length")
        if content_type is None or length is None:  # or they are not in lower case
            found = {name.lower(): value for name, value in headers}
            content_type, length = found.get(b"content-type", b""), found.get(b"content-length")
        kind = format_of(bytes(content_type))
        self.length = length
        if length is None and kind is None and content_type.startswith(b"application/json"):
            self._early = []
        return kind

    def _note_progress(self, body: Any) -> None:
        """A response that goes on and on without having said its length is a stream, too."""
        now = _now()
        early = self._early
        if early is not None:
            early.append((bytes(body), now))
            if self.body_bytes > _EARLY_BYTES:
                self._early = None
        if now - self.first_byte > _STREAM_AFTER:
            self.open_stream(UNKNOWN if self._early is None else JSON_ARRAY)

    def _note_extension(self, kind: str, message: Message) -> bool:
        """Note a file that the server sends in place of the app, and trailers; True if it ends the response."""
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        if kind == "http.response.pathsend":
            self.body_bytes += int(self.length or 0)
        elif kind == "http.response.zerocopysend":
            self.body_bytes += message.get("count") or int(self.length or 0)
        else:
            return False
        self.first_byte = self.first_byte or _now()
        return not self._trailers and not message.get("more_body")

    def open_stream(self, kind: Format) -> None:
        """Count the response as a stream from here on."""
        seen = self._seen
        traffic = seen.traffic
        route = self.route_template()
        clients = traffic.client_kind(self.task)
        head = traffic.request_cell(self.scope["method"], route, self.status)
        head.requests.increment()
        self.sender = _current_task()
        self.stream = OpenStream(
            traffic.stream_cell(self.task, route), clients, self.started, kind, traffic.events
        )
        if self.first_byte:
            head.begun(self.first_byte - self.started)
        else:
            self.stream.head = head
        early = self._early
        if early:
            for body, when in early:
                self.body_bytes -= len(body)
                self.stream.keep(body, when)
            self._early = None
        clients.came(self)
        back = traffic.reconnects.opened(
            self.scope.get("client"), self.path, self.scope["headers"], self.started
        )
        if back is not None:
            self.stream.cell.reconnected(*back)
        if self.gone:
            clients.left(self)
            self.stream.reader.left(self.stream)
        if self.span is not None:
            seen.tracing.rename_to_stream(self.span)
            if not self.own_span:
                tracing.complete_when_sent(self.span, weakly(self.complete_span))

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Note which task this request's stream shows; called by the coordinator's hooks in the request's context.

        Without an instance one that is known stays, if it is of that app and model.
        """
        if instance is None and self.watched is not None and self.task == (app, model):
            return
        self.task = (app, model)
        self.watched = instance
        if self.span is None and "datadog" in self.scope:
            self.span = self._seen.tracing.span_of_integration(self.scope)
        if self.span is not None and run_span is not None and not self.span.finished:
            request_span.link_to_task(self.span, run_span)

    def decline(self, why: str) -> None:
        """Drop what the application said of its stream: counted, and said once."""
        self._seen.traffic.metrics.drop("stream_shows", why)

    def route_template(self) -> str:
        """Return the route template of the request."""
        raise NotImplementedError

    def complete_span(self, span: Any) -> None:
        """Give a stream's span that ddtrace made its true end."""
        raise NotImplementedError


def _current_task() -> weakref.ref[asyncio.Task[Any]] | None:
    task = asyncio.current_task()
    return weakref.ref(task) if task is not None else None


def _with_header(message: Message, headers: Sequence[Any], name: bytes, value: bytes) -> Message:
    """Return a copy of the message with one more header; the message itself where the app has sent such a header."""
    if any(found[0].lower() == name for found in headers):
        return message
    return {**message, "headers": [*headers, (name, value)]}
