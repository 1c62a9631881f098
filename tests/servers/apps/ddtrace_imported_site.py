"""An application that imports ddtrace inside the server's loop before it is observed, and patches nothing."""

from __future__ import annotations

import ddtrace.trace  # noqa: F401  (its import puts a handler over the server's)
from observed_starlette_site import app

__all__ = ["app"]
