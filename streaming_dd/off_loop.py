"""Run functions that may hang, such as a query to a database that is down, in threads of their own.

State: how many threads of each `OffLoop` are busy. asyncio's own executor will not do: its threads are shared with
the application, and those that hang keep the process from ending.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class OffLoop:
    """At most `limit` daemon threads at a time; a function that hangs keeps its place until it returns."""

    def __init__(self, name: str, limit: int = 1) -> None:
        self._name = name
        self._limit = limit
        self._busy = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def start(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R] | None:
        """Call `function` in a thread and return its future; None while all places are taken.

        The future cannot be cancelled: several may wait for it.
        """
        if self._pid != os.getpid():  # in a forked child the parent's threads do not exist
            self._lock, self._busy, self._pid = threading.Lock(), 0, os.getpid()
        with self._lock:
            if self._busy >= self._limit:
                return None
            self._busy += 1
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is given to whoever waits
                self._leave()
                future.set_exception(error)
            else:
                self._leave()
                future.set_result(result)

        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._leave()
            future.set_exception(error)
        return future

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1
