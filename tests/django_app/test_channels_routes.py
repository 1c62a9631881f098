"""Routes of Channels' consumers: nested URLRouters, re_path, HTTP consumers, Django behind the same router."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path
from starlette.testclient import TestClient

from streaming_dd import DatadogMiddleware
from streaming_dd.django import consumers, hooks


@pytest.fixture(autouse=True)
def _hooks_off() -> Iterator[None]:
    yield
    hooks.uninstall()
    consumers.uninstall()


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data)


class Page(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_response(200, b"x")


def site() -> Any:
    sockets = URLRouter(
        [
            path("ws/<room>/", Echo.as_asgi()),
            path("nested/<tenant>/", URLRouter([re_path(r"^(?P<number>\d+)/$", Echo.as_asgi())])),
        ]
    )
    pages = URLRouter([path("consumed/<int:n>/", Page.as_asgi()), re_path(r"", get_asgi_application())])
    return ProtocolTypeRouter({"http": pages, "websocket": sockets})


@pytest.mark.parametrize(
    ("url", "route"), [("/ws/a/", "/ws/:room/"), ("/nested/acme/17/", "/nested/:tenant/:number/")]
)
def test_a_consumer_has_the_route_of_its_pattern(configure: Any, flush: Any, url: str, route: str) -> None:
    """A WebSocket's route is the URLRouter's pattern, behind those of the routers around it."""
    if url.startswith("/nested/"):
        pytest.importorskip(
            "channels", minversion="4.1"
        )  # the first whose path() may have a URLRouter behind it
    configure()
    with TestClient(DatadogMiddleware(site())).websocket_connect(url) as socket:
        socket.send_text("x")
        assert socket.receive_text() == "x"
    assert flush().total("streaming.ws.opened", route=route) == 1


def test_consumers_and_views_behind_one_router(configure: Any, flush: Any) -> None:
    """An HTTP consumer has its pattern, a Django view behind the same router its own route."""
    configure()
    app = DatadogMiddleware(site())
    client = TestClient(app)
    assert client.get("/consumed/5/").status_code == 200
    assert client.get("/reports/17/").status_code == 200
    sender = flush()
    assert sender.total("streaming.http.requests", route="/consumed/:n/") == 1
    assert sender.total("streaming.http.requests", route="/reports/:pk/") == 1


def test_the_hook_is_put_back() -> None:
    """Channels' own method is there again afterwards, however often the hook was installed."""
    before = URLRouter.__call__
    consumers.install()
    consumers.install()
    assert URLRouter.__call__ is not before
    consumers.uninstall()
    assert URLRouter.__call__ is before
    assert asyncio.iscoroutinefunction(before)
