"""The tasks that run now in all workers, and cancelling one in whichever worker it runs.

Only a coordinator that has a `cancel_task(app, model, id)` can cancel; who may ask is decided where somebody asks. Who
did is in the log of the worker in which the task runs. State: none of its own.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from typing import Any, Final

import orjson

from ..output.notices import logger
from ..recorder import Recorder
from ..tasks import report as task_report
from ..tasks.run import TaskRun
from .answers import encode
from .health import Health
from .stats import CoordinatorState
from .workers import Workers

#: Seconds that the workers may take to tell their tasks, and a coordinator to cancel one.
_LIMIT: Final = 1.0
_CANCEL_LIMIT: Final = 5.0


class LiveTasks:
    """The live tasks of all workers. Find them with `recorder.get().part(LiveTasks)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._workers = recorder.part(Workers)
        self._workers.siblings.handle("tasks", lambda question: encode(self._own(question["most"])))
        self._workers.siblings.handle("cancel", lambda question: self._cancel(**question).encode())

    def oldest(self, most: int) -> dict[str, Any]:
        """Return `total` of all workers, the oldest `most` as `tasks`, and in `missing` who did not answer; blocks."""
        answers = self._workers.siblings.ask("tasks", _LIMIT, most=most)
        found = [self._own(most), *(orjson.loads(data) for data in answers.by_slot.values())]
        rows = [row for one in found for row in one["tasks"]]
        return {
            "total": sum(one["total"] for one in found),
            "tasks": heapq.nlargest(most, rows, key=lambda row: row["age_seconds"]),
            "missing": [{"worker": one.slot, "why": one.why} for one in answers.silent],
        }

    def cancel(self, worker: str, key: str, who: str) -> str:
        """Cancel the task that has this `key` in a row of that worker; blocks.

        Returns `cancelled`, `ended`, `refused` (by the coordinator), `impossible` (it knows no cancelling), `late`,
        `failed` or `silent`.
        """
        if worker == self._workers.slot:
            return self._cancel(key, who)
        limit = _CANCEL_LIMIT + _LIMIT
        for answer in self._workers.siblings.ask("cancel", limit, worker, key=key, who=who).by_slot.values():
            return answer.decode()
        return "silent"

    # --- this worker ------------------------------------------------------------------------------------------

    def _own(self, most: int) -> dict[str, Any]:
        board = self._recorder.tasks
        runs = list(board.live())
        oldest = heapq.nsmallest(most, runs, key=lambda run: run.submitted)
        known = self._known() if oldest else {}
        return {
            "total": len(runs),
            "tasks": [
                {
                    **task_report.snapshot(run, clients=board.client_count(run)),
                    "worker": self._workers.slot,
                    "key": _key(run),
                    "cancellable": id(run.instance) in known,
                }
                for run in oldest
            ],
        }

    def _known(self) -> dict[int, tuple[str, str, Any]]:
        """What the coordinator calls each instance: app, model, id; empty if it knows no cancelling."""
        coordinator = self._workers.coordinator
        if not callable(getattr(coordinator, "cancel_task", None)):
            return {}
        names = {}
        for key, instance in CoordinatorState(coordinator).instances.items():
            app, _, rest = str(key).partition(":")
            model, _, task_id = rest.partition(":")
            names[id(instance)] = (app, model, getattr(instance, "pk", task_id))
        return names

    def _cancel(self, key: str, who: str) -> str:
        run = next((run for run in self._recorder.tasks.live() if _key(run) == key), None)
        if run is None:
            return "ended"
        name = self._known().get(id(run.instance))
        outcome = self._cancel_by_name(run, *name) if name is not None else "impossible"
        logger.warning(
            "task %s %s: cancelling was asked for by %s: %s",
            run.kind.resource,
            run.task_id,
            who[:100],
            outcome,
        )
        return outcome

    def _cancel_by_name(self, run: TaskRun, app: str, model: str, task_id: Any) -> str:
        task = run.asyncio_task() if run.asyncio_task is not None else None
        loop = task.get_loop() if task is not None else self._recorder.part(Health).watch.loop
        if loop is None:
            return "impossible"

        async def ask() -> object:
            found = self._workers.coordinator.cancel_task(app, model, task_id)
            return await found if inspect.isawaitable(found) else found

        future = asyncio.run_coroutine_threadsafe(ask(), loop)
        try:
            return "refused" if future.result(_CANCEL_LIMIT) is False else "cancelled"
        except TimeoutError:
            return "late"  # it goes on, and the coordinator may still have its way
        except Exception as error:  # noqa: BLE001 - the coordinator is not ours
            logger.warning("the coordinator failed to cancel %s: %r", run.kind.resource, error)
            return "failed"


def _key(run: TaskRun) -> str:
    """What tells a run from all others of its worker, also from the next one of the same task."""
    return f"{run.kind.resource}:{run.task_id}:{run.submitted:.9f}"
