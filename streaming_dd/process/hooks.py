"""What the interpreter tells us of: its end, a fork, the end of a multiprocessing child. State: whether we asked."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol


class Told(Protocol):
    """Who is told: the recorder's module."""

    def at_exit(self) -> None:
        """Learn that the interpreter ends."""

    def after_fork(self) -> bool:
        """Begin anew in a forked child; return whether there is anything to drain at its end."""

    def at_end_of_child(self) -> None:
        """Learn that a multiprocessing child ends."""


_told: Told | None = None


def install(told: Told) -> None:
    """Have `told` learn of the interpreter's end and of forks, from the first call on."""
    global _told
    first, _told = _told is None, told
    if not first:
        return
    atexit.register(_at_exit)
    _drain_at_end_of_child()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _at_exit() -> None:
    if _told is not None:
        _told.at_exit()


def _after_fork() -> None:
    if _told is not None and _told.after_fork():
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:  # which forgets its finalizers when the child begins
            multiprocessing.register_after_fork(install, _drain_at_end_of_child)


def _drain_at_end_of_child(_: object = None) -> None:
    """Drain when a multiprocessing child ends: it does so by os._exit, without atexit."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, _at_end_of_child, exitpriority=1)


def _at_end_of_child() -> None:
    if _told is not None:
        _told.at_end_of_child()
