"""Everything this package can emit: metrics, service checks, span operations and tag keys, declared once.

Code, docs, dashboards and monitors all read this module, so a name is typed here and nowhere else. To rename a
metric or to add one, edit `METRICS` below and run `make docs`. No state.

Units are Datadog's unit names (https://docs.datadoghq.com/metrics/units/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from .errors import MetricError

Kind = Literal["count", "gauge", "timer", "histogram", "distribution"]
Across = Literal["sum", "max", "worker"]
ACROSS: Final[tuple[Across, ...]] = ("sum", "max", "worker")

#: DogStatsD's type letter of each kind. A timer is sent as `d` unless `STREAMING_TIMERS` says `timer`.
TYPE_LETTERS: Final[dict[str, str]] = {
    "count": "c",
    "gauge": "g",
    "timer": "ms",
    "histogram": "h",
    "distribution": "d",
}

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z")
_TAG_KEY = re.compile(r"[a-z][a-z0-9_.\-]*\Z")
_NAME_LIMIT = 200

#: Tag keys that Datadog or this package set themselves; nobody else may declare them.
RESERVED_TAG_KEYS: Final = frozenset({"host", "device", "source", "service", "env", "version", "worker"})


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """Declare a metric: its name, kind, unit, tag keys and one sentence of help. Compared by identity.

    An application declares its own metrics with this class and records them with `increment`, `gauge` and
    `timer`. Raises MetricError for a name or tag key that Datadog would rewrite.
    """

    name: str
    kind: Kind
    unit: str = ""
    tags: tuple[str, ...] = ()
    help: str = ""
    #: True for the metrics of this catalogue: they carry the configured prefix (`streaming.` by default).
    prefixed: bool = False
    #: What /metrics shows of a gauge that several workers have: their sum, the highest, or each by a label `worker`.
    across: Across = "sum"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name) or len(self.name) > _NAME_LIMIT:
            raise MetricError(
                f"metric name {self.name!r}: write lower-case words joined by dots, such as 'reports.rows', "
                f"at most {_NAME_LIMIT} characters"
            )
        if self.across not in ACROSS:
            raise MetricError(f"metric {self.name}: across {self.across!r} is none of {', '.join(ACROSS)}")
        if self.kind not in TYPE_LETTERS:
            raise MetricError(f"metric {self.name}: kind {self.kind!r} is none of {', '.join(TYPE_LETTERS)}")
        object.__setattr__(self, "tags", tuple(self.tags))
        for key in self.tags:
            if not _TAG_KEY.match(key):
                raise MetricError(
                    f"metric {self.name}: tag key {key!r}: write lower-case letters, digits and _"
                )
            if key in RESERVED_TAG_KEYS and not self.prefixed:
                raise MetricError(f"metric {self.name}: tag key {key!r} is set by Datadog or by this package")

    def full_name(self, prefix: str) -> str:
        """Return the name as it goes over the wire."""
        return f"{prefix}.{self.name}" if self.prefixed and prefix else self.name


@dataclass(frozen=True, slots=True)
class ServiceCheck:
    """A status (ok, warning, critical, unknown) that Datadog keeps apart from metrics."""

    name: str
    tags: tuple[str, ...]
    help: str

    def full_name(self, prefix: str) -> str:
        """Return the name as it goes over the wire."""
        return f"{prefix}.{self.name}" if prefix else self.name


@dataclass(frozen=True, slots=True)
class SpanOperation:
    """A span's operation name, and what its resource is; `trace.<name>.hits` and `.errors` follow from it."""

    name: str
    resource: str
    help: str
    #: True where Datadog's Agent computes `trace.<name>.*` from it: top-level, measured, or of a counted kind.
    measured: bool = True


def _metric(
    name: str, kind: Kind, unit: str, tags: tuple[str, ...], help: str, across: Across = "sum"
) -> Metric:
    return Metric(name, kind, unit, tags, help, prefixed=True, across=across)


# --- outcomes: the same word on span, metric and log -------------------------------------------------------

