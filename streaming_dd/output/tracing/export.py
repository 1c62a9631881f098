"""What ddtrace's exporter cannot send: kept while the Agent is away, counted where it is lost.

ddtrace itself tries a payload a few times and then drops it with a line in its log, so no figure shows the loss.
State: the payloads that are kept, bounded, how many traces were refused since they were last counted, and until when
there is time for it.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ..notices import back, out
from .outlet import Outlet
from .private import Payload, abandon_exporter, stand_before_exporter, writer_of

#: Bytes of encoded traces that are kept while an Agent that was there is away; what comes then is dropped and counted.
KEPT_LIMIT: Final = 8 * 1024 * 1024
#: Kept payloads that are sent after one that has arrived.
_AT_ONCE: Final = 4
_CODE: Final = re.compile(r"code: (\d{3})")
#: Answers that say nothing against the payload itself.
_TRY_AGAIN: Final = frozenset({408, 429})


#: Seconds that a thread may take to give up a payload for which the time is over.
_GIVING_UP: Final = 0.2


class Export:
    """Stand between ddtrace's writer and its exporter."""

    def __init__(self, tracer: Any, outlet: Outlet) -> None:
        self._tracer = tracer
        self._outlet = outlet
        self._writer: Any = None
        self._kept: deque[tuple[bytes, int, Any]] = deque()
        self._kept_bytes = 0
        #: Traces that were lost on their way, since they were last counted.
        self.refused = 0
        #: Monotonic time from which on nothing is sent or waited for: the process ends.
        self._until = float("inf")
        #: Told when a payload that is under way has been sent, or need not be waited for so long.
        self._news = threading.Condition()
        #: Payloads under way: ddtrace's own thread sends, and whoever has its tracer flush.
        self._sending = 0

    def attach(self) -> None:
        """Stand before the exporter of the writer in use; ddtrace makes another one when it is configured anew."""
        writer = writer_of(self._tracer)
        if writer is self._writer:
            return
        self._writer = writer
        stand_before_exporter(writer, self._standing_before)

    def _standing_before(self, send: Payload) -> Payload:
        def patient(payload: bytes, count: int, client: Any) -> None:
            self._wait_for(lambda: send(payload, count, client))

        def guarded(payload: bytes, count: int, client: Any) -> None:
            self._send(patient, payload, count, client)

        return guarded

    def end(self, timeout: float) -> None:
        """Send and wait no longer than that: the process ends. Returns when no payload is under way any more: ddtrace's
        own end waits for the lock of one.
        """
        with self._news:
            self._until = time.monotonic() + timeout
            self._news.notify_all()
            self._news.wait_for(lambda: not self._sending, timeout + _GIVING_UP)

    def lose(self, queued: int = 0) -> None:
        """Count what is kept as lost, and what ddtrace had queued: nobody will send it any more."""
        self.refused += queued + sum(count for _, count, _ in self._kept)
        self._kept.clear()
        self._kept_bytes = 0

    def _wait_for(self, send: Callable[[], None]) -> None:
        """Send in a thread that nobody joins: ddtrace tries one payload for 20 s, and the interpreter's end waits for
        ddtrace's own thread. docs/decisions/0175.
        """
        if time.monotonic() >= self._until:
            raise TimeoutError("the process ends")
        ends: list[BaseException | None] = []

        def run() -> None:
            end = None
            try:
                send()
            except BaseException as error:  # noqa: BLE001 - raised below; a panic of the native exporter is no Exception
                end = error
            with self._news:
                ends.append(end)
                self._news.notify_all()

        with self._news:
            try:
                threading.Thread(target=run, name="streaming-dd-export", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                pass
            else:
                self._wait_until(ends)
        if not ends:
            send()
        elif ends[0] is not None:
            raise ends[0]

    def _wait_until(self, ends: list[BaseException | None]) -> None:
        self._sending += 1
        try:
            while not ends:
                left = self._until - time.monotonic()
                if left <= 0:
                    abandon_exporter(self._writer)
                    raise TimeoutError("the process ends, and the Agent has not answered")
                self._news.wait(min(left, threading.TIMEOUT_MAX))
        finally:
            self._sending -= 1
            self._news.notify_all()

    def after_fork(self) -> None:
        """Leave what is kept to the parent."""
        self._kept = deque()
        self._kept_bytes = self.refused = 0
        self._until = float("inf")
        self._news = threading.Condition()
        self._sending = 0
        self._outlet.has_room = False

    def _send(self, send: Any, payload: bytes, count: int, client: Any) -> None:
        if self._outlet.agent_is_absent and self._keep(payload, count, client):
            return
        try:
            send(payload, count, client)
        except Exception as error:
            found = _CODE.search(str(error))
            code = int(found[1]) if found else 0
            again = (
                code in _TRY_AGAIN or code >= 500 or (not code and not isinstance(error, UnboundLocalError))
            )
            if again and self._outlet.was_there and self._keep(payload, count, client):
                self._is_away(error)
                return
            self.refused += count
            raise  # ddtrace writes its own line
        self._outlet.was_there = True
        self._send_kept(send)

    def _keep(self, payload: bytes, count: int, client: Any) -> bool:
        if self._kept_bytes + len(payload) > KEPT_LIMIT:
            self._outlet.has_room = False
            return False
        self._kept.append((payload, count, client))
        self._kept_bytes += len(payload)
        self._outlet.has_room = self._kept_bytes < KEPT_LIMIT
        return True

    def _send_kept(self, send: Any) -> None:
        """Send a few of the payloads that are kept, the oldest first; the first that fails stays, with the others."""
        ending = self._until != float("inf")
        for _ in range(len(self._kept) if ending else min(_AT_ONCE, len(self._kept))):
            payload, count, client = self._kept[0]
            try:
                send(payload, count, client)
            except Exception as error:  # noqa: BLE001 - the payload at hand has been sent
                self._is_away(error)
                return
            self._kept.popleft()
            self._kept_bytes -= len(payload)
        if not self._kept:
            back(
                "spans_kept",
                lambda outage: f"the Agent takes spans again {outage.lasted}; those kept meanwhile are sent.",
            )
        self._outlet.has_room = True

    @staticmethod
    def _is_away(error: Exception) -> None:
        out("spans_kept", f"the Agent does not take spans now ({error}); they are kept for a while.")
