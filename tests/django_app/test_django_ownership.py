"""Endpoints in front of Django: the question whether it has the path leaves no line in its log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.test import override_settings
from django_site import Null

from streaming_dd import DatadogMiddleware, recorder
from streaming_dd.endpoints import Endpoints


class OwnHealth:
    """A middleware that answers /health itself, as many projects have one."""

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        from django.http import HttpResponse

        return HttpResponse("own") if request.path == "/health" else self._get_response(request)


def ask(*paths: str) -> list[str]:
    recorder.configure(
        sender=Null(),
        logs_enabled=False,
        tracing_enabled=False,
        health_interval=0,
        health_skip=["database"],
        health_timeout=60,  # Django has much to import before its first answer
    )
    app: Any = Endpoints(DatadogMiddleware(get_asgi_application()))

    async def main() -> list[str]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            return [(await client.get(path)).text for path in paths]

    return asyncio.run(main())


def test_the_question_is_not_in_djangos_log(caplog: pytest.LogCaptureFixture) -> None:
    """The first /health writes no `Not Found`; a visitor's 404 still does, before and after."""
    caplog.set_level(logging.DEBUG)
    first, health, last = ask("/nothing", "/health", "/nowhere")
    assert '"checks"' in health
    assert "Not Found" in first
    assert "Not Found" in last
    said = [record.getMessage() for record in caplog.records if record.name == "django.request"]
    assert said == ["Not Found: /nothing", "Not Found: /nowhere"]
    assert logging.getLogger("django.request").filters == []


def test_a_middleware_keeps_its_path() -> None:
    """What no URL pattern has may be a middleware's: it is asked, and keeps it."""
    with override_settings(MIDDLEWARE=[f"{__name__}.OwnHealth"]):
        assert ask("/health", "/health") == ["own", "own"]
