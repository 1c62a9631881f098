"""Live updates by Server-Sent Events: what has changed, never the data itself. State: one `Live` per agent.

A page asks again for what it shows when a `tick` (a bucket closed) or a `status` (once a second, while something
comes in) says so: Spotlight pushed 70 MB in 90 s by sending every event. A slow reader misses ticks, not memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

QUEUE = 16
KEEP_ALIVE = 15.0
MAX_READERS = 50


Reader = asyncio.Queue[bytes | None]
"""What waits to be sent to one page; None ends it."""


class Live:
    """Hands messages to every reader."""

    def __init__(self, max_readers: int = MAX_READERS) -> None:
        self.max_readers = max_readers
        self._readers: set[Reader] = set()
        self._last: dict[str, bytes] = {}
        self.missed = 0
        """Messages that a slow reader did not get."""

    @property
    def readers(self) -> int:
        return len(self._readers)

    def send(self, event: str, data: dict[str, Any], *, id: int | None = None, keep: bool = True) -> None:
        """Send one event to every reader; new readers get the last one of each kind at once, unless `keep` is off."""
        head = f"id: {id}\n" if id is not None else ""
        message = f"{head}event: {event}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
        if keep:
            self._last[event] = message
        for queue in self._readers:
            self._put(queue, message)

    def close(self) -> None:
        """End every stream: the agent stops."""
        for queue in self._readers:
            self._put(queue, None)

    def join(self) -> Reader | None:
        """Return a new reader, None if there are `max_readers`. Whoever joins leaves again."""
        if self.readers >= self.max_readers:
            return None
        reader: Reader = asyncio.Queue(QUEUE)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)

    async def read(self, queue: Reader) -> AsyncIterator[bytes]:
        """Yield the stream of one reader, as bytes of `text/event-stream`."""
        try:
            yield b"retry: 2000\n\n" + b"".join(self._last.values())
            while True:
                try:
                    message = await asyncio.wait_for(queue.get(), KEEP_ALIVE)
                except TimeoutError:
                    message = b": still here\n\n"
                if message is None:
                    return
                yield message
        finally:
            self.leave(queue)

    def _put(self, queue: Reader, message: bytes | None) -> None:
        if queue.full():
            self.missed += 1
            with contextlib.suppress(asyncio.QueueEmpty):
                queue.get_nowait()
        queue.put_nowait(message)
