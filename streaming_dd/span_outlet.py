"""The way out of finished spans: some are completed there, and where no Agent takes them they are dropped.

`Completion` and `Outlet` are ddtrace's trace filters, the first and the last: they get every trace just before ddtrace
queues it for the Agent. State: what waits to be completed, who takes traces in place of the Agent, and whether that is
there (docs/decisions/0012 says why it is asked beforehand).
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

#: Seconds between two looks for an Agent: one that is there, one that is missed.
_LOOK_EVERY: Final = 5.0
_LOOK_AGAIN: Final = 1.0
#: Seconds that connecting to the Agent may take.
_CONNECT_TIMEOUT: Final = 0.25


class Completion:
    """Complete spans that others have made. They may still be changed here, although they are finished."""

    def __init__(self) -> None:
        self._completed_by: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, span: Any, complete: Callable[[Any], None]) -> None:
        """Have `complete` called with `span` when that is on its way out; a second call replaces the first.

        It must not refer to the span, or neither would ever be forgotten: see `weakly`.
        """
        self._completed_by[span] = complete

    def process_trace(self, trace: Sequence[Any]) -> Sequence[Any]:
        """Return the trace, its spans completed."""
        if self._completed_by:
            for span in trace:
                complete = self._completed_by.pop(span, None)
                if complete is not None:
                    complete(span)
        return trace


def weakly(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a function that calls a bound method as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call(span: Any) -> None:
        found = reference()
        if found is not None:
            found(span)

    return call


class Outlet:
    """Let traces pass to ddtrace's queue, unless a test takes them or nobody would."""

    def __init__(self) -> None:
        #: What takes traces in place of the Agent, while a test captures.
        self.taken_by: list[Callable[[Sequence[Any]], None]] = []
        self.forget()

    def forget(self) -> None:
        """Assume that the Agent is there, until somebody looks: there may be another address."""
        self.agent_is_absent = False
        #: Traces dropped since they were last counted.
        self.dropped = 0
        self._seen = self._seen_at_look = 0
        self._looked = float("-inf")

    def process_trace(self, trace: Sequence[Any]) -> Sequence[Any] | None:
        """Return the trace for the Agent, or None."""
        self._seen += 1
        if self.taken_by:
            for take in self.taken_by:
                take(trace)
            return None
        if self.agent_is_absent:
            self.dropped += 1
            return None
        return trace

    def look(self, now: float, address: str) -> None:
        """Look whether the Agent is there: at first, and then now and then if there were traces."""
        wait = _LOOK_AGAIN if self.agent_is_absent else _LOOK_EVERY
        idle = self._seen == self._seen_at_look and self._looked != float("-inf")
        if idle or now - self._looked < wait:
            return
        self._looked = now
        self._seen_at_look = self._seen
        # An Agent that is reached by TLS may well be behind a proxy: that is ddtrace's to try.
        self.agent_is_absent = address.startswith(("http://", "unix://")) and not answers(address)


def answers(address: str, timeout: float = _CONNECT_TIMEOUT) -> bool:
    """Return whether something listens at a URL: ddtrace would retry for seconds if not."""
    url = urlsplit(address)
    try:
        if url.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(timeout)
                probe.connect(url.path)
        elif url.hostname:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname, port), timeout).close()
    except OSError:
        return False
    return True
