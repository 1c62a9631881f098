"""An application whose requests start tasks, for servers with several workers."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import streaming_dd as dd

running: set[asyncio.Task[Any]] = set()


@dd.task("reports.export")
async def export() -> None:
    """Take a moment."""
    await asyncio.sleep(0.01)


async def start(request: Request) -> PlainTextResponse:
    """Start a task and answer at once."""
    task = asyncio.create_task(export())
    running.add(task)
    task.add_done_callback(running.discard)
    return PlainTextResponse("started")


app = dd.instrument(Starlette(routes=[Route("/start", start)]))
