"""What Starlette answers: the page, tasks and their streams, a WebSocket, and Django under `/django`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from .answers import answer
from .coordinator import coordinator, task_model
from .models import FeedDigest
from .sse import HEADERS, stream

STATIC = Path(__file__).resolve().parent / "static"
LONGEST = 3600.0


async def page(request: Request) -> Response:
    """Serve the page on which a person starts tasks and watches them."""
    policy = {"content-security-policy": "default-src 'self'; img-src 'self' data:"}
    return FileResponse(STATIC / "index.html", headers=policy)


async def create(request: Request) -> Response:
    """Create a task: POST, JSON, optionally `{"seconds": 3}`. Its stream starts it."""
    app_name, model_name = request.path_params["app"], request.path_params["model"]
    model = task_model(app_name, model_name)
    if model is None:
        raise HTTPException(404, f"no kind of task {app_name}.{model_name}; GET /django/kinds lists them")
    seconds = await _seconds(request, model.default_seconds)
    row = await model._default_manager.acreate(seconds=seconds)
    place = f"stream/{row._meta.app_label}/{model.__name__}/{row.pk}"
    made = {"app": row._meta.app_label, "model": model.__name__, "id": row.pk}
    return JSONResponse({**made, "stream": f"/{place}", "django_stream": f"/django/{place}"}, status_code=201)


async def _seconds(request: Request, default: float) -> float:
    # A form of another site cannot send this type, so a foreign page cannot start tasks.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "send content-type: application/json")
    try:
        body: Any = json.loads(await request.body() or b"{}")
    except ValueError:
        raise HTTPException(400, "the body is no JSON") from None
    seconds = body.get("seconds", default) if isinstance(body, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
        raise HTTPException(400, f'write {{"seconds": a number from 0 to {LONGEST:.0f}}}')
    return float(seconds)


async def cancel(request: Request) -> Response:
    """Cancel a task."""
    place = request.path_params
    if await coordinator.get_task_instance(place["app"], place["model"], place["id"]) is None:
        raise HTTPException(404, "no such task")
    if not await coordinator.cancel_task(place["app"], place["model"], place["id"]):
        raise HTTPException(409, "the task has ended already")
    return JSONResponse({"cancelled": True}, status_code=202)


async def task_stream(request: Request) -> Response:
    """Start the task if it has not run yet, and stream its events."""
    place = request.path_params
    task = await coordinator.get_task_instance(place["app"], place["model"], place["id"])
    if task is None:
        raise HTTPException(404, "no such task")
    if not task.finished:
        await coordinator.start_task(task, place["app"], place["model"])
    return StreamingResponse(stream(task), media_type="text/event-stream", headers=HEADERS)


async def price(request: Request) -> Response:
    """Pass on a price of the price service: 502 where that does not answer well."""
    try:
        async with httpx.AsyncClient(base_url=settings.PRICES_URL, timeout=20, trust_env=False) as client:
            answer = (await client.get(f"/price/{request.path_params['sku']}")).raise_for_status()
    except httpx.HTTPError as error:
        raise HTTPException(502, f"the price service: {type(error).__name__}") from error
    return JSONResponse(answer.json())


async def broken(request: Request) -> Response:
    """Raise: what a bug in an endpoint looks like."""
    raise RuntimeError("this endpoint is broken on purpose")


async def broken_stream(request: Request) -> Response:
    """Send two events and raise: what a bug in a stream looks like, after its 200 went out."""

    async def events() -> AsyncIterator[bytes]:
        yield b'event: progress\ndata: {"step": 1}\n\n'
        yield b'event: progress\ndata: {"step": 2}\n\n'
        raise RuntimeError("this stream is broken on purpose")

    return StreamingResponse(events(), media_type="text/event-stream", headers=HEADERS)


async def live(websocket: WebSocket) -> None:
    """Send what this worker does, once a second; answer each message with itself."""
    await websocket.accept()

    async def send_state() -> None:
        while True:
            running = sorted(coordinator._tasks)
            clients = sum(len(row._clients) for row in coordinator._task_instances.values())
            await websocket.send_json({"running": running[:100], "tasks": len(running), "clients": clients})
            await asyncio.sleep(1)

    sending = asyncio.create_task(send_state())
    try:
        while True:
            await websocket.send_json({"echo": await websocket.receive_text()})
    except WebSocketDisconnect:
        pass
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect):
            await sending


async def start_digests(every: float) -> None:
    """Start a digest every so many seconds: tasks that no request asked for."""
    while True:
        await asyncio.sleep(every)
        row = await FeedDigest.objects.acreate(seconds=FeedDigest.default_seconds)
        await coordinator.start_task(row, "reports", "FeedDigest")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep the rows in order while the server runs; cancel the tasks when it stops."""
    background = [asyncio.create_task(coordinator.supervise())]
    if settings.DIGEST_EVERY > 0:
        background.append(asyncio.create_task(start_digests(settings.DIGEST_EVERY)))
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await coordinator.shutdown()


def application(django: ASGIApp) -> Starlette:
    """Return the whole application: Starlette, and `django` mounted in it."""
    return Starlette(
        routes=[
            Route("/", page),
            Route("/tasks/{app}/{model}", create, methods=["POST"]),
            Route("/tasks/{app}/{model}/{id:int}/cancel", cancel, methods=["POST"]),
            Route("/stream/{app}/{model}/{id:int}", task_stream),
            Route("/price/{sku}", price),
            Route("/v1/chat/completions", answer, methods=["POST"]),
            Route("/broken", broken),
            Route("/broken/stream", broken_stream),
            WebSocketRoute("/ws", live),
            Mount("/static", StaticFiles(directory=STATIC)),
            Mount("/django", django),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])],
        lifespan=lifespan,
    )
