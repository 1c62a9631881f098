"""An application that imports and patches ddtrace itself, inside the server's loop, before it is observed."""

from __future__ import annotations

from ddtrace import patch

patch(starlette=True)

from observed_starlette_site import app  # noqa: E402

__all__ = ["app"]
