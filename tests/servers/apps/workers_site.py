"""A site of several workers: quick requests, tasks that go on until they are told, a loop that can be held."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import streaming_dd as dd
from streaming_dd import recorder
from streaming_dd.endpoints.live_tasks import LiveTasks

BEFORE = dd.Metric("site.before_fork", "count", help="Counted while the module is imported.")
dd.timers.increment(BEFORE, 5)
_running: set[asyncio.Task[Any]] = set()


@dd.timers.task("tests.Endless")
async def endless() -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


@dd.timers.task("tests.Quick")
async def quick(fail: bool) -> None:
    """Take a moment, then end well or not."""
    await asyncio.sleep(0.01)
    if fail:
        raise ValueError("asked to fail")


class Row:
    """What the coordinator runs: it goes on until it is cancelled."""

    def __init__(self, pk: int) -> None:
        self.pk = pk
        self._clients: set[Any] = set()

    async def process(self) -> None:
        """Wait."""
        await asyncio.Event().wait()

    async def send_event(self, event_type: str, data: Any) -> None:
        """Send nothing."""

    async def mark_completed(self) -> None:
        """Save nothing."""


class Coordinator:
    """The shape found in the wild, with a way to cancel."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._task_instances: dict[str, Any] = {}
        self._locks: dict[str, Any] = {}

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        """Start a task."""
        key = f"{app_name}:{model_name}:{task_instance.pk}"
        self._task_instances[key] = task_instance
        self._tasks[key] = asyncio.create_task(self._run_task(task_instance, key))

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        await task_instance.process()
        await task_instance.mark_completed()

    async def cancel_task(self, app_name: str, model_name: str, task_id: int) -> bool:
        """Cancel a task of this process; False if it has none of that name."""
        task = self._tasks.get(f"{app_name}:{model_name}:{task_id}")
        return task is not None and task.cancel()


coordinator = Coordinator()


async def row(request: Request) -> Response:
    """Start a task of the coordinator."""
    await coordinator.start_task(Row(int(request.query_params["id"])), "tests", "Row")
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


async def tasks(request: Request) -> Response:
    """Return the tasks of all workers, as this worker sees them."""
    found = await asyncio.to_thread(recorder.get().part(LiveTasks).oldest, 10)
    return JSONResponse({**found, "pid": os.getpid()})


async def cancel(request: Request) -> Response:
    """Cancel a task in whichever worker it runs."""
    asked = request.query_params
    live = recorder.get().part(LiveTasks)
    return PlainTextResponse(await asyncio.to_thread(live.cancel, asked["worker"], asked["key"], "somebody"))


async def hello(request: Request) -> Response:
    """Say who answers."""
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


async def work(request: Request) -> Response:
    """Run a task; `?fail=1` for one that fails."""
    await asyncio.gather(quick("fail" in request.query_params), return_exceptions=True)
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


async def start(request: Request) -> Response:
    """Start a task that goes on."""
    _running.add(asyncio.create_task(endless()))
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


async def hold(request: Request) -> Response:
    """Hold this worker's event loop."""
    asyncio.get_running_loop().call_later(0.05, time.sleep, float(request.query_params["seconds"]))
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


app = dd.instrument(
    Starlette(
        routes=[
            Route("/hello", hello),
            Route("/work", work),
            Route("/start", start),
            Route("/hold", hold),
            Route("/row", row),
            Route("/tasks", tasks),
            Route("/cancel", cancel),
        ]
    ),
    coordinator=coordinator,
    stats_token="operator",
    log_stdout=False,
    flush_interval=0.3,
)
