"""As framework_litestar.py, in FastAPI: everything in a router of a router."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import APIRouter, BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

import streaming_dd as dd

inner = APIRouter()


@inner.get("/items/{number}")
async def item(number: int):
    return {"number": number}


@inner.get("/fails/{number}")
async def fails(number: int):
    raise LookupError("on purpose")


@inner.get("/events/{number}")
async def events(number: int):
    async def numbers():
        for one in range(number):
            yield f"data: {one}\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(numbers(), media_type="text/event-stream")


async def work():
    await asyncio.sleep(0.3)


@inner.get("/later/{number}")
async def later(number: int, background: BackgroundTasks):
    background.add_task(work)
    return "later"


@inner.websocket("/echo/{number}")
async def echo(socket: WebSocket, number: int):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@asynccontextmanager
async def lifespan(app):
    os.write(1, b"started\n")
    yield
    os.write(1, b"ended\n")


middle = APIRouter(prefix="/{tenant}")
middle.include_router(inner)
fast = FastAPI(lifespan=lifespan)
fast.include_router(middle, prefix="/v1")
app = dd.instrument(fast)
