"""The route of a Channels consumer, noted where the middleware around it finds it. No state but the original method.

Channels' `URLRouter` leaves no route in the scope: which of its patterns matched is asked again here, once a connection.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import URLRouter

from ..middleware import SCOPE_KEY
from ..requests.routes import UNMATCHED
from .route_templates import template_of

Call = Callable[..., Awaitable[Any]]

_original: Call | None = None


def install() -> None:
    """Hook `URLRouter.__call__`; calling it again changes nothing."""
    global _original
    if _original is None:
        _original = URLRouter.__call__
        URLRouter.__call__ = notes_route(_original)


def uninstall() -> None:
    """Put Channels' own method back."""
    global _original
    if _original is not None:
        URLRouter.__call__ = _original
        _original = None


def notes_route(call: Call) -> Call:
    """Hook `URLRouter.__call__`: note the matching pattern behind those of the routers around it."""

    @functools.wraps(call)
    def note_and_call(self: Any, scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
        exchange = scope.get(SCOPE_KEY)
        if exchange is not None:
            outer = exchange.noted_route if "path_remaining" in scope else None
            found = _matching(self.routes, scope)
            exchange.noted_route = UNMATCHED if found is None else (outer or "").rstrip("/") + found
        return call(self, scope, receive, send)

    return note_and_call


def _matching(routes: Any, scope: Any) -> str | None:
    """Return the template of the first route that matches, as `URLRouter` goes through them."""
    path = scope.get("path_remaining")
    if path is None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
    path = path.lstrip("/")
    for route in routes:
        if route.pattern.match(path):
            return template_of(str(route.pattern))
    return None
