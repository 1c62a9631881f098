"""Who may read /stats, the details of /health, and /metrics where it has a token. No state.

A token is compared in constant time. A permission is a function of the ASGI scope; `django_staff` is one.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from ..config import Config
from ..errors import ConfigError

Permission = Callable[[Mapping[str, Any]], Any]

_TOKEN_LIMIT: Final = 4096


def has_token(scope: Mapping[str, Any], token: str) -> bool:
    """Return whether the request carries `Authorization: Bearer` with this token, once."""
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if not token or len(given) != 1 or len(given[0]) > _TOKEN_LIMIT:
        return False
    scheme, _, credentials = given[0].partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), token.encode())


def permission_of(config: Config) -> Permission | None:
    """Return the configured permission, or None; raise ConfigError if its path leads to no function."""
    found: Any = config.stats_permission
    if isinstance(found, str):
        if not found:
            return None
        module, _, name = found.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                "STREAMING_STATS_PERMISSION", f"{config.stats_permission!r} cannot be imported", f"({error})."
            ) from error
    if not callable(found):
        raise ConfigError(
            "STREAMING_STATS_PERMISSION",
            f"{config.stats_permission!r} is no function.",
            "Name a function of the ASGI scope that returns whether the request may read /stats.",
        )
    return found  # type: ignore[no-any-return]


def is_async(permission: Permission) -> bool:
    """Return whether a permission is to be awaited on the loop; any other is called in a thread."""
    return inspect.iscoroutinefunction(permission) or inspect.iscoroutinefunction(
        getattr(permission, "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine function
    )


def django_staff(scope: Mapping[str, Any]) -> bool:
    """Permit the active staff users of Django's session: STREAMING_STATS_PERMISSION names this function.

    Reads the session and the user as Django's own middleware would; called in a thread.
    """
    from django.conf import settings
    from django.contrib.auth import get_user
    from django.db import connections
    from django.http import HttpRequest, parse_cookie

    cookies = b"; ".join(value for name, value in scope["headers"] if name.lower() == b"cookie")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return False
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        user: Any = get_user(request)
        return bool(user.is_active and user.is_staff)
    finally:
        connections.close_all()  # those of this thread
