"""The HTTP API of the page port: JSON for the page and for CI. State: none of its own, it reads `Holdings`.

Every answer is JSON; an error is `{"error": sentence}` with status 400, 404, 405, 413 or 503. Times are epoch seconds. A
range is `start` and `end`, or `range=15m` up to now (the default). Ids of traces and spans are strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from ...errors import QueryError
from ..holdings import Holdings
from ..live import Live, Reader
from . import overview, page_api, stored, transfer
from .answers import JSON, Lately
from .guard import Guard

PAGE = Path(__file__).parents[1] / "page"

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

View = Callable[[Holdings, Request], Any]


def make_app(held: Holdings, first: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the ASGI app of the page port. `first` are further routes, before ours."""
    lately = Lately()
    route = partial(_route, held, lately)
    routes: list[BaseRoute] = [
        *first,
        *page_api.routes(held, lately),
        *transfer.routes(held),
        route("/api/overview", lambda held, request: overview.overview(held)),
        route("/api/health", lambda held, request: overview.health(held)),
        route("/api/metrics", stored.metrics),
        route("/api/series", stored.series),
        route("/api/summary", lambda held, request: overview.summary(held)),
        route("/api/tags", stored.tags),
        route("/api/services", stored.services),
        route("/api/services/map", stored.service_map),
        route("/api/traces", stored.traces),
        route("/api/traces/histogram", stored.trace_histogram),
        route("/api/traces/{trace_id}", stored.trace),
        route("/api/errors", stored.errors),
        route("/api/logs", stored.logs),
        route("/api/logs/histogram", stored.log_histogram),
        route("/api/logs/facets", stored.log_facets),
        route("/api/logs/patterns", stored.log_patterns),
        route("/api/logs/{id}", stored.log),
        route("/api/tasks", stored.tasks),
        route("/api/events", stored.events),
        route("/api/checks", stored.checks),
        Route("/api/live", partial(_live, held)),
        Route("/api/{rest:path}", _no_such_endpoint, methods=METHODS),
    ]
    if not held.settings.headless and (PAGE / "index.html").exists():
        routes += [Mount("/page", StaticFiles(directory=PAGE)), Route("/{view:path}", _page)]
    else:
        routes.append(Route("/", _no_page))
    hosts = held.settings.allowed_hosts
    if held.settings.host in ("0.0.0.0", "::"):
        hosts = ("*",)
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=(*hosts, held.settings.host))],
        exception_handlers={
            HTTPException: _http_error,
            QueryError: _query_error,
            TimeoutError: lambda request, error: JSON({"error": str(error)}, 503),
        },
    )


def _route(held: Holdings, lately: Lately, path: str, view: View) -> Route:
    async def endpoint(request: Request) -> Response:
        key = (request.url.path, request.url.query, held.forgotten)
        return JSON(lately.answer(key, partial(view, held, request)))

    return Route(path, endpoint, methods=["GET"])


async def _page(request: Request) -> Response:
    """Answer every view's address with the one page, which reads it."""
    return FileResponse(PAGE / "index.html")


async def _no_page(request: Request) -> Response:
    return JSON(
        {
            "page": None,
            "api": [f"/api/{name}" for name in ("overview", "health", "metrics", "traces", "logs")],
        }
    )


class _LiveStream(StreamingResponse):
    """The stream of one page; its reader leaves with the response, also if not a byte of it was read."""

    def __init__(self, live: Live, reader: Reader) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(live.read(reader), media_type="text/event-stream", headers=headers)
        self._leave = partial(live.leave, reader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _live(held: Holdings, request: Request) -> Response:
    reader = held.live.join()  # at once: many that open at the same moment are counted one by one
    if reader is None:
        return JSON({"error": "too many pages are open"}, 503)
    return _LiveStream(held.live, reader)


async def _no_such_endpoint(request: Request) -> Response:
    """Answer what no endpoint has taken: the path is another's with another method, or nobody's."""
    allowed: set[str] = set()
    for route in request.app.routes:
        named = isinstance(route, Route) and route.path.startswith("/api/")
        if named and route.matches(request.scope)[0] is Match.PARTIAL:
            allowed |= route.methods or set()
    if not allowed:
        raise HTTPException(404, f"there is no {request.url.path}")
    methods = ", ".join(sorted(allowed))
    raise HTTPException(
        405, f"{request.url.path} takes {methods}, no {request.method}", headers={"Allow": methods}
    )


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return JSON({"error": "the agent failed"}, 500)
    return JSON({"error": error.detail}, error.status_code, headers=error.headers)


async def _query_error(request: Request, error: Exception) -> Response:
    message = getattr(error, "message", str(error))
    return JSON({"error": message, "position": getattr(error, "position", 0)}, 400)
