"""Quart: the rule that a request or WebSocket matched, and exceptions that it answers itself. No state."""

from __future__ import annotations

import re
from typing import Any, Final

from quart.app import Quart
from quart.ctx import RequestContext, WebsocketContext
from quart.globals import request

from ..routes import UNMATCHED
from . import noting

#: `<int:id>`, `<any(a, b):kind>`, `<name>`.
_PARAMETER: Final = re.compile(r"<(?:[^<>]*:)?(\w+)>")


def install() -> None:
    """Hook the matching and the handling of exceptions; again changes nothing."""
    noting.after(RequestContext, "match_request", _matched)
    noting.after(WebsocketContext, "match_request", _matched)
    noting.before(Quart, "handle_exception", _failed)


def _matched(context: Any) -> None:
    asked = context.request_websocket
    exchange = noting.exchange_of(asked.scope)
    if exchange is not None:
        rule = asked.url_rule or _rule_of_another_method(context.url_adapter, asked.routing_exception)
        exchange.noted_route = UNMATCHED if rule is None else _PARAMETER.sub(r"{\1}", rule.rule)


def _rule_of_another_method(adapter: Any, error: Any) -> Any:
    """Return the rule of a path that is known, but not with this method."""
    methods = getattr(error, "valid_methods", None)
    return adapter.match(method=next(iter(methods)), return_rule=True)[0] if methods else None


def _failed(app: Any, error: Exception) -> None:
    noting.note_error(request.scope, error)
