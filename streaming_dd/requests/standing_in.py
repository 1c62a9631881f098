"""What stands around an application and is used in its place: `app.get`, `app.state`, `app.url_path_for`.

State: why nothing can be recorded, if that is so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ConfigError
from ..output.notices import say
from .messages import Receive, Scope, Send

Begun = TypeVar("Begun")


class StandsIn:
    """Pass on to `self.app` whatever this object does not have itself, so that a framework's app stays usable.

    Names with an underscore are never passed on: they are the application's own business, or Python's.
    """

    app: Any
    #: Why nothing can be recorded.
    _unusable: ConfigError | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "app":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.app, name)

    def __setattr__(self, name: str, value: Any) -> None:
        inner = self.__dict__.get("app")
        if name.startswith("_") or name in self.__dict__ or not hasattr(inner, name):
            object.__setattr__(self, name, value)
        else:
            setattr(inner, name, value)

    def _try(self, begin: Callable[[], Begun], configured: bool) -> Begun | None:
        """Return what `begin` returns; None where the configuration cannot be used, which is tried once."""
        if self._unusable is None or configured:
            try:
                return begin()
            except ConfigError as error:
                self._unusable = error
        return None

    async def _unobserved(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do what is left where the configuration cannot be used: end the server's start, or serve as if we were not there.

        A server that has a lifespan ends with the message. Another one serves already: it says so, once a minute.
        """
        if scope["type"] == "lifespan":
            await receive()  # of an exception here servers conclude that there is no lifespan, and go on
            await send({"type": "lifespan.startup.failed", "message": str(self._unusable)})
            return
        text = f"Nothing is recorded until this is set right and the process started again: {self._unusable}"
        say("configuration", text, level=logging.ERROR)
        await self.app(scope, receive, send)


def runs_in_asyncio() -> bool:
    """Tell whether the caller runs in asyncio's loop; in another one (trio's) nothing of ours could wait or watch."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
