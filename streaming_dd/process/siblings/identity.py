"""Who a process is, and whose worker it is: pids are given again, so the start time belongs to them. No state.

Linux alone tells start times to everybody (`/proc/<pid>/stat`); elsewhere a worker stands alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

from ...config import Config
from ..private_folder import safe_name

#: States of a process that has ended and is not yet waited for, and of one that was stopped (SIGSTOP, a debugger).
_ENDED: Final = frozenset("ZXx")
_STOPPED: Final = frozenset("Tt")


class Process(NamedTuple):
    """A process by its pid and its start time, in clock ticks since the machine started."""

    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.pid}-{self.start}"


class Looked(NamedTuple):
    """What the system says of a process now."""

    process: Process
    stopped: bool


def look(pid: int) -> Looked | None:
    """Return the process that has this pid now; None if there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
        state, start = words[0].decode(), int(words[19])
    except (OSError, IndexError, ValueError):
        return None
    return None if state in _ENDED else Looked(Process(pid, start), state in _STOPPED)


def alive(process: Process) -> Looked | None:
    """Return how a process is, or None if it has ended, also where another one has its pid now."""
    found = look(process.pid)
    return found if found is not None and found.process == process else None


def group(config: Config) -> str | None:
    """Return the name of the folder in which the workers of our server meet; None for a worker that stands alone.

    Workers of uvicorn, hypercorn and granian are children by multiprocessing, those of gunicorn are forked by the
    process that has its arbiter. Pids mean nothing in another container, so its number is part of the name.
    """
    if config.siblings == "off" or look(os.getpid()) is None:
        return None
    if config.siblings != "auto":
        return f"named-{safe_name(config.siblings)}-{_place()}"
    pid = _master()
    found = look(pid) if pid else None
    return f"master-{found.process}-{_place()}" if found is not None else None


def why_alone(config: Config) -> str:
    """Return why a worker that a master has started cannot meet the others; "" where there is no master."""
    if _master() is None:
        return ""
    return (
        "STREAMING_SIBLINGS=off" if config.siblings == "off" else "this system tells no start times in /proc"
    )


def _master() -> int | None:
    """The pid of the process that starts workers, if this is one of them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        return parent.pid
    return os.getppid() if "gunicorn.arbiter" in sys.modules else None


def master_of(name: str) -> Process | None:
    """Return the master that a group's folder is named after, if it is one of this container and this boot."""
    kind, *numbers = name.split("-")
    if kind != "master" or len(numbers) != 3 or numbers[2] != _place():
        return None
    return Process(int(numbers[0]), int(numbers[1])) if "".join(numbers[:2]).isdecimal() else None


def _place() -> str:
    """This boot of the machine, and this container: where a pid is unique."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    with contextlib.suppress(OSError):
        text += os.readlink("/proc/self/ns/pid")
    return hashlib.blake2s(text.encode(), digest_size=4).hexdigest()
