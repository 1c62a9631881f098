"""The URLconf of the test site: every way to say where a view is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, URLResolver, include, path, re_path


def sync_view(request: HttpRequest, **found: Any) -> HttpResponse:
    return HttpResponse(b"ok")


async def async_view(request: HttpRequest, **found: Any) -> HttpResponse:
    return HttpResponse(b"ok")


async def missing(request: HttpRequest, pk: int) -> HttpResponse:
    raise Http404("no such row")


async def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view fails")


async def stream(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    return StreamingHttpResponse(events(), content_type="text/event-stream")


reports = [
    path("", sync_view),
    path("<int:pk>/", async_view),
    re_path(r"^(?P<year>[0-9]{4})/(?:page-(?P<page>\d+)/)?$", sync_view),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", sync_view),
    path("reports/", include((reports, "reports"))),
    path("items/<int:pk>", async_view),
    path("missing/<int:pk>", missing),
    path("broken", broken),
    path("stream/<int:pk>", stream),
    path("robots.txt", sync_view),
    re_path(r"^old/(\d+)\.html$", lambda request, number: sync_view(request)),
    path("admin/", admin.site.urls),
    *i18n_patterns(path("about/<slug:topic>/", sync_view)),
]
