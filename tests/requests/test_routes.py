"""Route templates: through Mounts, Hosts and routers, from patterns, never a raw path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from streaming_dd.middleware import DatadogMiddleware
from streaming_dd.requests.routes import Routes, compile_pattern, path_matcher
from streaming_dd.requests.routes.walk import Nowhere


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


class PassThrough:
    """A middleware that copies the scope, as some do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


def starlette(tmp_path: Any) -> Starlette:
    (tmp_path / "app.css").write_text("a{}")
    inner = Starlette(routes=[Route("/deep/{name}", page)])
    return Starlette(
        routes=[
            Route("/", page),
            Route("/a/{id}", page),
            Route("/b/{id}", page),
            Route("/post", page, methods=["POST"]),
            Mount("/sub/{tenant}", routes=[Route("/item/{id:int}", page), Mount("/inner", app=inner)]),
            Mount("/static", app=StaticFiles(directory=tmp_path)),
            Host("api.example.org", app=Router([Route("/host/{id}", page)])),
        ]
    )


def fastapi(tmp_path: Any) -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/v1")

    @router.get("/things/{thing_id}")
    async def thing(thing_id: int) -> int:
        return thing_id

    app.include_router(router)
    sub = FastAPI()

    @sub.get("/x/{y}")
    async def x(y: str) -> str:
        return y

    app.mount("/sub", sub)
    return app


CASES = [
    (starlette, "/", "/"),
    (starlette, "/a/7", "/a/:id"),
    (starlette, "/b/7", "/b/:id"),
    (starlette, "/post", "/post"),
    (starlette, "/sub/acme/item/3", "/sub/:tenant/item/:id"),
    (starlette, "/sub/acme/inner/deep/x", "/sub/:tenant/inner/deep/:name"),
    (starlette, "/sub/acme/nothing", "unmatched"),
    (starlette, "/static/app.css", "/static/:path"),
    (starlette, "/static/missing.css", "/static/:path"),
    (starlette, "/nope/1", "unmatched"),
    (fastapi, "/v1/things/4", "/v1/things/:thing_id"),
    (fastapi, "/v1/things/four", "/v1/things/:thing_id"),
    (fastapi, "/sub/x/1", "/sub/x/:y"),
    (fastapi, "/v2", "unmatched"),
]


@pytest.mark.parametrize(("make", "path", "template"), CASES)
def test_the_template_of_a_request(
    make: Callable[[Any], Any],
    path: str,
    template: str,
    tmp_path: Any,
    configure: Any,
    exchange: Any,
    flush: Any,
) -> None:
    """Starlette's and FastAPI's routes are found through Mounts; what nothing matched is `unmatched`."""
    configure()
    app = DatadogMiddleware(make(tmp_path))

    async def twice() -> None:
        for _ in range(2):  # the second one from the cache
            await exchange(path).run(app)

    asyncio.run(twice())
    samples = flush().samples("streaming.http.requests")
    assert {tags["route"] for _, tags in samples} == {template}
    assert sum(float(value) for value, _ in samples) == 2


def test_a_host_route_gives_the_path_within(tmp_path: Any, configure: Any, exchange: Any, flush: Any) -> None:
    """A Host is no part of the template."""
    configure()
    app = DatadogMiddleware(starlette(tmp_path))
    request = exchange("/host/5", headers=[(b"host", b"api.example.org")])
    asyncio.run(request.run(app))
    assert flush().total("streaming.http.requests", route="/host/:id") == 1


def test_a_middleware_that_copies_the_scope_hides_no_route(
    tmp_path: Any, configure: Any, exchange: Any, flush: Any
) -> None:
    """Where the router's marks are lost in a copy, the routes are matched again."""
    configure()
    app = Starlette(routes=[Route("/a/{id}", page)], middleware=[Middleware(PassThrough)])
    asyncio.run(exchange("/a/1").run(DatadogMiddleware(app)))
    assert flush().total("streaming.http.requests", route="/a/:id") == 1


def test_an_app_without_routes_is_covered_by_patterns(
    configure: Any, exchange: Any, flush: Any, event_app: Any
) -> None:
    """Configured patterns give templates; what none of them matches is `unmatched`, never the raw path."""
    configure(route_patterns=["/stream/{app}/{model}/{id:int}", "/files/{rest:path}"])
    app = DatadogMiddleware(event_app(b"data: 1\n\n"))

    async def main() -> None:
        for path in (
            "/stream/tests/ExampleTask/17",
            "/files/a/b/c",
            "/stream/tests/ExampleTask/x",
            "/wp-admin.php",
        ):
            await exchange(path).run(app)

    asyncio.run(main())
    sender = flush()
    assert sender.total("streaming.streams.opened", route="/stream/:app/:model/:id") == 1
    assert sender.total("streaming.streams.opened", route="/files/:rest") == 1
    assert sender.total("streaming.streams.opened", route="unmatched") == 2


