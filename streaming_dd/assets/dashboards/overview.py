"""Streaming overview: is it healthy? No state."""

from __future__ import annotations

from ... import catalog as c
from ..options import Options
from ..queries import for_dashboards
from . import widgets as w
from .common import (
    LOG_FIELDS,
    MILLISECONDS,
    PER_SECOND,
    PERCENT,
    above_zero,
    share,
    statistics,
    variables,
)


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
            "default_zero(errors) / requests * 100",
            aggregator="sum",
            number_format=PERCENT,
            warn=limit("request-error-rate.warning"),
            alert=limit("request-error-rate.critical"),
        ),
        w.value(
            f"{q.called(c.HTTP_TIME_TO_FIRST_BYTE, 'p95')} time to first byte",
            first_byte,
            "first_byte",
            aggregator="max",
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
    latency, lines = statistics(q, c.HTTP_TIME_TO_FIRST_BYTE)
    requests = {"errors": q.count(c.HTTP_ERRORS), "requests": q.count(c.HTTP_REQUESTS)}
    return w.group(
        "Traffic",
        w.timeseries(
            "Requests by status", {"requests": q.count(c.HTTP_REQUESTS, ("status_class",))}, display="bars"
        ),
        w.timeseries(
            "Time to first byte",
            latency,
            lines,
            number_format=MILLISECONDS,
            markers=[
                (str(limit("time-to-first-byte.critical")), "error"),
                (str(limit("time-to-first-byte.warning")), "warning"),
            ],
        ),
        w.timeseries(
            "Request error rate",
            requests,
            [w.Line("default_zero(errors) / requests * 100", "errors", "warm")],
            number_format=PERCENT,
            markers=[(str(limit("request-error-rate.critical")), "error")],
        ),
    )


def _tasks_and_clients(options: Options) -> w.Placed:
    q = for_dashboards(options)
    outcomes = {
        "completed": q.count(c.TASKS_COMPLETED),
        "failed": q.count(c.TASKS_FAILED),
        "cancelled": q.count(c.TASKS_CANCELLED),
    }
    clients = {"now": q.gauge(c.CLIENTS_ACTIVE), "peak": q.gauge(c.CLIENTS_WORKER_PEAK, "max")}
    lines = [w.Line("now", "all workers, now"), w.Line("peak", "highest peak of a worker")]
    # Not the gauge: it is read at each flush, and knows nothing of tasks that live for less than that.
    active = {"active": q.rate(c.TASKS_SECONDS, ("model",))}
    return w.group(
        "Tasks and clients",
        w.timeseries("Tasks ended", outcomes, display="bars"),
        w.timeseries("Active tasks by model, mean", active, display="area"),
        w.timeseries("SSE clients connected", clients, lines),
    )


def _errors(options: Options) -> w.Placed:
    q = for_dashboards(options)
    return w.group(
        "Errors",
        w.toplist(
            "Failed tasks by error",
            {"failed": q.count(c.TASKS_FAILED, ("model", "error_type"))},
            above_zero("failed"),
        ),
        w.toplist(
            "Request errors by route",
            {"errors": q.count(c.HTTP_ERRORS, ("route", "error_type"))},
            above_zero("errors"),
        ),
        w.monitor_graph("Task error rate against its threshold", "task-error-rate"),
        w.stream("Newest errors", "logs_stream", "status:error $env $service", LOG_FIELDS),
    )
