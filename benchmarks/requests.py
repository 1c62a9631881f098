"""Goals 1 to 3: what a request costs with all three pillars, without spans, and beside ddtrace's own integration."""

from __future__ import annotations

from typing import Any

from . import apps
from .rounds import median_of, run

ROUNDS = 15
COUNT = 2000


def _site() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def item(request: Any) -> JSONResponse:
        return JSONResponse({"item": 1})

    return Starlette(routes=[Route("/items/{id}", item)])


def _run(app: Any) -> Any:
    return apps.looped(app, lambda number: f"/items/{number % 50}")


def bare() -> apps.Prepared:
    return _run(_site()), apps.nothing


def ddtrace() -> apps.Prepared:
    apps.quiet_ddtrace()
    from ddtrace.contrib.asgi import TraceMiddleware

    return _run(TraceMiddleware(_site())), apps.nothing


def starlette_exporter() -> apps.Prepared:
    from starlette_exporter import PrometheusMiddleware

    site = _site()
    site.add_middleware(PrometheusMiddleware)
    return _run(site), apps.nothing


def metrics_and_log() -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(tracing_enabled=False)
    return _run(DatadogMiddleware(_site())), flush


def metrics_only() -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(tracing_enabled=False, logs_enabled=False)
    return _run(DatadogMiddleware(_site())), flush


def all_pillars() -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure()
    return _run(DatadogMiddleware(_site())), flush


def beside_ddtrace() -> apps.Prepared:
    from ddtrace.contrib.asgi import TraceMiddleware

    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure()
    return _run(DatadogMiddleware(TraceMiddleware(_site()))), flush


VARIANTS = {
    "bare": bare,
    "ddtrace": ddtrace,
    "starlette_exporter": starlette_exporter,
    "metrics_only": metrics_only,
    "metrics_and_log": metrics_and_log,
    "all_pillars": all_pillars,
    "beside_ddtrace": beside_ddtrace,
}


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    found = run("requests", VARIANTS, rounds=ROUNDS, count=COUNT)

    def added(name: str, index: int) -> float:
        return found[name].total[index] - found["bare"].total[index]

    def on_loop(index: int) -> float:
        return found["metrics_and_log"].main[index] - found["bare"].main[index]

    rows = [
        (
            "1 request, metrics + log + span: added, of ddtrace's middleware alone",
            "all_pillars",
            "ddtrace",
            0.45,
        ),
        (
            "2 request, metrics + access log: added, of starlette-exporter's",
            "metrics_and_log",
            "starlette_exporter",
            0.2,
        ),
        (
            "2 request, metrics alone: added, of starlette-exporter's",
            "metrics_only",
            "starlette_exporter",
            0.2,
        ),
    ]
    goals = []
    for text, ours, peer, limit in rows:
        ratio = median_of(lambda index, a=ours, b=peer: added(a, index) / added(b, index), ROUNDS)
        goals.append((text, ratio, limit, ratio <= limit))
    loop = median_of(on_loop, ROUNDS)
    goals.append(
        ("2 request, metrics + access log: added on the loop's thread, microseconds", loop, 3.0, loop <= 3.0)
    )
    beside = median_of(
        lambda index: found["beside_ddtrace"].total[index] / found["ddtrace"].total[index], ROUNDS
    )
    goals.append(("3 request beside ddtrace's own integration, of that alone", beside, 1.10, beside <= 1.10))
    return goals
