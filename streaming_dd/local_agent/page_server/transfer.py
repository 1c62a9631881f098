"""Between two tries: forget everything, take it away as a file, bring a file back. State: which of them is under way."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from .. import export
from ..holdings import Holdings
from .answers import JSON


def routes(held: Holdings) -> list[BaseRoute]:
    """Return the endpoints; one at a time, a second one is 409."""
    turn = asyncio.Lock()
    return [
        Route("/api/clear", partial(_clear, held), methods=["POST"]),
        Route("/api/export", partial(_export, held, turn), methods=["GET"]),
        Route("/api/import", partial(_import, held, turn), methods=["POST"]),
    ]


async def _clear(held: Holdings, request: Request) -> Response:
    held.forget()
    _tell(held)
    return JSON({"cleared": True})


async def _export(held: Holdings, turn: asyncio.Lock, request: Request) -> Response:
    if turn.locked():
        return _busy()
    path = _temporary()
    async with turn:
        try:
            await export.write(held, path)
        except BaseException:
            path.unlink()
            raise
    name = time.strftime("streaming-dd-%Y%m%d-%H%M%S.sqlite", time.localtime(held.clock()))
    return FileResponse(
        path, media_type=export.MEDIA_TYPE, filename=name, background=BackgroundTask(path.unlink)
    )


async def _import(held: Holdings, turn: asyncio.Lock, request: Request) -> Response:
    if turn.locked():
        return _busy()
    path = _temporary()
    async with turn:
        try:
            with path.open("wb") as file:
                async for part in request.stream():
                    file.write(part)
            await export.read(held, path)
        except ValueError as error:
            return JSON({"error": str(error)}, 400)
        finally:
            path.unlink()
    _tell(held)
    return JSON({"imported": held.totals()})


def _tell(held: Holdings) -> None:
    """Have every open page ask again."""
    held.live.send("tick", {"bucket": held.clock()})


def _busy() -> Response:
    return JSON({"error": "another export or import is under way"}, 409)


def _temporary() -> Path:
    """Return a new empty file that only this user can read."""
    handle, name = tempfile.mkstemp(prefix="streaming-dd-", suffix=".sqlite")
    os.close(handle)
    return Path(name)
