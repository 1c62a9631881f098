"""What a worker knows of its long tasks, said while they run: one log line for all of them, every so often.

A task that logs nothing and sends nothing shows no sign of life of its own; whoever looks from outside cannot tell it
from one whose process was killed. State: the time of the last line, in each `Heartbeat`.
"""

from __future__ import annotations

import heapq
import time
from typing import Any, Final

from ..output import tracing
from .board import TaskBoard
from .measuring import waits
from .run import TaskRun

#: Tasks that one line names, the oldest first; the rest is counted.
NAMED: Final = 50


class Heartbeat:
    """Writes the line, every `every` seconds (0: never), while a task is older than that.

    `page` is the address of the staff's page of live tasks, where they see more and cancel; it goes with the line.
    """

    def __init__(self, board: TaskBoard, every: float, page: str = "") -> None:
        self._board = board
        self._every = every
        self._page = {"tasks.page": page} if page else {}
        self._last = float("-inf")

    def job(self, now: float) -> None:
        """Write what is due; `now` is monotonic. Called by the recorder's thread."""
        if not self._every or now - self._last < self._every:
            return
        self._last = now
        clock = time.perf_counter()
        runs = [
            run
            for run in self._board.live()
            if run.started is not None and clock - run.started >= self._every
        ]
        if not runs:
            return
        shown = [_told(run, clock) for run in heapq.nsmallest(NAMED, runs, key=lambda run: run.submitted)]
        oldest = shown[0]
        name = f"{oldest['app']}.{oldest['model']} {oldest['id']}".rstrip()
        self._board.lines.running(
            f"{len(runs)} task{'s' * (len(runs) != 1)} run for longer than {self._every:.0f} s; the oldest, {name}, for "
            f"{oldest['age']:.0f} s, waits at {oldest['waits_at']}",
            {"tasks.count": len(runs), "tasks.running": shown, **self._page},
        )

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._last = float("-inf")


def _told(run: TaskRun, clock: float) -> dict[str, Any]:
    """Return what is known of a run: who it is, how old, when it last sent an event, where it waits."""
    started = run.started if run.started is not None else clock
    found: dict[str, Any] = {
        "app": run.kind.app,
        "model": run.kind.model,
        "id": run.task_id,
        "started": round(time.time() - (clock - started), 3),
        "age": round(clock - started, 3),
        "events": run.events,
        "segment": run.segment,
        "waits_at": str(waits.look(run.work, deep=False).at),
    }
    if run.last_event_at is not None:
        found["last_event_ago"] = round(max(0.0, clock - run.last_event_at), 3)
    if run.stall is not None:
        found["stalled"] = run.stall.reason
    if run.span is not None:
        found["trace_id"], found["span_id"] = tracing.format_ids(run.span)
    return found
