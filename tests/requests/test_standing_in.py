"""An instrumented app is used in place of the framework's own; outside of asyncio it is left alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import streaming_dd as dd
from streaming_dd.cli.doctor.application import layers


def who() -> str:
    return "real"


@pytest.mark.parametrize("endpoints", [True, False])
def test_an_instrumented_fastapi_app_is_used_as_one(configure: Any, flush: Any, endpoints: bool) -> None:
    """Routes, state, overrides and URLs may be given after `instrument()`, and what is set is the app's."""
    configure()
    inner = FastAPI()
    app: Any = dd.instrument(inner, endpoints_enabled=endpoints, logs_enabled=False, tracing_enabled=False)

    @app.get("/who/{number}", name="who")
    async def read(request: Request, number: int, name: str = Depends(who)) -> str:
        return f"{name} {number} {request.app.state.colour}"

    app.state.colour = "red"
    app.title = "Shop"
    app.dependency_overrides[who] = lambda: "fake"
    assert inner.title == "Shop"
    assert app.url_path_for("who", number=3) == "/who/3"
    assert app.openapi()["info"]["title"] == "Shop"
    assert TestClient(app).get("/who/3").json() == "fake 3 red"
    app.dependency_overrides = {}
    assert inner.dependency_overrides == {}
    assert TestClient(app).get("/who/3").json() == "real 3 red"


def test_what_neither_has_is_an_attribute_error(configure: Any) -> None:
    """A name that the app has not either is refused as ever, and a name of Python's own is never passed on."""
    configure()
    app: Any = dd.DatadogMiddleware(FastAPI())
    with pytest.raises(AttributeError):
        _ = app.no_such_thing
    assert not hasattr(app, "__rsgi__")
    assert [kind.__name__ for kind in layers(app)] == ["DatadogMiddleware", "FastAPI"]


async def _serve(app: Any) -> tuple[list[str], list[str]]:
    """Run a lifespan and one request in trio, as hypercorn does."""
    said: list[str] = []
    to_app, from_server = trio.open_memory_channel[dict[str, Any]](2)

    async def note(message: Any) -> None:
        said.append(message["type"])

    async with trio.open_nursery() as nursery:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        nursery.start_soon(app, scope, from_server.receive, note)
        await to_app.send({"type": "lifespan.startup"})
        while "lifespan.startup.complete" not in said:
            await trio.lowlevel.checkpoint()
        got: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            got.append(message)

        for path in ("/", "/health"):
            http = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
            await app({**http, "state": {}}, receive, send)
        await to_app.send({"type": "lifespan.shutdown"})
    return said, [message["body"].decode() for message in got if message["type"] == "http.response.body"]


@pytest.mark.parametrize("instrumented", [False, True])
def test_under_trio_the_app_runs_as_without_us(configure: Any, instrumented: bool) -> None:
    """Start-up, requests and shutdown pass through, /health included; it is said once that nothing is recorded."""
    configure()
    events: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events.append("started")
        yield
        events.append("stopped")

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse(json.dumps(events))

    app: Any = Starlette(routes=[Route("/", home)], lifespan=lifespan)
    if instrumented:
        app = dd.instrument(app, logs_enabled=False, tracing_enabled=False)
    said, bodies = trio.run(_serve, app)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert bodies == ['["started"]', "Not Found"]
    assert events == ["started", "stopped"]


@pytest.mark.parametrize("wrong", [None, "app:app", 7])
def test_what_is_no_application_is_refused_at_the_start(wrong: Any) -> None:
    """An application that was not made yet, or only named, is an error before anything is configured."""
    with pytest.raises(dd.InstrumentError, match=r"instrument\(app\)"):
        dd.instrument(wrong)
