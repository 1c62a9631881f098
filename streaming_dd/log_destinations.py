"""Where log lines go: standard output, a rotating file, the Agent's TCP port; each with a bounded queue and a thread.

A caller only appends to the queue; the destination's own thread waits a moment, takes what has gathered and writes
it. State: the queue, the thread and the open file, pipe or socket of each destination. docs/decisions/0021.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Final, TextIO

from .errors import ConfigError
from .notices import say

#: Seconds that lines gather before they are written: what a kill -9 can lose, and 20 wake-ups a second at most.
BATCH_DELAY: Final = 0.05
#: Bytes that wait for one destination at most, whatever their number of lines.
QUEUE_BYTES: Final = 64 * 1024 * 1024
_BATCH_LINES: Final = 500
_PIPE_BUF: Final = getattr(select, "PIPE_BUF", 512)


class _Flush:
    """A request to be told when everything queued so far was delivered, or could not be."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.delivered = False


class Destination:
    """A bounded queue of finished lines and the thread that empties it. Subclasses implement `send` and `close`."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.dropped: dict[str, int] = {}
        self._limit = limit
        self._stopped = False
        self._reset()
        self._start()

    def _reset(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._flushes: deque[_Flush] = deque()
        self._tokens: SimpleQueue[None] = SimpleQueue()  # unlike a Condition, usable in a signal handler
        self._lock = threading.RLock()
        self._asleep = True
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        self._previous: threading.Thread | None = None
        self._in_flight = 0
        self._hurried = False  # do not wait for further lines
        self._last_chance = False  # somebody waits for a flush: no slow attempts

    # --- the caller's side: never blocks, never raises ------------------------------------------------------

    def put(self, line: bytes, urgent: bool = False) -> None:
        """Queue `line` (without its newline), or drop and count it. `urgent` wakes the thread at once."""
        waiting = len(self._lines)
        if waiting >= self._limit or self._bytes > QUEUE_BYTES:
            self.drop(1, "stopped" if self._stopped else self.full_reason())
            return
        self._lines.append(line)
        self._bytes += len(line)
        if urgent or waiting == self._limit // 2:
            self._hurried = True
            self._wake()
        elif self._asleep:
            self._wake()

    def put_many(self, lines: list[bytes]) -> None:
        """Queue several lines at the price of one, or drop and count those beyond the limit."""
        room = self._limit - len(self._lines) if self._bytes <= QUEUE_BYTES else 0
        if room < len(lines):
            self.drop(len(lines) - max(0, room), "stopped" if self._stopped else self.full_reason())
            lines = lines[: max(0, room)]
        self._lines.extend(lines)
        self._bytes += sum(map(len, lines))
        if lines:
            self._wake()

    def drop(self, count: int, reason: str) -> None:
        """Count lines that are lost, and say so once a minute."""
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
            total = sum(self.dropped.values())
        if not self._stopped:
            say(
                f"logs.dropped.{self.name}",
                f"Log lines for {self.name} are dropped ({reason}): {total} so far.",
            )

    def full_reason(self) -> str:
        """Return why the queue is full."""
        return "queue_full"

    def _wake(self) -> None:
        self._asleep = False
        if self._thread is None:
            self._start()
        self._nudge()

    def _nudge(self) -> None:
        if self._tokens.empty():  # one is enough; many would make the thread spin later
            self._tokens.put(None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._leave = threading.Event()
            thread = threading.Thread(
                target=self._run,
                args=(self._leave, self._previous),
                name=f"streaming-dd-log-{self.name}",
                daemon=True,
            )
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down: flush() delivers in its caller's thread
                self._thread = None

    def flush(self, timeout: float) -> bool:
        """Return True once everything queued before this call was delivered, False if it cannot be in time."""
        if self._stopped:
            return not self._lines
        if self._thread is None or not self._thread.is_alive():
            return self._drain()
        if self._thread is threading.current_thread():
            return False
        request = _Flush()
        self._flushes.append(request)
        self._nudge()
        request.event.wait(timeout)
        return request.delivered

    def stop(self, timeout: float) -> bool:
        """Deliver what is queued, end the thread and close; what is left after `timeout` seconds is dropped."""
        if self._stopped:
            return True
        deadline = time.monotonic() + timeout
        delivered = self.flush(timeout)
        self._stopped = True
        self._limit = -1
        self._leave.set()
        self._nudge()
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()) + 0.3)
        stuck = thread is not None and thread.is_alive()
        left = len(self._lines) + (self._in_flight if stuck else 0)
        if left:
            self.drop(left, self.full_reason())
            self._lines.clear()
        if not stuck:
            self.close()
        return delivered and not left

    # --- around a fork --------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """End the thread for the moment: a process with threads is not safe to fork, and Python warns of it."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._leave.set()
        self._nudge()
        thread.join(0.2)
        self._previous = thread  # where it is still busy, the next one begins when it has ended
        self._thread = None
        self._asleep = True

    def after_fork_in_parent(self) -> None:
        """Go on where `before_fork` stopped."""
        if self._lines or self._flushes:
            self._wake()

    def after_fork_in_child(self) -> None:
        """Forget the parent's lines and handles: the parent writes those. The thread starts with the first line."""
        self._reset()
        self.dropped = {}
        self.close()

    # --- the thread's side ----------------------------------------------------------------------------------

    def send(self, lines: list[bytes]) -> int:
        """Deliver lines; return how many are done with, fewer than given if the rest has to be tried later."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what `send` opened."""

    def retry_delay(self) -> float:
        """Return the seconds to wait after `send` could not deliver everything."""
        return 0.5

    def _run(self, leave: threading.Event, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
        while not leave.is_set():
            if not self._lines and not self._flushes:
                self._sleep()
                continue
            if not self._flushes and not self._hurried:
                self._wait(BATCH_DELAY)
            if not leave.is_set() and not self._drain():
                self._wait_for_retry(leave)

    def _sleep(self) -> None:
        self._asleep = True
        if not self._lines and not self._flushes:  # again: a line may have come before the flag was seen
            self._tokens.get()
        self._asleep = False

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(Empty):
            self._tokens.get(timeout=seconds)

    def _wait_for_retry(self, leave: threading.Event) -> None:
        """Wait, whatever lines arrive, until the next attempt is due; a flush or the end cuts it short."""
        due = time.monotonic() + self.retry_delay()
        while not leave.is_set() and not self._flushes and (left := due - time.monotonic()) > 0:
            self._wait(left)

    def _drain(self) -> bool:
        requests = [self._flushes.popleft() for _ in range(len(self._flushes))]
        self._hurried = False
        self._last_chance = bool(requests)
        left = len(self._lines)
        delivered = True
        while left > 0 and delivered and self._lines:
            batch = [self._lines.popleft() for _ in range(min(left, _BATCH_LINES, len(self._lines)))]
            self._in_flight = len(batch)
            done = self._send_guarded(batch)
            self._in_flight = 0
            self._bytes -= sum(map(len, batch[:done]))
            if done < len(batch):
                self._lines.extendleft(reversed(batch[done:]))
                delivered = False
            left -= done
        if not self._lines:
            self._bytes = 0
        for request in requests:
            request.delivered = delivered
            request.event.set()
        return delivered

    def _send_guarded(self, batch: list[bytes]) -> int:
        try:
            return self.send(batch)
        except Exception as error:  # noqa: BLE001 - a fault here must end neither the thread nor the app
            self.drop(len(batch), "write_failed")
            say(f"logs.failed.{self.name}", f"Log lines cannot be written to {self.name}: {error!r}")
            return len(batch)


class Stdout(Destination):
    """Standard output as it was when logging started: its file descriptor, or the stream itself if it has none."""

    def __init__(self, limit: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        try:
            self._fd = self._stream.fileno()
        except (AttributeError, OSError, ValueError):
            self._fd = -1
        super().__init__("stdout", limit)

    def send(self, lines: list[bytes]) -> int:
        if self._fd < 0:
            self._stream.write("".join(line.decode() + "\n" for line in lines))
            self._stream.flush()
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
            say(
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
            say(f"logs.unlocked.{self.path}", f"The log file {self.path} is on a file system without locks.")

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


class AgentTcp(Destination):
    """The Agent's TCP log intake. Lines wait in the queue while it is away, as many as the queue holds."""

    CONNECT_TIMEOUT: Final = 1.0
    SEND_TIMEOUT: Final = 0.2
    LONGEST_RETRY: Final = 2.0

    def __init__(self, address: str, limit: int) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host.strip("[]"), int(port))
        self._socket: socket.socket | None = None
        self._failures = 0
        self._failed_at = 0.0
        super().__init__(f"agent {address}", limit)

    def full_reason(self) -> str:
        return "queue_full" if self._socket is not None else "disconnected"

    def retry_delay(self) -> float:
        return float(min(self.LONGEST_RETRY, 0.1 * 2 ** min(self._failures, 10)))

    def send(self, lines: list[bytes]) -> int:
        connection = self._connect()
        if connection is None:
            return 0
        data = b"\n".join(lines) + b"\n"
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[connection.send(view) :]
                except TimeoutError:  # it does not read: the queue fills meanwhile, and drops
                    if self._leave.is_set():
                        break
        except OSError:
            self.close()
        return bytes(data[: len(data) - len(view)]).count(b"\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket | None:
        if self._socket is not None and self._alive(self._socket):
            return self._socket
        self.close()
        if self._last_chance and self._failures and time.monotonic() - self._failed_at < 5.0:
            return None
        try:
            self._socket = socket.create_connection(self.address, timeout=self.CONNECT_TIMEOUT)
        except OSError as error:
            self._failures += 1
            self._failed_at = time.monotonic()
            host, port = self.address
            say(
                f"logs.unreachable.{host}:{port}",
                f"The Agent's log intake at {host}:{port} cannot be reached ({error.strerror or error}): "
                f"up to {self._limit} lines are kept until it answers.",
            )
            return None
        self._failures = 0
        self._socket.settimeout(self.SEND_TIMEOUT)
        return self._socket

    @staticmethod
    def _alive(connection: socket.socket) -> bool:
        """Tell whether the peer has closed: it never sends anything, so end of file is all there is to read."""
        connection.setblocking(False)
        try:
            return connection.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError as error:
            return error.errno == errno.EINTR
        finally:
            connection.settimeout(AgentTcp.SEND_TIMEOUT)
