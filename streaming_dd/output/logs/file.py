"""A log file that is rotated at a size, safe to share between workers. State: the open file. docs/decisions/0024."""

from __future__ import annotations

import contextlib
import errno
import os

from ...errors import ConfigError
from .destinations import Destination


class RotatingFile(Destination):
    """A file that is rotated at a size: `path` > `path.1` > ... > `path.<count>`.

    Several processes may share it: every write holds the file's lock and makes sure first that the locked file is
    still the one at `path`, so a rotation by another worker (or by logrotate) loses and mixes nothing.
    """

    def __init__(self, path: str, max_bytes: int, count: int, limit: int) -> None:
        self.path = os.path.abspath(path)
        self._max_bytes = max_bytes
        self._count = count
        self._fd = -1
        self._fresh = True
        self._failing = False
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            self._open()
        except OSError as error:
            raise ConfigError(
                "STREAMING_LOG_FILE",
                f"{path!r} cannot be written: {error.strerror}.",
                "Name a writable file.",
            ) from None
        super().__init__(os.path.basename(path), limit)

    def full_reason(self) -> str:
        return "write_failed" if self._failing else "queue_full"

    def send(self, lines: list[bytes]) -> int:
        done = 0
        try:
            while done < len(lines):
                self._lock_file()
                try:
                    done += self._write_some(lines, done)
                finally:
                    self._unlock_file()
            self._failing = False
        except OSError as error:  # a full disk, a directory that vanished: the lines wait until it is over
            self._failing = True
            self.complain(
                f"logs.failed.{self.path}",
                f"The log file {self.path} cannot be written ({error.strerror or error}): "
                f"up to {self._limit} lines are kept until it can.",
            )
        return done

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.close()
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._fresh = True

    def _lock_file(self) -> None:
        """Hold the lock of the file that is at `path` now."""
        while True:
            if self._fd < 0:
                self._open()
            self._flock(locked=True)
            try:
                at_path = os.stat(self.path)
            except FileNotFoundError:
                at_path = None
            ours = os.fstat(self._fd)
            if at_path is not None and (at_path.st_ino, at_path.st_dev) == (ours.st_ino, ours.st_dev):
                return
            self.close()  # rotated by somebody else; closing gives up its lock

    def _unlock_file(self) -> None:
        if self._fd >= 0:
            self._flock(locked=False)

    def _flock(self, *, locked: bool) -> None:
        import fcntl  # here, so that the other destinations work where there is none (Windows)

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if locked else fcntl.LOCK_UN)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            # a file system without locks: one worker is as safe as ever, several may lose lines at a rotation
            self.complain(
                f"logs.unlocked.{self.path}", f"The log file {self.path} is on a file system without locks."
            )

    def _rotate(self) -> None:
        """Rename the files, oldest first; the caller holds the lock of the one at `path`."""
        for number in range(self._count - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.replace(self.path, f"{self.path}.1")
        self.close()

    def _write_some(self, lines: list[bytes], start: int) -> int:
        """Write the lines from `start` that fit into the file, or rotate; return how many were written."""
        size = os.fstat(self._fd).st_size
        if self._fresh:
            self._fresh = False
            if size and os.pread(self._fd, 1, size - 1) != b"\n":  # somebody was killed while writing
                size += os.write(self._fd, b"\n")
        if size and size + len(lines[start]) + 1 > self._max_bytes:
            self._rotate()
            return 0
        stop, end = start, size
        while stop < len(lines) and (stop == start or end + len(lines[stop]) + 1 <= self._max_bytes):
            end += len(lines[stop]) + 1
            stop += 1
        view = memoryview(b"\n".join(lines[start:stop]) + b"\n")
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, size)  # no half lines: these will be written again
            raise
        return stop - start