TaskOutcome = Literal["completed", "failed", "cancelled"]
StreamOutcome = Literal[
    "completed", "client_disconnect", "server_shutdown", "error", "timeout", "slow_consumer"
]
TASK_OUTCOMES: Final[tuple[TaskOutcome, ...]] = ("completed", "failed", "cancelled")
STREAM_OUTCOMES: Final[tuple[StreamOutcome, ...]] = (
    "completed",
    "client_disconnect",
    "server_shutdown",
    "error",
    "timeout",
    "slow_consumer",
)

#: Why a task counts as stalled: running for too long, or sending nothing for too long.
StallReason = Literal["too_old", "silent"]
STALL_REASONS: Final[tuple[StallReason, ...]] = ("too_old", "silent")

# --- tag keys -----------------------------------------------------------------------------------------------

TAG_KEYS: Final[dict[str, str]] = {
    "kind": "How a message was given to a layer of Channels: `send`, `group_send`.",
    "app": "Application of the task, such as the Django app label; `none` for a stream without a task.",
    "model": "Kind of the task, such as the Django model's name; `none` for a stream without a task.",
    "method": "HTTP method; `OTHER` for one that HTTP does not define.",
    "route": "Route template such as `/stream/:id`; `unmatched` where no route matched. Never a raw path.",
    "status": "HTTP status that went over the wire.",
    "status_class": "`1xx` to `5xx`.",
    "outcome": "How it ended: "
    + ", ".join(STREAM_OUTCOMES)
    + " for streams, "
    + ", ".join(TASK_OUTCOMES)
    + " for tasks.",
    "error_type": "Class name of the exception; `none` for a 5xx status without one.",
    "event_type": "Type of an event that a task or a stream sent; `message` for one without, `other` beyond the first 20.",
    "reason": "Why: `too_old` or `silent` for a stalled task; what a stream ended by, `other` beyond the first 20; what was "
    "wrong for a dropped sample.",
    "counted": "What an application counts on its streams, such as `tokens`; `other` beyond the first 20.",
    "resumed": "`true` for a client that sent Last-Event-ID.",
    "broker": "What carries the task: `django`, `celery`, `taskiq`, `dramatiq`, `arq`, `rq`.",
    "queue": "Name of the broker's queue; for Django's tasks `backend.queue`.",
    "location": "Code location `file.py:function` that held the event loop; `other` beyond the first 50.",
    "generation": "Generation of the garbage collector: 0, 1 or 2.",
    "check": "Name of the health check.",
    "in_time": "Whether the first byte went out within STREAMING_FIRST_BYTE_LIMIT: `true` or `false`.",
    "worker": "Slot number of the worker process on its host: small, stable, free again when the process ends.",
    "env": "Deployment environment (DD_ENV).",
    "service": "Service name (DD_SERVICE).",
    "version": "Version of the deployed code (DD_VERSION).",
}

_TASK = ("app", "model")
_STREAM = ("app", "model", "route")
_HTTP = ("method", "route", "status_class")

# --- tasks --------------------------------------------------------------------------------------------------

