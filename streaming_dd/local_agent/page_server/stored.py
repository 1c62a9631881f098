"""Views over what is kept: metrics, traces, logs, tasks, events, checks. No state; each takes `Holdings` and a request."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..holdings import Holdings
from ..queries import errors as grouped_errors
from ..queries import explorer
from ..queries import patterns as log_pattern_rows
from ..queries import service_map as service_edges
from ..store.records import MAX_ID
from ..store.tasks import active_by_gauge
from . import overview
from .answers import integer, limit, search_of, short_log, shortened, time_range

MAX_SERIES = 200


def metrics(held: Holdings, request: Request) -> Any:
    """Return the metrics whose name holds `search`."""
    wanted = request.query_params.get("search", "").lower()
    return {
        "metrics": [asdict(info) for info in held.store.metrics() if wanted in info.name.lower()],
        "series": held.store.series_count,
        "max_series": held.store.max_series,
        "rejected": dict(held.store.rejected.most_common(50)),
    }


def series(held: Holdings, request: Request) -> Any:
    """Return the points of each series of `metric`."""
    metric = request.query_params.get("metric", "")
    if not metric:
        raise HTTPException(400, "metric= is missing")
    wanted = {tag for tag in request.query_params.get("tags", "").split(",") if tag}
    start, end = time_range(held, request)
    tags = [tags for tags, _ in held.store.seen(metric, start) if wanted <= tags]
    shown = set(tags[:MAX_SERIES])
    found = held.store.select(metric, shown.__contains__, start, end)
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
            for series in found
        ],
        "left_out": max(0, len(tags) - MAX_SERIES),
    }


def tags(held: Holdings, request: Request) -> Any:
    """Return the values of each tag key."""
    values = held.store.tag_values(request.query_params.get("metric") or None)
    return {key: sorted(values[key])[:1000] for key in sorted(values)}


def services(held: Holdings, request: Request) -> Any:
    """Return hits, errors and latency of services, or of the resources of one."""
    start, end = time_range(held, request)
    service = request.query_params.get("service")
    return {"services": overview.services(held.store, start, end, service), "seconds": end - start}


def service_map(held: Holdings, request: Request) -> Any:
    """Return the edges between services."""
    start, end = time_range(held, request)
    return service_edges.edges(held.records, start, end, held.clock())


def traces(held: Holdings, request: Request) -> Any:
    """Return the spans that match, with the size of their traces."""
    start, end = time_range(held, request)
    found = explorer.spans(
        held.records,
        search_of(request),
        start=start,
        end=end,
        entries=request.query_params.get("all") != "1",
        roots=request.query_params.get("all") == "roots",
        before_id=integer(request, "before_id"),
        limit=limit(request, 100, 1_000),
    )
    sizes = explorer.trace_sizes(held.records, [span["trace_id"] for span in found])
    for span in found:
        span["spans"], span["errors"] = sizes.get(span["trace_id"][16:], (1, span["error"]))
        span["attributes"] = shortened(span["attributes"])
    return {"spans": found}


def trace_histogram(held: Holdings, request: Request) -> Any:
    """Return how many spans match, by step and by whether they failed."""
    start, end = time_range(held, request)
    step = max(1.0, (end - start) / (integer(request, "steps") or 60))
    counts = explorer.span_counts(
        held.records,
        search_of(request),
        start=start,
        end=end,
        step=step,
        entries=request.query_params.get("all") != "1",
        roots=request.query_params.get("all") == "roots",
    )
    return {"start": start, "step": step, "counts": counts}


def trace(held: Holdings, request: Request) -> Any:
    """Return a trace with its logs and the traces that link to it."""
    trace_id = request.path_params["trace_id"].lower()
    if not re.fullmatch(r"[0-9a-f]{16}|[0-9a-f]{32}", trace_id):
        raise HTTPException(400, "a trace id is 32 (or 16) hexadecimal digits")
    spans = explorer.trace(held.records, trace_id)
    logs = explorer.trace_logs(held.records, trace_id)
    if not spans and not logs:
        raise HTTPException(
            404, "no span of this trace is kept: it is not finished yet, or older than what is kept"
        )
    return {
        "trace_id": spans[0]["trace_id"] if spans else trace_id,
        "spans": spans,
        "logs": [short_log(log) for log in logs],
        "linked_from": explorer.linked_from(held.records, trace_id),
    }


def errors(held: Holdings, request: Request) -> Any:
    """Return the exceptions of a range by fingerprint, of `fingerprint` alone if it is given."""
    start, end = time_range(held, request)
    steps = min(integer(request, "steps") or 60, 240)
    rows = grouped_errors.groups(held.records, search_of(request), start=start, end=end, steps=steps)
    wanted = request.query_params.get("fingerprint")
    return {"now": held.clock(), "errors": [row for row in rows if wanted in (None, row["fingerprint"])]}


def logs(held: Holdings, request: Request) -> Any:
    """Return the logs that match."""
    start, end = time_range(held, request)
    found = explorer.logs(
        held.records,
        search_of(request),
        start=start,
        end=end,
        before_id=integer(request, "before_id"),
        after_id=integer(request, "after_id"),
        limit=limit(request, 200, 1_000),
    )
    return {"logs": [short_log(log) for log in found]}


def log_histogram(held: Holdings, request: Request) -> Any:
    """Return how many logs match, by step and status."""
    start, end = time_range(held, request)
    step = max(1.0, (end - start) / (integer(request, "steps") or 60))
    counts = explorer.log_counts(held.records, search_of(request), start=start, end=end, step=step)
    return {"start": start, "step": step, "counts": counts}


def log_facets(held: Holdings, request: Request) -> Any:
    """Return the most frequent values of `keys`."""
    start, end = time_range(held, request)
    keys = [key for key in request.query_params.get("keys", "status,service").split(",") if key][:10]
    return {"facets": explorer.log_facets(held.records, keys, search_of(request), start=start, end=end)}


def log_patterns(held: Holdings, request: Request) -> Any:
    """Return the patterns of the newest logs that match, the most frequent first."""
    start, end = time_range(held, request)
    found = log_pattern_rows.patterns(held.records, search_of(request), start=start, end=end)
    return {"now": held.clock(), **found}


def log(held: Holdings, request: Request) -> Any:
    """Return one log, whole."""
    text = request.path_params["id"]
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > MAX_ID:
        raise HTTPException(400, f"the id of a log is a number of at most {MAX_ID}")
    found = explorer.log(held.records, int(text))
    if found is None:
        raise HTTPException(404, "this log is not kept any more")
    return found


def tasks(held: Holdings, request: Request) -> Any:
    """Return running and ended tasks."""
    held.tasks.reconcile(active_by_gauge(held.store, held.clock()), held.clock())
    tasks = [asdict(task) for task in held.tasks.all()]
    return {
        "now": held.clock(),
        "tasks": tasks[: limit(request, 500, 3_000)],
        "dropped": held.tasks.dropped,
        "pages": {service: page for service, page in held.tasks.pages.items() if page},
    }


def events(held: Holdings, request: Request) -> Any:
    """Return the last events."""
    return {
        "events": [
            {**asdict(kept.event), "timestamp": kept.timestamp, "tags": sorted(kept.tags)}
            for kept in reversed(held.store.events)
        ][: limit(request, 100, 1_000)]
    }


def checks(held: Holdings, request: Request) -> Any:
    """Return the last runs of the service checks."""
    store = held.store
    return {
        "checks": [
            {"name": name, "tags": sorted(runs[-1].tags), "runs": [_run(run) for run in runs[-50:]]}
            for name in store.check_names()
            for runs in store.checks(name)
        ]
    }


def _run(run: Any) -> dict[str, Any]:
    return {"timestamp": run.timestamp, "status": run.status, "message": run.message}
