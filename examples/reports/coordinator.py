"""The coordinator: starts tasks as asyncio tasks, keeps their rows while they run, cancels them.

One `coordinator` for each process; its state is `_tasks`, `_task_instances`, `_locks` and `_asked`, by key
`app:model:id`.
Workers know of each other through the rows alone: a row is claimed before it runs, the claim is a lease that
`supervise()` renews, and a cancellation wanted elsewhere is a flag in the row.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import defaultdict
from typing import Final

from django.apps import apps
from django.db import DatabaseError
from django.utils import timezone

from .streamtask import LEASE, State, StreamTask

logger = logging.getLogger("reports.coordinator")

#: Seconds that a row is kept for whoever asked for it: a request needs a moment from the row to the stream that watches it.
UNWATCHED: Final = 60.0


def task_model(app_name: str, model_name: str) -> type[StreamTask] | None:
    """Return the kind of task by that name, or None: names come from URLs."""
    try:
        model = apps.get_model(app_name, model_name)
    except LookupError:
        return None
    return model if issubclass(model, StreamTask) else None


class Coordinator:
    """Run tasks of this process, at most one run of a row at a time."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._task_instances: dict[str, StreamTask] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._asked: dict[str, float] = {}

    def get_task_key(self, app_name: str, model_name: str, task_id: int) -> str:
        """Return the key of a task in this object's dictionaries."""
        return f"{app_name}:{model_name}:{task_id}"

    def is_task_running(self, app_name: str, model_name: str, task_id: int) -> bool:
        """Tell whether this process runs the task now."""
        task = self._tasks.get(self.get_task_key(app_name, model_name, task_id))
        return task is not None and not task.done()

    async def get_task_instance(self, app_name: str, model_name: str, task_id: int) -> StreamTask | None:
        """Return the row, the same object for every client of this process; None if there is none."""
        model = task_model(app_name, model_name)
        if model is None:
            return None
        key = self.get_task_key(app_name, model_name, task_id)
        async with self._lock(key):
            instance = self._task_instances.get(key)
            if instance is None:
                instance = await model._default_manager.filter(pk=task_id).afirst()
                if instance is None or instance.finished:
                    self._locks.pop(key, None)
                    return instance
                self._task_instances[key] = instance
            self._asked[key] = time.monotonic()
        return instance

    async def start_task(self, task_instance: StreamTask, app_name: str, model_name: str) -> None:
        """Start the task and return at once; do nothing if it runs already, here or elsewhere, or has ended."""
        key = self.get_task_key(app_name, model_name, task_instance.pk)
        async with self._lock(key):
            if self.is_task_running(app_name, model_name, task_instance.pk):
                return
            # The object that its clients have; another one would send its events to nobody.
            task_instance = self._task_instances.setdefault(key, task_instance)
            self._asked[key] = time.monotonic()
            if not await task_instance.claim():
                return
            self._task_instances[key] = task_instance
            # An empty context: the request's own holds the thread in which Django runs that request's queries, and that
            # thread ends with the request. The task outlives it.
            run = self._run_task(task_instance, key)
            task = asyncio.create_task(run, name=key, context=contextvars.Context())
            self._tasks[key] = task
            # Not in _run_task's `finally`: a task cancelled before its first step never gets there.
            task.add_done_callback(lambda _: self._forget(key))

    async def _run_task(self, task_instance: StreamTask, task_key: str) -> None:
        logger.info("task %s starts", task_key)
        try:
            final_value = await task_instance.process()
            await task_instance.mark_completed(final_value=final_value)
        except asyncio.CancelledError:
            logger.info("task %s was cancelled", task_key)
            await self._end_cancelled(task_instance)
            raise
        except Exception as error:
            logger.exception("task %s failed", task_key)
            try:
                await task_instance.mark_failed(error)
            finally:  # the clients are told, also when the database is what failed
                await task_instance.send_event(
                    "error", {"message": str(error), "error_type": type(error).__name__}
                )
        else:
            await task_instance.send_event("complete", {"final_value": final_value})

    async def cancel_task(self, app_name: str, model_name: str, task_id: int) -> bool:
        """Cancel the task, wherever it runs; False if there is nothing left to cancel."""
        key = self.get_task_key(app_name, model_name, task_id)
        task, instance = self._tasks.get(key), self._task_instances.get(key)
        if task is not None and instance is not None:
            task.cancel()
            await asyncio.wait({task})
            if not instance.finished:
                await self._end_cancelled(instance)  # it never took its first step
            return instance.state == State.CANCELLED
        model = task_model(app_name, model_name)
        if model is None:
            return False
        row = model._default_manager.filter(pk=task_id)
        if await row.filter(state=State.QUEUED).aupdate(state=State.CANCELLED, completed_at=timezone.now()):
            return True
        return bool(await row.filter(state=State.RUNNING).aupdate(cancel_requested=True))

    async def shutdown(self) -> None:
        """Cancel every task of this process and wait until each has saved its state."""
        keys = [key.rsplit(":", 2) for key in self._tasks]
        await asyncio.gather(*(self.cancel_task(app, model, int(pk)) for app, model, pk in keys))

    async def supervise(self, every: float = 1.0) -> None:
        """Until cancelled: renew the claims of this process, and act on what other workers wrote into the rows."""
        while True:
            await asyncio.sleep(every)
            try:
                await self._renew_claims()
                await self._look_elsewhere()
            except DatabaseError:
                logger.exception("the rows of running tasks could not be read; trying again")

    async def _renew_claims(self) -> None:
        running: dict[type[StreamTask], dict[int, asyncio.Task[None]]] = defaultdict(dict)
        for key, task in self._tasks.items():
            instance = self._task_instances[key]
            running[type(instance)][instance.pk] = task
        for model, tasks in running.items():
            rows = model._default_manager.filter(pk__in=tasks, state=State.RUNNING)
            await rows.aupdate(lease_until=timezone.now() + LEASE)
            async for pk in rows.filter(cancel_requested=True).values_list("pk", flat=True):
                tasks[pk].cancel()

    async def _look_elsewhere(self) -> None:
        """Serve the clients of rows that another worker runs; forget rows that nobody watches any more."""
        for key, instance in list(self._task_instances.items()):
            if key in self._tasks:
                continue
            if not instance._clients:
                if time.monotonic() - self._asked.get(key, 0) > UNWATCHED:
                    self._forget(key)
                continue
            app_name, model_name, _ = key.rsplit(":", 2)
            await self.start_task(instance, app_name, model_name)  # takes over from a worker that died
            if instance.finished:
                event = instance.final_event()
                await instance.send_event(event["type"], event["data"])
                self._forget(key)

    async def _end_cancelled(self, instance: StreamTask) -> None:
        try:
            await instance.mark_cancelled()
        finally:
            await instance.send_event("cancelled", {})

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _forget(self, key: str) -> None:
        for kept in (self._tasks, self._task_instances, self._locks, self._asked):
            kept.pop(key, None)


coordinator = Coordinator()
