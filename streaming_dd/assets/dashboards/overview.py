"""Streaming overview: is it healthy? No state."""

from __future__ import annotations

from ... import catalog as c
from .. import widgets as w
from ..options import Options
from ..queries import for_dashboards
from .common import LOG_FIELDS, MILLISECONDS, PER_SECOND, PERCENT, share, variables


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming overview",
        "Is it healthy? Traffic, errors, latency, tasks and clients of streaming applications.",
        variables(options, "app", "model"),
        _health(options),
        _traffic(options),
        _tasks_and_clients(options),
        _errors(options),
    )


def _health(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    started = {"requests": q.rate(c.HTTP_REQUESTS)}
    requests = {"errors": q.count(c.HTTP_ERRORS), "requests": q.count(c.HTTP_REQUESTS)}
    tasks = {"failed": q.count(c.TASKS_FAILED), "completed": q.count(c.TASKS_COMPLETED)}
    first_byte = {"first_byte": q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "p95")}
    return w.group(
        "Is it healthy?",
        w.value("Requests", started, "requests", number_format=PER_SECOND["request"]),
        w.value(
            "Request errors",
            requests,
            "errors / requests * 100",
            aggregator="sum",
            number_format=PERCENT,
            warn=limit("request-error-rate.warning"),
            alert=limit("request-error-rate.critical"),
        ),
        w.value(
            "p95 time to first byte",
            first_byte,
            "first_byte",
            number_format=MILLISECONDS,
            warn=limit("time-to-first-byte.warning"),
            alert=limit("time-to-first-byte.critical"),
        ),
        w.value(
            "Task errors",
            tasks,
            share("failed", "completed"),
            aggregator="sum",
            number_format=PERCENT,
            warn=limit("task-error-rate.warning"),
            alert=limit("task-error-rate.critical"),
        ),
        w.value(
            "Active tasks", {"active": q.gauge(c.TASKS_ACTIVE)}, "active", aggregator="last", precision=0
        ),
        w.value(
            "SSE clients", {"clients": q.gauge(c.CLIENTS_ACTIVE)}, "clients", aggregator="last", precision=0
        ),
        w.monitors("Monitors", 'tag:"managed-by:streaming-dd"', size=(4, 4)),
        w.slo("Tasks end well", "task-success", size=(4, 4)),
        w.slo("First byte in time", "time-to-first-byte", size=(4, 4)),
    )


def _traffic(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    latency = {
        "p50": q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "p50"),
        "p95": q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "p95"),
        "max": q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "max"),
    }
    requests = {"errors": q.count(c.HTTP_ERRORS), "requests": q.count(c.HTTP_REQUESTS)}
    return w.group(
        "Traffic",
        w.timeseries(
            "Requests by status", {"requests": q.count(c.HTTP_REQUESTS, ("status_class",))}, display="bars"
        ),
        w.timeseries(
            "Time to first byte",
            latency,
            number_format=MILLISECONDS,
            markers=[
                (str(limit("time-to-first-byte.critical")), "error"),
                (str(limit("time-to-first-byte.warning")), "warning"),
            ],
        ),
        w.timeseries(
            "Request error rate",
            requests,
            [w.Line("errors / requests * 100", "errors", "warm")],
            number_format=PERCENT,
            markers=[(str(limit("request-error-rate.critical")), "error")],
        ),
    )


def _tasks_and_clients(options: Options) -> w.Placed:
    q = for_dashboards(options)
    outcomes = {
        "started": q.count(c.TASKS_STARTED),
        "completed": q.count(c.TASKS_COMPLETED),
        "failed": q.count(c.TASKS_FAILED),
        "cancelled": q.count(c.TASKS_CANCELLED),
    }
    clients = {"now": q.gauge(c.CLIENTS_ACTIVE), "peak": q.gauge(c.CLIENTS_PEAK)}
    active = {"active": q.gauge(c.TASKS_ACTIVE, by=("model",))}
    return w.group(
        "Tasks and clients",
        w.timeseries("Tasks", outcomes, display="bars"),
        w.timeseries("Active tasks by model", active, display="area"),
        w.timeseries("SSE clients connected", clients),
    )


def _errors(options: Options) -> w.Placed:
    q = for_dashboards(options)
    return w.group(
        "Errors",
        w.toplist(
            "Failed tasks by error", {"failed": q.count(c.TASKS_FAILED, ("model", "error_type"))}, "failed"
        ),
        w.toplist(
            "Request errors by route", {"errors": q.count(c.HTTP_ERRORS, ("route", "error_type"))}, "errors"
        ),
        w.monitor_graph("Task error rate against its threshold", "task-error-rate"),
        w.stream("Newest errors", "logs_stream", "status:error $env $service", LOG_FIELDS),
    )
