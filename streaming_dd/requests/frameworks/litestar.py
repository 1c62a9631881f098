"""Litestar: exceptions that it answers itself, and the route of a request with a wrong method. No state.

All other routes stand in the scope, where `routes` reads them.
"""

from __future__ import annotations

from typing import Any

from litestar.exceptions import MethodNotAllowedException
from litestar.middleware._internal.exceptions import ExceptionHandlerMiddleware

from . import noting


def install() -> None:
    """Hook what makes a response of an exception; again changes nothing."""
    noting.before(ExceptionHandlerMiddleware, "handle_request_exception", _failed)


def _failed(middleware: Any, *, litestar_app: Any, scope: Any, exc: Exception, **others: Any) -> None:
    noting.note_error(scope, exc)
    exchange = noting.exchange_of(scope)
    if isinstance(exc, MethodNotAllowedException) and exchange is not None:
        exchange.noted_route = _template_of_another_method(litestar_app, scope["path"], exc)


def _template_of_another_method(app: Any, path: str, exc: MethodNotAllowedException) -> str | None:
    """Return the template of a path that is known, but not with this method."""
    method = str((exc.headers or {}).get("allow", "")).partition(",")[0].strip()
    return str(app.asgi_router.handle_routing(path=path, method=method)[-1]) if method else None
