"""One open stream: what it sent, read in bulk by the recorder's thread. State: in each stream, and in the `EventReader`.

The application's send() only keeps the bodies; which of them hold events is found out at the next round, at the end,
or in place once a stream has kept too much.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from io import BytesIO
from typing import Any, Final, Protocol

from ...catalog import STREAM_COUNTED, STREAMS_FINISHED
from .event_formats import UNKNOWN
from .position import MESSAGE, Format, Position
from .stream_cells import TYPES_LIMIT, ClientKind, StreamCell

#: Bodies of a round whose time is noted, one by one; what a stream sends beyond them is read as one piece.
STAMPED: Final = 4
#: Size of a body that is kept without a thought, and bytes of larger ones that a stream keeps at most.
SMALL: Final = 4096
_KEPT: Final = 262_144
#: Seconds after which a stream's loop reads what the recorder's thread has not.
_LATE: Final = 1.0
_MS: Final = 1000.0
_now = time.perf_counter


class EventReader:
    """Read what the streams of this process have kept. Called by the recorder's thread, and where a stream ends."""

    def __init__(self) -> None:
        #: Streams that have kept something since they were last read.
        self.waiting: deque[OpenStream] = deque()
        self._reading = threading.Lock()
        self._rounds = 0
        self._guarded = False

    def guard(self) -> None:
        """Have the running loop read what is kept if the recorder's thread does not: what is kept is bounded by age."""
        if not self._guarded:
            loop = asyncio.get_running_loop()
            self._guarded = True
            loop.call_later(_LATE, self._relieve, self._rounds, context=Context())

    def _relieve(self, rounds: int) -> None:
        self._guarded = False
        if rounds == self._rounds:
            self.read_all()

    def read_all(self) -> None:
        """Read what every stream has kept."""
        self._rounds += 1
        for _ in range(len(self.waiting)):
            try:
                stream = self.waiting.popleft()
            except IndexError:  # somebody else reads, too
                return
            self.read(stream)

    def end(self, stream: OpenStream) -> None:
        """Read the rest of a stream that has ended."""
        with self._reading:
            stream.end()

    def left(self, stream: OpenStream) -> None:
        """Note that what a stream sends from here on is read by nobody."""
        with self._reading:
            stream.read()
            stream.read_events = stream.events

    def after_fork(self) -> None:
        """Forget in a forked child what the parent's streams have sent."""
        self.waiting.clear()
        self._guarded = False
        self._reading = threading.Lock()

    def read(self, stream: OpenStream) -> None:
        """Read what one stream has kept; bounded by what it may keep."""
        with self._reading:
            stream.read()


class Head(Protocol):
    """The handles of the response that the stream is the body of; see cells.py."""

    def begun(self, seconds: float) -> None:
        """Record when the body began."""


