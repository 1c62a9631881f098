"""What the page asks for beside `api`: dashboards, widgets' data, monitors, SLOs, capacity, who uses a metric.

State: one `Shipped` per agent (`shipped.py`). Everything is JSON; errors are those of `api`. One `POST /api/query` carries
the requests of all visible widgets, so that a refresh of a page is one exchange.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import QueryError
from ..query_language import parse_search
from . import api, capacity_figures, explorer, gate, widget_data
from .dogstatsd import normalize_tag
from .filters import Choice, Choices
from .functions import Unsupported
from .monitor_state import Monitor, in_words
from .notification import Occasion, handles, render, title
from .shipped import Shipped, dashboards_using, monitors_using, widgets

if TYPE_CHECKING:
    from .agent import LocalAgent

MAX_REQUESTS = 120
MAX_CURVES = 60
"""Curves of one chart and rows of one table that are sent; the rest is counted in `left_out`."""
REPLAYS = 60
"""Points of a monitor's curve: each is an evaluation of its own."""
_VARIABLE = re.compile(r"\$(\w+)(\.value)?")


def routes(agent: LocalAgent) -> list[BaseRoute]:
    """Return the endpoints, and have the agent evaluate the shipped monitors with each bucket that closes."""
    shipped = Shipped(agent)
    agent.on_bucket.append(shipped.on_bucket)

    def get(path: str, view: Any) -> Route:
        async def endpoint(request: Request) -> Response:
            return api.JSON(view(shipped, request))

        return Route(path, endpoint, methods=["GET"])

    async def query(request: Request) -> Response:
        return api.JSON(_query(shipped, await _body(request)))

    return [
        get("/api/page", _page),
        get("/api/dashboards", _dashboards),
        get("/api/dashboards/{name}", _dashboard),
        get("/api/monitors", _monitors),
        get("/api/gate", lambda shipped, request: gate.answer(shipped)),
        get("/api/monitors/{name}", _monitor),
        get("/api/slos", _slos),
        get("/api/capacity", _capacity),
        get("/api/usage", _usage),
        get("/api/resources", _resources),
        Route("/api/query", query, methods=["POST"]),
    ]


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(await request.body())
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("requests"), list):
        raise HTTPException(400, 'expected {"requests": [...], "range": "15m"}')
    if len(body["requests"]) > MAX_REQUESTS:
        raise HTTPException(400, f"more than {MAX_REQUESTS} requests at once")
    return body


def _page(shipped: Shipped, request: Request) -> Any:
    """Return what the page's frame needs: the prefix of our metrics, template variables, dashboards, alerts."""
    store, monitors = shipped.agent.store, shipped.monitors
    values = store.tag_values()
    variables = ("env", "service", "version", "app", "model")
    return {
        "now": shipped.agent.clock(),
        "prefix": capacity_figures.prefix(store),
        "variables": {name: sorted(values.get(name, ()))[:500] for name in variables},
        "dashboards": [{"name": name, "title": _title(name, d)} for name, d in shipped.dashboards.items()],
        "states": [
            {"name": m.name, "title": m.title, "state": m.overall} for m in monitors.monitors.values()
        ],
        "directory": shipped.directory.name if shipped.directory else None,
        "problems": shipped.problems,
    }


def _title(name: str, document: Mapping[str, Any]) -> str:
    return str(document.get("title") or name)


def _dashboards(shipped: Shipped, request: Request) -> Any:
    return {
        "dashboards": [
            {
                "name": name,
                "title": _title(name, document),
                "description": str(document.get("description") or ""),
                "widgets": sum(1 for _ in widgets(document)),
            }
            for name, document in shipped.dashboards.items()
        ],
        "problems": shipped.problems,
    }


def _dashboard(shipped: Shipped, request: Request) -> Any:
    document = shipped.dashboards.get(request.path_params["name"])
    if document is None:
        raise HTTPException(404, f"there is no dashboard {request.path_params['name']}")
    return document


# --- the data of widgets -----------------------------------------------------------------------------------------


def _query(shipped: Shipped, body: Mapping[str, Any]) -> Any:
    start, end = _range(shipped, body)
    variables = _choices(body.get("variables"))
    results = [_answered(shipped, each, start, end, variables) for each in body["requests"]]
    return {"start": start, "end": end, "results": results}


def _range(shipped: Shipped, body: Mapping[str, Any]) -> tuple[float, float]:
    parameters = {key: str(body[key]) for key in ("range", "start", "end") if body.get(key) is not None}
    scope = {"type": "http", "query_string": "&".join(f"{k}={v}" for k, v in parameters.items()).encode()}
    return api.time_range(shipped.agent, Request(scope))


