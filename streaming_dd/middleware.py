"""DatadogMiddleware: pure ASGI, for any app. Observes requests, SSE streams, WebSockets and the lifespan.

What goes over the wire, and what the app receives, is as without it. No state but the recorder last seen: what is
known of a request is in its exchange (http_exchange.py, socket_exchange.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from . import recorder
from .output import tracing
from .output.notices import say
from .recorder import Recorder
from .requests.frameworks.noting import SCOPE_KEY as SCOPE_KEY  # a framework's hook may note the route there
from .requests.http_exchange import HttpExchange
from .requests.messages import Message, Receive, Scope, Send, keep_headers
from .requests.routes import Routes, install_hooks, path_matcher
from .requests.socket_exchange import SocketExchange
from .requests.standing_in import StandsIn, runs_in_asyncio
from .requests.streams.come_back import asks_for_stream, come_back
from .requests.traffic import current

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class DatadogMiddleware(StandsIn):
    """Wrap an ASGI application so that its requests, streams and WebSockets can be seen.

    `exclude_paths` and `route_patterns` are those of the configuration unless given here. Everything else is
    configured once per process, by `streaming_dd.configure()`, Django settings or the environment. Attributes that it
    does not have are the application's: `app.state`, `app.get`, `app.dependency_overrides`.
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
        self._serving: _Serving | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, WebSocket or lifespan."""
        serving = self._serving
        if serving is None or serving.recorder is not recorder.current:
            serving = self._try(lambda: self._begin(scope["type"]), recorder.current is not None)
            if serving is None:
                await self._unobserved(scope, receive, send)
                return
        if (
            scope["type"] != "http"
            or SCOPE_KEY in scope  # the inner one of two middlewares
            or not serving.active
            or (serving.excluded is not None and serving.excluded(scope["path"]))
        ):
            await self._other(serving, scope, receive, send)
            return
        seen = serving.recorder
        if type(scope.get("headers")) is not list:
            keep_headers(scope, seen.fault)
        exchange = HttpExchange(serving, seen, scope, receive, send, seen.traffic.watches.here())
        scope[SCOPE_KEY] = exchange
        outer = current.get()  # a token, to be reset, would be kept as long as a stream is open
        current.set(exchange)
        before = exchange.start_span() if serving.own_spans and "datadog" not in scope else None
        app = self.app
        if serving.retry and seen.stopping and asks_for_stream(scope):
            app = come_back(serving.retry)
        try:
            await app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.finish(error)
            raise
        else:
            exchange.finish(None)
        finally:
            # The exchange refers to the scope: the cycle of the two would wait for the garbage collector.
            scope.pop(SCOPE_KEY, None)
            if exchange.own_span:
                seen.tracing.activate(before)
            current.set(outer)

    async def _other(self, serving: _Serving, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" and serving.active:
            await _Lifespan(receive, send).run(self.app, scope)
        elif (
            kind == "websocket"
            and serving.active
            and SCOPE_KEY not in scope
            and (serving.excluded is None or not serving.excluded(scope["path"]))
        ):
            await self._websocket(serving, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _begin(self, kind: str) -> _Serving:
        """Look the process' recorder up at the first request: a fork may lie between wrapping and serving."""
        seen = recorder.get()
        config = seen.config
        excluded = config.exclude_paths if self._exclude_paths is None else self._exclude_paths
        patterns = config.route_patterns if self._route_patterns is None else self._route_patterns
        serving = _Serving(seen, Routes(self.app, patterns, config.route_style))
        serving.excluded = path_matcher(excluded)
        serving.active = seen.enabled and self._runs_in_asyncio()
        if serving.active:
            install_hooks()
            if kind != "lifespan":
                seen.serve_unannounced()
            serving.own_spans = seen.tracing.enabled and not tracing.integration_is_inside(self.app)
        self._serving = serving
        return serving

    @staticmethod
    def _runs_in_asyncio() -> bool:
        if runs_in_asyncio():
            return True
        say(
            "trio",
            "The application does not run in asyncio: it is passed through, and nothing of it is recorded.",
        )
        return False

    async def _websocket(self, serving: _Serving, scope: Scope, receive: Receive, send: Send) -> None:
        seen = serving.recorder
        keep_headers(scope, seen.fault)
        exchange = SocketExchange(serving, seen, scope, receive, send, seen.traffic.watches.here())
        scope[SCOPE_KEY] = exchange
        before = None
        if serving.own_spans and "datadog" not in scope:
            before = seen.tracing.active()
            exchange.start_span()
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.finish(error)
            raise
        else:
            exchange.finish(None)
        finally:
            scope.pop(SCOPE_KEY, None)
            if exchange.span is not None:
                seen.tracing.activate(before)


class _Serving:
    """What every request asks. Not of the middleware: names that an object may pass on are looked up six times as long."""

    __slots__ = ("active", "excluded", "own_spans", "recorder", "retry", "templates")

    def __init__(self, seen: Recorder, templates: Routes) -> None:
        self.recorder = seen
        self.templates = templates
        self.excluded: Callable[[str], object] | None = None
        self.own_spans = self.active = False
        self.retry = seen.config.retry_after_drain

    def spans_are_doubled(self) -> None:
        """Stop making request spans: ddtrace's own integration turned out to make them further in."""
        self.own_spans = False
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
            await recorder.get().ending.end_serving()
        await self._send(message)
