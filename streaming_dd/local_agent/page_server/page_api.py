"""What the page asks for beside what is kept: its frame, dashboards, capacity, who uses a metric.

State: one `Shipped` per agent (`shipped.py`). The views of monitors and the data of widgets have modules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..holdings import Holdings
from ..intake.dogstatsd import normalize_tag
from . import bill, capacity_figures, monitor_views, widget_answers
from .answers import JSON, Lately, time_range
from .shipped import Shipped, dashboards_using, monitors_using, widgets


def routes(held: Holdings, lately: Lately) -> list[BaseRoute]:
    """Return the endpoints, and have the agent evaluate the shipped monitors with each bucket that closes.

    A release gate's answer is always made anew: it decides.
    """
    shipped = Shipped(held)
    held.on_bucket.append(shipped.on_bucket)
    _ = shipped.dashboards  # read now: a broken file is named at the start, not when somebody opens the view

    def get(path: str, view: Any, again: Lately | None = lately) -> Route:
        async def endpoint(request: Request) -> Response:
            make = partial(view, shipped, request)
            key = (request.url.path, request.url.query, held.forgotten)
            return JSON(again.answer(key, make) if again else make())

        return Route(path, endpoint, methods=["GET"])

    return [
        get("/api/page", _page),
        get("/api/dashboards", _dashboards),
        get("/api/dashboards/{name}", _dashboard),
        get("/api/monitors", monitor_views.monitors),
        get("/api/gate", monitor_views.gate_answer, None),
        get("/api/monitors/{name}", monitor_views.monitor),
        get("/api/slos", monitor_views.slos),
        get("/api/capacity", _capacity),
        get("/api/usage", _usage),
        get("/api/bill", _bill),
        get("/api/resources", _resources),
        Route("/api/query", partial(widget_answers.answers, shipped), methods=["POST"]),
    ]


def _page(shipped: Shipped, request: Request) -> Any:
    """Return what the page's frame needs: the prefix of our metrics, template variables, dashboards, alerts."""
    store, monitors = shipped.held.store, shipped.monitors
    values = store.tag_values()
    variables = ("env", "service", "version", "app", "model")
    return {
        "now": shipped.held.clock(),
        "prefix": capacity_figures.prefix(store),
        "timers": capacity_figures.timers(store),
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


def _capacity(shipped: Shipped, request: Request) -> Any:
    start, end = time_range(shipped.held, request)
    return capacity_figures.figures(shipped.held.store, start, end)


def _bill(shipped: Shipped, request: Request) -> Any:
    """Return what Datadog would charge for the metrics of the last hour."""
    return bill.bill(shipped.held.store, shipped.held.clock())


def _resources(shipped: Shipped, request: Request) -> Any:
    """Return a service's resources as its spans write them, by the tag that trace metrics carry (lower case, `_`)."""
    rows = shipped.held.records.select_tuples(
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
    known = set(shipped.held.store.names())
    return {"used": used, "never_sent": sorted(set(used) - known)}
