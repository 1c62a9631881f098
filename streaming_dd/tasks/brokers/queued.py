"""What all brokers have in common: a task is enqueued here, waits, and runs somewhere else; counted, traced and linked.

A `Carrier` goes with the task, where the broker has room for one: the enqueuing span, and the trace in which the task
will run, so that either side names the other. State: in each `Queued`, the runs that are on in this process.
"""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec

from ... import catalog
from ...catalog import TaskOutcome
from ...output import tracing
from ..board import TaskBoard
from ..run import TaskRun, current

P = ParamSpec("P")

#: Where the carrier stands in what a broker carries.
KEY: Final = "streaming_dd"
#: Runs that may be on at once in a process: more are those whose end never came.
_RUNS_LIMIT: Final = 10_000
_YEAR: Final = 365 * 86_400.0

#: `from`: trace and span id of the enqueuing span, in hexadecimal; `run`: the trace id of the run to come; `at`: since when
#: it waits, in wall-clock seconds: when it was put into the queue, last, or what it was put off to.
Carrier = dict[str, Any]
Boards = Callable[[], TaskBoard]


def harmless(method: Callable[P, Any]) -> Callable[P, Any]:
    """Keep a fault of this package's own away from the application and its broker: it is counted and said."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is not the application's
            queued: Any = args[0]
            with contextlib.suppress(Exception):
                queued.board().fault(fault)
            return None

    return call


class Queued:
    """The tasks of one broker, as this process enqueues and runs them."""

    def __init__(self, broker: str, board: Boards) -> None:
        self.broker = broker
        self.board = board
        #: Those of a key from the outermost on: a retry that is run in place is within the run that it repeats.
        self._runs: dict[object, list[tuple[TaskRun, Any, TaskRun | None, str]]] = {}

    @harmless
    def enqueued(self, app: str, model: str, queue: object, task_id: object = "") -> Carrier:
        """Count a task that is put into a queue; return what should go with it."""
        self.count_enqueued(queue)
        return self.carrier_of(app, model, task_id)  # type: ignore[no-any-return]

    @harmless
    def count_enqueued(self, queue: object) -> None:
        """Count a task that was put into a queue."""
        self.board().metrics.counter(catalog.QUEUE_ENQUEUED, broker=self.broker, queue=queue).increment()

    @harmless
    def carrier_of(self, app: str, model: str, task_id: object = "") -> Carrier:
        """Return what should go with a task that is put into a queue."""
        board = self.board()
        carrier: Carrier = {"at": time.time()}
        if board.tracing.enabled:
            span = board.submit_remotely(app, model, task_id)
            if span is not None:
                trace_id = int(time.time()) << 96 | random.getrandbits(64)  # as ddtrace makes them
                carrier["from"] = f"{span.trace_id:032x}-{span.span_id:016x}"
                carrier["run"] = f"{trace_id:032x}"
                span.set_tag("task.trace_id", tracing.format_trace_id(trace_id))
                span.finish()
        return carrier

    @harmless
    def started(
        self,
        key: object,
        app: str,
        model: str,
        queue: object,
        task_id: object = "",
        *,
        carrier: Any = None,
        enqueued_at: float | None = None,
        attempt: int = 1,
    ) -> None:
        """Begin the run of a task in this thread or asyncio task; `enqueued_at` is in wall-clock seconds."""
        board = self.board()
        carrier = carrier if isinstance(carrier, dict) else {}
        waited = _since(enqueued_at if enqueued_at is not None else carrier.get("at"))
        tags = {"broker": self.broker, "queue": queue}
        board.metrics.timing(catalog.QUEUE_WAIT, **tags).record(waited * 1000)
        if attempt > 1:
            board.metrics.counter(catalog.QUEUE_RETRIES, **tags).increment()
        run = board.submit_carried(app, model, task_id, time.perf_counter() - waited, *_ids_in(carrier))
        run.tag("broker", self.broker)
        run.tag("queue", queue)
        if attempt > 1:
            run.tag("attempt", attempt)
        before, outer = board.tracing.active(), current.get()
        if len(self._runs) < _RUNS_LIMIT:
            self._runs.setdefault(key, []).append((run, before, outer, str(queue)))
        current.set(run)
        run.begin_plainly()

    @harmless
    def ended(
        self, key: object, outcome: TaskOutcome, error: BaseException | None = None, value: object = None
    ) -> None:
        """End the run that was started under this key, last; a second end, or one without a start, does nothing."""
        found = self._runs.get(key)
        if not found:
            return
        run, before, outer, queue = found.pop()
        if not found:
            self._runs.pop(key, None)
        board = self.board()
        board.metrics.counter(
            catalog.QUEUE_ENDED, broker=self.broker, queue=queue, outcome=outcome
        ).increment()
        run.value = value
        run.finish(outcome, error)
        if current.get() is run:
            current.set(outer)
            board.tracing.activate(before)

    @harmless
    def never_ran(self, queue: object) -> None:
        """Count a task that was taken out of its queue and will not be run, or whose run was killed in another process."""
        self.board().metrics.counter(
            catalog.QUEUE_ENDED, broker=self.broker, queue=queue, outcome="cancelled"
        ).increment()

    @harmless
    def at_end(self) -> None:
        """Send everything: this process ends without telling anybody."""
        self.board().drain()


def waits_anew(carrier: Any, due: float = 0.0) -> Carrier:
    """Return the carrier of a task that waits from now on, or from `due` (wall-clock seconds) on where that is later.

    A copy: that of a retry may be in use by the run that it repeats.
    """
    return {**(carrier if isinstance(carrier, dict) else {}), "at": max(time.time(), due)}


def _since(at: object) -> float:
    """Return the seconds since a moment of the wall clock; 0 for what is none, or lies in the future or a year ago."""
    if not isinstance(at, int | float) or not 0 < (now := time.time()) - _YEAR < at <= now:
        return 0.0
    return now - at


def _ids_in(carrier: Carrier) -> tuple[tuple[int, int] | None, int | None]:
    """Return the ids of the enqueuing span, and the trace id of the run; None for what is not there or is none."""
    try:
        trace_id, _, span_id = str(carrier.get("from", "")).partition("-")
        origin = (int(trace_id, 16), int(span_id, 16)) if span_id else None
        run = carrier.get("run")
        return origin, int(run, 16) if isinstance(run, str) else None
    except ValueError:
        return None, None


def names_of(path: str) -> tuple[str, str]:
    """Return app and model of a task's dotted path: its first part and its last."""
    app, _, rest = path.partition(".")
    return (app, rest.rpartition(".")[2]) if rest else ("app", app)
