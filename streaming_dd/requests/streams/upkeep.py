"""Looking after open streams now and then: stalled ones, and those that run on without their clients.

State: when the next look is due, and which streams were named in the log.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from typing import Any, Final

from ...output.notices import say
from ...tasks.measuring.stacks import await_chain, innermost
from .stream_cells import ClientKind, Request

#: Seconds between two looks, at least.
_LOOK: Final = 0.2


class Upkeep:
    """Look at the open streams of a process: no more often than one of them can have become what is looked for."""

    def __init__(self, stall: float, zombie: float) -> None:
        self._stall = stall
        self._zombie = zombie
        self._due = 0.0
        self._named: weakref.WeakSet[Request] = weakref.WeakSet()

    def look(self, kinds: Iterable[ClientKind], now: float) -> None:
        """Count the streams that have become stalled, and name those whose client left long ago."""
        if now < self._due:
            return
        due = now + min(self._stall, self._zombie)
        for kind in kinds:
            for request in kind.live.copy():
                if request.stream is not None:
                    due = min(due, request.stream.note_stall(now, self._stall))
            if kind.zombies:
                due = min(due, self._name_zombies(kind, now))
        self._due = max(due, now + _LOOK)

    def _name_zombies(self, kind: ClientKind, now: float) -> float:
        due = now + self._zombie
        for request, since in kind.zombies.copy().items():
            if request in self._named:
                continue
            if now - since < self._zombie:
                due = min(due, since + self._zombie)
                continue
            self._named.add(request)
            route = request.route_template()
            say(
                f"zombie {route}",
                f"a stream of {route} runs on {now - since:.0f} s after its client has left{_place(request.sender)}; "
                "let it end when the client is gone: ask is_disconnected(), or send something now and then",
            )
        return due


def _place(sender: weakref.ref[asyncio.Task[Any]] | None) -> str:
    """Where the task that sends a stream waits."""
    task = sender() if sender is not None else None
    if task is None:
        return ""
    places = [place for place in await_chain(task)[0] if place.kind != "own"]
    found = innermost(places)
    return f", at {found}" if found is not None else ""
