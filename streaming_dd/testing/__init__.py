"""Capture of metrics, spans and log lines in an application's own tests, in memory; and a real local agent for them.

    with testing.capture() as captured:
        run_the_code()
        captured.metrics.assert_count(catalog.TASKS_STARTED, 1, app="reports")

`pytest_plugin` offers the same as the fixtures `dd_metrics`, `dd_spans`, `dd_logs` and `dd_agent`. State: what a
capture redirects is put back at its end; one capture at a time.
"""

from __future__ import annotations

from .agent import RunningAgent, agent
from .capture import Captured, capture
from .log_lines import LogCapture
from .metrics import MetricCapture, Sample
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
