"""How long the server's event loop was held lately. State: in each `LoopWatch`."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from typing import Final

#: Seconds for which a lag is remembered: a probe that waited behind a blocked loop must still hear of it.
WINDOW: Final = 5.0
_EVERY: Final = 0.5


class LoopWatch:
    """Ask the event loop from another thread to answer, twice a second, and remember how late it did."""

    def __init__(self) -> None:
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._lags: deque[tuple[float, float]] = deque(maxlen=32)
        self._asked = float("-inf")
        self._waiting = False
        self._lock = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that serves, while it runs."""
        loop = self._loop() if self._loop is not None else None
        return loop if loop is not None and loop.is_running() else None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the loop that serves."""
        if self._loop is None or self._loop() is not loop:
            with self._lock:
                self._loop = weakref.ref(loop)
                self._waiting = False
                self._lags.clear()

    def ask(self, now: float) -> None:
        """Ask the loop to answer unless it was asked a moment ago, or has not answered yet."""
        loop = self.loop
        with self._lock:
            if loop is None or self._waiting or now - self._asked < _EVERY:
                return
            self._waiting, self._asked = True, now
        try:
            loop.call_soon_threadsafe(self._answer, now)
        except RuntimeError:  # it was closed just now
            self._waiting = False

    def _answer(self, asked: float) -> None:
        if asked == self._asked:
            now = time.monotonic()
            self._lags.append((now, now - asked))
            self._waiting = False

    def lag(self, now: float) -> float:
        """Return the worst of the last seconds, in seconds; a loop that still owes its answer is as late as that."""
        if self.loop is None:
            return 0.0
        worst = max((lag for at, lag in self._lags.copy() if now - at <= WINDOW), default=0.0)
        return max(worst, now - self._asked) if self._waiting else worst
