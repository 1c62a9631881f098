"""Synchronous iterators under ASGI: found in the source of views, and said when a response is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import include, path
from django.views import View

from streaming_dd import DatadogMiddleware
from streaming_dd.django import hooks
from streaming_dd.django.iterators import streams_synchronously, views


def lines() -> Iterator[bytes]:
    yield b"data: 1\n\n"
    yield b"data: 2\n\n"


async def async_lines() -> AsyncIterator[bytes]:
    yield b"data: 1\n\n"


def module_level(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(lines(), content_type="text/event-stream")


def by_keyword(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(content_type="text/event-stream", streaming_content=lines())


def nested(request: HttpRequest) -> StreamingHttpResponse:
    def events() -> Iterator[bytes]:
        yield b"data: 1\n\n"

    return StreamingHttpResponse(events())


def assigned(request: HttpRequest) -> StreamingHttpResponse:
    found = lines()
    return StreamingHttpResponse(found)


async def expression(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(b"%d" % number for number in range(3))


def builtin(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(map(str, range(3)))


class OfAClass(View):
    def events(self) -> Iterator[bytes]:
        yield b"data: 1\n\n"

    def get(self, request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(self.events())


async def asynchronous(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(async_lines())


async def asynchronous_nested(request: HttpRequest) -> StreamingHttpResponse:
    async def events() -> AsyncIterator[bytes]:
        for line in lines():
            yield line

    return StreamingHttpResponse(events())


async def asynchronous_expression(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(line async for line in async_lines())


def unknown(request: HttpRequest, source: Any = None) -> StreamingHttpResponse:
    return StreamingHttpResponse(source)


def called_inside(request: HttpRequest) -> StreamingHttpResponse:
    def wrap() -> AsyncIterator[bytes]:  # no generator itself: the yield is of the function inside
        async def inner() -> AsyncIterator[bytes]:
            yield b""

        return inner()

    return StreamingHttpResponse(wrap())


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"no stream")


def a_file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


@pytest.mark.parametrize(
    "view", [module_level, by_keyword, nested, assigned, expression, builtin, OfAClass.as_view()]
)
def test_it_is_found_in_the_source(view: Any) -> None:
    """A generator function that is called, an expression, a builtin: by name, method or variable."""
    assert streams_synchronously(view).startswith("StreamingHttpResponse(")


@pytest.mark.parametrize(
    "view",
    [
        asynchronous,
        asynchronous_nested,
        asynchronous_expression,
        unknown,
        called_inside,
        plain,
        a_file,
        lambda request: StreamingHttpResponse(async_lines()),
        View.as_view(),
        object(),
    ],
)
def test_nothing_is_found_where_nothing_is_sure(view: Any) -> None:
    """Asynchronous iterators are right; what cannot be followed is not reported."""
    assert streams_synchronously(view) == ""


def test_views_are_found_through_includes_once() -> None:
    """Nested URLconfs are entered; a view on two routes is one view."""
    patterns = [path("a", plain), path("b/", include([path("c", plain), path("d", module_level)]))]
    assert list(views(patterns)) == [plain, module_level]


urlpatterns = [
    path("sync/<int:pk>", lambda request, pk: module_level(request)),
    path("async", asynchronous),
    path("file", a_file),
]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_it_is_said_when_it_happens(caplog: pytest.LogCaptureFixture, counted: Callable[[], Any]) -> None:
    """The route is named, once a minute; asynchronous iterators and files are nothing to say."""

    async def ask() -> list[bytes]:
        transport = httpx.ASGITransport(DatadogMiddleware(get_asgi_application()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get(where)).content for where in ("/sync/1", "/sync/2", "/async", "/file")]

    with override_settings(ROOT_URLCONF=__name__), caplog.at_level(logging.WARNING, "streaming_dd"):
        bodies = asyncio.run(ask())
    hooks.uninstall()
    assert bodies[0] == b"data: 1\n\ndata: 2\n\n"
    said = [record.getMessage() for record in caplog.records if record.name == "streaming_dd"]
    assert len(said) == 1
    assert said[0].startswith("/sync/{pk} gives StreamingHttpResponse a synchronous iterator")
