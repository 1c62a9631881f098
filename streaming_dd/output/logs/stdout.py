"""Standard output as a destination. State: the stream or file descriptor that it was when logging started."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Final, TextIO

from . import feedback
from .destinations import Destination

_PIPE_BUF: Final = getattr(select, "PIPE_BUF", 512)


class Stdout(Destination):
    """Standard output as it was when logging started: its file descriptor, or the stream itself if it has none.

    Where that turns out to log what is written to it, the one that the process began with is taken in its place.
    """

    def __init__(self, limit: int, stream: TextIO | None = None) -> None:
        self._echoes = feedback.Echoes(self._came_back)
        self._use(feedback.process_stream("stdout") if stream is None else stream)
        super().__init__("stdout", limit)

    def _use(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._fd = feedback.descriptor_of(stream)

    def _go_elsewhere(self) -> None:
        """Take the process' own standard output, if there is one that does not log either."""
        own = sys.__stdout__
        self._use(None if self._stream is None or (self._fd < 0 and self._stream is own) else own)

    def _came_back(self, line: str) -> None:
        self._go_elsewhere()
        self.put(line.encode())

    def close(self) -> None:
        """Forget what was written."""
        self._echoes.close()

    def send(self, lines: list[bytes]) -> int:
        if self._fd < 0:
            if self._stream is None:
                self.drop(len(lines), "write_failed")
            elif not self._echoes.write(self._stream, [line.decode() for line in lines]):
                self._go_elsewhere()
                return Stdout.send(self, lines)
            return len(lines)
        chunk: list[bytes] = []
        size = 0
        for line in lines:  # several workers may share a pipe: only writes up to PIPE_BUF never mix
            if chunk and size + len(line) + 1 > _PIPE_BUF:
                self._write(b"\n".join(chunk) + b"\n")
                chunk, size = [], 0
            chunk.append(line)
            size += len(line) + 1
        self._write(b"\n".join(chunk) + b"\n")
        return len(lines)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # somebody made the pipe non-blocking, and its reader is slow
                time.sleep(0.01)