class OpenStream(Position):
    """What one open stream has sent so far, and where in it its format is: one object, since there may be many.

    Times are `time.perf_counter()` seconds, 0 for never.
    """

    __slots__ = (
        "_buffer",
        "_exact",
        "_format",
        "_only",
        "_read",
        "_stalled_at",
        "_stamped",
        "_types",
        "bytes",
        "cell",
        "clients",
        "counts",
        "ended",
        "events",
        "first_event",
        "gap",
        "head",
        "last_event",
        "read_events",
        "reader",
        "reason",
        "started",
        "write",
    )

    def __init__(
        self, cell: StreamCell, clients: ClientKind, started: float, kind: Format, reader: EventReader
    ) -> None:
        super().__init__()
        self.cell = cell
        self.clients = clients
        self.started = started
        self.reader = reader
        #: Told of the first byte as soon as that is read, not at the end: that may be hours away.
        self.head: Head | None = None
        #: The first bodies since the last read, with their times; and a buffer for the others, while there are others.
        self._stamped: list[tuple[bytes, float]] = []
        self._buffer: BytesIO | None = None
        self.write: Callable[[Any], int] | None = None
        #: What was read last, still exported: a write that comes too late for it fails.
        self._read: memoryview | None = None
        self.bytes = 0
        self.events = 0
        #: The type that all events have had, and their number by type once they had several: most streams send one.
        self._only = MESSAGE
        self._types: dict[str, int] | None = None
        #: What the application counts itself, such as tokens.
        self.counts: dict[str, float] | None = None
        self.first_event = 0.0
        self.last_event = 0.0
        self.gap = 0.0
        self.ended = False
        #: Events that were sent while the client was there; -1 while it is.
        self.read_events = -1
        #: Why it ended, if the application said so.
        self.reason = ""
        #: `last_event` is when the event was sent, not when it was read.
        self._exact = False
        self._format = kind
        self._stalled_at = 0.0
        cell.opened.increment()

    # --- in the application's send() --------------------------------------------------------------------------

    def keep(self, body: bytes | bytearray | memoryview, when: float = 0.0) -> None:
        """Keep a body to be read later, with its time (now if not given); read in place what is too much to keep.

        Once a stream has sent a few since they were read, it goes on by `write()`, which copies.
        """
        stamped = self._stamped
        if self._buffer is None and len(stamped) < STAMPED:
            if not stamped:
                self.reader.waiting.append(self)
            # What is not bytes is the application's to change or to free once it was sent.
            stamped.append((body if type(body) is bytes else bytes(body), when or _now()))
            if len(body) > _KEPT:
                self.reader.read(self)
            return
        if self._buffer is None:
            self._buffer = BytesIO()
            self.write = self._buffer.write
            self.reader.waiting.append(self)
            self.reader.guard()
        try:
            self._buffer.write(body)
        except BufferError:  # it is being read
            self._buffer = self.write = None
            self.keep(body)
        else:
            self.check()

    def check(self) -> None:
        """Read in place if too much is kept: called after a large body."""
        buffer = self._buffer
        if buffer is not None and buffer.tell() > _KEPT:
            self.reader.read(self)

    # --- under the reader's lock ------------------------------------------------------------------------------

    def read(self) -> None:
        """Find the events in what was kept, and count them: the stamped bodies one by one, the others as one piece."""
        taken = self._stamped[:]
        del self._stamped[: len(taken)]
        buffer, self._buffer, self.write = self._buffer, None, None
        sampled = False
        for body, when in taken:
            last, known = self.last_event, self._exact
            if self._read_piece(body, when, exact=True) and known and not sampled:
                sampled = True
                self.cell.sample_interval(when - last, when)
        self._read = buffer.getbuffer() if buffer is not None else None
        if self._read is not None:
            self._read_piece(bytes(self._read), _now(), exact=False)

    def _read_piece(self, data: bytes, when: float, *, exact: bool) -> int:
        if self.head is not None and data:
            self.head.begun(when - self.started)
            self.head = None
        self.bytes += len(data)
        self.cell.bytes.total += len(data)
        counts = self._format.read(self, data)
        if not counts:
            if self._format is UNKNOWN and data:
                self._moved(when, exact=exact)
            return 0
        found = sum(counts.values())
        if not self.events:
            self.first_event = when
            self.cell.first_event.record((when - self.started) * _MS)
        self._moved(when, exact=exact)
        self._count(counts, found)
        return found

    def _moved(self, when: float, *, exact: bool) -> None:
        if self.last_event and when - self.last_event > self.gap:
            self.gap = when - self.last_event
        self.last_event = when
        self._exact = exact

    def _count(self, counts: dict[str, int], found: int) -> None:
        before = self.events
        self.events = before + found
        self.cell.count_events(counts)
        types = self._types
        if types is None:
            if len(counts) == 1:
                (name,) = counts
                if not before or name == self._only:
                    self._only = name
                    return
            types = self._types = {self._only: before} if before else {}
        for name, count in counts.items():
            if name not in types and len(types) >= TYPES_LIMIT:
                name = "other"
            types[name] = types.get(name, 0) + count

    @property
    def types(self) -> dict[str, int]:
        """The events by type; empty where none has a type of its own."""
        if self._types is not None:
            return self._types
        return {self._only: self.events} if self._only != MESSAGE else {}

    def end(self) -> None:
        """Read what is left, and what ends with the stream."""
        self.read()
        if self.ended:
            return
        self.ended = True
        unfinished = self._format.end(self)
        if unfinished:
            self._count({MESSAGE: unfinished}, unfinished)
        if self.read_events >= 0:
            self.cell.unread.total += self.events - self.read_events
        if self.done and not self.reason:
            self.reason = "done"
        if self.reason:
            self.cell.bounded(STREAMS_FINISHED, "reason", self.reason).increment()

    def count(self, name: str, amount: float) -> None:
        """Count something of the application's own, such as tokens."""
        self.cell.bounded(STREAM_COUNTED, "counted", name).increment(amount)
        counts = self.counts = self.counts if self.counts is not None else {}
        if name in counts or len(counts) < TYPES_LIMIT:
            counts[name] = counts.get(name, 0) + amount

    def note_stall(self, now: float, limit: float) -> float:
        """Count a stream without an event for `limit` seconds, once until it moves; return when to look again."""
        last = self.last_event or self.started
        if now - last > limit:
            if self._stalled_at != last:
                self._stalled_at = last
                self.cell.stalls.increment()
            return now + limit
        return last + limit
