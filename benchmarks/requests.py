"""What a request costs with all three pillars, without spans, and on top of ddtrace's own integration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import apps
from .rounds import BEFORE, before_is_given, median_of, run, spread_of

ROUNDS = 9
COUNT = 1000


def _site() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def item(request: Any) -> JSONResponse:
        return JSONResponse({"item": 1})

    return Starlette(routes=[Route("/items/{id}", item)])


Prepared = tuple[Any, Callable[[], None]]


def bare() -> Prepared:
    return _site(), apps.nothing


def ddtrace() -> Prepared:
    flush = apps.ddtrace_alone()
    from ddtrace import patch

    patch(starlette=True)
    return _site(), flush


def starlette_exporter() -> Prepared:
    from starlette_exporter import PrometheusMiddleware

    site = _site()
    site.add_middleware(PrometheusMiddleware)
    return site, apps.nothing


def metrics_and_log() -> Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(tracing_enabled=False)
    return DatadogMiddleware(_site()), flush


def metrics_only() -> Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(tracing_enabled=False, logs_enabled=False)
    return DatadogMiddleware(_site()), flush


def all_pillars() -> Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure()
    return DatadogMiddleware(_site()), flush


def beside_ddtrace() -> Prepared:
    from ddtrace import patch

    patch(starlette=True)
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure()
    return DatadogMiddleware(_site()), flush


def unmatched() -> apps.Prepared:
    return apps.looped(_site(), lambda number: f"/nowhere/{number % 50}"), apps.nothing


def unmatched_ours() -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(tracing_enabled=False)
    return apps.looped(DatadogMiddleware(_site()), lambda number: f"/nowhere/{number % 50}"), flush


#: Variant -> what makes its application and its flush.
APPS: dict[str, Callable[[], Prepared]] = {
    "bare": bare,
    "ddtrace": ddtrace,
    "starlette_exporter": starlette_exporter,
    "metrics_only": metrics_only,
    "metrics_and_log": metrics_and_log,
    "all_pillars": all_pillars,
    "beside_ddtrace": beside_ddtrace,
}


def _asked(prepare: Callable[[], Prepared]) -> apps.Prepared:
    app, flush = prepare()
    return apps.looped(app, lambda number: f"/items/{number % 50}"), flush


VARIANTS: dict[str, Callable[[], apps.Prepared]] = {
    **{name: partial(_asked, prepare) for name, prepare in APPS.items()},
    "unmatched": unmatched,
    "unmatched_ours": unmatched_ours,
}

#: What each operation of a variant must leave with the stand-in, exactly.
EXPECTED = {
    "ddtrace": {"spans": 1},
    "metrics_only": {"requests": 1, "spans": 0},
    "metrics_and_log": {"requests": 1, "lines": 1, "spans": 0},
    "all_pillars": {"requests": 1, "lines": 1, "spans": 1},
    "beside_ddtrace": {"requests": 1, "lines": 1, "spans": 1},
    "unmatched_ours": {"requests": 1, "lines": 1},
}
#: Goal, our variant, what it is compared with, on the loop's thread alone, whether added costs are compared, limit.
ROWS = (
    ("request, metrics + log + span: added, of ddtrace's patch(starlette)", "all_pillars", "ddtrace", False, True, 0.22),
    ("the same on the loop's thread", "all_pillars", "ddtrace", True, True, 0.10),
    ("request on top of an active ddtrace integration, of that alone", "beside_ddtrace", "ddtrace", False, False, 1.06),
    ("request, metrics + log: added, of starlette-exporter's", "metrics_and_log", "starlette_exporter", False, True, 0.2),
    ("request, metrics alone: added, of starlette-exporter's", "metrics_only", "starlette_exporter", False, True, 0.2),
    ("request that matches no route, of bare, without span", "unmatched_ours", "unmatched", False, False, 1.15),
)  # fmt: skip


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    before = ["all_pillars", "metrics_and_log", "beside_ddtrace"] if before_is_given() else []
    names = [*VARIANTS, *(name + BEFORE for name in before)]
    found = run("requests", names, rounds=ROUNDS, count=COUNT, expected=EXPECTED)

    def figure(ours: str, peer: str, loop: bool, added: bool, index: int) -> float:
        costs = {name: (variant.main if loop else variant.total)[index] for name, variant in found.items()}
        less = costs["bare"] if added else 0.0
        return (costs[ours] - less) / (costs[peer] - less)

    goals = []
    for text, ours, peer, loop, added, limit in ROWS:
        for name in (ours + BEFORE, ours):
            if name in found:
                of_round = partial(figure, name, peer, loop, added)
                low, high = spread_of(of_round, ROUNDS)
                said = f"{text}{' (before)' if name.endswith(BEFORE) else ''} [{low:.3f} to {high:.3f}]"
                ratio = median_of(of_round, ROUNDS)
                goals.append((said, ratio, limit, ratio <= limit))
    for name in ("ddtrace", "all_pillars"):
        counts = found[name].counts
        each = counts["post_bytes"] / found[name].operations
        limit = found["ddtrace"].counts["post_bytes"] / found["ddtrace"].operations
        goals.append((f"bytes posted for a span, {name}", each, limit, each <= limit))
        posts = 1000 * counts["posts"] / found[name].operations
        goals.append((f"posts for 1,000 requests, {name}", posts, 2.0, posts <= 2.0))
    return goals
