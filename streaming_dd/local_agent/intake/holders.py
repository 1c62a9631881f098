"""Which process holds a port or a unix socket, as far as /proc tells: for the message that says it is taken. No state.

Other systems have no /proc, and other users' processes cannot be read: the answer is "" then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
LISTENS = "0A"
"""State of a TCP socket that listens; a client's end may have the same port, and does not hold it."""


def of_port(port: int, protocol: str) -> str:
    """Return `NAME (pid N)` for a port of this machine, "" if it is not known; `protocol` is tcp or udp."""
    return _owner({
        f"socket:[{columns[9]}]"
        for table in (protocol, f"{protocol}6")
        for columns in _rows(table)
        if columns[1].endswith(f":{port:04X}") and (protocol == "udp" or columns[3] == LISTENS)
    })  # fmt: skip


def of_connection(port: int) -> str:
    """Return the same for a TCP connection that begins at a port, which keeps it from whoever wants to listen there."""
    return _owner({
        f"socket:[{columns[9]}]"
        for table in ("tcp", "tcp6")
        for columns in _rows(table)
        if columns[1].endswith(f":{port:04X}") and columns[3] != LISTENS and columns[9] != "0"
    })  # fmt: skip


def of_unix_socket(path: str) -> str:
    """Return `NAME (pid N)` for the process that bound a unix socket, "" if it is not known."""
    # A process that bound it by a relative path is listed with that one.
    names = {path, str(Path(path).absolute())}
    return _owner({f"socket:[{columns[6]}]" for columns in _rows("unix") if columns[-1] in names})


def _rows(table: str) -> Iterator[list[str]]:
    with contextlib.suppress(OSError):  # no /proc, or no IPv6
        for row in (PROC / "net" / table).read_text().splitlines()[1:]:
            yield row.split()


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:  # closed since it was listed; what follows in the list is open still
        return ""


def _owner(sockets: set[str]) -> str:
    if not sockets:
        return ""
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if _target(descriptor) in sockets:
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
