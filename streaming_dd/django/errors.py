"""The exception of a Django view, which Django turns into a 500 itself: told to the request's exchange. No state."""

from __future__ import annotations

import sys
from typing import Any

from django.core.signals import got_request_exception

from ..middleware import SCOPE_KEY

_UID = "streaming_dd"


def install() -> None:
    """Listen for exceptions that no view and no middleware of the project has handled."""
    got_request_exception.connect(_note, dispatch_uid=_UID)


def uninstall() -> None:
    """Listen no longer."""
    got_request_exception.disconnect(dispatch_uid=_UID)


def _note(sender: Any, request: Any = None, **kwargs: Any) -> None:
    """Tell the exchange of the request; sent within the except block."""
    error = sys.exception()
    scope = getattr(request, "scope", None)
    exchange = scope.get(SCOPE_KEY) if scope is not None else None  # a WSGIRequest has no scope
    if error is not None and exchange is not None:
        exchange.note_error(error)
