"""Learn of SIGTERM and SIGINT without taking them from whoever handles them. State: the handlers put in between."""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final

#: The third is what gunicorn sends its workers for a quick end, which uvicorn's worker does not take for one.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name)
)


class SignalWatch:
    """Call `told` when a process that serves is told to end, and `drain` before SIGTERM kills one that does not.

    `told` is called in a signal handler: it must not take a lock, because the main thread may hold it. `drain` runs in
    a thread of its own and is waited for no longer than `patience` seconds.
    """

    def __init__(self, told: Callable[[], None], drain: Callable[[], None], patience: float) -> None:
        self._told = told
        self._drain = drain
        self._patience = patience
        self._previous: dict[int, Any] = {}
        self._own: dict[int, Any] = {}

    def install(self) -> None:
        """Put our handlers before those of the server; Python's and asyncio's own for SIGINT are left alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            found = signal.getsignal(number)
            if callable(found) and found is not self._own.get(number) and not _interrupts(found):
                self._put(number, found, self._before(found))

    def guard(self, only_ends: Callable[[Any], bool]) -> None:
        """Handle SIGTERM where it would kill the process at once; `only_ends` tells which handlers do no more than that.

        Not in the first process of a container: there the kernel ignores a SIGTERM that nobody handles.
        """
        if threading.current_thread() is not threading.main_thread() or os.getpid() == 1:
            return
        found = signal.getsignal(signal.SIGTERM)
        if found is signal.SIG_DFL or only_ends(found):
            self._put(signal.SIGTERM, found, self._end)

    def _put(self, number: int, found: Any, own: Callable[..., Any]) -> None:
        self._previous[number] = found
        self._own[number] = own
        signal.signal(number, own)

    def _before(self, previous: Callable[[int, FrameType | None], Any]) -> Callable[..., Any]:
        def handle(signum: int, frame: FrameType | None) -> Any:
            self._told()
            return previous(signum, frame)

        return handle

    def _end(self, signum: int, frame: FrameType | None) -> None:
        """Drain, then end as the process would have ended. A second signal ends it at once: draining is done once."""
        self._told()
        drained = _thread.allocate_lock()  # threading's own need locks that the main thread may hold now
        drained.acquire()

        def drain() -> None:
            try:
                self._drain()
            finally:
                drained.release()

        try:
            _thread.start_new_thread(drain, ())
        except RuntimeError:  # the interpreter is shutting down, and drains
            pass
        else:
            drained.acquire(timeout=self._patience)
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)

    def remove(self) -> None:
        """Put back what was found, where nobody else has put something over ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, own in self._own.items():
            if signal.getsignal(number) is own:
                signal.signal(number, self._previous[number])
        self._own.clear()
        self._previous.clear()


def _interrupts(handler: Any) -> bool:
    """Return whether a handler is Python's KeyboardInterrupt, or what asyncio.run() has in its place."""
    owner = getattr(getattr(handler, "func", None), "__self__", None)
    return handler is signal.default_int_handler or isinstance(owner, asyncio.Runner)


#: The share of a wait by which a clock, or its arithmetic, may be early.
_A_HAIR: Final = 0.01


class WakeUp:
    """Wake a thread; from a signal handler too, since no lock is taken."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._began = 0.0

    def set(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        if self._calls.empty():  # one call is enough
            self._calls.put(None)

    def wait(self, every: float) -> bool:
        """Return whether there was a call, used up by this, until the next multiple of so many seconds since the first."""
        now = time.monotonic()
        self._began = self._began or now
        passed = (now - self._began) / every
        try:
            self._calls.get(timeout=(int(passed + _A_HAIR) + 1 - passed) * every)
        except Empty:
            return False
        return True
