"""Where log lines go: a bounded queue with a thread of its own. What is behind it: `stdout`, `console`, `file`, `agent`.

A caller only appends to the queue; the destination's own thread waits a moment, takes what has gathered and writes
it. State: the queue, the thread and the open file, pipe or socket of each destination. docs/decisions/0021.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Final

from ..failure import shown
from ..notices import logger, say
from . import feedback

#: Seconds that lines gather before they are written: what a kill -9 can lose, and 20 wake-ups a second at most.
BATCH_DELAY: Final = 0.05
#: Bytes that wait for one destination at most, whatever their number of lines.
QUEUE_BYTES: Final = 64 * 1024 * 1024
_BATCH_LINES: Final = 500


class _Flush:
    """A request to be told when everything queued so far was delivered, or could not be."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._delivered = False

    def finish(self, delivered: bool) -> None:
        """Answer."""
        self._delivered = delivered
        self._event.set()

    def wait(self, timeout: float) -> bool:
        """Return the answer; False if there is none in time."""
        self._event.wait(timeout)
        return self._delivered


class Destination:
    """A bounded queue of finished lines and the thread that empties it. Subclasses implement `send` and `close`."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.dropped: dict[str, int] = {}
        #: Whether it is the only place that lines go to: then nobody else could say that it fails.
        self.alone = False
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
            self.complain(
                f"logs.dropped.{self.name}",
                f"Log lines for {self.name} are dropped ({reason}): {total} so far.",
            )

    def complain(self, subject: str, message: str) -> None:
        """Say what is wrong with this destination, once a minute; on standard error where it is the only one."""
        self._echo(say(subject, message), message)

    def _echo(self, said: bool, message: str) -> None:
        heard = logger.hasHandlers()  # else the standard library itself writes it there
        stream = feedback.process_stream("stderr")
        if said and self.alone and heard and stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.write(f"streaming_dd: {message}\n")

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
        return self.request_flush().wait(timeout)

    def request_flush(self) -> _Flush:
        """Start to flush, and return what to wait for."""
        request = _Flush()
        if self._stopped or (not self._lines and not self._in_flight):
            request.finish(not self._lines)
        elif self._thread is None or not self._thread.is_alive():
            request.finish(self._drain())
        elif self._thread is threading.current_thread():
            request.finish(False)
        else:
            self._flushes.append(request)
            self._nudge()
        return request

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
            self._in_flight = min(left, _BATCH_LINES, len(self._lines))
            batch = [self._lines.popleft() for _ in range(self._in_flight)]
            done = self._send_guarded(batch)
            self._bytes -= sum(map(len, batch[:done]))
            if done < len(batch):
                self._lines.extendleft(reversed(batch[done:]))
                delivered = False
            self._in_flight = 0
            left -= done
        if not self._lines:
            self._bytes = 0
        for request in requests:
            request.finish(delivered)
        return delivered

    def _send_guarded(self, batch: list[bytes]) -> int:
        try:
            return self.send(batch)
        except Exception as error:  # noqa: BLE001 - a fault here must end neither the thread nor the app
            self.drop(len(batch), "write_failed")
            self.complain(
                f"logs.failed.{self.name}", f"Log lines cannot be written to {self.name}: {shown(error)}"
            )
            return len(batch)
