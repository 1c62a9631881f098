"""What was lost on its way out, as samples of our own telemetry. No state: the outlets count, the metrics tell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..output.metrics import Metrics
from ..output.notices import Outage, back, out
from ..output.tracing import Tracing

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru


class Losses:
    """Ask the outlets what they have lost. Called by the recorder's thread."""

    def __init__(self, metrics: Metrics, tracing: Tracing, logs: Logs | None) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._logs = logs

    def lines(self) -> None:
        """Count the log lines that were lost so far."""
        if self._logs is not None:
            for reason, count in self._logs.dropped.items():
                self._metrics.lost_lines(reason, count)

    def spans(self) -> None:
        """Hand ended spans on, and count those that cannot be described."""
        faults = self._tracing.settle()
        if faults:
            self._metrics.drop("internal_error", "spans could not be described", faults)

    def traces(self) -> None:
        """Count the traces that were dropped for want of an Agent, and those that it refused."""
        lost = self._tracing.look_for_agent(time.monotonic())
        if lost:
            self._metrics.count_dropped("no_trace_agent", lost)
            out(
                "traces",
                f"no Agent takes traces at {self._tracing.address}; the application is not affected, but they are dropped. "
                "Start one (`streaming-dd agent`), set DD_TRACE_AGENT_URL, or set STREAMING_TRACING_ENABLED=false.",
                lost,
            )
        elif self._tracing.agent_is_there():
            back("traces", self._traces_again)
        refused = self._tracing.refused()
        if refused:
            self._metrics.drop(
                "traces_refused",
                f"the Agent at {self._tracing.address} did not take traces; they are lost.",
                refused,
            )

    def _traces_again(self, outage: Outage) -> str:
        return f"traces are taken again at {self._tracing.address} {outage.lasted}: {outage.count} were dropped meanwhile."

    def at_end(self, timeout: float) -> None:
        """Count and say what the end of the process could not send; what still can be told is told."""
        self._metrics_left()
        before = sum(self._metrics.dropped.values())
        self.traces()
        if sum(self._metrics.dropped.values()) > before:
            self._metrics.final_flush(timeout)

    def _metrics_left(self) -> None:
        left = self._metrics.unsent()
        if left:
            self._metrics.drop(
                "process_end",
                f"{left} samples could not be sent to {self._metrics.config.dogstatsd_address()} before the process ended "
                "or was configured anew.",
                left,
            )
