"""Run functions that block or may hang, such as a query to a database that is down, in threads of their own.

State: which threads of an `OffLoop` or a `Shared` are busy. asyncio's own executor will not do: its threads are shared
with the application, and one that hangs keeps the process from ending. The futures cannot be cancelled: several
callers may wait for one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class OffLoop:
    """At most `limit` daemon threads at a time; a function that hangs keeps its place until it returns."""

    def __init__(self, name: str, limit: int = 1) -> None:
        self._name = name
        self._limit = limit
        self._forget()

    def _forget(self) -> None:
        self._busy = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def start(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R] | None:
        """Call `function` in a thread and return its future; None while all places are taken."""
        if self._pid != os.getpid():  # the parent's threads do not exist in a forked child
            self._forget()
        with self._lock:
            if self._busy >= self._limit:
                return None
            self._busy += 1
        return _in_thread(self._name, lambda: function(*args, **kwargs), self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1


class Shared(Generic[R]):
    """A function that runs once at a time, for everyone who asks meanwhile."""

    def __init__(self, name: str, function: Callable[[], R]) -> None:
        self._name = name
        self._function = function
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._run: Future[R] | None = None
        self._pid = os.getpid()

    def ask(self) -> Future[R]:
        """Return the future of the run that is under way, or of one that starts now."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._run is None or self._run.done():
                self._run = _in_thread(self._name, self._function)
            return self._run


def _in_thread(name: str, function: Callable[[], R], leave: Callable[[], None] = lambda: None) -> Future[R]:
    """Call `function` in a daemon thread; `leave` is called before anybody learns of the result."""
    future: Future[R] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - it is given to whoever waits
            leave()
            future.set_exception(error)
        else:
            leave()
            future.set_result(result)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # the system has no more threads
        leave()
        future.set_exception(error)
    return future
