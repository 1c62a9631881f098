"""Endpoints: /health, /stats and /metrics as ASGI, in front of any application, mounted in one, or alone.

Nothing here is counted, traced or logged as a request unless STREAMING_ENDPOINTS_RECORDED says so: `instrument()`
puts it outside of the middleware. State: the recorder last seen, and what follows from its settings.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .. import recorder
from ..config import DOORS, Config
from ..middleware import SCOPE_KEY, App
from ..output.failure import shown
from ..output.notices import say
from ..process.off_loop import OffLoop, Shared
from ..recorder import Recorder
from ..requests.messages import Receive, Scope, Send, keep_headers
from ..requests.standing_in import StandsIn, runs_in_asyncio
from .access import Gate, has_token, no_token
from .answers import Answer, answer, asked, encode
from .health import CoordinatorCheck, Health, Report
from .health.runs import iso
from .live_tasks import LiveTasks
from .ownership import Ownership
from .profile import Profiles
from .stats import CoordinatorState, Stats
from .whole_stats import WholeStats
from .workers import Workers

Handler = Callable[[Scope], Awaitable[Answer]]

#: Questions for one worker's /stats that are answered at a time.
_ONE_AT_A_TIME = 4


class Endpoints(StandsIn):
    """Serve the endpoints, and pass everything else on to `app`; without one, answer 404.

    `coordinator` is the one whose state /stats shows and /health checks. Everything else is configured once per
    process, by `streaming_dd.configure()`, Django settings or the environment; but what `instrument()` was given for
    this application's doors (`given`) stays its own, whatever another application in the process is given.
    """

    def __init__(
        self, app: App | None = None, *, coordinator: Any = None, given: Config | None = None
    ) -> None:
        self.app = app if app is not None else _nothing
        self._coordinator = coordinator
        self._given = given
        self._recorder: Recorder | None = None
        self._handlers: dict[str, Handler] = {}
        self._passes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is ours; pass on whatever else comes."""
        seen = self._recorder
        if seen is None or seen is not recorder.current:
            seen = self._try(self._begin, recorder.current is not None)
            if seen is None:
                await self._unobserved(scope, receive, send)
                return
        if self._passes:
            pass
        elif scope["type"] == "http":
            path = scope["path"] if not scope.get("root_path") else _route_path(scope)
            handler = self._handlers.get(path)
            if handler is not None:
                keep_headers(scope, seen.fault)
            if handler is not None and not await self._is_the_apps(scope, path):
                await self._serve(handler, scope, path, send)
                return
        elif scope["type"] == "lifespan":
            self._health.watch.watch(asyncio.get_running_loop())
        await self.app(scope, receive, send)

    def _begin(self) -> Recorder:
        """Look the process' recorder up at the first request: a fork may lie between wrapping and serving."""
        seen = self._recorder = recorder.get()
        config = self._config = _with_own_doors(seen.config, self._given)
        self._passes = not runs_in_asyncio()  # the middleware says so
        self._stats_part = seen.part(Stats)
        self._whole_stats = seen.part(WholeStats)
        seen.part(LiveTasks)  # siblings ask for them
        self._health = seen.part(Health)
        if self._coordinator is not None:
            self._health.add(CoordinatorCheck(coordinator=self._coordinator))
        self._workers = seen.part(Workers)
        if self._coordinator is not None:
            self._workers.coordinator = self._coordinator
        self._workers_health = Shared("streaming-dd-workers", self._workers.others_health)
        self._workers.siblings.handle("health", lambda _: encode(self._own_health()))
        self._gate = Gate(config)
        self._ownership = Ownership(self.app, config.health_timeout) if self.app is not _nothing else None
        self._shared_stats = Shared("streaming-dd-stats", self._whole_stats.answer)
        self._one_stats = OffLoop("streaming-dd-stats", _ONE_AT_A_TIME)
        self._profiles = Profiles(self._workers)
        self._handlers = self._handlers_of(config) if config.endpoints_enabled else {}
        self._workers.join()
        return seen

    def _handlers_of(self, config: Config) -> dict[str, Handler]:
        found: dict[str, Handler] = {
            "/health": self._answer_health,
            "/health/live": self._answer_live,
            "/health/ready": self._answer_ready,
            "/health/startup": self._answer_startup,
        }
        # Else nothing is recorded that could be asked for; a probe's answer keeps the application alive all the same.
        if config.enabled:
            found |= {"/stats": self._answer_stats, "/stats/profile": self._answer_profile}
        if config.enabled and config.prometheus_enabled and _has_prometheus(config):
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
                say(f"endpoint:{path}", f"{path} failed: {shown(error)}", exc_info=True)
                result = answer(503, {"status": "unhealthy", "error": type(error).__name__})
        await result.send(send, head=scope["method"] == "HEAD")

    # --- /health ----------------------------------------------------------------------------------------------

    async def _answer_live(self, scope: Scope) -> Answer:
        """Alive is a process whose event loop gets here: no check could make a restart of it useful."""
        return answer(200, {"status": "healthy", "timestamp": iso(time.time())})

    async def _answer_health(self, scope: Scope) -> Answer:
        report = await self._report()
        others = {}
        if self._workers.siblings.joined:
            others = await asyncio.wrap_future(self._workers_health.ask())
        return self._health_answer(scope, report, others, healthy=report.healthy)

    async def _answer_ready(self, scope: Scope) -> Answer:
        """Ready is a worker that is healthy and was not told to end."""
        report = await self._report()
        stopping = self._seen.stopping
        extra = {"reason": "shutting down"} if stopping else {}
        return self._health_answer(scope, report, {}, healthy=report.healthy and not stopping, **extra)

    async def _answer_startup(self, scope: Scope) -> Answer:
        """Started is a worker that was healthy once."""
        report = await self._report()
        return self._health_answer(scope, report, {}, healthy=self._health.was_healthy)

    async def _report(self) -> Report:
        self._health.watch.watch(asyncio.get_running_loop())
        future = self._health.report()
        return future.result() if future.done() else await asyncio.wrap_future(future)

    def _health_answer(
        self,
        scope: Scope,
        report: Report,
        others: Mapping[str, Mapping[str, Any]],
        *,
        healthy: bool,
        **extra: object,
    ) -> Answer:
        """The status is that of the worker that answers, as an orchestrator needs it; how the others are is beside it."""
        content: dict[str, object] = {
            "status": "healthy" if healthy else "unhealthy",
            "timestamp": iso(report.time),
            "checks": report.summaries,
            "active_tasks": self._active_tasks() + sum(one["active_tasks"] for one in others.values()),
            **extra,
        }
        if others:
            states = {self._workers.slot: content["status"]} | {
                slot: one["state"] for slot, one in others.items()
            }
            worst = next((state for state in states.values() if state != "healthy"), "healthy")
            content["workers"] = {"total": len(states), "worst": worst, "states": states}
        if has_token(scope, self._config.stats_token):
            content["details"] = {result.name: result.details() for result in report.results}
            content["worker"] = self._stats_part.worker()
        return answer(200 if healthy else 503, content)

    def _own_health(self) -> dict[str, object]:
        return self._workers.own_health(self._active_tasks())

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
        worker = asked(scope, {"worker"}).get("worker")
        if worker is None:
            return await asyncio.wrap_future(self._shared_stats.ask())
        future = self._one_stats.start(self._whole_stats.answer, worker)
        if future is None:
            return answer(503, {"error": "others ask for workers already"})
        return await asyncio.wrap_future(future)

    async def _answer_profile(self, scope: Scope) -> Answer:
        refused = await self._gate.refusal(scope)
        return refused if refused is not None else await self._profiles.answer(scope)

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


def _with_own_doors(config: Config, given: Config | None) -> Config:
    """Return `config` with what `given` has from arguments of who may come in, and where."""
    if given is None:
        return config
    own = {name: getattr(given, name) for name in DOORS if given.origins.get(name) == "argument"}
    return dataclasses.replace(config, **own) if own else config
