"""Paths that an application has itself: it keeps them unless asked, whatever kind of application it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route

import streaming_dd as dd
from streaming_dd import recorder
from streaming_dd.endpoints import Endpoints

Get = Callable[..., httpx.Response]
Configure = Callable[..., recorder.Recorder]


def raw(answers: dict[str, int], default: int = 404) -> Any:
    """An application without routes: it looks at the path itself. `asked` has every path it was asked for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.asked.append(scope["path"])  # type: ignore[attr-defined]
        await receive()
        status = answers.get(scope["path"], default)
        if status == 0:
            raise RuntimeError("the application is broken")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"own"})

    app.asked = []  # type: ignore[attr-defined]
    return app


@pytest.mark.parametrize("status", [200, 204, 301, 401, 403, 500, 503, 0])
def test_an_own_answer_passes_whatever_it_is(
    status: int, get: Get, configure: Configure, caplog: Any
) -> None:
    """An application without a route table keeps its /health, also one that is broken; that is said once."""
    configure()
    app = Endpoints(raw({"/health": status}))
    if status:
        assert [get(app, "/health").content for _ in range(3)] == [b"own"] * 3
    else:
        with pytest.raises(RuntimeError, match="broken"):
            get(app, "/health")
    assert get(app, "/health/ready").json()["status"] == "healthy"
    said = [r.getMessage() for r in caplog.records if "STREAMING_ENDPOINTS_REPLACE" in r.getMessage()]
    assert len(said) == 1


def test_the_application_is_asked_once(get: Get, configure: Configure) -> None:
    """A path that is not the application's costs it one question; later requests cost it none."""
    configure()
    inner = raw({})
    app = Endpoints(inner)
    for _ in range(5):
        assert get(app, "/health").json()["status"] == "healthy"
    assert inner.asked == ["/health"]


def test_it_is_replaced_if_asked(get: Get, configure: Configure) -> None:
    """The setting names what is ours in any case; the application is not even asked."""
    configure(endpoints_replace=["health"])
    inner = raw({"/health": 200, "/metrics": 200})
    app = Endpoints(inner)
    assert get(app, "/health").json()["status"] == "healthy"
    assert get(app, "/metrics").content == b"own"
    assert "/health" not in inner.asked


def test_a_prefix_does_not_hide_what_is_replaced(get: Get, configure: Configure) -> None:
    """The setting goes by the endpoint, whatever its prefix."""
    configure(endpoints_replace=["stats"], endpoints_prefix="/in/ternal")
    app = Endpoints(raw({"/in/ternal/stats": 200, "/in/ternal/health": 200}))
    assert get(app, "/in/ternal/stats").status_code == 403
    assert get(app, "/in/ternal/health").content == b"own"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 500, 0])
def test_an_application_that_answers_everything_alike_owns_nothing(
    status: int, get: Get, configure: Configure
) -> None:
    """A login page or a single-page app for every path is no health check."""
    configure()
    assert get(Endpoints(raw({}, default=status)), "/health").json()["status"] == "healthy"


async def own(request: Any) -> PlainTextResponse:
    return PlainTextResponse("own")


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


async def missing(request: Any) -> PlainTextResponse:
    return PlainTextResponse("no such page", 404)


@pytest.mark.parametrize(
    ("routes", "body"),
    [
        ([Route("/health", own)], "own"),
        ([Mount("/", routes=[Route("/health", own)])], "own"),
        ([Route("/health/", own)], ""),  # redirected there
        ([Route("/health", own, methods=["POST"])], "Method Not Allowed"),
        ([Route("/{page}", missing)], None),
        ([Route("/{path:path}", page)], None),
        ([Route("/other", own)], None),
    ],
)
def test_applications_with_routes(
    routes: list[Any], body: str | None, get: Get, configure: Configure
) -> None:
    """A route of its own is the application's, also in a mount or with a slash; a pattern for every path is not."""
    configure()
    response = get(Endpoints(Starlette(routes=routes)), "/health")
    if body is None:
        assert response.json()["status"] == "healthy"
    else:
        assert response.text == body


def test_other_methods_reach_the_owner(get: Get, configure: Configure) -> None:
    """What the application has is its own for every method."""
    configure()
    app = Endpoints(Starlette(routes=[Route("/stats", own, methods=["GET", "POST"])]))
    assert get(app, "/stats", method="POST").text == "own"
    assert get(app, "/stats", method="DELETE").status_code == 405


def test_an_own_stream_is_let_go(get: Get, configure: Configure) -> None:
    """An application whose /stats is an endless stream keeps it, and the question does not leave one running."""
    configure()
    ended = []

    async def endless() -> Any:
        try:
            while True:
                yield b"event: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            ended.append(1)

    async def stream(request: Any) -> StreamingResponse:
        return StreamingResponse(endless(), media_type="text/event-stream")

    app = Endpoints(Starlette(routes=[Route("/stats", stream)]))

    async def main() -> bool:
        scope = {"type": "http", "method": "GET", "path": "/stats", "headers": [], "query_string": b""}
        return await app._ownership.is_the_apps(scope, "/stats")  # type: ignore[union-attr]

    app._begin()
    assert asyncio.run(main())
    assert ended == [1]


def test_an_application_that_does_not_say(get: Get, configure: Configure) -> None:
    """An application that hangs on the question has ours served after the limit, and is asked again."""
    configure(health_timeout=0.05, health_skip=["database", "agent", "event_loop"])
    asked = []

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await asyncio.Event().wait()

    app = Endpoints(hangs)
    assert [get(app, "/health").json()["status"] for _ in range(2)] == ["healthy"] * 2
    assert asked == ["/health", "/health"]


def test_many_who_ask_at_once_are_one_question(configure: Configure) -> None:
    """Probes that come before the application has answered share the question."""
    configure()
    inner = raw({})

    async def main() -> None:
        transport = httpx.ASGITransport(app=Endpoints(inner))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await asyncio.gather(*(client.get("/health") for _ in range(50)))

    asyncio.run(main())
    assert inner.asked == ["/health"]


def test_the_question_is_not_counted(get: Get, configure: Configure) -> None:
    """The middleware inside sees nothing of the questions."""
    seen = configure()
    app = Endpoints(dd.DatadogMiddleware(raw({})))
    get(app, "/health")
    get(app, "/stats")
    seen.take_in()
    routes = [h for h in seen.metrics.handles() if h.metric is dd.catalog.HTTP_REQUESTS]
    assert routes == []


def test_the_question_is_a_plain_get(get: Get, configure: Configure) -> None:
    """A question carries no query and no body, whatever the request that caused it."""
    configure()
    seen = []

    async def looks(scope: Any, receive: Any, send: Any) -> None:
        seen.append(
            (scope["method"], scope["path"], scope["raw_path"], scope["query_string"], await receive())
        )
        await RedirectResponse("/login")(scope, receive, send)

    get(Endpoints(looks), "/health", method="HEAD", params={"a": "b"}, content=b"body")
    assert len(seen) == 2
    method, path, raw_path, query, message = seen[0]
    assert (method, path, raw_path, query) == ("GET", "/health", b"/health", b"")
    assert message == {"type": "http.request", "body": b"", "more_body": False}
