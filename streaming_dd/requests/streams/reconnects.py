"""Clients that open a stream again: told by `Last-Event-ID`, or by the close that they come back from.

State: the last closes that were not the end of a stream, by client and path; bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

#: Seconds within which the same client at the same path counts as one that is back.
_SOON: Final = 60.0
_CLOSES: Final = 10_000
_RESUMES: Final = b"last-event-id"


class Reconnects:
    """Tell whether a stream is one that its client had before."""

    def __init__(self) -> None:
        self._closes: OrderedDict[int, float] = OrderedDict()

    def closed(self, client: Any, path: str, headers: Iterable[tuple[bytes, bytes]], now: float) -> None:
        """Note a stream that was cut off: its client may come back."""
        self._closes[_who(client, path, headers)] = now
        while len(self._closes) > _CLOSES:
            self._closes.popitem(last=False)

    def opened(
        self, client: Any, path: str, headers: Iterable[tuple[bytes, bytes]], now: float
    ) -> tuple[bool, float | None] | None:
        """Return (whether it resumes, seconds since the close if known) of a client that is back; None for a new one."""
        closed = self._closes.pop(_who(client, path, headers), None)
        gap = now - closed if closed is not None and now - closed <= _SOON else None
        resumes = any(name == _RESUMES for name, _ in headers)
        return (resumes, gap) if resumes or gap is not None else None


def _who(client: Any, path: str, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Who it is, as far as a server can see: address without its port, browser, path."""
    agent = next((value for name, value in headers if name == b"user-agent"), b"")
    return hash((client[0] if client else "", agent, path))
