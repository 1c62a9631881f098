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

from ..redaction import mask

_COMPONENT: Final = "streaming_dd"
#: What ddtrace's own integrations write without masking: what was asked for, and what an exception said.
_TOLD: Final = (
    *(
        "http.url",
        "http.query.string",
        "db.statement",
        "sql.query",
        "redis.raw_command",
        "valkey.raw_command",
    ),
    *("mongodb.query", "elasticsearch.url", "elasticsearch.params", "elasticsearch.body"),
    *("error.message", "error.stack"),
)
#: Seconds between two looks for an Agent: one that is there, one that is missed.
_LOOK_EVERY: Final = 5.0
_LOOK_AGAIN: Final = 1.0
#: Seconds that connecting to the Agent may take.
_CONNECT_TIMEOUT: Final = 0.25


class Completion:
    """Complete spans that others have made. They may still be changed here, although they are finished."""

    def __init__(self) -> None:
        #: By id() of the span: a dictionary with weak keys takes several times as long for the same.
        self._waiting: dict[int, _Waiting] = {}

    def add(self, span: Any, complete: Callable[[Any], None]) -> None:
        """Have `complete` called with `span` when that is on its way out; a second call replaces the first.

        It must not refer to the span, or neither would ever be forgotten: see `weakly`.
        """
        waiting = _Waiting(span, self._forget)
        waiting.complete, waiting.key = complete, id(span)
        self._waiting[waiting.key] = waiting

    def _forget(self, waiting: _Waiting) -> None:
        """Forget a span that was never sent."""
        if self._waiting.get(waiting.key) is waiting:  # its id may be another one's already
            del self._waiting[waiting.key]

    def process_trace(self, trace: Sequence[Any]) -> Sequence[Any]:
        """Return the trace, its spans completed."""
        if self._waiting:
            for span in trace:
                waiting = self._waiting.pop(id(span), None)
                if waiting is not None and waiting() is span:
                    waiting.complete(span)
        return trace


class _Waiting(weakref.ref[Any]):
    """A span that is to be completed."""

    __slots__ = ("complete", "key")

    complete: Callable[[Any], None]
    key: int


def weakly(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a function that calls a bound method as long as its object lives."""
    reference: weakref.ref[Any] = weakref.ref(method.__self__)  # type: ignore[attr-defined]
    function: Callable[[Any, Any], None] = method.__func__  # type: ignore[attr-defined]

    def call(span: Any) -> None:
        found = reference()
        if found is not None:
            function(found, span)

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
        #: It was there once, and what comes while it is away can be kept.
        self.was_there = False
        self.has_room = True
        #: Traces dropped since they were last counted.
        self.dropped = 0
        self._seen = self._seen_at_look = 0
        self._looked = float("-inf")

    def process_trace(self, trace: Sequence[Any]) -> Sequence[Any] | None:
        """Return the trace for the Agent, or None; what others' spans tell is masked as our own are."""
        for span in trace:
            if span.get_tag("component") != _COMPONENT:
                _mask_told(span)
        if self.taken_by:
            self._seen += 1
            for take in self.taken_by:
                take(trace)
            return None
        return trace if self.admits() else None

    def admits(self) -> bool:
        """Count a trace, and return whether it may go to the Agent."""
        self._seen += 1
        if self.agent_is_absent and not (self.was_there and self.has_room):
            self.dropped += 1
            return False
        return True

    def look(self, now: float, address: str) -> None:
        """Look whether the Agent is there: at first, and then now and then if there were traces."""
        wait = _LOOK_AGAIN if self.agent_is_absent else _LOOK_EVERY
        idle = self._seen == self._seen_at_look and self._looked != float("-inf")
        if idle or now - self._looked < wait:
            return
        self._looked = now
        self._seen_at_look = self._seen
        # An Agent that is reached by TLS may well be behind a proxy: that is ddtrace's to try.
        asked = address.startswith(("http://", "unix://"))
        self.agent_is_absent = asked and not answers(address)
        self.was_there = self.was_there or (asked and not self.agent_is_absent)


def _mask_told(span: Any) -> None:
    for key in _TOLD:
        text = span.get_tag(key)
        if text and (masked := mask(text)) != text:
            span.set_tag(key, masked)
    if span.span_type == "sql" and (statement := span.resource):
        if isinstance(statement, bytes):  # as drivers of databases take it, too
            statement = statement.decode(errors="replace")
        # A statement without a quoted text has placeholders where a secret could stand: `WHERE token = %s`.
        if "'" in statement:
            span.resource = mask(statement)


def answers(address: str, timeout: float = _CONNECT_TIMEOUT) -> bool:
    """Return whether something listens at a URL: ddtrace would retry for seconds if not."""
    try:
        url = urlsplit(address)
        if url.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(timeout)
                probe.connect(url.path)
        elif url.hostname:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname, port), timeout).close()
    except (OSError, ValueError):  # ValueError: a name that cannot be asked for
        return False
    return True
