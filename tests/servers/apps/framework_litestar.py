"""What every framework's application here has: an item, a failure, a stream, a WebSocket, something later, a lifespan."""

from __future__ import annotations

import asyncio
import os

from litestar import Litestar, Response, Router, WebSocket, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.response import ServerSentEvent

import streaming_dd as dd


@get("/items/{number:int}")
async def item(number: int) -> dict:
    return {"number": number}


@get("/fails/{number:int}")
async def fails(number: int) -> dict:
    raise LookupError("on purpose")


@get("/events/{number:int}")
async def events(number: int) -> ServerSentEvent:
    async def numbers():
        for one in range(number):
            yield str(one)
            await asyncio.sleep(0.02)

    return ServerSentEvent(numbers())


async def work() -> None:
    await asyncio.sleep(0.3)


@get("/later/{number:int}")
async def later(number: int) -> Response[str]:
    return Response("later", background=BackgroundTask(work))


@websocket("/echo/{number:int}")
async def echo(socket: WebSocket, number: int) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


async def started(app) -> None:
    os.write(1, b"started\n")


async def ended(app) -> None:
    os.write(1, b"ended\n")


routes = Router("/v1/{tenant:str}", route_handlers=[item, fails, events, later, echo])
app = dd.instrument(Litestar([routes], on_startup=[started], on_shutdown=[ended]))
