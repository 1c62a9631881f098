"""What is hooked onto Django's handlers, so that a middleware around Django learns what only Django knows.

They serve pure Django and Django mounted in Starlette alike, whatever is in INSTALLED_APPS: the middleware installs
them when it finds Django loaded, and so does the app `streaming_dd.django`. State: the original methods, `_originals`,
while the hooks are on. docs/decisions/0065.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler

from .iterators import warns_of_sync_iterators
from .routing import notes_route, notes_static_files

Hook = Callable[[Callable[..., Any]], Callable[..., Any]]

_HOOKS: Final[tuple[tuple[type, str, Hook], ...]] = (
    (ASGIHandler, "create_request", notes_static_files),
    (BaseHandler, "resolve_request", notes_route),
    (ASGIHandler, "run_get_response", warns_of_sync_iterators),
)
_originals: dict[tuple[type, str], Callable[..., Any]] = {}


def install() -> None:
    """Hook Django's handlers; calling it again changes nothing."""
    if _originals:
        return
    found = {(owner, name): getattr(owner, name) for owner, name, _ in _HOOKS}  # before anything is changed
    for owner, name, hook in _HOOKS:
        setattr(owner, name, hook(found[owner, name]))
    _originals.update(found)


def uninstall() -> None:
    """Put Django's own methods back."""
    for (owner, name), original in _originals.items():
        setattr(owner, name, original)
    _originals.clear()
