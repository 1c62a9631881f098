"""Learn of SIGTERM and SIGINT without taking them from whoever handles them. State: the handlers put in between."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """Call `told` when the process is told to end, and pass the signal on to the handler found before."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._previous: dict[int, Any] = {}
        self._own: dict[int, Any] = {}

    def install(self) -> None:
        """Put our handlers before those of the server; only a handler that is a function is put behind ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            found = signal.getsignal(number)
            if callable(found) and found is not self._own.get(number):
                self._previous[number] = found
                self._own[number] = self._handler(number, found)
                signal.signal(number, self._own[number])

    def _handler(self, number: int, previous: Callable[[int, FrameType | None], Any]) -> Callable[..., Any]:
        def handle(signum: int, frame: FrameType | None) -> Any:
            self._told()
            return previous(signum, frame)

        return handle

    def remove(self) -> None:
        """Put back what was found, where nobody else has put something over ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, own in self._own.items():
            if signal.getsignal(number) is own:
                signal.signal(number, self._previous[number])
        self._own.clear()
        self._previous.clear()
