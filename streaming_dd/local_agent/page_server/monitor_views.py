"""Views of monitors and SLOs: states, ribbons, readings, what would be said. No state of its own; `Shipped` has it."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..monitors import gate
from ..monitors.notification import Occasion, handles, render, title
from ..monitors.shares import measured
from ..monitors.state import Monitor, in_words
from ..queries.functions import Unsupported
from .answers import time_range
from .shipped import Shipped

_UNIT = re.compile(r"\{\{value\}\} ([^(){}]{1,30}) \(alerts ")

MAX_CURVES = 60
"""Curves of one chart that are sent; the rest is counted in `left_out`."""
REPLAYS = 60
"""Points of a monitor's curve: each is an evaluation of its own."""


def monitors(shipped: Shipped, request: Request) -> Any:
    """Return every monitor with its ribbon, and the last transitions."""
    now = shipped.held.clock()
    start, end = time_range(shipped.held, request)
    return {
        "now": now,
        "start": start,
        "end": end,
        "monitors": [_row(shipped, monitor, start, end) for monitor in shipped.monitors.monitors.values()],
        "transitions": [asdict(each) for each in list(shipped.monitors.transitions)[-50:]][::-1],
        "problems": shipped.problems,
    }


def _row(shipped: Shipped, monitor: Monitor, start: float, end: float) -> dict[str, Any]:
    document = monitor.document
    true = measured(monitor.query, shipped.held.store, monitor.evaluated) if monitor.groups else {}
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
        "unit": _unit(str(document.get("message") or "")),
        "ribbon": monitor.segments(start, end),
        "groups": [
            {
                "group": g.group,
                "label": g.label,
                "state": g.state,
                "value": g.value,
                "since": g.since,
                "measured": true.get(frozenset(g.group.items()), ""),
            }
            for g in list(monitor.groups.values())[:100]
        ],
    }


def _unit(message: str) -> str:
    """Return the unit that a message gives the value, as in `{{value}} ms (alerts above ...`; Datadog has no field."""
    found = _UNIT.search(message)
    return found[1] if found else ""


def monitor(shipped: Shipped, request: Request) -> Any:
    """Return one monitor: its groups with their readings, its query in words, what it said and would say."""
    monitor = shipped.monitors.monitors.get(request.path_params["name"])
    if monitor is None:
        raise HTTPException(404, f"there is no monitor {request.path_params['name']}")
    start, end = time_range(shipped.held, request)
    row = _row(shipped, monitor, start, end)
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
        "curve": curve(shipped, monitor.name, start, end),
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
        group.check_message if group else "", priority=monitor.priority,
    )  # fmt: skip
    text = render(str(monitor.document.get("message") or ""), occasion)
    return {"title": title(monitor.title, occasion), "text": text, "handles": handles(text)}


def curve(shipped: Shipped, name: str, start: float, end: float) -> dict[str, Any]:
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


def slos(shipped: Shipped, request: Request) -> Any:
    """Return every SLO with how it stands."""
    now, monitors = shipped.held.clock(), shipped.monitors
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


def gate_answer(shipped: Shipped, request: Request) -> dict[str, Any]:
    """Return how every group stands, what has come in since the start, and which files cannot be read."""
    monitors = shipped.monitors
    return {
        "now": shipped.held.clock(),
        "evaluated": gate.evaluated(monitors),
        "groups": gate.judged(monitors),
        "received": shipped.held.totals(),
        "problems": shipped.unread,
    }
