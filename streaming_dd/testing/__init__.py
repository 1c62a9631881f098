"""Capture of metrics, spans and log lines in an application's own tests, in memory; and a real local agent for them.

    with testing.capture() as captured:
        run_the_code()
        captured.metrics.assert_count(catalog.TASKS_STARTED, 1, app="reports")

`plugin` offers the same as the fixtures `dd_metrics`, `dd_spans`, `dd_logs` and `dd_agent`. Names are imported when
they are first used. State: what a capture redirects is put back at its end; one capture at a time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .captured import Captured, capture
    from .log_lines import LogCapture
    from .metrics import MetricCapture, Sample
    from .running_agent import RunningAgent, agent
    from .spans import CapturedSpan, SpanCapture

__all__ = [
    "Captured",
    "CapturedSpan",
    "LogCapture",
    "MetricCapture",
    "RunningAgent",
    "Sample",
    "SpanCapture",
    "agent",
    "capture",
]

_HOMES = {
    "Captured": "captured",
    "CapturedSpan": "spans",
    "LogCapture": "log_lines",
    "MetricCapture": "metrics",
    "RunningAgent": "running_agent",
    "Sample": "metrics",
    "SpanCapture": "spans",
    "agent": "running_agent",
    "capture": "captured",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
