"""A fork waits for an import or a first use of this package that another thread is in the middle of.

The child would find the locks of that import taken by a thread that it does not have, and wait for them for ever.
State: the lock that a first use holds, which threads are about to fork, and who registered. docs/decisions/0170.
"""

from __future__ import annotations

import importlib._bootstrap as importing
import os
import threading
import time

TYPE_CHECKING = False  # `typing` takes a while to import, in which nobody would hold a fork up yet
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: Most seconds that a fork waits: an import that takes longer may itself wait for the thread that forks.
_LIMIT: Final = 30.0
#: Seconds between two looks at the imports under way: nobody tells of their end.
_PAUSE: Final = 0.002
_PACKAGE: Final = __name__.partition(".")[0]


class Registrations:
    """Stand in for `os.register_at_fork` while libraries are imported that use it, or a fork waits for such an import.

    loguru and logging take their locks before a fork, and ddtrace stops its threads: whoever we wait for may need those.
    So we register again after each of them, and are called before them. And who registers while a fork waits has its
    turn after that: Python has made its list already, and would call only what is due after the fork.
    """

    def __init__(self) -> None:
        self._register: Any = getattr(os, "register_at_fork", None)
        self._lock = threading.Lock()
        self._users = 0
        self.late: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._register is not None:
                os.register_at_fork = self  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and getattr(os, "register_at_fork", None) is self:
                os.register_at_fork = self._register

    def __call__(self, **hooks: Callable[[], object]) -> None:
        self._register(**hooks)
        if "before" in hooks:
            self.come_first()
            self.late.append(hooks["before"])

    def come_first(self) -> None:
        """Have a fork wait for us before it does anything else that has been asked for until now."""
        if self._register is not None:
            self._register(
                before=first_use.before_fork,
                after_in_parent=first_use.after_fork_in_parent,
                after_in_child=first_use.after_fork_in_child,
            )

    def after_fork_in_child(self) -> None:
        """Begin anew: nobody else is here."""
        self._lock = threading.Lock()
        self._users = 1
        self.__exit__()


class FirstUse:
    """Held (`with first_use:`) by whoever sets the package up or imports something late, in any thread.

    Nobody waits for it who may hold the lock of an import of ours: no module does so while it is imported.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fork = threading.local()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Wait until no other thread is at it, and keep others from beginning. Called several times before a fork."""
        fork = self._fork.__dict__
        deadline = fork.setdefault("deadline", time.monotonic() + _LIMIT)
        before = len(registrations.late)
        with registrations:
            if not fork.get("held"):
                fork["held"] = self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            while others_import() and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        for hook in reversed(registrations.late[before:]):
            hook()

    def after_fork_in_parent(self) -> None:
        """Let others begin again."""
        held = self._fork.__dict__.get("held")
        self._fork.__dict__.clear()
        if held:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: nobody else is here."""
        self._lock = threading.RLock()
        self._fork = threading.local()
        registrations.after_fork_in_child()


def others_import() -> bool:
    """Return whether another thread is in the middle of an import of this package."""
    me = threading.get_ident()
    locks: dict[str, Any] = getattr(importing, "_module_locks", {})
    for name, reference in locks.copy().items():
        if name.partition(".")[0] == _PACKAGE:
            lock = reference()
            if lock is not None and getattr(lock, "owner", None) not in (None, me):
                return True
    return False


registrations: Final = Registrations()
first_use: Final = FirstUse()
registrations.come_first()
with registrations:
    import logging  # noqa: F401
