"""One HTTP request or SSE stream as it passes by, and the watch over the streams that are open.

State: one `HttpExchange` per request, one `StreamWatch` per event loop. The middleware makes them; what they learn
goes to the recorder's `Traffic` and to the request's span.
"""

from __future__ import annotations

import asyncio
import time
import traceback
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from . import tracing
from .catalog import StreamOutcome
from .notices import say
from .recorder import Recorder
from .routes import Routes
from .span_outlet import weakly
from .traffic import NO_TASK, OpenStream

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Seconds between two looks at the open streams of a loop. A client that left is gone after two of them at most.
_WATCH_INTERVAL: Final = 0.75
#: A response without a length that is still sending after this many seconds is a stream, whatever its type.
_STREAM_AFTER: Final = 2.0
_STREAM_TYPES: Final = (
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/stream+json",
    b"multipart/x-mixed-replace",
)
_MS: Final = 1000.0
_now = time.perf_counter


class Owner(Protocol):
    """What an exchange needs of the middleware that made it."""

    routes: Routes

    def spans_are_doubled(self) -> None:
        """Learn that ddtrace's own integration makes the request spans."""


class HttpExchange:
    """One HTTP request and its response, as they pass by. Times are `time.perf_counter()` seconds."""

    # What every request sets has a slot; what most never set is a default on the class, and a dictionary is made
    # for the few that do.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_owner",
        "_receive",
        "_seen",
        "_send",
        "body_bytes",
        "completed",
        "ended",
        "first_byte",
        "gone",
        "has_length",
        "own_span",
        "path",
        "receiving",
        "root_path",
        "route",
        "scope",
        "span",
        "started",
        "status",
        "stream",
    )

    #: A route that the framework told us (Django's resolver), relative to where it is mounted.
    noted_route: str | None = None
    #: (app, model) of the task that this stream shows, and its instance.
    task = NO_TASK
    watched: Any = None
    #: An outcome that the application knows better than we do; and the one it came to.
    outcome: StreamOutcome | None = None
    result: StreamOutcome = "completed"
    #: Class name, qualified name, message and stack of the exception that ended it.
    error: tuple[str, str, str, str] | None = None
    _pump: asyncio.Task[None] | None = None
    _inbox: deque[Message] | None = None
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, owner: Owner, seen: Recorder, scope: Scope, receive: Receive, send: Send) -> None:
        self._owner = owner
        self._seen = seen
        self.scope = scope
        self._receive = receive
        self._send = send
        self.path: str = scope["path"]
        self.root_path: str = scope.get("root_path", "")
        self.route = ""
        self.status = 0
        self.first_byte = 0.0
        self.body_bytes = 0
        self.completed = False
        #: The client's socket is known to be closed; the app waits in receive() now.
        self.gone = False
        self.receiving = False
        self.has_length = False
        self.span: Any = None
        self.own_span = False
        self.stream: OpenStream | None = None
        self.started = _now()
        self.ended = 0.0

    # --- what the app receives --------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Pass the server's next message on, and note a disconnect. Adds no checkpoint of its own."""
        self.receiving = True
        try:
            if self._pump is not None:
                return await self._receive_from_pump()
            message = await self._receive()
        finally:
            self.receiving = False
        if message["type"] == "http.disconnect":
            self.client_left()
        return message

    async def _receive_from_pump(self) -> Message:
        while True:
            if self._inbox:
                message = self._inbox[0]
                if message["type"] != "http.disconnect":  # a disconnect is told again at every call
                    self._inbox.popleft()
                return message
            if self._pump is None or self._pump.done():
                return await self._receive()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def watch_socket(self) -> None:
        """Listen for the client's disconnect in place of an app that does not; called once a stream is open."""
        if not self.receiving and self._pump is None and not self.gone:
            self._inbox = deque()
            self._pump = asyncio.get_running_loop().create_task(self._listen(self._inbox))

    async def _listen(self, inbox: deque[Message]) -> None:
        """Read ahead of the app, one message at most, until the client has left."""
        try:
            while not self.gone:
                message = await self._receive()
                inbox.append(message)
                if message["type"] == "http.disconnect":
                    self.client_left()
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_result(None)
                while message.get("more_body") and inbox:  # noqa: ASYNC110 - an upload goes at the app's own pace
                    await asyncio.sleep(_WATCH_INTERVAL)
        except Exception as error:  # noqa: BLE001 - the app will meet the same error in its own receive()
            say("listen", f"waiting for a client's disconnect failed: {error!r}")
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def client_left(self) -> None:
        """Note that the client's socket is closed: it no longer counts as connected."""
        if not self.completed:  # servers report a disconnect after the last byte, too
            self.gone = True
        if self.stream is not None:
            self.stream.clients.live.discard(self)

    # --- what the app sends -----------------------------------------------------------------------------------

    def send(self, message: Message) -> Awaitable[None]:
        """Note what passes by, and hand it to the server unchanged. The hottest function: written out on purpose."""
        try:
            stream = self.stream
            if stream is not None:
                body = message.get("body")
                if body:
                    now = _now()
                    gap = now - stream.last_event
                    if gap > stream.gap:
                        self._note_gap(stream, now, gap)
                    stream.last_event = now
                    stream.events += body.count(b"\n\n") or 1
                    stream.bytes += len(body)
                if not message.get("more_body") and message["type"] == "http.response.body":
                    self.completed = True
            elif message["type"] == "http.response.body":
                self._note_body(message)
            elif message["type"] == "http.response.start":
                self._note_start(message)
        except Exception as error:  # noqa: BLE001 - a fault of ours, or of the message, is not the app's to see here
            self._seen.fault(error)
        return self._send(message)

    def _note_start(self, message: Message) -> None:
        self.status = message["status"]
        streams = False
        for name, value in message.get("headers", ()):
            if name == b"content-length":
                self.has_length = True
            elif name == b"content-type" or (name[0] < 97 and name.lower() == b"content-type"):
                streams = value.lower().startswith(_STREAM_TYPES)
        if self.span is None and "datadog" in self.scope:
            self.span = self._seen.tracing.span_of_integration(self.scope)
        if streams:
            self.open_stream()
        header = self._seen.config.trace_header
        if header and self.span is not None:
            trace_id = tracing.format_ids(self.span)[0]
            message["headers"] = [*message.get("headers", ()), (header.encode(), trace_id.encode())]

    def _note_body(self, message: Message) -> None:
        body = message.get("body")
        more = message.get("more_body")
        if body:
            self.body_bytes += len(body)
            if not self.first_byte:
                self.first_byte = _now()
            elif more and not self.has_length and _now() - self.first_byte > _STREAM_AFTER:
                self.open_stream()  # it goes on and on without having said its length: a stream, too
        if not more:
            self.completed = True

    def _note_gap(self, stream: OpenStream, now: float, gap: float) -> None:
        """Note the longest gap between events so far; the first event ends none."""
        if stream.last_event:
            stream.gap = gap
        else:
            self.first_byte = self.first_byte or now
            stream.cell.first_event.record((now - self.started) * _MS)

    def open_stream(self) -> None:
        """Count the response as a stream from here on."""
        seen = self._seen
        route = self.route_template()
        clients = seen.traffic.client_kind(self.task)
        self.stream = OpenStream(seen.traffic.stream_cell(self.task, route), clients, self.started)
        seen.traffic.request_cell(self.scope["method"], route, self.status).requests.increment()
        if not self.gone:
            clients.came(self)
        if self.span is not None:
            seen.tracing.rename_to_stream(self.span)
            if not self.own_span:
                tracing.complete_when_sent(self.span, weakly(self.complete_span))
        StreamWatch.of_loop(seen).add(self)

    # --- spans ------------------------------------------------------------------------------------------------

    def start_span(self) -> None:
        """Make this request's span, active in the request's context."""
        method = self.scope["method"]
        try:
            span = self._seen.tracing.start_request(method, self.scope["headers"])
            span.set_tag("span.kind", "server")
            span.set_tag("component", "streaming_dd")
            span.set_tag("http.method", method)
        except Exception as fault:  # noqa: BLE001 - a request without a span is better than none
            self._seen.fault(fault)
        else:
            self.span = span
            self.own_span = True

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Note which task this request's stream shows; called by the coordinator's hooks in the request's context."""
        self.task = (app, model)
        self.watched = instance
        if self.span is None and "datadog" in self.scope:
            self.span = self._seen.tracing.span_of_integration(self.scope)
        if self.span is not None and run_span is not None and not self.span.finished:
            trace_id = tracing.format_ids(run_span)[0]
            if self.span.get_tag("task.trace_id") != trace_id:
                self.span.set_tag("task.trace_id", trace_id)
                tracing.link(self.span, run_span, {"link.kind": "watches"})

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, error: BaseException | None) -> None:
        """Judge the outcome and finish the span, once: when the app has returned or raised, or the server gives it up.

        What is to be counted and logged is left to the recorder's thread: the request is not kept waiting for it.
        """
        if self.ended:
            return
        self.ended = _now()
        try:
            if error is not None or self.outcome is not None or self.gone or not self.completed:
                self._close_badly(error)
            if self.stream is not None:
                self._close_stream(self.stream)
            span = self.span
            if span is not None:
                self._close_span(error)
            self._hand_over(span)
        except Exception as fault:  # noqa: BLE001 - the request is served, whatever fails here
            self._seen.fault(fault)

    def _close_stream(self, stream: OpenStream) -> None:
        stream.clients.live.discard(self)
        self.body_bytes += stream.bytes
        if self._pump is not None:
            self._pump.cancel()

    def _hand_over(self, span: Any) -> None:
        self._seen.traffic.finished(
            (
                self.scope["method"],
                self.route or self.route_template(),
                self.status,
                self.path,
                self.started,
                self.ended,
                self.first_byte,
                self.body_bytes,
                self.result,
                self.error,
                self.stream,
                (span.trace_id, span.span_id) if span is not None else None,
                self.scope.get("client"),
                self.scope["headers"],
            )
        )

    def _close_badly(self, error: BaseException | None) -> None:
        self.result = self.outcome or self._judge(error)
        if not self.status:
            self.status = 500 if self.result == "error" else 499
        if error is not None and self.result == "error":
            self.error = (type(error).__name__, *tracing.describe_error(error))

    def route_template(self) -> str:
        """Return the route template of the request, found once."""
        if not self.route:
            self.route = self._owner.routes.template(self.scope, self.path, self.root_path, self.noted_route)
        return self.route

    def _judge(self, error: BaseException | None) -> StreamOutcome:
        if error is None:
            return "completed" if self.completed and not self.gone else "client_disconnect"
        if self.gone or type(error).__name__ == "ClientDisconnect":
            return "client_disconnect"
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return "server_shutdown" if self._seen.stopping else "client_disconnect"
        if isinstance(error, OSError) and self._send_failed(error):
            return "client_disconnect"
        return "error"

    def _send_failed(self, error: BaseException) -> bool:
        """Whether an error came out of the server's send(), as ASGI 2.4 has it, not out of the app's own work."""
        code = getattr(self._send, "__code__", None)
        if code is None:
            return False
        last = None
        for frame, _ in traceback.walk_tb(error.__traceback__):
            last = frame.f_code
            if last is code:
                return True
        return last is not None and last.co_filename == code.co_filename

    def _close_span(self, error: BaseException | None) -> None:
        span = self.span
        if self.stream is not None:
            self._tag_stream(span, self.stream, self.result)
        if not self.own_span:
            if self.stream is not None and not span.finished:  # ddtrace's middleware is further out than ours
                tracing.complete_when_sent(span, self._settlement(self.result))
            return
        if "datadog" in self.scope:
            self._owner.spans_are_doubled()
        route = self.route or self.route_template()
        span.resource = f"{self.scope['method']} {route}"
        span.set_tag("http.route", route)
        span.set_tag("http.status_code", str(self.status))
        span.set_tag("http.url", self._url())
        if self.result == "error" and error is not None:
            tracing.set_error(span, error)
        elif self.status >= 500:
            span.error = 1
        span.finish()

    def complete_span(self, span: Any) -> None:
        """Give a stream's span that ddtrace made its true end. Called when it is sent: mostly before our own close(),
        because ddtrace's middleware is further in, and finishes it first.
        """
        if self.stream is None:
            return
        outcome = self.result if self.ended else self._judge_by_name(span.get_tag("error.type") or "")
        self._tag_stream(span, self.stream, outcome)
        self._settlement(outcome)(span)

    def _settlement(self, outcome: StreamOutcome) -> Callable[[Any], None]:
        return partial(_settle, f"{self.scope['method']} {self.route}", self.route, str(self.status), outcome)

    def _judge_by_name(self, error: str) -> StreamOutcome:
        """The outcome, told by an exception's qualified name; empty for none."""
        name = error.rpartition(".")[2]
        if not name:
            return self._judge(None)
        if self.gone or name == "ClientDisconnect":
            return "client_disconnect"
        if name in ("CancelledError", "GeneratorExit"):
            return "server_shutdown" if self._seen.stopping else "client_disconnect"
        return "error"

    def _tag_stream(self, span: Any, stream: OpenStream, outcome: StreamOutcome) -> None:
        span.set_tag("stream.outcome", outcome)
        span.set_metric("stream.events", stream.events)
        span.set_metric("stream.bytes", stream.bytes)
        span.set_metric("stream.gap_ms", stream.gap * _MS)
        if self.first_byte:
            span.set_metric("stream.first_event_ms", (self.first_byte - self.started) * _MS)

    def _url(self) -> str:
        """The URL without its query string, which may hold secrets."""
        host = next((value.decode("latin-1") for name, value in self.scope["headers"] if name == b"host"), "")
        return f"{self.scope.get('scheme', 'http')}://{host}{self.path}" if host else self.path


