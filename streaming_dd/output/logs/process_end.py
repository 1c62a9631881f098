"""What logging does around a fork and at the end of a process. State: whether the process calls us there, once."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol


class Logging(Protocol):
    """What has to be told of forks and ends."""

    def flush_at_end(self) -> None:
        """Deliver what is queued, within the shutdown timeout."""

    def stop_at_end(self) -> None:
        """Deliver what is queued and close, within the shutdown timeout."""

    def before_fork(self) -> None:
        """End the threads for the duration of a fork."""

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""

    def after_fork(self) -> None:
        """Start clean in a forked child."""


_registered = threading.Event()


def register(current: Callable[[], Logging | None]) -> None:
    """Have the logging in use, as `current()` returns it then, told of every fork and of the end; once a process."""
    if _registered.is_set():
        return
    _registered.set()

    def tell(do: Callable[[Logging], None]) -> Callable[[], None]:
        def call() -> None:
            logs = current()
            if logs is not None:
                do(logs)

        return call

    flush = tell(lambda logs: logs.flush_at_end())

    def at_end_of_child(_: object = None) -> None:
        """Flush when a multiprocessing child ends: it does so by os._exit, without atexit."""
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:
            multiprocessing.Finalize(None, flush, exitpriority=0)

    def in_child() -> None:
        logs = current()
        if logs is None:
            return
        logs.after_fork()
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:  # which forgets its finalizers when the child begins
            multiprocessing.register_after_fork(flush, at_end_of_child)

    atexit.register(tell(lambda logs: logs.stop_at_end()))
    at_end_of_child()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=tell(lambda logs: logs.before_fork()),
            after_in_parent=tell(lambda logs: logs.after_fork_in_parent()),
            after_in_child=in_child,
        )
