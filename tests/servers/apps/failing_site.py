"""An application whose start-up fails."""

from __future__ import annotations

import contextlib

from starlette.applications import Starlette

import streaming_dd as dd


@contextlib.asynccontextmanager
async def lifespan(app):
    raise RuntimeError("the database is down")
    yield


app = dd.instrument(Starlette(lifespan=lifespan))
