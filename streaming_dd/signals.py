"""Learn of SIGTERM and SIGINT without taking them from whoever handles them. State: the handlers put in between."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """Call `told` when a process that serves is told to end, and `drain` before SIGTERM kills one that does not.

    Both are called in a signal handler, or while one waits: `told` must not take a lock, because the main thread
    may hold it; `drain` runs in a thread of its own and is waited for no longer than `patience` seconds.
    """

    def __init__(self, told: Callable[[], None], drain: Callable[[], None], patience: float) -> None:
        self._told = told
        self._drain = drain
        self._patience = patience
        self._previous: dict[int, Any] = {}
        self._own: dict[int, Any] = {}

    def install(self) -> None:
        """Put our handlers before those of the server; only a handler that is a function is put behind ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            found = signal.getsignal(number)
            if callable(found) and found is not self._own.get(number):
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
        thread = threading.Thread(target=self._drain, name="streaming-dd-drain", daemon=True)
        try:
            thread.start()
            thread.join(self._patience)
        except RuntimeError:  # the interpreter is shutting down, and drains
            pass
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
