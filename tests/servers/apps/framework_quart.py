"""As framework_litestar.py, in Quart."""

from __future__ import annotations

import asyncio
import os

from quart import Blueprint, Quart, Response, websocket

import streaming_dd as dd
from streaming_dd import timers

v1 = Blueprint("v1", __name__, url_prefix="/v1/<tenant>")
quart = Quart(__name__)


@v1.get("/items/<int:number>")
async def item(tenant, number):
    return {"number": number}


@v1.get("/fails/<int:number>")
async def fails(tenant, number):
    raise LookupError("on purpose")


@v1.get("/events/<int:number>")
async def events(tenant, number):
    async def numbers():
        for one in range(number):
            yield f"data: {one}\n\n".encode()
            await asyncio.sleep(0.02)

    response = Response(numbers(), content_type="text/event-stream")
    response.timeout = None
    return response


@timers.task("framework.work")
async def work():
    await asyncio.sleep(0.3)


@v1.get("/later/<int:number>")
async def later(tenant, number):
    quart.add_background_task(work)
    return "later"


@v1.websocket("/echo/<int:number>")
async def echo(tenant, number):
    await websocket.send(await websocket.receive())


@quart.before_serving
async def started():
    os.write(1, b"started\n")


@quart.after_serving
async def ended():
    os.write(1, b"ended\n")


quart.register_blueprint(v1)
app = dd.instrument(quart)