def _choices(sent: Any) -> Choices:
    """Read `{"env": {"key": "env", "values": ["prod"]}}`."""
    found = {}
    for name, choice in (sent or {}).items() if isinstance(sent, dict | None) else ():
        if isinstance(choice, dict):
            values = choice.get("values")
            chosen = tuple(map(str, values)) if isinstance(values, list) else ()
            found[str(name)] = Choice(str(choice.get("key") or name), chosen)
    return found


def _answered(shipped: Shipped, asked: Any, start: float, end: float, variables: Choices) -> dict[str, Any]:
    """Answer one request of a batch; what is wrong with one is said in its place."""
    began = time.perf_counter()
    try:
        shift = float(asked.get("shift") or 0)
        answer = _answer(shipped, asked, start - shift, end - shift, variables)
    except QueryError as error:
        answer = {
            "error": error.message,
            "position": error.position,
            "query": getattr(error, "text", None),
            "unsupported": isinstance(error, Unsupported),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        answer = {"error": f"this request cannot be read: {type(error).__name__}: {error}"}
    except TimeoutError as error:
        answer = {"error": str(error)}
    answer["ms"] = round((time.perf_counter() - began) * 1000, 1)
    return answer


def _answer(shipped: Shipped, asked: Any, start: float, end: float, variables: Choices) -> dict[str, Any]:
    store, request = shipped.agent.store, asked.get("request") or {}
    match asked.get("kind"):
        case "timeseries":
            chart = widget_data.chart(request, store, start, end, variables)
            answer: dict[str, Any] = {
                "times": chart.times,
                "step": chart.step,
                "curves": [asdict(curve) for curve in chart.curves[:MAX_CURVES]],
                "left_out": max(0, len(chart.curves) - MAX_CURVES),
            }
            empty = not any(value is not None for curve in chart.curves for value in curve.values)
        case "scalar":
            rows = widget_data.rows(request, store, start, end, variables)
            answer = {
                "rows": [asdict(row) for row in rows[:MAX_CURVES]],
                "left_out": max(0, len(rows) - MAX_CURVES),
            }
            empty = not any(value is not None for row in rows for value in row.values)
        case "distribution":
            bins = widget_data.bins(str(asked["query"]), store, start, end, variables)
            return {"bins": bins}
        case "list":
            return _list(shipped, request, start, end, variables)
        case "monitor":
            return _curve(shipped, str(asked.get("name")), start, end)
        case kind:
            raise Unsupported(f"{kind} is not rendered locally")
    if empty:
        answer["empty"] = [
            asdict(each) for each in widget_data.emptiness(request, store, start, end, variables)
        ]
    return answer


def _list(shipped: Shipped, request: Any, start: float, end: float, variables: Choices) -> dict[str, Any]:
    """Return the rows of a `list_stream`: logs or spans."""
    query = request.get("query") or {}
    text = _VARIABLE.sub(lambda found: _in_search(found, variables), str(query.get("query_string") or ""))
    search = parse_search(text) if text.strip() else None
    records = shipped.agent.records
    match query.get("data_source"):
        case "logs_stream":
            logs = explorer.logs(records, search, start=start, end=end, limit=50)
            return {"logs": [api._short_log(log) for log in logs]}
        case "trace_stream" | "spans_stream":
            return {"spans": explorer.spans(records, search, start=start, end=end, limit=50)}
    raise Unsupported(f"lists of {query.get('data_source')} are not rendered locally")


def _in_search(found: re.Match[str], variables: Choices) -> str:
    """Return what stands for `$env` in a search."""
    choice = variables.get(found[1])
    if choice is None or choice.all:
        return "*"
    if found[2]:
        return choice.values[0]
    quoted = ['"' + value.replace("\\", "").replace('"', "") + '"' for value in choice.values]
    return "(" + " OR ".join(f"{choice.key}:{value}" for value in quoted) + ")"


# --- monitors ----------------------------------------------------------------------------------------------------


def _monitors(shipped: Shipped, request: Request) -> Any:
    now = shipped.agent.clock()
    start, end = api.time_range(shipped.agent, request)
    return {
        "now": now,
        "start": start,
        "end": end,
        "monitors": [_row(monitor, start, end) for monitor in shipped.monitors.monitors.values()],
        "transitions": [asdict(each) for each in list(shipped.monitors.transitions)[-50:]][::-1],
        "problems": shipped.problems,
    }


def _row(monitor: Monitor, start: float, end: float) -> dict[str, Any]:
    document = monitor.document
    return {
        "name": monitor.name,
        "title": monitor.title,
        "state": monitor.overall,
        "since": monitor.since,
        "evaluated": monitor.evaluated,
        "problem": monitor.problem,
        "type": document.get("type"),
        "query": document.get("query"),
        "priority": document.get("priority"),
        "tags": document.get("tags") or [],
        "comparator": monitor.comparator,
        "thresholds": monitor.thresholds,
        "ribbon": monitor.segments(start, end),
        "groups": [
            {"group": g.group, "label": g.label, "state": g.state, "value": g.value, "since": g.since}
            for g in list(monitor.groups.values())[:100]
        ],
    }


def _monitor(shipped: Shipped, request: Request) -> Any:
    monitor = shipped.monitors.monitors.get(request.path_params["name"])
    if monitor is None:
        raise HTTPException(404, f"there is no monitor {request.path_params['name']}")
    start, end = api.time_range(shipped.agent, request)
    row = _row(monitor, start, end)
    for group, state in zip(row["groups"], monitor.groups.values(), strict=False):
        group["readings"] = [asdict(reading) for reading in state.readings][::-1]
        group["check_message"] = state.check_message
    said = [asdict(each) for each in shipped.monitors.notifications if each.monitor == monitor.name]
    return {
        **row,
        "start": start,
        "end": end,
        "document": monitor.document,
        "words": in_words(monitor),
        "window": monitor.window,
        "notifications": said[-20:][::-1],
        "preview": _preview(monitor),
        "curve": _curve(shipped, monitor.name, start, end),
    }


def _preview(monitor: Monitor) -> dict[str, Any]:
    """Return what an alert would say, with the value of the worst group."""
    groups = sorted(monitor.groups.values(), key=lambda group: group.state != "Alert")
    group = groups[0] if groups else None
    value = group.value if group else None
    if not group or group.state != "Alert":
        value = monitor.thresholds.get("critical")
    occasion = Occasion(
        "Alert", "OK", value, group.group if group else {}, monitor.thresholds, monitor.comparator,
        group.check_message if group else "",
    )  # fmt: skip
    text = render(str(monitor.document.get("message") or ""), occasion)
    return {"title": title(monitor.title, occasion), "text": text, "handles": handles(text)}


def _curve(shipped: Shipped, name: str, start: float, end: float) -> dict[str, Any]:
    """Return the values that a monitor had in a range, by group, as a chart's curves."""
    monitor = shipped.monitors.monitors.get(name)
    if monitor is None:
        raise Unsupported(f"there is no monitor {name}")
    step = max(10, -(-int((end - start) / REPLAYS) // 10) * 10)
    found = shipped.monitors.replay(name, start, end, step)
    groups = {tuple(group.items()): group for _, values in found for group, _ in values}
    at = [{tuple(group.items()): value for group, value in values} for _, values in found]
    curves = [
        {"alias": "", "group": group, "values": [values.get(key) for values in at]}
        for key, group in list(groups.items())[:MAX_CURVES]
    ]
    return {
        "times": [time for time, _ in found],
        "step": step,
        "curves": curves,
        "left_out": max(0, len(groups) - MAX_CURVES),
        "thresholds": monitor.thresholds,
        "comparator": monitor.comparator,
    }


def _slos(shipped: Shipped, request: Request) -> Any:
    now, monitors = shipped.agent.clock(), shipped.monitors
    found = []
    for name, document in monitors.slos.items():
        timeframes = [str(each["timeframe"]) for each in document["thresholds"]]
        found.append(
            {
                "name": name,
                "title": str(document.get("name") or name),
                "description": str(document.get("description") or ""),
                "type": document["type"],
                "statuses": [asdict(monitors.slo_status(name, now, each)) for each in timeframes],
            }
        )
    return {"slos": found}


# --- capacity and metrics ----------------------------------------------------------------------------------------


def _capacity(shipped: Shipped, request: Request) -> Any:
    start, end = api.time_range(shipped.agent, request)
    return capacity_figures.figures(shipped.agent.store, start, end)


def _resources(shipped: Shipped, request: Request) -> Any:
    """Return a service's resources as its spans write them, by the tag that trace metrics carry (lower case, `_`)."""
    rows = shipped.agent.records.select_tuples(
        "SELECT DISTINCT name, resource FROM spans WHERE service = ? LIMIT 2000",
        [request.query_params.get("service", "")],
    )
    names = {normalize_tag(f"resource_name:{resource}").partition(":")[2]: resource for _, resource in rows}
    return {"resources": names}


def _usage(shipped: Shipped, request: Request) -> Any:
    """Return which dashboards and monitors use each metric, and which of those nobody has sent."""
    used: dict[str, dict[str, list[str]]] = {}
    for kind, using in (
        ("dashboards", dashboards_using(shipped.dashboards)),
        ("monitors", monitors_using(shipped.monitors)),
    ):
        for metric, names in using.items():
            used.setdefault(metric, {"dashboards": [], "monitors": []})[kind] = sorted(names)
    known = set(shipped.agent.store.names())
    return {"used": used, "never_sent": sorted(set(used) - known)}