TASKS_STARTED = _metric("tasks.started", "count", "task", _TASK, "Tasks submitted and accepted.")
TASKS_COMPLETED = _metric("tasks.completed", "count", "task", _TASK, "Tasks that ended well.")
TASKS_FAILED = _metric(
    "tasks.failed", "count", "task", (*_TASK, "error_type"), "Tasks that ended by an exception."
)
TASKS_CANCELLED = _metric(
    "tasks.cancelled", "count", "task", _TASK, "Tasks that were cancelled; never an error."
)
TASKS_LOST = _metric(
    "tasks.lost",
    "count",
    "task",
    _TASK,
    "Tasks that ran in a worker that was killed (kill -9, out of memory), as another worker of its server found.",
)
TASKS_ACTIVE = _metric(
    "tasks.active", "gauge", "task", (*_TASK, "worker"), "Tasks submitted and not yet ended."
)
TASKS_PEAK = _metric(
    "tasks.peak",
    "gauge",
    "task",
    (*_TASK, "worker"),
    "Most tasks active at once in the last 10 to 20 seconds.",
    across="worker",
)
TASKS_WORKER_PEAK = _metric(
    "tasks.worker_peak",
    "gauge",
    "task",
    ("worker",),
    "Most tasks of all kinds active at once in a worker in the last 10 to 20 seconds.",
    across="worker",
)
TASKS_SECONDS = _metric(
    "tasks.seconds",
    "count",
    "second",
    _TASK,
    "Seconds that tasks were active, counted while they run: per second, it is the mean number of active tasks.",
)
TASK_DURATION = _metric(
    "task.duration", "timer", "millisecond", (*_TASK, "outcome"), "Time from a task's first step to its end."
)
TASK_QUEUE_TIME = _metric(
    "task.queue_time", "timer", "millisecond", _TASK, "Time from a task's submission to its first step."
)
TASK_CPU_TIME = _metric(
    "task.cpu_time", "timer", "millisecond", _TASK, "CPU time of a task's own steps, waiting excluded."
)
TASK_LONGEST_STEP = _metric(
    "task.longest_step",
    "timer",
    "millisecond",
    _TASK,
    "Longest run of a task without an await: it blocked the loop.",
)
TASK_MEMORY = _metric(
    "task.memory",
    "histogram",
    "byte",
    _TASK,
    "Peak memory allocated by a task (only with STREAMING_TASK_MEMORY).",
)
TASK_EVENTS = _metric(
    "task.events", "count", "event", (*_TASK, "event_type"), "Events that tasks sent to clients."
)
TASK_FIRST_EVENT = _metric(
    "task.first_event", "timer", "millisecond", _TASK, "Time from a task's first step to its first event."
)
TASK_EVENT_GAP = _metric(
    "task.event_gap", "timer", "millisecond", _TASK, "Longest gap between two events of a task, at its end."
)
TASK_CLIENTS = _metric(
    "task.clients",
    "gauge",
    "connection",
    (*_TASK, "worker"),
    "Clients of the most watched running task.",
    across="max",
)
TASKS_STALLS = _metric(
    "tasks.stalls",
    "count",
    "task",
    (*_TASK, "reason"),
    "Times a task was found too old or silent for too long.",
)
TASKS_STALLED = _metric(
    "tasks.stalled", "gauge", "task", (*_TASK, "worker"), "Running tasks that are stalled now."
)

COORDINATOR_LOCKS = _metric(
    "coordinator.locks",
    "gauge",
    "lock",
    ("worker",),
    "Locks that instrumented coordinators keep: with more of them than tasks, they are never given back.",
)
TASKS_TWICE = _metric(
    "tasks.twice",
    "gauge",
    "task",
    ("worker",),
    "Running tasks whose object another running task of the worker has as well, under another key.",
)

# --- tasks that a broker carries ------------------------------------------------------------------------------

_QUEUE = ("broker", "queue")
QUEUE_ENQUEUED = _metric(
    "queue.enqueued", "count", "task", _QUEUE, "Tasks that were put into a broker's queue."
)
QUEUE_ENDED = _metric(
    "queue.ended", "count", "task", (*_QUEUE, "outcome"), "Runs of a broker's tasks that ended, by outcome."
)
QUEUE_RETRIES = _metric("queue.retries", "count", "task", _QUEUE, "Runs that were not a task's first.")
QUEUE_WAIT = _metric(
    "queue.wait", "timer", "millisecond", _QUEUE, "Time for which a broker's task waited before its run."
)
QUEUE_DEPTH = _metric(
    "queue.depth", "gauge", "task", (*_QUEUE, "worker"), "Tasks that wait in a queue.", across="max"
)
QUEUE_OLDEST = _metric(
    "queue.oldest", "gauge", "second", (*_QUEUE, "worker"), "Age of the oldest that waits.", across="max"
)

# --- requests -----------------------------------------------------------------------------------------------