@given(st.lists(st.text("abcxyz0189-._~", min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_pattern_matches_what_it_was_made_of(parts: list[str]) -> None:
    """A template with placeholders matches every path of its shape, and no longer one."""
    template = "".join(f"/{part}/{{p{index}}}" for index, part in enumerate(parts))
    path = "".join(f"/{part}/{part}" for part in parts)
    assert compile_pattern(template).fullmatch(path)
    assert not compile_pattern(template).fullmatch(path + "/more")


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (("/health*",), "/health/live", True),
        (("/health",), "/healthy", False),
        (("/a", "/b/*"), "/b/c", True),
    ],
)
def test_paths_to_leave_out(patterns: tuple[str, ...], path: str, matches: bool) -> None:
    """`*` matches any text; without it, a path is left out only as it is."""
    matcher = path_matcher(patterns)
    assert matcher is not None
    assert bool(matcher(path)) is matches


def test_a_route_class_that_raises_costs_no_request(configure: Any, exchange: Any, flush: Any) -> None:
    """A router that cannot be read gives `unmatched`; the request is served."""

    class Odd(Route):
        def matches(self, scope: Any) -> Any:
            if not scope.get("endpoint") and "streaming_dd" not in scope:
                raise RuntimeError("only in a request")
            return super().matches(scope)

    configure()
    app = Starlette(routes=[Odd("/odd/{id}", page)], middleware=[Middleware(PassThrough)])
    request = exchange("/odd/1")
    asyncio.run(request.run(DatadogMiddleware(app)))
    assert request.status == 200
    assert flush().total("streaming.http.requests", status="200") == 1


class Anything(Route):
    """A route class of an application's own, which matches by something else than its path."""

    def matches(self, scope: Any) -> Any:
        return super().matches({**scope, "path": self.path})


@pytest.mark.parametrize(
    ("routes", "paths"),
    [
        ([Route("/a/{id}", page), Mount("/m/{id}", routes=[Route("/{id}", page)])], ["/a/1", "/m/1/2"]),
        ([Mount("/m", app=PassThrough(page))], ["/m/1"]),
        ([Route("/a", page), Anything("/b", page)], ["/a", "/nowhere"]),
        ([Host("a.test", app=Router([Route("/h", page)])), Route("/a", page)], ["/a"]),
    ],
)
def test_what_matches_no_route_is_told_without_walking_them(
    monkeypatch: pytest.MonkeyPatch, routes: list[Any], paths: list[str]
) -> None:
    """The one expression of all routes never hides a route that walking finds; routes may be added at any time."""
    app = Starlette(routes=routes)
    found = Routes(app)
    for path in paths:
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        assert found.template(scope, path, "") != "unmatched"
    scope = {"type": "http", "method": "GET", "path": "/later/1", "headers": []}
    first = found.template(scope, "/later/1", "")
    app.router.routes.append(Route("/later/{number}", page))
    assert found.template(scope, "/later/1", "") == ("/later/:number" if first == "unmatched" else first)


def test_a_path_of_no_route_is_not_looked_for_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner's request costs one look, however many routes there are."""
    found = Routes(Starlette(routes=[Route(f"/{number}/{{id}}", page) for number in range(50)]))
    monkeypatch.setattr(Route, "matches", lambda self, scope: pytest.fail("walked"))
    scope = {"type": "http", "method": "GET", "path": "/.env", "headers": []}
    monkeypatch.setattr(Route.matches, "__qualname__", "Route.matches")
    monkeypatch.setattr(Route.matches, "__module__", "starlette.routing")
    assert found.template(scope, "/.env", "") == "unmatched"


class Unmarked(Route):
    """A route class of an application's own, which leaves no endpoint in the scope."""

    def matches(self, scope: Any) -> Any:
        match, child_scope = super().matches(scope)
        return match, {"path_params": {}} if child_scope else child_scope

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")(scope, receive, send)


def test_what_the_router_looked_for_in_vain_is_not_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, configure: Any, exchange: Any, flush: Any
) -> None:
    """A request that no route matches is told by what the router left in the scope; one that a route matched never is."""
    configure()
    app = Starlette(
        routes=[Route("/items/{id}", page, methods=["GET"]), Mount("/m", routes=[Route("/x", page)])]
    )
    looked: list[str] = []
    has = Nowhere.has
    monkeypatch.setattr(Nowhere, "has", lambda self, path: looked.append(path) or has(self, path))
    wrapped = DatadogMiddleware(app)
    for path in ("/nope", "/items/1", "/m/x", "/m/nope"):
        asyncio.run(exchange(path).run(wrapped))
    asyncio.run(exchange("/items/1", method="POST").run(wrapped))
    app.router.routes.append(Unmarked("/odd/{id}", page))
    asyncio.run(exchange("/odd/1").run(wrapped))
    sender = flush()
    assert "/nope" not in looked
    for route, number in (("unmatched", 2), ("/items/:id", 2), ("/m/x", 1), ("/odd/:id", 1)):
        assert sender.total("streaming.http.requests", route=route) == number, route


def test_templates_are_kept_in_bounded_memory() -> None:
    """A mount with parameters does not make the cache grow for ever."""
    app = Starlette(routes=[Mount("/t/{tenant}", routes=[Route("/x", page)])])
    routes = Routes(app)
    route = app.routes[0].routes[0]  # type: ignore[attr-defined]
    for number in range(5000):
        scope = {"type": "http", "method": "GET", "route": route, "root_path": f"/t/{number}", "headers": []}
        assert routes.template(scope, f"/t/{number}/x", "") == "/t/:tenant/x"
    assert len(routes._templates) <= 2000
