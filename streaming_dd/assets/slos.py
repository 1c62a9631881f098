"""The SLOs in Datadog's JSON: task success, time to first byte, availability. No state."""

from __future__ import annotations

from typing import Any

from .. import catalog as c
from .options import Options
from .queries import for_slos

Json = dict[str, Any]


def build(options: Options) -> dict[str, Json]:
    """Return every SLO by its asset's name."""
    q = for_slos(options)
    good, bad = q.count(c.TASKS_COMPLETED), q.count(c.TASKS_FAILED)
    return {
        "task-success": _slo(
            options,
            "task-success",
            "Tasks end well",
            "Completed tasks among those that completed or failed. A cancelled task is neither.",
            "tasks",
            type="metric",
            query={"numerator": good, "denominator": f"{good} + {bad}"},
        ),
        "time-to-first-byte": _slo(
            options,
            "time-to-first-byte",
            "First byte in time",
            "Responses whose body began in time, among all whose body began: two counters of the application, so every "
            "response counts once. In time is STREAMING_FIRST_BYTE_LIMIT, 1 second unless it is set.",
            "streams",
            type="metric",
            query={
                "numerator": q.count(c.HTTP_FIRST_BYTES, in_time="true"),
                "denominator": q.count(c.HTTP_FIRST_BYTES),
            },
        ),
        "availability": _slo(
            options,
            "availability",
            "Available",
            "Time in which no health check of any worker is critical.",
            "health",
            type="monitor",
            monitor_ids=["${monitor:health}"],
        ),
    }


def _slo(options: Options, name: str, title: str, description: str, area: str, **measured: Any) -> Json:
    """Ask for the option's percentage over a week and a month; warn when half of the budget is left."""
    target = options.threshold(f"slo.{name}")
    warning = round(target + (100 - target) / 2, 4)
    return {
        "name": title,
        "description": description,
        **measured,
        "thresholds": [
            {"timeframe": timeframe, "target": target, "warning": warning} for timeframe in ("7d", "30d")
        ],
        "tags": [f"area:{area}"],
    }