HTTP_REQUESTS = _metric(
    "http.requests",
    "count",
    "request",
    ("method", "route", "status", "status_class"),
    "HTTP requests answered; a stream counts when its response starts.",
)
HTTP_ERRORS = _metric(
    "http.errors",
    "count",
    "request",
    ("method", "route", "error_type"),
    "Requests and streams that ended by an exception or by a 5xx status; disconnects are none.",
)
HTTP_ACTIVE = _metric(
    "http.active",
    "gauge",
    "request",
    ("worker",),
    "HTTP requests whose response has not ended, streams included.",
)
HTTP_TIME_TO_FIRST_BYTE = _metric(
    "http.time_to_first_byte",
    "timer",
    "millisecond",
    _HTTP,
    "Time to the first byte of the body: a stream's latency.",
)
HTTP_FIRST_BYTES = _metric(
    "http.first_bytes",
    "count",
    "response",
    ("route", "in_time"),
    "Responses whose body has begun, and whether that was in time.",
)
HTTP_DURATION = _metric(
    "http.duration",
    "timer",
    "millisecond",
    _HTTP,
    "Time to the last byte of the response; streams are in stream.duration, what follows in http.background.",
)
HTTP_BACKGROUND = _metric(
    "http.background",
    "timer",
    "millisecond",
    ("method", "route", "outcome"),
    "Time that an application went on after a response's last byte (background tasks), from 50 ms on.",
)
HTTP_RESPONSE_BYTES = _metric(
    "http.response_bytes", "count", "byte", _HTTP, "Bytes of response bodies, streams included."
)

# --- streams ------------------------------------------------------------------------------------------------

CLIENTS_ACTIVE = _metric(
    "clients.active", "gauge", "connection", (*_TASK, "worker"), "SSE clients connected now."
)
CLIENTS_PEAK = _metric(
    "clients.peak",
    "gauge",
    "connection",
    (*_TASK, "worker"),
    "Most SSE clients connected in the last 10 to 20 seconds.",
    across="worker",
)
CLIENTS_WORKER_PEAK = _metric(
    "clients.worker_peak",
    "gauge",
    "connection",
    ("worker",),
    "Most SSE clients of all kinds connected at once to a worker in the last 10 to 20 seconds.",
    across="worker",
)
STREAMS_ZOMBIES = _metric(
    "streams.zombies",
    "gauge",
    "connection",
    (*_TASK, "worker"),
    "Streams that the application goes on with although their client has left.",
)
STREAMS_OPENED = _metric("streams.opened", "count", "connection", _STREAM, "SSE streams opened.")
STREAMS_CLOSED = _metric(
    "streams.closed", "count", "connection", (*_STREAM, "outcome"), "SSE streams closed."
)
STREAM_FIRST_EVENT = _metric(
    "stream.first_event",
    "timer",
    "millisecond",
    _STREAM,
    "Time from the request to the stream's first event.",
)
STREAM_DURATION = _metric(
    "stream.duration",
    "timer",
    "millisecond",
    (*_STREAM, "outcome"),
    "Lifetime of a stream, request to close.",
)
STREAM_GAP = _metric(
    "stream.gap",
    "timer",
    "millisecond",
    _STREAM,
    "Longest gap between two events of a stream, at its close; to 0.2 s where it sends more than 20 a second.",
)
STREAM_EVENT_INTERVAL = _metric(
    "stream.event_interval",
    "timer",
    "millisecond",
    _STREAM,
    "Time between two events of a stream: a sample of at most 50 a second for each series.",
)
STREAM_STALLS = _metric(
    "stream.stalls", "count", "connection", _STREAM, "Times a stream sent no event for longer than the limit."
)
STREAM_EVENTS = _metric(
    "stream.events",
    "count",
    "event",
    (*_STREAM, "event_type"),
    "Events sent on streams, as the rules of their format have it; comments and keep-alives are none.",
)
STREAM_EVENTS_UNREAD = _metric(
    "stream.events_unread", "count", "event", _STREAM, "Events sent on streams after their client had left."
)
STREAM_COUNTED = _metric(
    "stream.counted",
    "count",
    "unit",
    (*_STREAM, "counted"),
    "What applications count on their streams with `current_stream().count()`, such as tokens.",
)
STREAMS_FINISHED = _metric(
    "streams.finished",
    "count",
    "connection",
    (*_STREAM, "reason"),
    "Streams that gave a reason for their end: `current_stream().finish()`, or `done` for `data: [DONE]`.",
)
STREAMS_RECONNECTS = _metric(
    "streams.reconnects",
    "count",
    "connection",
    (*_STREAM, "resumed"),
    "Streams that a client opened again: with Last-Event-ID, or within a minute of one that was cut off.",
)
STREAM_RECONNECT_GAP = _metric(
    "stream.reconnect_gap",
    "timer",
    "millisecond",
    _STREAM,
    "Time from the close of a stream that was cut off to its client's next one.",
)
STREAM_BYTES = _metric("stream.bytes", "count", "byte", _STREAM, "Bytes sent on streams.")

