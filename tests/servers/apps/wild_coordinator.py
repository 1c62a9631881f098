"""A coordinator as it is found in the wild, and its tasks: it knows nothing of how it is observed.

One process-wide `coordinator`; its state is `_tasks`, `_task_instances` and `_locks`, by key `app:model:id`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

logger = logging.getLogger("wild.tasks")


class Task:
    """A task whose clients are queues; what it does is named by its model."""

    def __init__(self, model, pk):
        self.model = model
        self.pk = pk
        self.completed_at = None
        self._clients = set()
        self._latest_data = None

    async def send_event(self, event_type, data):
        self._latest_data = data
        for queue in list(self._clients):
            await queue.put((event_type, data))

    async def add_client(self, queue):
        self._clients.add(queue)

    async def remove_client(self, queue):
        self._clients.discard(queue)

    async def process(self):
        logger.info("%s works", self.model)
        if self.model == "Short":
            for number in range(3):
                await self.send_event("progress", {"number": number})
                await asyncio.sleep(0.02)
            return 3
        if self.model == "Failing":
            raise ValueError("no such report")
        if self.model == "Silent":
            await self.send_event("progress", {"number": 0})
            await asyncio.Event().wait()
        while True:  # Endless
            await self.send_event("progress", {"now": time.time()})
            await asyncio.sleep(0.1)

    async def mark_completed(self, final_value=None):
        self.completed_at = time.time()


class Coordinator:
    def __init__(self):
        self._tasks = {}
        self._task_instances = {}
        self._locks = {}

    def get_task_key(self, app_name, model_name, task_id):
        return f"{app_name}:{model_name}:{task_id}"

    def is_task_running(self, app_name, model_name, task_id):
        return self.get_task_key(app_name, model_name, task_id) in self._tasks

    async def get_task_instance(self, app_name, model_name, task_id):
        key = self.get_task_key(app_name, model_name, task_id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._task_instances:
                self._task_instances[key] = Task(model_name, task_id)
            return self._task_instances[key]

    async def start_task(self, task_instance, app_name, model_name):
        key = self.get_task_key(app_name, model_name, task_instance.pk)
        if key in self._tasks:
            return
        self._task_instances[key] = task_instance
        self._tasks[key] = asyncio.create_task(self._run_task(task_instance, key))

    async def _run_task(self, task_instance, task_key):
        try:
            final_value = await task_instance.process()
            await task_instance.mark_completed(final_value=final_value)
            await task_instance.send_event("complete", {"final_value": final_value})
        except Exception as error:  # noqa: BLE001 - it swallows them: that is the point
            await task_instance.send_event("error", {"message": str(error)})
        finally:
            self._tasks.pop(task_key, None)
            self._task_instances.pop(task_key, None)


coordinator = Coordinator()


async def open_stream(app_name, model_name, task_id):
    """Start the task unless it runs, and return it with a queue of its events."""
    task = await coordinator.get_task_instance(app_name, model_name, task_id)
    queue = asyncio.Queue()
    await task.add_client(queue)
    await coordinator.start_task(task, app_name, model_name)
    return task, queue


def render_event(event_type, data):
    """One server-sent event."""
    return f"event: {event_type}\ndata: {json.dumps(data)}\n\n".encode()
