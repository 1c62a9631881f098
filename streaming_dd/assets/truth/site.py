"""The numbers that clients of an application can count for themselves. No state."""

from __future__ import annotations

from typing import Final

from .shape import Number, Shown


def _counted(name: str, *more: Shown) -> tuple[Shown, ...]:
    """Return the places that show every counter."""
    return (Shown("/stats", f"streaming.{name}"), Shown("/metrics", f"streaming.{name}"), *more)


SITE: Final[tuple[Number, ...]] = (
    Number(
        "requests",
        "Responses whose status went out; a stream counts when it starts. Counter `http.requests`.",
        0,
        _counted(
            "http.requests", Shown("terminal", "requests"), Shown("dashboard", "overview: Requests by status")
        ),
    ),
    Number(
        "requests a second",
        "Requests by the seconds that are covered: from the first bucket of ten seconds with one to the last closed one.",
        None,
        (
            Shown("dashboard", "overview: Requests"),
            Shown("page", "overview: Requests"),
            Shown("page", "services: per_second of asgi.request and sse.request"),
        ),
    ),
    Number(
        "bytes of bodies",
        "Bytes of response bodies, streams included. Counter `http.response_bytes`.",
        None,
        _counted(
            "http.response_bytes",
            Shown("dashboard", "capacity: Bytes of response bodies, streams included", 10),
        ),
    ),
    Number(
        "request errors",
        "Requests and streams that ended by an exception or a 5xx status. Counter `http.errors`.",
        0,
        _counted("http.errors", Shown("terminal", "errors")),
    ),
    Number(
        "share of request errors",
        "Request errors in percent of requests, over the whole range.",
        0,
        (
            Shown("terminal", "error_share", 100),
            Shown("dashboard", "overview: Request errors"),
            Shown("page", "overview: Request errors"),
        ),
    ),
    Number(
        "responses in time",
        "Responses whose body began within STREAMING_FIRST_BYTE_LIMIT, in percent of all whose body began.",
        None,
        (Shown("SLO", "time-to-first-byte"),),
    ),
    Number(
        "p95 to the first byte",
        "95th percentile of the time to the first byte, ms, of all responses of all routes, workers and hosts: from "
        "merged distributions, within 0.8 % of what the application measured.",
        None,
        (
            Shown("terminal", "ttfb_p95_ms"),
            Shown("dashboard", "overview: p95 time to first byte"),
            Shown("page", "overview: p95 first byte"),
        ),
    ),
    Number(
        "tasks started",
        "Tasks submitted and accepted. Counter `tasks.started`.",
        0,
        _counted("tasks.started", Shown("terminal", "tasks.started"), Shown("page", "capacity: tasks")),
    ),
    *(
        Number(
            f"tasks {outcome}",
            f"Tasks that ended as {outcome}. Counter `tasks.{outcome}`.",
            0,
            _counted(
                f"tasks.{outcome}",
                Shown("terminal", f"tasks.{outcome}"),
                Shown("dashboard", f"overview: Tasks ended: {outcome}"),
                Shown("page", f"tasks: {outcome}"),
            ),
        )
        for outcome in ("completed", "failed", "cancelled")
    ),
    Number(
        "share of failed tasks",
        "Failed tasks in percent of those that completed or failed.",
        0,
        (Shown("dashboard", "overview: Task errors"), Shown("dashboard", "tasks: Failed")),
    ),
    Number(
        "tasks that end well",
        "Completed tasks in percent of those that completed or failed.",
        0,
        (Shown("SLO", "task-success"),),
    ),
    Number(
        "a task takes",
        "Seconds that tasks were active (submitted and not ended) by tasks that ended: their mean time, queue included. "
        "Counter `tasks.seconds`.",
        None,
        (
            Shown("dashboard", "capacity: A task takes, queue included"),
            Shown("page", "capacity: duration"),
            Shown("capacity", "duration"),
            Shown("capacity", "duration of the local agent"),
        ),
    ),
    Number(
        "CPU of a task",
        "CPU seconds of all that the workers did, by tasks that ended. Counter `process.cpu_seconds`.",
        0.5,
        (
            Shown("page", "capacity: cpu_per_task"),
            Shown("capacity", "all_cpu"),
            Shown("capacity", "all_cpu of the local agent"),
        ),
    ),
    Number(
        "tasks active",
        "Tasks submitted and not ended, now, added up over workers. Gauge `tasks.active`.",
        0,
        (Shown("terminal", "tasks.active"), Shown("dashboard", "overview: Active tasks")),
    ),
    Number(
        "SSE clients",
        "SSE clients connected now, added up over workers. Gauge `clients.active`.",
        0,
        (Shown("terminal", "clients"), Shown("dashboard", "overview: SSE clients")),
    ),
    Number(
        "peak of a worker",
        "Most tasks of all kinds at once in the worker that had most. Gauge `tasks.worker_peak`; peaks are never added up.",
        None,
        (Shown("dashboard", "tasks: Highest peak of a worker"),),
    ),
    Number(
        "peak of a worker's clients",
        "Most SSE clients at once of the worker that had most. Gauge `clients.worker_peak`; peaks are never added up.",
        None,
        (Shown("dashboard", "streams: Highest peak of a worker"),),
    ),
    Number(
        "tasks at once, at most",
        "What servers are planned for: the workers' peaks of tasks, added up. No more were there at once.",
        None,
        (
            Shown("page", "capacity: peak_concurrency"),
            Shown("capacity", "active_peak"),
            Shown("capacity", "active_peak of the local agent"),
        ),
    ),
    Number(
        "clients at once, at most",
        "What open files are planned for: the workers' peaks of SSE clients, added up. No more were there at once.",
        None,
        (
            Shown("page", "capacity: clients"),
            Shown("capacity", "clients_peak"),
            Shown("capacity", "clients_peak of the local agent"),
        ),
    ),
    Number(
        "streams opened",
        "SSE streams opened. Counter `streams.opened`.",
        0,
        _counted("streams.opened", Shown("dashboard", "streams: Opened by route")),
    ),
    Number(
        "clients that left",
        "Streams that the client closed before their end. Counter `streams.closed` with `outcome:client_disconnect`.",
        0,
        (
            Shown("terminal", "streams_closed.client_disconnect"),
            Shown("dashboard", "streams: Closed by outcome: client_disconnect"),
        ),
    ),
    Number(
        "share of clients that left",
        "Those in percent of all streams that were closed.",
        0,
        (
            Shown("dashboard", "streams: Left before the end"),
            Shown("dashboard", "token-streams: Readers who gave up"),
        ),
    ),
    Number(
        "events on streams",
        "Events that went out, also to a client that had left and was not yet seen to have. Counter `stream.events`.",
        None,
        _counted("stream.events", Shown("dashboard", "streams: Events by model", 10)),
    ),
    Number(
        "p95 to the first event",
        "95th percentile of the time from a stream's request to its first event, ms, of all streams.",
        None,
        (Shown("dashboard", "token-streams: p95 time to the first token"),),
    ),
    Number(
        "p95 between events",
        "95th percentile of the time between two events of a stream, ms: of a sample, at most 50 a second of each series.",
        None,
        (Shown("dashboard", "token-streams: p95 time between events"),),
    ),
    Number(
        "tokens",
        "What the application counted on its streams. Counter `stream.counted` with `counted:tokens`.",
        0,
        _counted(
            "stream.counted", Shown("dashboard", "token-streams: Counted by the application: tokens", 10)
        ),
    ),
    Number(
        "streams that said why they end",
        "Streams that gave a reason for their end. Counter `streams.finished`.",
        0,
        _counted("streams.finished", Shown("dashboard", "token-streams: Reasons that were given")),
    ),
    Number(
        "clients that came back",
        "Streams opened again: with Last-Event-ID by whichever worker, else by the worker that had the one before. Counter "
        "`streams.reconnects`.",
        0,
        _counted("streams.reconnects", Shown("dashboard", "token-streams: Reconnects: true")),
    ),
    Number(
        "longest time until a client was back",
        "From the close of a stream that was cut off to its client's next one at the same worker, ms.",
        None,
        (Shown("dashboard", "token-streams: Time until they are back: max"),),
    ),
    Number(
        "WebSockets opened",
        "WebSockets accepted. Counter `ws.opened`.",
        0,
        _counted("ws.opened", Shown("dashboard", "streams: Opened and closed: opened")),
    ),
    Number(
        "WebSocket messages received",
        "Messages that clients sent. Counter `ws.received`.",
        0,
        _counted("ws.received", Shown("dashboard", "streams: Messages: received", 10)),
    ),
    Number(
        "workers",
        "Worker processes that run. Gauge `process.workers`.",
        0,
        (
            Shown("monitor", "no-data"),
            Shown("dashboard", "capacity: Requests in flight, and workers: workers"),
        ),
    ),
    Number(
        "service hits",
        "Entry spans of a service, by operation; not sampled. Metric `trace.asgi.request.hits`.",
        0,
        (Shown("page", "services: asgi.request"),),
    ),
)
