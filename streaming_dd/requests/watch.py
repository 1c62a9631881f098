"""The watch over what is open on one event loop: clients that leave while the app does not listen.

State: a `Watch` per loop and `Traffic`. What has just begun, or has just stopped to receive, is `young`; a look some
time later has somebody listen for it, and it is `settled` then: nobody visits it again.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterator
from contextvars import Context
from typing import Final, Protocol

#: Seconds between two looks at the young: a client that left is gone after two of them, and a little.
INTERVAL: Final = 0.25


class Watched(Protocol):
    """A request or WebSocket that is open."""

    started: float

    def look(self) -> bool:
        """Have somebody listen for the client's disconnect; False to be looked at again."""

    def close(self, error: BaseException | None) -> None:
        """End it, unless it has ended."""

    def __hash__(self) -> int: ...


class Watch:
    """What is open on one event loop."""

    __slots__ = ("__weakref__", "loop", "scheduled", "settled", "young")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.young: set[Watched] = set()
        self.settled: set[Watched] = set()
        self.scheduled = False

    def add(self, one: Watched) -> None:
        """Look at this one some time from now."""
        self.young.add(one)
        if not self.scheduled:
            self.schedule()

    def renew(self, one: Watched) -> None:
        """Look again at one that somebody listened for, and that has just stopped to receive."""
        if one in self.settled:
            self.settled.discard(one)
            self.add(one)

    def remove(self, one: Watched) -> None:
        """Forget one that has ended."""
        self.young.discard(one)
        if self.settled:
            self.settled.discard(one)

    def __iter__(self) -> Iterator[Watched]:
        yield from self.young.copy()
        yield from self.settled.copy()

    def __len__(self) -> int:
        return len(self.young) + len(self.settled)

    def schedule(self) -> None:
        """Have the young looked at some time from now."""
        loop = self.loop()
        if loop is not None:
            self.scheduled = True
            loop.call_later(INTERVAL, self._look, context=Context())

    def _look(self) -> None:
        self.scheduled = False
        old = time.perf_counter() - INTERVAL
        for one in self.young.copy():
            if one.started < old and one.look():
                self.young.discard(one)
                self.settled.add(one)
        if self.young:
            self.schedule()
        else:
            # A set keeps the room that it once needed: 64 bytes for each of a crowd that came at once.
            self.young = set()


class Watches:
    """The watches of a process: one per event loop that serves."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = (
            weakref.WeakKeyDictionary()
        )
        self._last: Watch | None = None

    def here(self) -> Watch:
        """Return the watch of the running loop. Raises RuntimeError where no asyncio loop runs."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last.loop() is loop:
            return last
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = Watch(loop)
        self._last = found
        return found

    def open(self) -> list[Watched]:
        """Return everything that is open in this process."""
        return [one for watch in list(self._by_loop.values()) for one in watch]

    def __len__(self) -> int:
        return sum(map(len, list(self._by_loop.values())))

    def forget(self) -> None:
        """Begin anew in a forked child."""
        self._by_loop.clear()
        self._last = None
