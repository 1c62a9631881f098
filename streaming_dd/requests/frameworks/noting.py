"""How a hook on a framework's method tells the exchange of a request what it has learned. State: `_hooked`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from ...output.failure import shown
from ...output.methods import Methods
from ...output.notices import say

#: Where the request's exchange is found in the scope.
SCOPE_KEY: Final = "streaming_dd"

_hooked: Final = Methods()


def exchange_of(scope: Any) -> Any:
    """Return the exchange of a request or WebSocket; None for one that is not recorded."""
    return scope.get(SCOPE_KEY) if isinstance(scope, dict) else None


def note_error(scope: Any, error: object) -> None:
    """Note an exception that the framework answers itself; it counts if a 5xx is what is sent."""
    note = getattr(exchange_of(scope), "note_error", None)  # WebSockets end by their own rule
    status = getattr(error, "status_code", None) or getattr(error, "status", 500)
    if note is not None and isinstance(error, Exception) and not (isinstance(status, int) and status < 500):
        note(error)


def before(owner: type, name: str, look: Callable[..., None]) -> None:
    """Have `look` see the arguments of each call of a method before it begins; again changes nothing."""

    def hook(original: Callable[..., Any], looked: Callable[..., None]) -> Callable[..., Any]:
        def plain(*args: Any, **kwargs: Any) -> Any:
            looked(*args, **kwargs)
            return original(*args, **kwargs)

        async def call(*args: Any, **kwargs: Any) -> Any:
            looked(*args, **kwargs)
            return await original(*args, **kwargs)

        return call if inspect.iscoroutinefunction(original) else plain

    _hook(owner, name, look, hook)


def after(owner: type, name: str, look: Callable[..., None]) -> None:
    """Have `look` see the arguments of each call of a plain method once it has returned; again changes nothing."""

    def hook(original: Callable[..., Any], looked: Callable[..., None]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            looked(*args, **kwargs)
            return result

        return call

    _hook(owner, name, look, hook)


def _hook(owner: type, name: str, look: Callable[..., None], hook: Callable[..., Callable[..., Any]]) -> None:
    def looked(*args: Any, **kwargs: Any) -> None:
        try:
            look(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a framework too new or old must not cost the request
            say(
                "routes",
                f"{owner.__qualname__}.{name} is not as expected ({shown(error)}); routes may be missing",
            )

    _hooked.put_on({(owner, name): lambda original: hook(original, looked)})


def uninstall() -> None:
    """Put the frameworks' own methods back."""
    _hooked.take_off()
