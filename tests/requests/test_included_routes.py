"""Routes that the framework leaves incomplete: FastAPI's included routers, WebSockets below mounts; and their spelling."""

from __future__ import annotations

import asyncio
from typing import Any

import fastapi.routing
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from streaming_dd.middleware import DatadogMiddleware
from streaming_dd.output.metrics.cleaning import clean_tag_value
from streaming_dd.requests.routes import in_colon_style


def site() -> FastAPI:
    items = APIRouter(prefix="/items")

    @items.get("/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    @items.websocket("/{item_id}/live")
    async def live(websocket: WebSocket, item_id: int) -> None:
        await websocket.accept()
        await websocket.close()

    two = APIRouter(prefix="/two")
    two.include_router(items)
    api = FastAPI()
    api.include_router(items, prefix="/v1")
    api.include_router(two, prefix="/v2/{tenant}")
    inner = FastAPI()
    inner.include_router(items, prefix="/in")

    @inner.get("/plain/{x}")
    async def plain(x: int) -> int:
        return x

    mounting = APIRouter()
    mounting.mount("/deep", inner)
    api.include_router(mounting, prefix="/pre")
    api.mount("/m", inner)

    @api.get("/own/{x}")
    async def own(x: int) -> int:
        return x

    return api


HTTP = [
    ("GET", "/v1/items/1", "/v1/items/:item_id", 200),
    ("GET", "/v1/items/nan", "/v1/items/:item_id", 422),
    ("GET", "/v2/acme/two/items/1", "/v2/:tenant/two/items/:item_id", 200),
    ("POST", "/v1/items/1", "/v1/items/:item_id", 405),
    ("GET", "/m/in/items/1", "/m/in/items/:item_id", 200),
    ("GET", "/m/plain/1", "/m/plain/:x", 200),
    ("GET", "/pre/deep/plain/1", "/pre/deep/plain/:x", 200),
    ("GET", "/pre/deep/in/items/1", "/pre/deep/in/items/:item_id", 200),
    ("GET", "/own/1", "/own/:x", 200),
    ("GET", "/v1/nothing", "unmatched", 404),
]


@pytest.mark.parametrize(("method", "path", "route", "status"), HTTP)
def test_an_included_router_has_its_prefix(
    method: str, path: str, route: str, status: int, configure: Any, exchange: Any, flush: Any
) -> None:
    """The whole template is found: nested, with parameters in prefixes, in mounted apps, for a method that is none."""
    if path.startswith("/pre/") and not hasattr(fastapi.routing, "_IncludedRouter"):
        pytest.skip("this FastAPI leaves out what an included router mounts")
    configure()
    app = DatadogMiddleware(site())

    async def twice() -> None:
        for _ in range(2):  # the second one from the cache
            await exchange(path, method=method).run(app)

    asyncio.run(twice())
    assert flush().total("streaming.http.requests", route=route, status=str(status)) == 2


def test_routes_of_one_router_in_two_places_stay_apart(configure: Any, flush: Any) -> None:
    """One router included twice is two routes, whatever was asked for first."""
    configure()
    client = TestClient(DatadogMiddleware(site()))
    for path in ("/v1/items/1", "/v2/a/two/items/1", "/v1/items/2", "/m/in/items/3"):
        assert client.get(path).status_code == 200
    sender = flush()
    assert sender.total("streaming.http.requests", route="/v1/items/:item_id") == 2
    assert sender.total("streaming.http.requests", route="/v2/:tenant/two/items/:item_id") == 1
    assert sender.total("streaming.http.requests", route="/m/in/items/:item_id") == 1


def test_a_cors_preflight_has_the_route_that_it_asks_for(configure: Any, flush: Any) -> None:
    """The CORS middleware answers before the router has looked: the route is found all the same."""
    configure()
    api = site()
    api.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])
    client = TestClient(DatadogMiddleware(api))
    asked = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    assert client.options("/v1/items/1", headers=asked).status_code == 200
    assert flush().total("streaming.http.requests", method="OPTIONS", route="/v1/items/:item_id") == 1


def test_the_middleware_may_be_added_to_the_app(configure: Any, flush: Any) -> None:
    """`add_middleware(DatadogMiddleware)` sees the same routes as the app wrapped from outside."""
    configure()
    api = site()
    api.add_middleware(DatadogMiddleware)
    client = TestClient(api)
    assert client.get("/v1/items/1").status_code == 200
    assert client.get("/m/plain/1").status_code == 200
    assert client.get("/nothing").status_code == 404
    sender = flush()
    assert sender.total("streaming.http.requests", route="/v1/items/:item_id") == 1
    assert sender.total("streaming.http.requests", route="/m/plain/:x") == 1
    assert sender.total("streaming.http.requests", route="unmatched") == 1


