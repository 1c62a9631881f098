"""The SLOs in Datadog's JSON: task success, time to first byte, availability. No state."""

from __future__ import annotations

from typing import Any

from .. import catalog as c
from .options import Options
from .queries import for_monitors

Json = dict[str, Any]


def build(options: Options) -> dict[str, Json]:
    """Return every SLO by its asset's name."""
    return {
        "task-success": _task_success(options),
        "time-to-first-byte": _time_to_first_byte(options),
        "availability": _availability(options),
    }


def _task_success(options: Options) -> Json:
    q = for_monitors(options)
    good, bad = q.count(c.TASKS_COMPLETED), q.count(c.TASKS_FAILED)
    return {
        "name": "Tasks end well",
        "description": "Completed tasks among those that completed or failed. A cancelled task is neither.",
        "type": "metric",
        "query": {"numerator": good, "denominator": f"{good} + {bad}"},
        "thresholds": _targets(options.threshold("slo.task-success")),
        "tags": ["area:tasks"],
    }


def _time_to_first_byte(options: Options) -> Json:
    q = for_monitors(options)
    limit = options.threshold("slo.time-to-first-byte.milliseconds")
    query = q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "p95")
    return {
        "name": "First byte in time",
        "description": "Five-minute slices in which the 95th percentile of the time to the first byte is "
        f"at most {limit} ms.",
        "type": "time_slice",
        "sli_specification": {
            "time_slice": {
                "query": {
                    "formulas": [{"formula": "first_byte"}],
                    "queries": [{"data_source": "metrics", "name": "first_byte", "query": query}],
                },
                "query_interval_seconds": 300,
                "comparator": "<=",
                "threshold": limit,
            }
        },
        "thresholds": _targets(options.threshold("slo.time-to-first-byte")),
        "tags": ["area:streams"],
    }


def _availability(options: Options) -> Json:
    return {
        "name": "Available",
        "description": "Time in which no health check is critical.",
        "type": "monitor",
        "monitor_ids": ["${monitor:health}"],
        "thresholds": _targets(options.threshold("slo.availability")),
        "tags": ["area:health"],
    }


def _targets(target: float) -> list[Json]:
    """Ask for `target` percent over a week and a month; warn when half of the budget is left."""
    warning = round(target + (100 - target) / 2, 4)
    return [{"timeframe": timeframe, "target": target, "warning": warning} for timeframe in ("7d", "30d")]
