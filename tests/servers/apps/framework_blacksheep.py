"""As framework_litestar.py, in BlackSheep."""

from __future__ import annotations

import asyncio
import os

from blacksheep import Application, Response, StreamedContent, WebSocket

import streaming_dd as dd
from streaming_dd import timers

sheep = Application()


@sheep.router.get("/v1/{tenant}/items/{int:number}")
async def item(tenant: str, number: int):
    return {"number": number}


@sheep.router.get("/v1/:tenant/fails/:number")
async def fails(tenant: str, number: int):
    raise LookupError("on purpose")


@sheep.router.get("/v1/<tenant>/events/<int:number>")
async def events(tenant: str, number: int):
    async def numbers():
        for one in range(number):
            yield f"data: {one}\n\n".encode()
            await asyncio.sleep(0.02)

    return Response(200, content=StreamedContent(b"text/event-stream", numbers))


@timers.task("framework.work")
async def work():
    await asyncio.sleep(0.3)


RUNNING = set()


@sheep.router.get("/v1/{tenant}/later/{int:number}")
async def later(tenant: str, number: int):
    RUNNING.add(asyncio.create_task(work()))
    return "later"


@sheep.router.ws("/v1/{tenant}/echo/{int:number}")
async def echo(socket: WebSocket, tenant: str, number: int):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@sheep.on_start
async def started(app):
    os.write(1, b"started\n")


@sheep.on_stop
async def ended(app):
    os.write(1, b"ended\n")


app = dd.instrument(sheep)
