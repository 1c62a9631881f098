"""/health, /stats and /metrics, for any ASGI application: `Endpoints`."""

from __future__ import annotations

from .asgi import Endpoints

__all__ = ["Endpoints"]
