"""A coordinator's app behind uvicorn on uvloop, 200 tasks at a time, each watched by 2 clients: the server's CPU."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from . import apps
from .loopback import Server
from .rounds import BEFORE, before_is_given, median_of, spread_of

ROUNDS = 7
TASKS = 200
EVENTS = 20
CLIENTS = 2
_END = object()


class Report:
    """A task instance as coordinators hold them: it sends its events to the queues of its clients."""

    def __init__(self, pk: int) -> None:
        self.pk = pk
        self._clients: set[asyncio.Queue[Any]] = set()

    async def send_event(self, kind: str, data: Any) -> None:
        await asyncio.gather(*(queue.put((kind, data)) for queue in self._clients))

    async def process(self) -> int:
        for number in range(EVENTS):
            await self.send_event("progress", {"percent": 100 * number // EVENTS, "message": "writing rows"})
            await asyncio.sleep(0)
        return EVENTS

    async def mark_completed(self, value: object) -> None:
        for queue in self._clients:
            queue.put_nowait(_END)


class Coordinator:
    """Start each task once and run it in the background."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._task_instances: dict[str, Report] = {}

    async def start_task(self, task: Report, app_name: str, model_name: str) -> str:
        key = f"{app_name}:{model_name}:{task.pk}"
        if key not in self._tasks:
            self._task_instances[key] = task
            self._tasks[key] = asyncio.create_task(self._run_task(task, key))
        return key

    async def _run_task(self, task: Report, key: str) -> None:
        await task.mark_completed(await task.process())
        self._task_instances.pop(key, None)
        self._tasks.pop(key, None)


def _site(coordinator: Coordinator, reports: dict[int, Report]) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def events(request: Any) -> Any:
        pk = int(request.path_params["pk"])
        report = reports.get(pk) or reports.setdefault(pk, Report(pk))
        queue: asyncio.Queue[Any] = asyncio.Queue()
        report._clients.add(queue)
        if len(report._clients) == CLIENTS:  # the last one to come starts it
            await coordinator.start_task(report, "reports", "Report")

        async def body() -> Any:
            while (item := await queue.get()) is not _END:
                yield f"event: {item[0]}\ndata: {json.dumps(item[1])}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/events/{pk}", events)])


def bare() -> tuple[Any, Any]:
    return _site(Coordinator(), {}), apps.nothing


def wrapped() -> tuple[Any, Any]:
    import streaming_dd

    coordinator = Coordinator()
    site = _site(coordinator, {})
    app = streaming_dd.instrument(site, coordinator=coordinator, **apps.settings())
    return app, apps.flusher()


APPS = {"bare": bare, "wrapped": wrapped}


async def _watch(port: int, pk: int) -> None:
    """Read one stream to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events/%d HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n" % pk)
    body = await reader.read()
    while chunk := await reader.read():
        body += chunk
    writer.close()
    if body.count(b"event: progress") != EVENTS:
        raise SystemExit(f"broken measurement: a client got {body.count(b'event: progress')} events")


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    names = [*APPS, *(["wrapped" + BEFORE] if before_is_given() else [])]
    servers = {name: Server.start("coordinator", name) for name in names}
    numbers = itertools.count()

    async def crowd(port: int) -> None:
        watched = [next(numbers) for _ in range(TASKS)]
        await asyncio.gather(*(_watch(port, pk) for pk in watched for _ in range(CLIENTS)))

    for index in range(ROUNDS + 1):
        for server in servers.values():
            server.measure(lambda port: asyncio.run(crowd(port)), TASKS)
            if not index:
                server.costs.clear()  # warm up
    for name, server in servers.items():
        counts = server.end()
        if name.startswith("wrapped") and counts["requests"] != CLIENTS * TASKS * (ROUNDS + 1):
            raise SystemExit(f"broken measurement: {counts}")

    goals = []
    for name in names[:0:-1]:

        def ratio(index: int, name: str = name) -> float:
            return servers[name].costs[index] / servers["bare"].costs[index]

        low, high = spread_of(ratio, ROUNDS)
        figure = median_of(ratio, ROUNDS)
        text = f"coordinator app, {TASKS} tasks x {EVENTS} events x {CLIENTS} clients, of bare"
        said = f"{text}{' (before)' if name.endswith(BEFORE) else ''} [{low:.3f} to {high:.3f}]"
        goals.append((said, figure, 1.25, figure <= 1.25))
    return goals
