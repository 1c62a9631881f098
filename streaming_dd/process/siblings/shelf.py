"""The folder of one server's workers: what each has published last, and the sum of those that have ended.

A file appears whole or not at all (written beside, then renamed), so a worker that is stopped or killed in the middle
harms nobody. `ended` names those whose numbers are in it: whoever is named there counts no more by a file of its own, so
one rename moves a worker from the one to the other. Nobody waits for a lock. State: the files.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from .identity import Process, alive, master_of

_STATE: Final = ".state"
SOCKET: Final = ".sock"
#: Seconds for which the names of those that were added to `ended` are kept: a reader may hold an answer of theirs.
_REMEMBERED: Final = 600.0


@dataclass(frozen=True, slots=True)
class Member:
    """One worker of the group by the name of its files: process, number of its recorder, slot."""

    name: str
    process: Process
    slot: str

    @classmethod
    def of(cls, name: str) -> Member | None:
        """Return the member whose files have this name, or None for a name of another kind."""
        parts = name.split("-", 3)
        if len(parts) != 4 or not all(part.isdecimal() for part in parts[:3]):
            return None
        return cls(name, Process(int(parts[0]), int(parts[1])), parts[3])


@dataclass(slots=True)
class Ended:
    """The workers that have ended: their numbers in one, and since when they are in it."""

    body: bytes = b""
    names: dict[str, float] = field(default_factory=dict)


class Shelf:
    """The files of a group in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, data: bytes) -> None:
        """Publish what a worker has to say; raise OSError where the disk is full or the folder is gone."""
        self._write(name + _STATE, data)

    def get(self, member: Member) -> bytes | None:
        """Return what a worker published last, if anything."""
        try:
            return (self.folder / (member.name + _STATE)).read_bytes()
        except FileNotFoundError:
            return None

    def fresh(self, member: Member, seconds: float) -> bytes | None:
        """Return what a worker published, if that is not longer ago; a clock that was set back makes nothing fresh."""
        try:
            with open(self.folder / (member.name + _STATE), "rb") as file:
                age = time.time() - os.fstat(file.fileno()).st_mtime
                return file.read() if 0 <= age <= seconds else None
        except OSError:
            return None

    def still(self, name: str) -> None:
        """Say that what a worker published is what it would publish now."""
        os.utime(self.folder / (name + _STATE))

    def members(self) -> tuple[list[Member], set[str]]:
        """Return everyone who has a file or a socket here, and the names of those with a socket."""
        found: dict[str, Member] = {}
        sockets = set()
        for entry in os.listdir(self.folder):
            name, ending = os.path.splitext(entry)
            member = Member.of(name) if ending in (_STATE, SOCKET) else None
            if member is not None:
                found[name] = member
                if ending == SOCKET:
                    sockets.add(name)
        return sorted(found.values(), key=lambda one: (len(one.slot), one.slot, one.name)), sockets

    def ended(self) -> Ended:
        """Return the sum of those that have ended. Read it after everyone else: then nobody is missed or counted twice."""
        try:
            data = (self.folder / "ended").read_bytes()
            (size,) = struct.unpack_from("<I", data)
            return Ended(data[4 + size :], orjson.loads(data[4 : 4 + size]))
        except (OSError, struct.error, orjson.JSONDecodeError):
            return Ended()

    def fold(self, merge: Callable[[list[bytes]], bytes]) -> list[tuple[Member, bytes]]:
        """Add those that have ended to `ended`, and take their files away; return who they were and what they had said.

        Whoever comes while another worker is at it leaves it to that one.
        """
        dead = [member for member in self.members()[0] if alive(member.process) is None]
        if not dead:
            return []
        with self._alone() as allowed:
            return self._fold(dead, merge) if allowed else []

    def _fold(self, dead: list[Member], merge: Callable[[list[bytes]], bytes]) -> list[tuple[Member, bytes]]:
        before = self.ended()
        found = [(one, data) for one in dead if one.name not in before.names and (data := self.get(one))]
        if found:
            now = time.time()
            names = {name: at for name, at in before.names.items() if now - at < _REMEMBERED}
            names |= {one.name: before.names.get(one.name, now) for one in dead}
            body = merge([before.body] * bool(before.body) + [data for _, data in found])
            index = orjson.dumps(names)
            self._write("ended", struct.pack("<I", len(index)) + index + body)
        for one in dead:
            for ending in (SOCKET, _STATE):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.folder / (one.name + ending))
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        import fcntl

        with open(self.folder / "lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _write(self, name: str, data: bytes) -> None:
        beside = self.folder / f"{name}.{os.getpid()}.new"
        try:
            with open(beside, "wb") as file:
                file.write(data)
            os.replace(beside, self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise

    def forget(self) -> bool:
        """Take everything away that the dead have left, unless somebody lives; return whether nobody did.

        Whoever comes meanwhile keeps what it lays here: several workers of a server may begin at once.
        """
        entries = os.listdir(self.folder)
        members = (Member.of(os.path.splitext(entry)[0]) for entry in entries)
        if any(member is not None and alive(member.process) is not None for member in members):
            return False
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder / entry)
        return True


def clean_up(service: Path, own: Path) -> None:
    """Take away the folders of servers that have ended, with all their workers."""
    for folder in service.iterdir():
        master = master_of(folder.name)
        if folder == own or master is None or alive(master) is not None:
            continue
        shelf = Shelf(folder)
        with contextlib.suppress(OSError):
            if shelf.forget():
                folder.rmdir()