def _settle(resource: str, route: str, status: str, outcome: StreamOutcome, span: Any) -> None:
    """Correct what ddtrace says of a stream: a client that left, or a shutdown, is no failure of the server."""
    span.resource = resource  # with its mounts, and in one form for all frameworks
    span.set_tag("http.route", route)
    span.set_tag("http.status_code", status)  # of the wire: ddtrace makes it 500 if the body fails
    if outcome != "error":
        tracing.clear_error(span)


class StreamWatch:
    """Look at the open streams of one event loop now and then: clients that left, streams that are stalled."""

    _of_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, StreamWatch]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, stall_after: float) -> None:
        self._loop = weakref.ref(loop)
        self._stall_after = stall_after
        self._streams: weakref.WeakSet[HttpExchange] = weakref.WeakSet()
        self._scheduled = False

    @classmethod
    def of_loop(cls, seen: Recorder) -> StreamWatch:
        """Return the watch of the running loop."""
        loop = asyncio.get_running_loop()
        watch = cls._of_loop.get(loop)
        if watch is None:
            watch = cls._of_loop[loop] = StreamWatch(loop, seen.config.stream_stall)
        return watch

    def add(self, exchange: HttpExchange) -> None:
        """Watch a stream until its exchange is gone."""
        self._streams.add(exchange)
        self._schedule()

    def _schedule(self) -> None:
        loop = self._loop()
        if not self._scheduled and loop is not None:
            self._scheduled = True
            loop.call_later(_WATCH_INTERVAL, self._look)

    def _look(self) -> None:
        self._scheduled = False
        now = time.perf_counter()
        open_streams = False
        for exchange in list(self._streams):
            if exchange.completed or exchange.gone:
                self._streams.discard(exchange)
                continue
            open_streams = True
            exchange.watch_socket()
            if exchange.stream is not None:
                exchange.stream.note_stall(now, self._stall_after)
        if open_streams:
            self._schedule()
