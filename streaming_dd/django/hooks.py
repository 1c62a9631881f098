"""What is hooked onto Django's handlers, so that a middleware around Django learns what only Django knows.

They serve pure Django and Django mounted in Starlette alike, whatever is in INSTALLED_APPS: the middleware installs
them when it finds Django loaded, and so does the app `streaming_dd.django`. State: the original methods,
while the hooks are on. docs/decisions/0065.
"""

from __future__ import annotations

from typing import Final

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler

from ..output.methods import Hook, Methods
from . import errors
from .iterators import warns_of_sync_iterators
from .routing import notes_route, notes_static_files

_HOOKS: Final[dict[tuple[type, str], Hook]] = {
    (ASGIHandler, "create_request"): notes_static_files,
    (BaseHandler, "resolve_request"): notes_route,
    (ASGIHandler, "run_get_response"): warns_of_sync_iterators,
}
_hooked: Final = Methods()


def install() -> None:
    """Hook Django's handlers; calling it again changes nothing."""
    if _hooked:
        return
    _hooked.put_on(_HOOKS)
    errors.install()


def uninstall() -> None:
    """Put Django's own methods back."""
    _hooked.take_off()
    errors.uninstall()
