"""The worker slot: a small stable number that tells the gauges of several workers on one host apart.

A slot is the lowest number whose lock file nobody holds; the operating system frees it when the process ends,
however it ends. State: lock files in this user's private folder, one folder per service (private_folder.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Final

from ..config import Config
from ..output.notices import say
from .private_folder import private_folder

_SLOTS: Final = 1024
#: Stands in STREAMING_WORKER for the number: where several pods share a host, and each has several workers.
_SLOT: Final = "{slot}"


@dataclass(slots=True)
class Slot:
    """A worker's place: `name` is the value of the tag `worker`."""

    name: str
    lock: IO[bytes] | None = None

    def release(self) -> None:
        """Free the slot for another process."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def take_slot(config: Config) -> Slot:
    """Return the configured slot, or the first free one of this service on this host."""
    if config.worker and _SLOT not in config.worker:
        return Slot(config.worker)
    try:
        slot = _lock_first_free(config.service or "default")
        slot.name = (config.worker or _SLOT).replace(_SLOT, slot.name)
        return slot
    except (ImportError, OSError) as error:
        say(
            "worker",
            f"no worker slot could be locked ({error}); set STREAMING_WORKER if this host runs several workers",
        )
        return Slot((config.worker or _SLOT).replace(_SLOT, "0"))


def _lock_first_free(service: str) -> Slot:
    import fcntl

    folder = private_folder(service)
    for number in range(_SLOTS):
        lock = open(folder / f"slot-{number}.lock", "ab", opener=_no_link)  # noqa: SIM115 - held for life
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Slot(str(number), lock)
    return Slot("overflow")


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
