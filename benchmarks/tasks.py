"""What a task that does nothing costs, with its counters, timers, span and two log lines."""

from __future__ import annotations

import asyncio
from typing import Any

from . import apps
from .rounds import BEFORE, before_is_given, median_of, run, spread_of

ROUNDS = 9
COUNT = 500


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
    flush = apps.ddtrace_alone()
    from ddtrace.trace import tracer

    async def traced() -> None:
        root = tracer.start_span("task.run", resource="reports.Export", span_type="worker", activate=True)
        await _nothing()
        root.finish()

    return _run(traced), flush


def ours() -> apps.Prepared:
    from streaming_dd import timers

    flush = apps.configure()
    return _run(timers.task("reports.Export")(_nothing)), flush


VARIANTS = {"bare": bare, "span": span, "ours": ours}


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    before = ["ours" + BEFORE] if before_is_given() else []
    expected = {"span": {"spans": 1}, "ours": {"spans": 1, "lines": 2}}
    found = run("tasks", [*VARIANTS, *before], rounds=ROUNDS, count=COUNT, expected=expected)
    goals = []
    for name in (*before, "ours"):

        def ratio(index: int, name: str = name) -> float:
            bare_cost = found["bare"].total[index]
            return (found[name].total[index] - bare_cost) / (found["span"].total[index] - bare_cost)

        low, high = spread_of(ratio, ROUNDS)
        figure = median_of(ratio, ROUNDS)
        text = "task of no work, all three pillars, of a bare ddtrace root span"
        said = f"{text}{' (before)' if name.endswith(BEFORE) else ''} [{low:.3f} to {high:.3f}]"
        goals.append((said, figure, 1.4, figure <= 1.4))
    return goals
