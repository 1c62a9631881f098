"""The demo's ports, and who holds one that is taken. No state."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

HOST = "127.0.0.1"


class PortTaken(Exception):
    """A port that the demo needs is taken; the message says which, by whom, and what to do."""


@dataclass(frozen=True)
class Ports:
    """Where everything listens: the agent's default ports, and those of the example's servers."""

    dogstatsd: int = 8125
    traces: int = 8126
    logs: int = 10518
    page: int = 8181
    web: int = 8888
    web_2: int = 8889
    prices: int = 8890

    def shifted(self, offset: int) -> Ports:
        """Return the ports with `offset` added to each."""
        return Ports(**{field.name: getattr(self, field.name) + offset for field in fields(self)})

    def check(self) -> None:
        """Raise PortTaken for the ports that cannot be bound."""
        taken = []
        for field in fields(self):
            port, kind = getattr(self, field.name), "udp" if field.name == "dogstatsd" else "tcp"
            if not _free(port, kind):
                taken.append(f"  {port}/{kind}, for {_PURPOSE[field.name]}: held by {holder(port, kind)}")
        if taken:
            raise PortTaken(
                "\n".join(
                    [
                        "The demo cannot start: these ports are taken.",
                        *taken,
                        'Stop what holds them, or move the whole demo: make demo DEMO="--port-offset 1000"',
                    ]
                )
            )


_PURPOSE = {
    "dogstatsd": "metrics (DogStatsD)",
    "traces": "traces",
    "logs": "logs",
    "page": "the agent's page",
    "web": "the example",
    "web_2": "the example's second worker",
    "prices": "the example's price service",
}
_USUAL = {8125: "a Datadog Agent or another StatsD server", 8126: "a Datadog Agent", 10518: "a Datadog Agent"}


def _free(port: int, kind: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        if kind == "tcp":
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the servers bind: TIME_WAIT is no holder
        try:
            probe.bind((HOST, port))
            if kind == "tcp":
                probe.listen()
        except OSError:
            return False
    return True


def holder(port: int, kind: str) -> str:
    """Say which process holds a port, as far as /proc tells; else who usually does."""
    with suppress(OSError):
        inodes = _inodes(port, kind)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and inodes and _owns(entry, inodes):
                name = (entry / "comm").read_text().strip()
                return f"process {entry.name} ({name})"
    return f"an unknown process, perhaps {_USUAL.get(port, 'another demo')}"


def _inodes(port: int, kind: str) -> set[str]:
    """Return the socket inodes that are bound to a port (for TCP: that listen there)."""
    found = set()
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        with suppress(FileNotFoundError), open(table) as lines:
            for line in list(lines)[1:]:
                columns = line.split()
                listens = kind == "udp" or columns[3] == "0A"
                if listens and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{columns[9]}]")
    return found


def _owns(process: Path, inodes: set[str]) -> bool:
    """Tell whether a process has one of these sockets open; other users' processes cannot be read."""
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # closed since it was listed
                if os.readlink(link) in inodes:
                    return True
    return False
