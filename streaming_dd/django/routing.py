"""The route that Django's resolver found, noted where the middleware around Django finds it. No state.

The route is relative to where Django is mounted; streaming_dd.routes puts the mounts in front. docs/decisions/0065.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.urls import Resolver404
from django.utils.translation import get_language

from ..middleware import SCOPE_KEY
from ..requests.routes import UNMATCHED
from .route_templates import template_of


def notes_static_files(create_request: Callable[..., Any]) -> Callable[..., Any]:
    """Hook `ASGIHandler.create_request`: note the one route of static files, or that there is none.

    A view's route replaces it later.
    """

    @functools.wraps(create_request)
    def create_and_note(self: Any, scope: Any, body_file: Any) -> Any:
        request, error = create_request(self, scope, body_file)
        exchange = scope.get(SCOPE_KEY)
        if exchange is not None:
            exchange.noted_route = UNMATCHED if request is None else _static_route(request)
        return request, error

    return create_and_note


def notes_route(resolve_request: Callable[..., Any]) -> Callable[..., Any]:
    """Hook `BaseHandler.resolve_request`: note the match's route; what does not match is `unmatched`."""

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
        exchange.foretell()
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
    prefix = _static_prefix(settings.STATIC_URL, request.META.get("SCRIPT_NAME", ""))
    return f"{prefix}{{path}}" if prefix and request.path_info.startswith(prefix) else UNMATCHED


@functools.lru_cache(maxsize=256)
def _static_prefix(static_url: str | None, script_name: str) -> str:
    """Return where static files are, relative to where Django is mounted; "" where Django serves none."""
    url = urlsplit(static_url or "")
    prefix = url.path.removeprefix(script_name)  # Django may have added it
    return prefix if prefix.strip("/") and not url.netloc else ""
