"""uvicorn on sockets that are bound already, inside an application's process. No state.

An agent may run in a test beside the application's own uvicorn, so it leaves signals, uvicorn's loggers and its own
access lines alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..intake.sockets import end_listening


class _Protocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """uvicorn's protocol without access lines: `access_log=False` would take them from every server of the process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.access_log = False


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.end = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they stay with whoever runs the agent

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own loop wakes ten times a second to look at the time."""
        self.ready.set()
        await self.end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let whoever was accepted just now be connected first: such a connection would stay open."""
        await end_listening(*self.servers)
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, sockets: list[socket.socket]) -> AsyncIterator[None]:
    """Serve an ASGI app on `sockets` inside the block."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets))
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task
        yield
    finally:
        ready.cancel()
        server.end.set()
        await task
