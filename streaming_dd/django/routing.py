"""Has Django tell the middleware the route that its resolver found, so that tags carry templates.

`install()` puts two hooks on Django's handlers, which serve pure Django and Django mounted in Starlette alike,
whatever is in INSTALLED_APPS; `uninstall()` takes them off. The route is relative to where Django is mounted.
State: the original methods, `_originals`, while the hooks are on. docs/decisions/0065.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.urls import Resolver404
from django.utils.translation import get_language

from ..middleware import SCOPE_KEY
from ..routes import UNMATCHED
from .route_templates import template_of

_HOOKED: Final[tuple[tuple[type, str], ...]] = (
    (ASGIHandler, "create_request"),
    (BaseHandler, "resolve_request"),
)
_originals: dict[tuple[type, str], Callable[..., Any]] = {}


def install() -> None:
    """Hook Django's handlers; calling it again changes nothing."""
    if _originals:
        return
    hooks = {"create_request": _notes_static_files, "resolve_request": _notes_route}
    found = {(owner, name): getattr(owner, name) for owner, name in _HOOKED}  # before anything is changed
    for (owner, name), original in found.items():
        setattr(owner, name, hooks[name](original))
    _originals.update(found)


def uninstall() -> None:
    """Put Django's own methods back."""
    for (owner, name), original in _originals.items():
        setattr(owner, name, original)
    _originals.clear()


def _notes_static_files(create_request: Callable[..., Any]) -> Callable[..., Any]:
    """What no view answers is `unmatched`, or the one route of static files; a view's route replaces it later."""

    @functools.wraps(create_request)
    def create_and_note(self: Any, scope: Any, body_file: Any) -> Any:
        request, error = create_request(self, scope, body_file)
        exchange = scope.get(SCOPE_KEY)
        if exchange is not None:
            exchange.noted_route = UNMATCHED if request is None else _static_route(request)
        return request, error

    return create_and_note


def _notes_route(resolve_request: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(resolve_request)
    def resolve_and_note(self: Any, request: Any) -> Any:
        scope = getattr(request, "scope", None)
        exchange = scope.get(SCOPE_KEY) if scope is not None else None  # a WSGIRequest has no scope
        if exchange is None:
            return resolve_request(self, request)
        try:
            match = resolve_request(self, request)
        except Resolver404:
            exchange.noted_route = UNMATCHED
            raise
        exchange.noted_route = template_of(_without_language(request, match.route))
        return match

    return resolve_and_note


def _without_language(request: Any, route: str) -> str:
    """Return the route with i18n_patterns' prefix as a placeholder: one template for all languages."""
    urlconf = getattr(request, "urlconf", None) or settings.ROOT_URLCONF
    if not is_language_prefix_patterns_used(urlconf)[0]:
        return route
    prefix = f"{get_language() or settings.LANGUAGE_CODE}/"
    return "<language>/" + route.removeprefix(prefix) if route.startswith(prefix) else route


def _static_route(request: Any) -> str:
    """Return one route for everything under STATIC_URL, which handlers and middleware serve past the resolver."""
    url = urlsplit(settings.STATIC_URL or "")
    prefix = url.path.removeprefix(request.META.get("SCRIPT_NAME", ""))  # Django may have added it
    if prefix.strip("/") and not url.netloc and request.path_info.startswith(prefix):
        return f"{prefix}{{path}}"
    return UNMATCHED
