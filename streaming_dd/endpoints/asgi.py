"""Endpoints: /health, /stats and /metrics as ASGI, in front of any application, mounted in one, or alone.

Nothing here is counted, traced or logged as a request unless STREAMING_ENDPOINTS_RECORDED says so: `instrument()`
puts it outside of the middleware. State: the recorder last seen, and what follows from its settings.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .. import recorder
from ..config import Config
from ..health import CoordinatorCheck, Health, Report
from ..health.runs import iso
from ..http_exchange import Receive, Scope, Send
from ..middleware import SCOPE_KEY, App
from ..notices import say
from ..off_loop import Shared
from ..recorder import Recorder
from .access import Gate, has_token, no_token
from .answers import Answer, answer, encode
from .ownership import Ownership
from .profile import Profiles
from .stats import CoordinatorState, Stats

Handler = Callable[[Scope], Awaitable[Answer]]


class Endpoints:
    """Serve the endpoints, and pass everything else on to `app`; without one, answer 404.

    `coordinator` is the one whose state /stats shows and /health checks. Everything else is configured once per
    process, by `streaming_dd.configure()`, Django settings or the environment.
    """

    def __init__(self, app: App | None = None, *, coordinator: Any = None) -> None:
        self.app: App = app if app is not None else _nothing
        self._coordinator = coordinator
        self._recorder: Recorder | None = None
        self._handlers: dict[str, Handler] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is ours; pass on whatever else comes."""
        seen = self._recorder
        if seen is None or seen is not recorder.current:
            seen = self._begin()
        if scope["type"] == "http":
            path = scope["path"] if not scope.get("root_path") else _route_path(scope)
            handler = self._handlers.get(path)
            if handler is not None and not await self._is_the_apps(scope, path):
                await self._serve(handler, scope, path, send)
                return
        elif scope["type"] == "lifespan":
            self._health.watch.watch(asyncio.get_running_loop())
        await self.app(scope, receive, send)

    def _begin(self) -> Recorder:
        """Look the process' recorder up at the first request: a fork may lie between wrapping and serving."""
        seen = self._recorder = recorder.get()
        config = self._config = seen.config
        self._stats_part = seen.part(Stats)
        self._health = seen.part(Health)
        if self._coordinator is not None:
            self._health.add(CoordinatorCheck(coordinator=self._coordinator))
        self._gate = Gate(config)
        self._ownership = Ownership(self.app, config.health_timeout) if self.app is not _nothing else None
        self._shared_stats = Shared("streaming-dd-stats", self._render_stats)
        self._profiles = Profiles()
        self._handlers = self._handlers_of(config) if config.endpoints_enabled else {}
        return seen

    def _handlers_of(self, config: Config) -> dict[str, Handler]:
        found: dict[str, Handler] = {
            "/health": self._answer_health,
            "/health/live": self._answer_live,
            "/health/ready": self._answer_ready,
            "/health/startup": self._answer_startup,
            "/stats": self._answer_stats,
            "/stats/profile": self._answer_profile,
        }
        if config.prometheus_enabled and _has_prometheus(config):
            from .prometheus import Exposition

            exposition = recorder.get().part(Exposition)
            self._metrics_text = Shared("streaming-dd-metrics", exposition.render)
            self._metrics_openmetrics = Shared(
                "streaming-dd-metrics", lambda: exposition.render(openmetrics=True)
            )
            found["/metrics"] = self._answer_metrics
        return {config.endpoints_prefix + path: handler for path, handler in found.items()}

    async def _is_the_apps(self, scope: Scope, path: str) -> bool:
        replaced = path.removeprefix(self._config.endpoints_prefix).split("/")[1]
        if self._ownership is None or replaced in self._config.endpoints_replace:
            return False
        return await self._ownership.is_the_apps(scope, path)

    async def _serve(self, handler: Handler, scope: Scope, path: str, send: Send) -> None:
        exchange = scope.get(SCOPE_KEY)
        if exchange is not None:
            exchange.noted_route = path
        if scope["method"] not in ("GET", "HEAD"):
            result = answer(405, {"error": "method not allowed"}, (b"allow", b"GET, HEAD"))
        else:
            try:
                result = await handler(scope)
            except Exception as error:  # noqa: BLE001 - the fault is ours; a probe is to hear of it, not of details
                say(f"endpoint:{path}", f"{path} failed: {error!r}", exc_info=True)
                result = answer(503, {"status": "unhealthy", "error": type(error).__name__})
        await result.send(send, head=scope["method"] == "HEAD")

    # --- /health ----------------------------------------------------------------------------------------------

    async def _answer_live(self, scope: Scope) -> Answer:
        """Alive is a process whose event loop gets here: no check could make a restart of it useful."""
        return answer(200, {"status": "healthy", "timestamp": iso(time.time())})

    async def _answer_health(self, scope: Scope) -> Answer:
        report = await self._report()
        return self._health_answer(scope, report, healthy=report.healthy)

    async def _answer_ready(self, scope: Scope) -> Answer:
        """Ready is a worker that is healthy and was not told to end."""
        report = await self._report()
        stopping = self._seen.stopping
        extra = {"reason": "shutting down"} if stopping else {}
        return self._health_answer(scope, report, healthy=report.healthy and not stopping, **extra)

    async def _answer_startup(self, scope: Scope) -> Answer:
        """Started is a worker that was healthy once."""
        report = await self._report()
        return self._health_answer(scope, report, healthy=self._health.was_healthy)

    async def _report(self) -> Report:
        self._health.watch.watch(asyncio.get_running_loop())
        future = self._health.report()
        return future.result() if future.done() else await asyncio.wrap_future(future)

    def _health_answer(self, scope: Scope, report: Report, *, healthy: bool, **extra: object) -> Answer:
        content: dict[str, object] = {
            "status": "healthy" if healthy else "unhealthy",
            "timestamp": iso(report.time),
            "checks": report.summaries,
            "active_tasks": self._active_tasks(),
            **extra,
        }
        if has_token(scope, self._config.stats_token):
            content["details"] = {result.name: result.details() for result in report.results}
            content["worker"] = self._stats_part.worker()
        return answer(200 if healthy else 503, content)

    def _active_tasks(self) -> int:
        kinds = dict.fromkeys(list(self._seen.tasks.kinds.values()))
        if kinds or self._coordinator is None:
            return sum(len(kind.live) for kind in kinds)
        return sum(CoordinatorState(self._coordinator).running().values())

    @property
    def _seen(self) -> Recorder:
        assert self._recorder is not None
        return self._recorder

    # --- /stats -----------------------------------------------------------------------------------------------

    async def _answer_stats(self, scope: Scope) -> Answer:
        refused = await self._gate.refusal(scope)
        if refused is not None:
            return refused
        self._health.watch.watch(asyncio.get_running_loop())
        return Answer(200, await asyncio.wrap_future(self._shared_stats.ask()))

    async def _answer_profile(self, scope: Scope) -> Answer:
        refused = await self._gate.refusal(scope)
        return refused if refused is not None else await self._profiles.answer(scope)

    def _render_stats(self) -> bytes:
        return encode(self._stats_part.collect(self._coordinator))

    # --- /metrics ---------------------------------------------------------------------------------------------

    async def _answer_metrics(self, scope: Scope) -> Answer:
        from .prometheus import OPENMETRICS, TEXT

        if self._config.prometheus_token and not has_token(scope, self._config.prometheus_token):
            return no_token("/metrics", scope)
        accepted = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
        if b"application/openmetrics-text" in accepted:
            return Answer(200, await asyncio.wrap_future(self._metrics_openmetrics.ask()), OPENMETRICS)
        return Answer(200, await asyncio.wrap_future(self._metrics_text.ask()), TEXT)


def _has_prometheus(config: Config) -> bool:
    if importlib.util.find_spec("prometheus_client") is not None:
        return True
    if config.origins.get("prometheus_enabled", "default") != "default":
        say("prometheus", "/metrics is not served: pip install streaming-dd[prometheus]")
    return False


def _route_path(scope: Scope) -> str:
    """The path relative to where the server or a router mounted us; servers differ in whether `path` has it all."""
    path: str = scope["path"]
    root_path: str = scope["root_path"]
    rest = path.removeprefix(root_path)
    return rest if rest != path and rest.startswith("/") else path


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in for an application: nothing is found, and the lifespan ends well."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
    else:
        await answer(404, {"error": "not found"}).send(send, head=scope["method"] == "HEAD")
