"""What Django answers with a 500 itself: told to the request's exchange, on metric and line, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from django.core.asgi import get_asgi_application

from streaming_dd import DatadogMiddleware, recorder
from streaming_dd.django import hooks


@pytest.fixture(autouse=True)
def _hooks_off() -> Iterator[None]:
    yield
    hooks.uninstall()


def test_a_view_that_raises_is_one_error_line(sender: Any, tmp_path: Path) -> None:
    """Type, message and stack are on the access line and the type is a tag; Django's own line does not repeat it."""
    found = recorder.configure(
        sender=sender,
        tracing_enabled=False,
        log_stdout=False,
        log_file=str(tmp_path / "log"),
        log_level="INFO",
    )

    async def ask() -> int:
        transport = httpx.ASGITransport(DatadogMiddleware(get_asgi_application()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/broken")).status_code

    assert asyncio.run(ask()) == 500
    found.traffic.settle()
    found.round(flush=True)
    assert found.logs is not None
    assert found.logs.flush(60)
    lines = [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    (error,) = [line for line in lines if line["status"] == "error"]
    assert error["logger.name"] == "streaming_dd.access"
    assert error["outcome"] == "error"
    assert error["error.kind"] == "RuntimeError"
    assert "Traceback" in error["error.stack"]
    assert sender.total("streaming.http.errors", error_type="RuntimeError", route="/broken") == 1
