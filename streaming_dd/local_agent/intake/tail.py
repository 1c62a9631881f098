"""Log files followed as the Agent's `type: file` sources are. State: one `Tail` per source, used on the agent's loop.

`poll` looks at the files every tick: an offset and an inode per file are needed anyway, and 250 ms is soon enough.
A rotated file (moved away, or cut) is read to its end, then the new one from its start. Lines already there when the
agent starts are skipped, as the Agent does.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .logs import MAX_LINE
from .sockets import LineSplitter

CHUNK = 256 * 1024
MAX_FILES = 100
MAX_PER_POLL = 8 * CHUNK
"""Bytes of one file that are read per tick, so that a huge file does not hold up everything else."""


@dataclass(frozen=True)
class LogSource:
    """Where logs come from, as in conf.d: `type` is "file" or "tcp"."""

    type: str
    path: str = ""
    port: int = 0
    service: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()


class _Followed:
    """One open file."""

    def __init__(self, path: str, *, from_end: bool) -> None:
        self.file: BinaryIO = open(path, "rb")  # noqa: SIM115 - it stays open from poll to poll
        self.inode = os.fstat(self.file.fileno()).st_ino
        self.splitter = LineSplitter(MAX_LINE)
        if from_end:
            self.file.seek(0, os.SEEK_END)

    def lines(self) -> Iterator[bytes]:
        if os.fstat(self.file.fileno()).st_size < self.file.tell():
            self.file.seek(0)  # cut to size 0 by whoever writes it
            self.splitter = LineSplitter(MAX_LINE)
        for _ in range(MAX_PER_POLL // CHUNK):
            chunk = self.file.read(CHUNK)
            if not chunk:
                return
            yield from self.splitter.feed(chunk)


class Tail:
    """Follows the files that match a source's path, which may hold wildcards."""

    def __init__(self, source: LogSource) -> None:
        self.source = source
        self.problem = ""
        """Why the last poll could not read a file, "" if it could."""
        self._files: dict[str, _Followed] = {}
        self._started = False

    def poll(self) -> list[bytes]:
        """Return the lines that were appended since the last call."""
        lines: list[bytes] = []
        self.problem = ""
        for path in sorted(glob.glob(self.source.path))[:MAX_FILES]:
            try:
                self._poll_file(path, lines)
            except OSError as error:
                self.problem = f"{path}: {error.strerror or error}"
        self._started = True
        return lines

    def close(self) -> None:
        for followed in self._files.values():
            followed.file.close()
        self._files.clear()

    def _poll_file(self, path: str, lines: list[bytes]) -> None:
        followed = self._files.get(path)
        if followed is not None and followed.inode != os.stat(path).st_ino:
            lines += followed.lines()
            lines += followed.splitter.flush()
            followed.file.close()
            followed = None
        if followed is None:
            new_at_start = path not in self._files and not self._started
            followed = self._files[path] = _Followed(path, from_end=new_at_start)
        lines += followed.lines()
