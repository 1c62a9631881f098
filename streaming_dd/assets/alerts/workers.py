"""Monitors on the processes, on what is dropped, and on an application that is gone. No state."""

from __future__ import annotations

from collections.abc import Mapping

from ... import catalog as c
from .row import APP, Alert, slow

ALERTS: Mapping[str, Alert] = {
    "loop-lag": Alert(
        title="The event loop is held",
        area="capacity",
        dashboard="Streaming: capacity",
        priority=3,
        query=lambda q, options: slow(q.timer(c.LOOP_LAG, "p95", APP), "5m"),
        unit="ms",
        missing="resolve",
        about="Tracks how late the event loop runs its timers: while it is held, every request, stream and task of "
        "the process waits.",
        means="Every request, stream and task of {{service.name}} waits: timers run {value} late (95th percentile).",
        first=(
            "Open *Streaming: capacity*, list *Blocked by*: it names the line of code that does not await.",
            "No single line: the process has more work than one core does, add workers.",
            "Move blocking calls to `asyncio.to_thread`.",
        ),
        traces="",
    ),
    # Samples and log lines are not added up: a sum of two is nothing as long as one of the two was never sent.
    "telemetry-dropped": Alert(
        title="Metrics are dropped: do not trust the other numbers",
        area="telemetry",
        dashboard="Streaming: capacity",
        priority=4,
        comparator=">=",
        query=lambda q, options: f"sum(last_10m):{q.count(c.TELEMETRY_DROPPED, APP)}",
        unit="samples",
        missing="default",
        about="Tells that samples were dropped rather than slow the application down: the other numbers are then "
        "too low.",
        means="{value} of {{service.name}} were dropped in 10 minutes rather than slow the application down.",
        first=(
            "Open *Streaming: capacity*, chart *Dropped*: the tag `reason` says why.",
            "The Agent does not take them: run `streaming-dd doctor` on the host, is the Agent up, its socket there?",
            "Too many series: a tag has too many values, find it in the metrics explorer.",
        ),
        traces="",
    ),
    "log-lines-dropped": Alert(
        title="Log lines are dropped",
        area="telemetry",
        dashboard="Streaming: capacity",
        priority=4,
        comparator=">=",
        query=lambda q, options: f"sum(last_10m):{q.count(c.TELEMETRY_LOGS_DROPPED, APP)}",
        unit="log lines",
        missing="default",
        about="Tells that log lines were dropped rather than slow the application down.",
        means="{value} of {{service.name}} were dropped in 10 minutes rather than slow the application down.",
        first=(
            "Open *Streaming: capacity*, chart *Dropped*: the tag `reason` says why.",
            "A full queue: the destination is slower than the application writes. Lower the level, or write to a file.",
            "A failing destination: disk full, Agent's TCP port gone?",
        ),
        traces="",
    ),
    "no-data": Alert(
        title="The application is gone",
        area="health",
        dashboard="Streaming overview",
        priority=1,
        comparator="<",
        query=lambda q, options: f"max(last_5m):{q.gauge(c.PROCESS_WORKERS, by=APP)}",
        thresholds={"critical": 1},
        unit="workers",
        # The one monitor whose point is missing data: it says so, aloud.
        missing="show_and_notify_no_data",
        about="Tells that no worker of a service has sent anything for five minutes: the process, its Agent or the "
        "way between them is gone.",
        means="No worker of {{service.name}} in {{env.name}} has sent anything for 5 minutes: {value}.",
        first=(
            "Is the process up? Is the Agent up? (`agent status`, `streaming-dd doctor`)",
            "Was it stopped or renamed on purpose? Then mute this group; it is forgotten after a day.",
            "Network policies between the application and the Agent change silently: check the socket or port.",
        ),
        traces="",
    ),
}