# --- websockets ---------------------------------------------------------------------------------------------

WS_ACTIVE = _metric("ws.active", "gauge", "connection", ("worker",), "WebSockets connected now.")
WS_PEAK = _metric(
    "ws.peak",
    "gauge",
    "connection",
    ("worker",),
    "Most WebSockets connected in the last 10 to 20 seconds.",
    across="worker",
)
WS_OPENED = _metric("ws.opened", "count", "connection", ("route",), "WebSockets accepted.")
WS_CLOSED = _metric("ws.closed", "count", "connection", ("route", "outcome"), "WebSockets closed.")
WS_RECEIVED = _metric("ws.received", "count", "message", ("route",), "WebSocket messages received.")
WS_SENT = _metric("ws.sent", "count", "message", ("route",), "WebSocket messages sent.")
WS_DURATION = _metric("ws.duration", "timer", "millisecond", ("route", "outcome"), "Lifetime of a WebSocket.")

CHANNELS_SENT = _metric(
    "channels.sent", "count", "message", ("kind",), "Messages that were given to a layer of Channels."
)
CHANNELS_DROPPED = _metric(
    "channels.dropped",
    "count",
    "message",
    ("kind",),
    "Messages that a layer of Channels dropped because a channel was full.",
)

# --- event loop and process ---------------------------------------------------------------------------------

LOOP_LAG = _metric(
    "loop.lag", "timer", "millisecond", (), "How late the event loop ran a timer: time it was held."
)
LOOP_BLOCKED = _metric(
    "loop.blocked",
    "count",
    "occurrence",
    ("location",),
    "Times the event loop was held longer than the limit.",
)
PROCESS_WORKERS = _metric(
    "process.workers",
    "gauge",
    "process",
    ("worker",),
    "Worker processes that run: each sends 1 while it lives.",
)
PROCESS_RSS = _metric(
    "process.rss", "gauge", "byte", ("worker",), "Resident memory of the worker process.", across="worker"
)
PROCESS_CPU = _metric(
    "process.cpu", "gauge", "percent", ("worker",), "CPU of the worker; 100 is one core.", across="worker"
)
PROCESS_CPU_SECONDS = _metric(
    "process.cpu_seconds",
    "count",
    "second",
    (),
    "CPU seconds of the worker processes: everything that they did, tasks or not.",
)
PROCESS_THREADS = _metric(
    "process.threads", "gauge", "thread", ("worker",), "Threads of the worker process.", across="worker"
)
PROCESS_OPEN_FILES = _metric(
    "process.open_files",
    "gauge",
    "file",
    ("worker",),
    "Open file descriptors of the worker.",
    across="worker",
)
PROCESS_GC = _metric(
    "process.gc_collections", "count", "garbage collection", ("generation",), "Runs of the garbage collector."
)

# --- this package's own health ------------------------------------------------------------------------------