@pytest.mark.skipif(not hasattr(FastAPI, "frontend"), reason="this FastAPI serves no frontend")
@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/ui/app.js", "/ui/:path", 200),
        ("/ui/", "/ui/:path", 200),
        ("/ui/assets/deep.js", "/ui/:path", 200),
        ("/ui/nothing.js", "/ui/:path", 404),
        ("/in/cluded/app.js", "/in/cluded/:path", 200),
        ("/sub/acme/ui/app.js", "/sub/:tenant/ui/:path", 200),
        ("/sub/acme/own/1", "/sub/:tenant/own/:x", 200),
        ("/sub/acme/nothing", "unmatched", 404),
    ],
)
def test_files_of_a_frontend_have_one_route(
    path: str, route: str, status: int, tmp_path: Any, configure: Any, flush: Any
) -> None:
    """FastAPI's `frontend()` leaves no route in the scope: what is below it is one template, also in a mounted app."""
    configure()
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "app.js", "assets/deep.js"):
        (tmp_path / name).write_text("x")
    api, inner, included = FastAPI(), FastAPI(), APIRouter(prefix="/cluded")
    inner.get("/own/{x}")(lambda x: x)
    for place, prefix in ((api, "/ui"), (inner, "/ui"), (included, "/")):
        place.frontend(prefix, directory=tmp_path)
    api.include_router(included, prefix="/in")
    api.mount("/sub/{tenant}", inner)
    client = TestClient(DatadogMiddleware(api))
    assert client.get("/sub/acme/missing").status_code == 404  # nothing of it is remembered
    assert client.get(path).status_code == status
    sender = flush()
    assert sender.total("streaming.http.requests", route=route) == (2 if route == "unmatched" else 1)


def test_patterns_name_what_a_mounted_app_has_no_routes_for(configure: Any, flush: Any) -> None:
    """Two paths below one mount that its routes do not know: each has its own pattern, whichever came first."""

    class Answers(Starlette):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("x")(scope, receive, send)

    configure(route_patterns=("/m/a/:x", "/m/b/:x"))
    app = Starlette(routes=[Mount("/m", app=Answers(routes=[WebSocketRoute("/{room}", room)]))])
    client = TestClient(DatadogMiddleware(app))
    for path in ("/m/a/1", "/m/b/1", "/m/b/2"):
        assert client.get(path).status_code == 200
    sender = flush()
    assert sender.total("streaming.http.requests", route="/m/a/:x") == 1
    assert sender.total("streaming.http.requests", route="/m/b/:x") == 2


async def room(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


SOCKETS = Starlette(
    routes=[
        Mount("/chat", routes=[WebSocketRoute("/{room}", room)]),
        Mount("/orders", routes=[WebSocketRoute("/{room}", room)]),
        Mount("/t/{tenant}", routes=[Mount("/v", routes=[WebSocketRoute("/{room}", room)])]),
        Host("api.example.org", app=Router([WebSocketRoute("/host/{room}", room)])),
    ]
)


@pytest.mark.parametrize(
    ("app", "url", "route"),
    [
        (SOCKETS, "/chat/1", "/chat/:room"),
        (SOCKETS, "/orders/1", "/orders/:room"),
        (SOCKETS, "/t/acme/v/1", "/t/:tenant/v/:room"),
        (SOCKETS, "ws://api.example.org/host/1", "/host/:room"),
        (site(), "/v1/items/1/live", "/v1/items/:item_id/live"),
        (site(), "/m/in/items/1/live", "/m/in/items/:item_id/live"),
    ],
)
def test_a_websocket_below_a_mount_has_the_whole_route(
    app: Any, url: str, route: str, configure: Any, flush: Any
) -> None:
    """A router changes root_path before the app accepts: the route is looked for where the request began."""
    configure()
    with TestClient(DatadogMiddleware(app)).websocket_connect(url):
        pass
    assert flush().total("streaming.ws.opened", route=route) == 1


def test_the_old_spelling_is_a_setting(configure: Any, flush: Any) -> None:
    """With STREAMING_ROUTE_STYLE=braces routes are written as Starlette writes them."""
    configure(route_style="braces")
    TestClient(DatadogMiddleware(site())).get("/v1/items/1")
    assert flush().total("streaming.http.requests", route="/v1/items/{item_id}") == 1


@pytest.mark.parametrize(
    ("template", "spelled"),
    [
        ("/", "/"),
        ("/items/{id}", "/items/:id"),
        ("/Items/{itemId}/", "/items/:itemid/"),
        ("/old/{*}.html", "/old/:any.html"),
        ("/files/{name}.{ext}", "/files/:name.:ext"),
        ("/a b/@{user}/~x", "/a_b/_:user/_x"),
        ("/é/{id}", "/é/:id"),
        ("unmatched", "unmatched"),
    ],
)
def test_how_a_template_is_spelled(template: str, spelled: str) -> None:
    """Parameters begin with a colon; what a tag cannot have becomes an underscore."""
    assert in_colon_style(template) == spelled


@given(st.text(min_size=1))
def test_a_spelled_route_is_left_as_it_is_by_the_intake(template: str) -> None:
    """Whatever a route is made of, cleaning it as a tag changes nothing."""
    spelled = in_colon_style("/" + template)
    assert clean_tag_value(spelled) == spelled == spelled.lower()
