"""The worker slot: a small stable number that tells the gauges of several workers on one host apart.

A slot is the lowest number whose lock file nobody holds; the operating system frees it when the process ends,
however it ends. State: lock files in the temporary directory, one folder per user and service.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from .config import Config
from .notices import say

_SLOTS: Final = 1024


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
    if config.worker:
        return Slot(config.worker)
    try:
        return _lock_first_free(config.service or "default")
    except (ImportError, OSError) as error:
        say(
            "worker",
            f"no worker slot could be locked ({error}); set STREAMING_WORKER if this host runs several workers",
        )
        return Slot("0")


def _lock_first_free(service: str) -> Slot:
    import fcntl

    user = os.getuid() if hasattr(os, "getuid") else 0
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", service)[:80]
    folder = Path(tempfile.gettempdir()) / f"streaming-dd-{user}" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != user:
        raise PermissionError(f"{folder} belongs to another user")
    for number in range(_SLOTS):
        lock = open(folder / f"slot-{number}.lock", "ab")  # noqa: SIM115 - held for the life of the process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Slot(str(number), lock)
    return Slot("overflow")
