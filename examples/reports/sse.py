"""A task's events as Server-Sent Events: the same bytes through Starlette and through Django."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from .streamtask import Event, StreamTask

#: The events after which a stream ends.
FINAL: Final = frozenset({"complete", "error", "cancelled"})
#: Seconds without an event after which a comment line keeps proxies from closing the connection.
KEEP_ALIVE: Final = 15.0
#: Events that a slow client may fall behind.
BACKLOG: Final = 100

HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def encode(event: Event) -> bytes:
    """Return an event in the format of https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    data = json.dumps({**event["data"], "timestamp": event["timestamp"]})
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


async def stream(task: StreamTask) -> AsyncIterator[bytes]:
    """Yield a task's events until its final one. The task goes on when the client leaves."""
    queue: asyncio.Queue[Event] = asyncio.Queue(BACKLOG)
    await task.add_client(queue)
    try:
        if task.finished:
            yield encode(task.final_event())
            return
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), KEEP_ALIVE)
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            yield encode(event)
            if event["type"] in FINAL:
                return
    finally:
        await task.remove_client(queue)
