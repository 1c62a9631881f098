"""A Starlette application with server-sent events, and start-up and shutdown handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from wild_coordinator import coordinator, open_stream, render_event

logger = logging.getLogger("site")
#: What Request.is_disconnected() said in the stream that polls it.
seen_to_leave = asyncio.Event()


async def hello(request):
    return PlainTextResponse("hello")


async def start(request):
    names = request.path_params["app"], request.path_params["model"]
    task = await coordinator.get_task_instance(*names, request.path_params["id"])
    await coordinator.start_task(task, *names)
    return PlainTextResponse("started", status_code=202)


async def stream(request):
    parameters = request.path_params
    task, queue = await open_stream(parameters["app"], parameters["model"], parameters["id"])

    async def events():
        event_type = ""
        try:
            while event_type not in ("complete", "error"):
                event_type, data = await queue.get()
                yield render_event(event_type, data)
        finally:
            await task.remove_client(queue)

    return StreamingResponse(events(), media_type="text/event-stream")


async def clock(request):
    """A stream without a task, which says in a header what process it comes from."""

    async def events():
        while True:
            yield render_event("tick", {})
            await asyncio.sleep(0.1)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-pid": str(os.getpid())})


async def stubborn(request):
    """A stream that catches its cancellation and goes on."""

    async def events():
        yield render_event("first", {})
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    return Polling(events(), media_type="text/event-stream")


async def broken(request):
    async def events():
        yield render_event("first", {})
        raise ValueError("the source is broken")

    return StreamingResponse(events(), media_type="text/event-stream")


class Polling(StreamingResponse):
    """A response that listens to nobody: whether the client is there is asked by the generator alone."""

    async def __call__(self, scope, receive, send):
        await self.stream_response(send)


async def polled(request):
    async def events():
        yield render_event("first", {})
        while not await request.is_disconnected():  # noqa: ASYNC110 - as applications do
            await asyncio.sleep(0.02)
        seen_to_leave.set()

    return Polling(events(), media_type="text/event-stream")


async def left(request):
    """Answer once the generator of /polled has seen its client leave."""
    await asyncio.wait_for(seen_to_leave.wait(), 60)
    return PlainTextResponse("left")


async def echo(request):
    return PlainTextResponse(await request.body(), headers={"x-echo": "1"})


@contextlib.asynccontextmanager
async def lifespan(app):
    logger.warning("site starts")
    yield
    logger.warning("site stops with %d tasks", len(coordinator._tasks))


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/start/{app}/{model}/{id}", start),
        Route("/stream/{app}/{model}/{id}", stream),
        Route("/clock", clock),
        Route("/broken", broken),
        Route("/stubborn", stubborn),
        Route("/polled", polled),
        Route("/left", left),
        Route("/echo", echo, methods=["POST"]),
    ],
    lifespan=lifespan,
)
