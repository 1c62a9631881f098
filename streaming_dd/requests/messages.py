"""The ASGI words, and what an exchange needs of those above it: the middleware and the recorder. No state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Protocol

from ..config import Config
from ..output.tracing import Tracing
from .routes import Routes
from .traffic import Traffic

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Owner(Protocol):
    """What an exchange needs of the middleware that made it."""

    templates: Routes

    def spans_are_doubled(self) -> None:
        """Learn that ddtrace's own integration makes the request spans."""


class Recording(Protocol):
    """What an exchange needs of the recorder."""

    config: Config
    tracing: Tracing
    traffic: Traffic
    #: The process was told to end: what ends from now on ends by the shutdown.
    stopping: bool

    def fault(self, error: Exception) -> None:
        """Count and say a fault of this package's own."""


def keep_headers(scope: Scope, fault: Callable[[Exception], None]) -> None:
    """Make headers that can be read once a list, which whoever comes after us reads, too."""
    headers = scope.get("headers")
    if not isinstance(headers, Iterator):
        return
    found: list[Any] = []
    scope["headers"] = found
    try:
        found.extend(headers)
    except Exception as error:  # noqa: BLE001 - the server's fault, not the app's; what came before it is kept
        fault(error)
