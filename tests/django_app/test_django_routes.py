"""Route tags of requests that Django handles: alone, mounted in Starlette or FastAPI, sync and async views."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from streaming_dd import DatadogMiddleware
from streaming_dd.django import hooks

Counted = Callable[[], dict[tuple[str, str], int]]


@pytest.fixture(autouse=True)
def _hooks_off() -> Iterator[None]:
    yield
    hooks.uninstall()


QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "PYTHONPATH": os.pathsep.join(sys.path),
}


def get(app: Any, *paths: str) -> list[int]:
    """Request every path in turn and return the statuses."""

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(DatadogMiddleware(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get(path)).status_code for path in paths]

    return asyncio.run(ask())


ROUTES = {
    "/": "/",
    "/reports/": "/reports/",
    "/reports/17/": "/reports/:pk/",
    "/reports/2024/page-3/": "/reports/:year/page-:page/",
    "/items/17": "/items/:pk",
    "/stream/4": "/stream/:pk",
    "/robots.txt": "/robots.txt",
    "/old/12.html": "/old/:any.html",
    "/en/about/us/": "/:language/about/:topic/",
    "/de/about/us/": "/:language/about/:topic/",
    "/admin/login/": "/admin/login/",
    "/admin/nothing/here": "/admin/:url",
}


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_django_alone(counted: Counted, path: str, route: str) -> None:
    """The tag is the resolver's route, in the notation of all frameworks, whether the view is sync, async or streams."""
    (status,) = get(get_asgi_application(), path)
    assert counted() == {(route, str(status)): 1}
    assert status in (200, 302)


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_django_mounted_in_starlette(counted: Counted, path: str, route: str) -> None:
    """The tag has the mounts' templates in front, not their values."""
    inner = Starlette(routes=[Mount("/django", get_asgi_application())])
    app = Starlette(routes=[Mount("/tenants/{tenant}", inner)])
    (status,) = get(app, f"/tenants/acme/django{path}")
    assert counted() == {(f"/tenants/:tenant/django{route}", str(status)): 1}


def test_django_mounted_in_fastapi(counted: Counted) -> None:
    """FastAPI's own routes and Django's are both templates."""
    app = FastAPI()

    @app.get("/api/{number}")
    async def api(number: int) -> int:
        return number

    app.mount("/django", get_asgi_application())
    assert get(app, "/api/3", "/django/items/17", "/django/nowhere") == [200, 200, 404]
    assert counted() == {
        ("/api/:number", "200"): 1,
        ("/django/items/:pk", "200"): 1,
        ("unmatched", "404"): 1,
    }


@pytest.mark.parametrize("prefix", ["", "/django"])
def test_what_no_route_matches_is_unmatched(counted: Counted, prefix: str) -> None:
    """Scanners make one tag value; a view that answers 404 itself, or fails, keeps its route."""
    app: Any = get_asgi_application()
    if prefix:
        app = Starlette(routes=[Mount(prefix, app)])
    get(app, *[f"{prefix}{path}" for path in ("/wp-login.php", "/.env", "/missing/3", "/broken")])
    assert counted() == {
        ("unmatched", "404"): 2,
        (f"{prefix}/missing/:pk", "404"): 1,
        (f"{prefix}/broken", "500"): 1,
    }


def test_static_files_are_one_route(counted: Counted) -> None:
    """Django's static files handler answers before the resolver; all files share a template."""
    app = ASGIStaticFilesHandler(get_asgi_application())
    assert get(app, "/static/admin/css/base.css", "/static/admin/js/core.js", "/static/no.js") == [
        200,
        200,
        404,
    ]
    assert counted() == {("/static/:path", "200"): 2, ("/static/:path", "404"): 1}


def test_a_bad_request_has_no_route(counted: Counted) -> None:
    """A request that Django refuses before it looks for a view is unmatched."""

    def undecodable(scope: Any, body_file: Any) -> Any:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    class Refusing(ASGIHandler):
        request_class = staticmethod(undecodable)

    get(Refusing(), "/items/3")
    assert counted() == {("unmatched", "400"): 1}


def test_configured_patterns_name_what_djangos_middleware_answers(counted: Counted) -> None:
    """Where the resolver was never asked, the configured patterns are."""
    app = DatadogMiddleware(get_asgi_application(), route_patterns=("/wp/{rest}",))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.get("/wp/login")

    asyncio.run(ask())
    assert counted() == {("/wp/:rest", "404"): 1}


def test_hooks_are_put_on_once_and_taken_off_whole() -> None:
    """Installing twice hooks once; uninstalling brings Django's own methods back."""
    before = ASGIHandler.create_request, BaseHandler.resolve_request
    hooks.install()
    hooked = ASGIHandler.create_request, BaseHandler.resolve_request
    hooks.install()
    assert (ASGIHandler.create_request, BaseHandler.resolve_request) == hooked != before
    hooks.uninstall()
    assert (ASGIHandler.create_request, BaseHandler.resolve_request) == before


@pytest.mark.process
def test_beside_ddtraces_own_integrations() -> None:
    """With ddtrace's Django and Starlette integrations on, tags are the same and one span is one request."""
    script = Path(__file__).with_name("patched_site.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, **QUIET},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["routes"] == {"/django/items/:pk 200": 1, "/django/stream/:pk 200": 1, "unmatched 404": 1}
    # ddtrace makes a span for Starlette and one for the Django inside it; none of ours is added.
    assert found["spans"] == {"starlette.request": 2, "sse.request": 1, "django.request": 3}


def test_a_middleware_that_is_switched_off_leaves_django_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With STREAMING_ENABLED=false, Django's methods are its own."""
    from streaming_dd import recorder

    before = BaseHandler.resolve_request
    recorder.configure(enabled=False)
    assert get(get_asgi_application(), "/items/3") == [200]
    assert BaseHandler.resolve_request is before


def test_without_the_middleware_the_hooks_do_nothing() -> None:
    """Django answers as ever where no request is observed."""
    hooks.install()

    async def ask() -> int:
        transport = httpx.ASGITransport(get_asgi_application())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/items/3")).status_code

    assert asyncio.run(ask()) == 200
