"""The HTTP API of the page port: JSON for the page and for CI. State: none of its own, it reads a `LocalAgent`.

Every answer is JSON; an error is `{"error": sentence}` with status 400, 404, 413 or 503. Times are epoch seconds. A
range is `start` and `end`, or `range=15m` up to now (the default). Ids of traces and spans are strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ..errors import QueryError
from ..query_language import Search, parse_search
from . import explorer, overview
from .guard import Guard
from .tasks import active_by_gauge

if TYPE_CHECKING:
    from .agent import LocalAgent

PAGE = Path(__file__).parent / "page"
MAX_SERIES = 200
MAX_MESSAGE = 4_000
"""Characters of a message and of an attribute in lists; `/api/logs/{id}` has the whole."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

View = Callable[["LocalAgent", Request], Any]


class JSON(Response):
    """A JSON answer that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200) -> None:
        super().__init__(msgspec.json.encode(content), status_code, {"Cache-Control": "no-store"})


def make_app(agent: LocalAgent) -> Starlette:
    """Return the ASGI app of the page port. `agent.routes` come first: other modules add theirs there."""
    from . import page_api  # it uses this module

    routes: list[BaseRoute] = [
        *agent.routes,
        *page_api.routes(agent),
        _route(agent, "/api/overview", lambda agent, request: overview.overview(agent)),
        _route(agent, "/api/health", lambda agent, request: overview.health(agent)),
        _route(agent, "/api/metrics", _metrics),
        _route(agent, "/api/series", _series),
        _route(agent, "/api/summary", lambda agent, request: overview.summary(agent)),
        _route(agent, "/api/tags", _tags),
        _route(agent, "/api/services", _services),
        _route(agent, "/api/traces", _traces),
        _route(agent, "/api/traces/{trace_id}", _trace),
        _route(agent, "/api/logs", _logs),
        _route(agent, "/api/logs/histogram", _log_histogram),
        _route(agent, "/api/logs/facets", _log_facets),
        _route(agent, "/api/logs/{id:int}", _log),
        _route(agent, "/api/tasks", _tasks),
        _route(agent, "/api/events", _events),
        _route(agent, "/api/checks", _checks),
        Route("/api/live", partial(_live, agent)),
        Route("/api/{rest:path}", _no_such_endpoint),
    ]
    if not agent.settings.headless and (PAGE / "index.html").exists():
        routes += [Mount("/page", StaticFiles(directory=PAGE)), Route("/{view:path}", _page)]
    else:
        routes.append(Route("/", _no_page))
    hosts = agent.settings.allowed_hosts
    if agent.settings.host in ("0.0.0.0", "::"):
        hosts = ("*",)
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=(*hosts, agent.settings.host))],
        exception_handlers={
            HTTPException: _http_error,
            QueryError: _query_error,
            TimeoutError: lambda request, error: JSON({"error": str(error)}, 503),
        },
    )


def time_range(agent: LocalAgent, request: Request) -> tuple[float, float]:
    """Return the range that a request asks for, at most 24 h; 400 for what is none."""
    query, now = request.query_params, agent.clock()
    try:
        end = float(query["end"]) if "end" in query else now + 1  # what carries this very moment is in
        if "start" in query:
            start = float(query["start"])
        else:
            found = re.fullmatch(r"(\d{1,6})([smhd])", query.get("range", "15m"))
            if found is None:
                raise ValueError
            start = end - int(found[1]) * UNITS[found[2]]
    except ValueError:
        raise HTTPException(400, "write a range as range=15m, or start= and end= in epoch seconds") from None
    if not start < end or not abs(start) + abs(end) < 1e11:
        raise HTTPException(400, "the range's start must lie before its end")
    return max(start, end - 86_400), end


def limit(request: Request, default: int, most: int) -> int:
    """Return the `limit` that a request asks for, at most `most`; 400 for what is none."""
    return min(integer(request, "limit") or default, most)


def integer(request: Request, name: str) -> int | None:
    """Return a parameter that is a whole number, None if it is not given."""
    text = request.query_params.get(name, "")
    if text and not re.fullmatch(r"\d{1,18}", text):
        raise HTTPException(400, f"{name} must be a whole number")
    return int(text) if text else None


def search_of(request: Request) -> Search | None:
    """Return the parsed `query`; `QueryError` (answered as 400 with the position) for what is none."""
    text = request.query_params.get("query", "").strip()
    if len(text) > 2_000:
        raise HTTPException(400, "the query is longer than 2000 characters")
    return parse_search(text) if text else None


def _route(agent: LocalAgent, path: str, view: View) -> Route:
    async def endpoint(request: Request) -> Response:
        return JSON(view(agent, request))

    return Route(path, endpoint, methods=["GET"])


def _metrics(agent: LocalAgent, request: Request) -> Any:
    wanted = request.query_params.get("search", "").lower()
    return {
        "metrics": [asdict(info) for info in agent.store.metrics() if wanted in info.name.lower()],
        "series": agent.store.series_count,
        "max_series": agent.store.max_series,
        "rejected": dict(agent.store.rejected.most_common(50)),
    }


def _series(agent: LocalAgent, request: Request) -> Any:
    metric = request.query_params.get("metric", "")
    if not metric:
        raise HTTPException(400, "metric= is missing")
    wanted = {tag for tag in request.query_params.get("tags", "").split(",") if tag}
    start, end = time_range(agent, request)
    found = agent.store.select(metric, wanted.issubset if wanted else None, start, end)
    return {
        "metric": metric,
        "series": [
            {
                "tags": sorted(series.tags),
                "kind": series.kind,
                "interval": series.interval,
                "times": series.times,
                "values": series.values,
            }
            for series in found[:MAX_SERIES]
        ],
        "left_out": max(0, len(found) - MAX_SERIES),
    }


def _tags(agent: LocalAgent, request: Request) -> Any:
    values = agent.store.tag_values(request.query_params.get("metric") or None)
    return {key: sorted(values[key])[:1000] for key in sorted(values)}


def _services(agent: LocalAgent, request: Request) -> Any:
    start, end = time_range(agent, request)
    service = request.query_params.get("service")
    return {"services": overview.services(agent.store, start, end, service), "seconds": end - start}


def _traces(agent: LocalAgent, request: Request) -> Any:
    start, end = time_range(agent, request)
    found = explorer.spans(
        agent.records,
        search_of(request),
        start=start,
        end=end,
        entries=request.query_params.get("all") != "1",
        limit=limit(request, 100, 1_000),
    )
    sizes = explorer.trace_sizes(agent.records, [span["trace_id"] for span in found])
    for span in found:
        span["spans"], span["errors"] = sizes.get(span["trace_id"][16:], (1, span["error"]))
        span["attributes"] = _shortened(span["attributes"])
    return {"spans": found}


def _trace(agent: LocalAgent, request: Request) -> Any:
    trace_id = request.path_params["trace_id"].lower()
    if not re.fullmatch(r"[0-9a-f]{16}|[0-9a-f]{32}", trace_id):
        raise HTTPException(400, "a trace id is 32 (or 16) hexadecimal digits")
    spans = explorer.trace(agent.records, trace_id)
    logs = explorer.trace_logs(agent.records, trace_id)
    if not spans and not logs:
        raise HTTPException(
            404, "no span of this trace is kept: it is not finished yet, or older than what is kept"
        )
    return {
        "trace_id": spans[0]["trace_id"] if spans else trace_id,
        "spans": spans,
        "logs": [_short_log(log) for log in logs],
        "linked_from": explorer.linked_from(agent.records, trace_id),
    }


def _logs(agent: LocalAgent, request: Request) -> Any:
    start, end = time_range(agent, request)
    found = explorer.logs(
        agent.records,
        search_of(request),
        start=start,
        end=end,
        before_id=integer(request, "before_id"),
        after_id=integer(request, "after_id"),
        limit=limit(request, 200, 1_000),
    )
    return {"logs": [_short_log(log) for log in found]}


def _log_histogram(agent: LocalAgent, request: Request) -> Any:
    start, end = time_range(agent, request)
    step = max(1.0, (end - start) / (integer(request, "steps") or 60))
    counts = explorer.log_counts(agent.records, search_of(request), start=start, end=end, step=step)
    return {"start": start, "step": step, "counts": counts}


def _log_facets(agent: LocalAgent, request: Request) -> Any:
    start, end = time_range(agent, request)
    keys = [key for key in request.query_params.get("keys", "status,service").split(",") if key][:10]
    return {"facets": explorer.log_facets(agent.records, keys, search_of(request), start=start, end=end)}


def _log(agent: LocalAgent, request: Request) -> Any:
    found = explorer.log(agent.records, request.path_params["id"])
    if found is None:
        raise HTTPException(404, "this log is not kept any more")
    return found


def _tasks(agent: LocalAgent, request: Request) -> Any:
    agent.tasks.reconcile(active_by_gauge(agent.store, agent.clock()), agent.clock())
    tasks = [asdict(task) for task in agent.tasks.all()]
    return {
        "now": agent.clock(),
        "tasks": tasks[: limit(request, 500, 3_000)],
        "dropped": agent.tasks.dropped,
    }


def _events(agent: LocalAgent, request: Request) -> Any:
    return {
        "events": [
            {**asdict(kept.event), "timestamp": kept.timestamp, "tags": sorted(kept.tags)}
            for kept in reversed(agent.store.events)
        ][: limit(request, 100, 1_000)]
    }


def _checks(agent: LocalAgent, request: Request) -> Any:
    store = agent.store
    return {
        "checks": [
            {"name": name, "tags": sorted(runs[-1].tags), "runs": [_run(run) for run in runs[-50:]]}
            for name in store.check_names()
            for runs in store.checks(name)
        ]
    }


def _run(run: Any) -> dict[str, Any]:
    return {"timestamp": run.timestamp, "status": run.status, "message": run.message}


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


async def _live(agent: LocalAgent, request: Request) -> Response:
    if agent.live.readers >= agent.live.max_readers:
        return JSON({"error": "too many pages are open"}, 503)
    return StreamingResponse(
        agent.live.read(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _no_such_endpoint(request: Request) -> Response:
    return JSON({"error": f"there is no {request.url.path}"}, 404)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "the agent failed"
    return JSON({"error": detail}, status)


async def _query_error(request: Request, error: Exception) -> Response:
    message = getattr(error, "message", str(error))
    return JSON({"error": message, "position": getattr(error, "position", 0)}, 400)


def _short_log(log: dict[str, Any]) -> dict[str, Any]:
    message = log["message"]
    shortened = {**log, "message": message[:MAX_MESSAGE], "attributes": _shortened(log["attributes"])}
    if len(message) > MAX_MESSAGE:
        shortened["cut"] = len(message)
    return shortened


def _shortened(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: _short(value) for key, value in list(attributes.items())[:256]}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_MESSAGE]
    if isinstance(value, Sequence | dict) and len(text := msgspec.json.encode(value)) > MAX_MESSAGE:
        return text[:MAX_MESSAGE].decode("utf-8", "replace")
    return value
