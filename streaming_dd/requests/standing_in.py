"""What stands around an application and is used in its place: `app.get`, `app.state`, `app.url_path_for`. No state."""

from __future__ import annotations

import asyncio
from typing import Any


class StandsIn:
    """Pass on to `self.app` whatever this object does not have itself, so that a framework's app stays usable.

    Names with an underscore are never passed on: they are the application's own business, or Python's.
    """

    app: Any

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


def runs_in_asyncio() -> bool:
    """Tell whether the caller runs in asyncio's loop; in another one (trio's) nothing of ours could wait or watch."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
