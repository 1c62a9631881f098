"""Helpers of the endpoint tests: a process configured in memory, and requests through httpx or as raw ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streaming_dd import recorder
from streaming_dd.endpoints import health
from streaming_dd.output import notices

TOKEN = "operator-token"
Get = Callable[..., httpx.Response]


class Nowhere:
    """A sender that keeps the payloads."""

    payload_limit = 1432
    tags: tuple[str, ...] = ()
    suffix = ""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def send(self, payload: bytes) -> bool:
        self.payloads.append(payload)
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def sender() -> Nowhere:
    return Nowhere()


QUIET = {
    "logs_enabled": False,
    "tracing_enabled": False,
    "worker": "3",
    "flush_interval": 10,
    "health_interval": 0,
    "health_skip": ["database", "agent"],
    # A machine that is slow makes nothing unhealthy, and no answer late.
    "health_timeout": 60,
    "health_loop_lag": 60,
}


@pytest.fixture
def configure(sender: Nowhere) -> Iterator[Callable[..., recorder.Recorder]]:
    """Configure the process for a test; arguments are settings."""

    def make(**settings: Any) -> recorder.Recorder:
        recorder.reset()
        return recorder.configure(sender=sender, **{**QUIET, **settings})

    yield make
    for name in health.registered():
        health.unregister(name)
    recorder.reset()
    notices.reset()


async def _hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


@pytest.fixture
def site() -> Starlette:
    """An application that knows nothing of the endpoints."""
    return Starlette(routes=[Route("/", _hello)])


@pytest.fixture
def get() -> Get:
    """Send one request (GET unless told) to an ASGI application."""

    def send(app: Any, path: str, *, method: str = "GET", **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(main())

    return send


@pytest.fixture
def bearer() -> dict[str, str]:
    """The header that carries the token of these tests."""
    return {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def token() -> str:
    return TOKEN
