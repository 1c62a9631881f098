"""DatadogMiddleware: pure ASGI, for any app. Observes requests, SSE streams, WebSockets and the lifespan.

What goes over the wire, and what the app receives, is as without it. No state but the recorder last seen: what is
known of a request is in its exchange (http_exchange.py, socket_exchange.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from . import recorder, tracing
from .catalog import WS_REQUEST
from .http_exchange import HttpExchange, Message, Receive, Scope, Send
from .notices import say
from .recorder import Recorder
from .routes import Routes, install_hooks, path_matcher
from .socket_exchange import SocketExchange
from .traffic import current

App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where the request's exchange is found in the scope: a framework's hook may note the route there.
SCOPE_KEY: Final = "streaming_dd"


class DatadogMiddleware:
    """Wrap an ASGI application so that its requests, streams and WebSockets can be seen.

    `exclude_paths` and `route_patterns` are those of the configuration unless given here. Everything else is
    configured once per process, by `streaming_dd.configure()`, Django settings or the environment.
    """

    def __init__(
        self,
        app: App,
        *,
        exclude_paths: tuple[str, ...] | None = None,
        route_patterns: tuple[str, ...] | None = None,
    ) -> None:
        self.app = app
        self._exclude_paths = exclude_paths
        self._route_patterns = route_patterns
        self._recorder: Recorder | None = None
        self._excluded: Callable[[str], object] | None = None
        self.routes = Routes(app)
        self._own_spans = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, WebSocket or lifespan."""
        seen = self._recorder
        if seen is None or seen is not recorder.current:
            seen = self._begin(scope["type"])
        excluded = self._excluded
        if (
            scope["type"] != "http"
            or SCOPE_KEY in scope  # the inner one of two middlewares
            or (excluded is not None and excluded(scope["path"]))
            or not seen.enabled
        ):
            await self._other(seen, scope, receive, send)
            return
        exchange = HttpExchange(self, seen, scope, receive, send)
        scope[SCOPE_KEY] = exchange
        token = current.set(exchange)
        before = None
        if self._own_spans and "datadog" not in scope:
            before = seen.tracing.active()
            exchange.start_span()
        traffic = seen.traffic
        traffic.active += 1
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.close(error)
            raise
        else:
            exchange.close(None)
        finally:
            traffic.active -= 1
            # The exchange refers to the scope: the cycle of the two would wait for the garbage collector.
            scope.pop(SCOPE_KEY, None)
            if exchange.own_span:
                seen.tracing.activate(before)
            current.reset(token)

    async def _other(self, seen: Recorder, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" and seen.enabled:
            await _Lifespan(receive, send).run(self.app, scope)
        elif (
            kind == "websocket"
            and seen.enabled
            and SCOPE_KEY not in scope
            and not self._is_excluded(scope["path"])
        ):
            await self._websocket(seen, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_excluded(self, path: str) -> bool:
        return self._excluded is not None and bool(self._excluded(path))

    def _begin(self, kind: str) -> Recorder:
        """Look the process' recorder up at the first request: a fork may lie between wrapping and serving."""
        seen = self._recorder = recorder.get()
        config = seen.config
        excluded = config.exclude_paths if self._exclude_paths is None else self._exclude_paths
        patterns = config.route_patterns if self._route_patterns is None else self._route_patterns
        self._excluded = path_matcher(excluded)
        self.routes = Routes(self.app, patterns)
        if seen.enabled:
            install_hooks()
        if kind != "lifespan":
            seen.serve_unannounced()
        self._own_spans = seen.tracing.enabled and not tracing.integration_is_inside(self.app)
        return seen

    async def _websocket(self, seen: Recorder, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = SocketExchange(self, seen, scope, receive, send)
        scope[SCOPE_KEY] = exchange
        before = None
        if self._own_spans and "datadog" not in scope:
            before = seen.tracing.active()
            exchange.span = seen.tracing.start_request("websocket", scope["headers"], WS_REQUEST)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.close(error)
            raise
        else:
            exchange.close(None)
        finally:
            scope.pop(SCOPE_KEY, None)
            if exchange.span is not None:
                seen.tracing.activate(before)

    def spans_are_doubled(self) -> None:
        """Stop making request spans: ddtrace's own integration turned out to make them further in."""
        self._own_spans = False
        say(
            "doubled",
            "ddtrace's ASGI integration is active inside the app; its request spans are used from now on.",
        )


class _Lifespan:
    """Pass the lifespan through; start with it, and flush everything before its end is announced.

    An application that knows no lifespan (Django's) is stood in for: else nobody would tell us of the shutdown.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._known_to_app = False

    async def run(self, app: App, scope: Scope) -> None:
        """Handle the lifespan of the application."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if self._known_to_app:
                raise
        if not self._known_to_app:
            await self._stand_in()

    async def _stand_in(self) -> None:
        for phase in ("startup", "shutdown"):
            await self.receive()
            await self.send({"type": f"lifespan.{phase}.complete"})

    async def receive(self) -> Message:
        """Start the recorder with the application, in the worker process and inside its loop."""
        self._known_to_app = True
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            recorder.get().serve()
        elif message["type"] == "lifespan.shutdown":
            recorder.get().stopping = True
        return message

    async def send(self, message: Message) -> None:
        """Flush before the server learns that the application is done: it may end the process at once."""
        self._known_to_app = True
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await recorder.get().end_serving()
        await self._send(message)
