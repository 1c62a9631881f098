"""What the demo must make arrive: every metric, service check, span and kind of log line of the catalogue.

What it cannot produce is listed here with the reason; everything else that does not arrive fails a bounded run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streaming_dd import catalog
from streaming_dd.local_agent import LocalAgent

from .view import PREFIX, Totals

#: Metrics that a healthy demo does not produce (on a busy machine it may), and why.
NOT_PRODUCED: Final[dict[str, str]] = {
    catalog.TASK_MEMORY.name: "measuring memory per task is opt-in, for its cost",
    catalog.TASKS_STALLS.name: "no task of the demo is silent or old for long enough",
    catalog.STREAM_STALLS.name: "no stream of the demo is silent for long enough",
    catalog.LOOP_BLOCKED.name: "nothing of the demo holds the event loop",
    catalog.HTTP_BACKGROUND.name: "nothing of the demo goes on for long after a response",
    catalog.HTTP_BACKGROUND_WORK.name: "nothing of the demo goes on for long after a response",
    catalog.CHANNELS_SENT.name: "the demo has no layers of Channels",
    catalog.CHANNELS_DROPPED.name: "the demo has no layers of Channels",
    **{
        metric.name: "no broker carries the demo's tasks"
        for metric in (
            catalog.QUEUE_ENQUEUED,
            catalog.QUEUE_ENDED,
            catalog.QUEUE_RETRIES,
            catalog.QUEUE_WAIT,
            catalog.QUEUE_DEPTH,
            catalog.QUEUE_OLDEST,
        )
    },
}

#: Outcomes that a healthy demo does not produce.
OUTCOMES_NOT_PRODUCED: Final = frozenset({"server_shutdown", "timeout", "slow_consumer"})

Log = dict[str, Any]

#: The kinds of log lines, each recognised by what it carries.
LOG_KINDS: Final[dict[str, Callable[[Log], bool]]] = {
    "an access line with http.status_code and a duration in ns": lambda log: (
        isinstance(log.get("http.status_code"), int) and isinstance(log.get("duration"), int)
    ),
    "a task's start": lambda log: "task.model" in log and "task.status" not in log,
    **{
        f"a task's end, {outcome}": lambda log, outcome=outcome: (  # type: ignore[misc]
            log.get("task.status") == outcome and isinstance(log.get("duration"), int)
        )
        for outcome in catalog.TASK_OUTCOMES
    },
    "a failure with error.kind, error.message and error.stack": lambda log: all(
        log.get(f"error.{part}") for part in ("kind", "message", "stack")
    ),
    "a line of the example's own logger, inside a trace": lambda log: (
        log.get("logger.name") == "reports.coordinator" and len(str(log.get("dd.trace_id", "0"))) > 1
    ),
    "a line of a server's logger": lambda log: str(log.get("logger.name", "")).startswith("uvicorn"),
}

#: Gauges that must be 0 when every server has stopped.
EMPTY_AT_EXIT: Final = (catalog.TASKS_ACTIVE, catalog.CLIENTS_ACTIVE, catalog.WS_ACTIVE, catalog.HTTP_ACTIVE)


def missing(agent: LocalAgent) -> list[str]:
    """Return what should have arrived and did not."""
    series = agent.snapshot()
    totals, names = Totals(series), {one.name for one in series}
    received = agent.received
    checks, operations = (
        {check.name for check in received.service_checks},
        {span.name for span in received.spans},
    )
    logs = received.logs
    absent = [
        f"metric {metric.full_name(PREFIX)}"
        for metric in catalog.METRICS
        if metric.name not in NOT_PRODUCED and metric.full_name(PREFIX) not in names
    ]
    absent += [
        f"service check {check.full_name(PREFIX)}"
        for check in catalog.SERVICE_CHECKS
        if check.name not in NOT_PRODUCED and check.full_name(PREFIX) not in checks
    ]
    absent += [
        f"span {operation.name}"
        for operation in catalog.SPAN_OPERATIONS
        if operation.name not in NOT_PRODUCED and operation.name not in operations
    ]
    absent += [f"log: {kind}" for kind, belongs in LOG_KINDS.items() if not any(map(belongs, logs))]
    absent += [
        f"a stream with the outcome {outcome}"
        for outcome in catalog.STREAM_OUTCOMES
        if outcome not in OUTCOMES_NOT_PRODUCED and not totals.count(catalog.STREAMS_CLOSED, outcome=outcome)
    ]
    return absent


def wrong_after_exit(agent: LocalAgent) -> list[str]:
    """Return what does not add up once every server has stopped."""
    totals = Totals(agent.snapshot())
    wrong = [
        f"{metric.full_name(PREFIX)} is {left} after every server has stopped, not 0"
        for metric in EMPTY_AT_EXIT
        if (left := totals.now(metric))
    ]
    started = totals.count(catalog.TASKS_STARTED)
    ended = sum(
        totals.count(metric)
        for metric in (catalog.TASKS_COMPLETED, catalog.TASKS_FAILED, catalog.TASKS_CANCELLED)
    )
    if started != ended:
        wrong.append(f"{_were(started, 'task')} started, but {ended} ended")
    opened, closed = totals.count(catalog.STREAMS_OPENED), totals.count(catalog.STREAMS_CLOSED)
    if opened != closed:
        wrong.append(f"{_were(opened, 'stream')} opened, but {closed} closed")
    malformed = agent.received.malformed
    if malformed:
        wrong.append(f"{len(malformed)} malformed DogStatsD lines, the first: {malformed[0]}")
    return wrong


def _were(number: float, what: str) -> str:
    return f"{number} {what} was" if number == 1 else f"{number} {what}s were"
