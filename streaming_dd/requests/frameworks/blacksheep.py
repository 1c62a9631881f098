"""BlackSheep: the route of a request or WebSocket, and exceptions that it answers itself. No state.

Its router leaves nothing in the scope: which of its routes matches is asked again here, once a request.
"""

from __future__ import annotations

import re
from typing import Any, Final

from blacksheep.server.application import Application, MountMixin
from blacksheep.server.routing import RouteMethod

from ..routes import UNMATCHED
from . import noting

#: `{int:id}`, `<id>`, `:id`.
_PARAMETER: Final = re.compile(r"[{<](?:\w+:)?(\w+)[}>]|(?<=/):(\w+)")


def install() -> None:
    """Hook where a request, a WebSocket and a mount begin, and where exceptions are handled; again changes nothing."""
    noting.before(Application, "_handle_http", _http)
    noting.before(Application, "_handle_websocket", _websocket)
    noting.before(MountMixin, "handle_mount_path", _mounted)
    noting.before(Application, "handle_exception", _failed)


def _http(app: Any, scope: Any, receive: Any, send: Any) -> None:
    _note(app, scope, scope["method"])


def _websocket(app: Any, scope: Any, receive: Any, send: Any) -> None:
    _note(app, scope, RouteMethod.GET_WS)


def _note(app: Any, scope: Any, method: Any) -> None:
    exchange = noting.exchange_of(scope)
    if exchange is None:
        return
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    found = app.router.get_match_by_method_and_path(method, path)
    below = exchange.noted_route or ""
    if found is None or found.pattern == b"*":  # the fallback
        exchange.noted_route = UNMATCHED
    else:
        exchange.noted_route = below + _template(found.pattern)


def _mounted(app: Any, scope: Any, route_match: Any) -> None:
    exchange = noting.exchange_of(scope)
    if exchange is not None:
        prefix = _template(route_match.pattern).removesuffix("/{path}")
        exchange.noted_route = (exchange.noted_route or "") + prefix


def _template(pattern: bytes) -> str:
    text = _PARAMETER.sub(lambda match: f"{{{match[1] or match[2]}}}", pattern.decode())
    return text.replace("*", "{path}")


def _failed(app: Any, request: Any, exc: Exception) -> None:
    noting.note_error(request.scope, exc)
