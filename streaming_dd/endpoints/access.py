"""Who may read /stats, the details of /health, and /metrics where it has a token.

A token is compared in constant time. A permission is a function of the ASGI scope; `django_staff` is one. State: how
many permissions are being asked, in each `Gate`.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from ..config import Config
from ..errors import ConfigError
from ..output.failure import shown
from ..output.notices import say
from ..process.off_loop import OffLoop
from .answers import Answer, answer

Permission = Callable[[Mapping[str, Any]], Any]

_TOKEN_LIMIT: Final = 4096
#: Permissions that are asked at a time; each may hang in the database.
_PERMISSIONS: Final = 4


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


class Gate:
    """Lets requests to /stats in, or says why not."""

    def __init__(self, config: Config) -> None:
        self._token = config.stats_token
        self._timeout = config.health_timeout
        self._threads = OffLoop("streaming-dd-permission", _PERMISSIONS)
        self._permission: Permission | ConfigError | None
        try:
            self._permission = permission_of(config)
        except ConfigError as error:  # instrument() has raised it at start-up; here it fails /stats alone
            self._permission = error

    async def refusal(self, scope: Mapping[str, Any]) -> Answer | None:
        """Return the answer to a request that may not read /stats, or None if it may."""
        if has_token(scope, self._token):
            return None
        if self._permission is not None:
            return await self._permission_refusal(self._permission, scope)
        if self._token:
            return no_token("/stats", scope)
        say(
            "stats",
            "/stats is refused: set STREAMING_STATS_TOKEN (a request carries it as `Authorization: Bearer`), or "
            "STREAMING_STATS_PERMISSION (such as streaming_dd.endpoints.access.django_staff)",
        )
        return answer(403, {"error": "forbidden"})

    async def _permission_refusal(
        self, permission: Permission | ConfigError, scope: Mapping[str, Any]
    ) -> Answer | None:
        try:
            if isinstance(permission, ConfigError):
                raise permission
            allowed = await asyncio.wait_for(self._ask(permission, scope), self._timeout)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, nobody is let in
            say("permission", f"STREAMING_STATS_PERMISSION failed, /stats is refused: {shown(error)}")
            return answer(503, {"error": "the permission cannot be checked"})
        if allowed is True:
            return None
        if allowed is not False:
            kind = type(allowed).__name__
            say("permission", f"STREAMING_STATS_PERMISSION returned {kind} and not a bool: /stats is refused")
        return answer(403, {"error": "forbidden"})

    async def _ask(self, permission: Permission, scope: Mapping[str, Any]) -> Any:
        if _is_async(permission):
            return await permission(scope)
        future = self._threads.start(permission, scope)
        if future is None:
            raise RuntimeError(f"{_PERMISSIONS} requests wait for it already")
        return await asyncio.wrap_future(future)


def no_token(path: str, scope: Mapping[str, Any]) -> Answer:
    """Return the answer to a request without the right token, and say so in the log."""
    client = (scope.get("client") or ("?",))[0]
    say(f"token:{path}", f"a request to {path} from {client} without the right token was refused")
    return answer(401, {"error": "a bearer token is needed"}, (b"www-authenticate", b"Bearer"))


def _is_async(permission: Permission) -> bool:
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
