"""Goal 7: what a task that does nothing costs, with its counters, timers, span and two log lines."""

from __future__ import annotations

import asyncio
from typing import Any

from . import apps
from .rounds import median_of, run

ROUNDS = 15
COUNT = 2000


def _run(function: Any) -> Any:
    runner = asyncio.Runner()

    async def tasks(count: int) -> None:
        for _ in range(count):
            await function()

    return lambda count: runner.run(tasks(count))


async def _nothing() -> None:
    pass


def bare() -> apps.Prepared:
    return _run(_nothing), apps.nothing


def span() -> apps.Prepared:
    apps.quiet_ddtrace()
    from ddtrace.trace import tracer

    async def traced() -> None:
        root = tracer.start_span("task.run", resource="reports.Export", span_type="worker", activate=True)
        await _nothing()
        root.finish()

    return _run(traced), apps.nothing


def ours() -> apps.Prepared:
    from streaming_dd import timers

    flush = apps.configure()
    return _run(timers.task("reports.Export")(_nothing)), flush


VARIANTS = {"bare": bare, "span": span, "ours": ours}


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    found = run("tasks", VARIANTS, rounds=ROUNDS, count=COUNT)

    def ratio(index: int) -> float:
        bare_cost = found["bare"].total[index]
        return (found["ours"].total[index] - bare_cost) / (found["span"].total[index] - bare_cost)

    figure = median_of(ratio, ROUNDS)
    return [("7 task of no work, all three pillars, of a bare ddtrace root span", figure, 3.0, figure <= 3.0)]
