"""The numbers that whoever looks into a broker's store can count. No state."""

from __future__ import annotations

from typing import Final

from .shape import Number, Shown

_BY_QUEUE = "by broker and queue"
QUEUES: Final[tuple[Number, ...]] = (
    Number(
        "tasks enqueued",
        f"Tasks put into a broker's queue, {_BY_QUEUE}. Counter `queue.enqueued`.",
        0,
        (Shown("dashboard", "tasks: Enqueued by queue"),),
    ),
    *(
        Number(
            f"runs {outcome}",
            f"Runs of a broker's tasks that ended as {outcome}, {_BY_QUEUE}. Counter `queue.ended`.",
            0,
            (Shown("dashboard", f"tasks: Ended by queue and outcome: {outcome}"),),
        )
        for outcome in ("completed", "failed")
    ),
    Number(
        "runs again",
        "Runs that were not a task's first. Counter `queue.retries`.",
        0,
        (Shown("dashboard", "tasks: Retries by queue"),),
    ),
    Number(
        "longest wait in a queue",
        "From putting in to the run, ms; the highest 95th percentile of a bucket. Timer `queue.wait`.",
        None,
        (Shown("dashboard", "tasks: P95 wait by queue"),),
    ),
    Number(
        "tasks that wait",
        "Tasks in the broker's store that could run and do not, asked every 15 s; of several workers the highest. Gauge "
        "`queue.depth`.",
        0,
        (Shown("dashboard", "tasks: Waiting by queue"),),
    ),
    Number(
        "age of the oldest that waits",
        "Seconds since it was put in, or due if it was put off, when asked last. Gauge `queue.oldest`.",
        None,
        (Shown("dashboard", "tasks: Age of the oldest by queue (s)"),),
    ),
)