TELEMETRY_DROPPED = _metric(
    "telemetry.samples_dropped", "count", "unit", ("reason",), "Samples that were dropped, and why."
)
TELEMETRY_BYTES = _metric("telemetry.bytes_sent", "count", "byte", (), "Bytes of DogStatsD datagrams sent.")
TELEMETRY_DATAGRAMS = _metric("telemetry.datagrams_sent", "count", "packet", (), "DogStatsD datagrams sent.")
TELEMETRY_FLUSH_TIME = _metric(
    "telemetry.flush_time", "timer", "millisecond", (), "Time that one flush took."
)
TELEMETRY_LOGS_DROPPED = _metric(
    "telemetry.logs_dropped", "count", "message", ("reason",), "Log lines that were dropped, and why."
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
#: Gauges of what was highest: true until the end of the process, so the last flush does not set them to 0.
PEAKS: Final = frozenset({TASKS_PEAK, TASKS_WORKER_PEAK, CLIENTS_PEAK, CLIENTS_WORKER_PEAK, WS_PEAK})

# --- service checks -----------------------------------------------------------------------------------------

HEALTH = ServiceCheck("health", ("check", "worker"), "Status of one of the application's health checks.")
SERVICE_CHECKS: Final[tuple[ServiceCheck, ...]] = (HEALTH,)

# --- spans --------------------------------------------------------------------------------------------------

TASK_RUN = SpanOperation(
    "task.run", "<app>.<model>", "One run (or one segment of a long run) of a task; a root span."
)
TASK_SUBMIT = SpanOperation(
    "task.submit", "<app>.<model>", "The moment a request submits a task; links to task.run."
)
SSE_REQUEST = SpanOperation("sse.request", "<method> <route>", "A stream, from the request to its close.")
WS_REQUEST = SpanOperation("ws.request", "<route>", "A WebSocket, from the handshake to its close.")
HTTP_REQUEST = SpanOperation(
    "asgi.request", "<method> <route>", "An HTTP request, where no ddtrace integration makes the span."
)
HTTP_BACKGROUND_WORK = SpanOperation(
    "asgi.background",
    "<method> <route>",
    "What an application did after a response's last byte, from 50 ms on; a child of the request.",
    measured=False,
)
SPAN_OPERATIONS: Final = (TASK_RUN, TASK_SUBMIT, SSE_REQUEST, WS_REQUEST, HTTP_REQUEST, HTTP_BACKGROUND_WORK)

#: Span tags, beside Datadog's own `http.*` and `error.*`.
SPAN_TAGS: Final[dict[str, str]] = {
    "task.id": "Primary key of the task; on spans and logs only, never on a metric.",
    "task.app": "As the tag `app`.",
    "task.model": "As the tag `model`.",
    "task.status": "Outcome of the task.",
    "task.final_value": "The task's result: its short form, or its type and size.",
    "task.segment": "Number of the segment of a long task, from 1.",
    "task.queue_time_ms": "Milliseconds from the submission to the first step.",
    "task.cpu_ms": "CPU milliseconds of its own steps, its asyncio child tasks and its executor threads.",
    "task.thread_cpu_ms": "CPU milliseconds of its executor threads alone.",
    "task.thread_calls": "Executor calls (asyncio.to_thread, sync_to_async) that ended.",
    "task.loop_ms": "Milliseconds for which its steps held the event loop.",
    "task.steps": "Steps between awaits.",
    "task.longest_step_ms": "Milliseconds of the longest step without an await.",
    "task.longest_step_at": "File, line and function that took it.",
    "task.waited_at": "Where it was seen most often by the looks taken every second, with the share of looks.",
    "task.stalls": "How often it was found stalled.",
    "task.stalled": "Why it is stalled, while it is: `too_old` or `silent`.",
    "task.waits_at": "Where it waited when it was found stalled.",
    "task.awaits": "The chain of awaits at that moment, the innermost last.",
    "task.events": "Events that it sent.",
    "task.first_event_ms": "Milliseconds from its first step to its first event.",
    "task.event_gap_ms": "Longest gap between two of its events, in milliseconds.",
    "task.events_per_second": "Events per second of its life; of two events and a second or more.",
    "task.event_types": "Its events by type.",
    "task.last_events": "Its last events, in seconds after its first step.",
    "task.memory_peak": "Most bytes that its steps had allocated at once (only with STREAMING_TASK_MEMORY).",
    "task.memory_left": "Bytes that its steps allocated and did not free.",
    "task.done": "Items done, as the task said last with `current_task().progress()`.",
    "task.total": "Items that there are, where it said so.",
    "task.progress": "Items done of all, from 0 to 1.",
    "task.status_text": "What it said last that it does, with `current_task().status()`.",
    "task.tags.*": "Tags that it set on itself with `current_task().tag()`: at most 20.",
    "task.trace_id": "On a submitting or watching span: the trace of the task.",
    "stream.outcome": "Outcome of the stream.",
    "stream.events": "Events sent.",
    "stream.counted": "What the application counted on it, such as tokens.",
    "stream.finish_reason": "Why it ended, in the application's words; `done` for `data: [DONE]`.",
    "stream.event_types": "Its events by type, where they have types.",
    "stream.bytes": "Bytes sent.",
    "stream.first_event_ms": "Milliseconds to the first event.",
    "stream.gap_ms": "Longest gap between two events, in milliseconds.",
}
