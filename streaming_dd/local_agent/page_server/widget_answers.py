"""`POST /api/query`: the data of all visible widgets in one exchange. No state.

What is wrong with one request is said in its place; the others are answered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...assets.query_language import parse_search
from ...errors import QueryError
from ..queries import events, explorer, widget_data
from ..queries.filters import Choice, Choices
from ..queries.functions import Unsupported
from .answers import JSON, short_log, time_range
from .monitor_views import MAX_CURVES, curve
from .shipped import Shipped

MAX_REQUESTS = 120


async def answers(shipped: Shipped, request: Request) -> Response:
    """Answer a batch of widgets' requests, each in its place."""
    body = await _body(request)
    start, end = _range(shipped, body)
    variables = _choices(body.get("variables"))
    results = [_answered(shipped, each, start, end, variables) for each in body["requests"]]
    return JSON({"start": start, "end": end, "results": results})


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("requests"), list):
        raise HTTPException(400, 'expected {"requests": [...], "range": "15m"}')
    if len(body["requests"]) > MAX_REQUESTS:
        raise HTTPException(400, f"more than {MAX_REQUESTS} requests at once")
    return body


def _range(shipped: Shipped, body: Mapping[str, Any]) -> tuple[float, float]:
    parameters = {key: str(body[key]) for key in ("range", "start", "end") if body.get(key) is not None}
    scope = {"type": "http", "query_string": "&".join(f"{k}={v}" for k, v in parameters.items()).encode()}
    return time_range(shipped.held, Request(scope))


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
    store, records, request = shipped.held.store, shipped.held.records, asked.get("request") or {}
    match asked.get("kind"):
        case "timeseries":
            chart = widget_data.chart(request, store, start, end, variables, records=records)
            answer: dict[str, Any] = {
                "times": chart.times,
                "step": chart.step,
                "curves": [asdict(curve) for curve in chart.curves[:MAX_CURVES]],
                "left_out": max(0, len(chart.curves) - MAX_CURVES),
            }
            empty = not any(value is not None for curve in chart.curves for value in curve.values)
        case "scalar":
            rows = widget_data.rows(request, store, start, end, variables, records=records)
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
            return curve(shipped, str(asked.get("name")), start, end)
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
    text = events.filled_in(str(query.get("query_string") or ""), variables)
    search = parse_search(text) if text.strip() else None
    records = shipped.held.records
    match query.get("data_source"):
        case "logs_stream":
            logs = explorer.logs(records, search, start=start, end=end, limit=50)
            return {"logs": [short_log(log) for log in logs]}
        case "trace_stream" | "spans_stream":
            return {"spans": explorer.spans(records, search, start=start, end=end, limit=50)}
    raise Unsupported(f"lists of {query.get('data_source')} are not rendered locally")
