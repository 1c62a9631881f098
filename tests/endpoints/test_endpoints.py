"""The endpoints as ASGI: paths, methods, access, hostile requests, and what is left of them in metrics."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import streaming_dd as dd
from streaming_dd import ConfigError, recorder
from streaming_dd.endpoints import Endpoints
from streaming_dd.endpoints.access import has_token
from streaming_dd.endpoints.answers import encode
from streaming_dd.output.metrics import Counter

Get = Callable[..., httpx.Response]
Configure = Callable[..., recorder.Recorder]
PATHS = ["/health", "/health/live", "/health/ready", "/health/startup", "/stats", "/metrics"]


# --- paths and methods ----------------------------------------------------------------------------------------


def test_they_are_served_in_front_of_the_app(site: Any, get: Get, configure: Configure) -> None:
    """One line gives an application the endpoints; what is none of them is still the application's."""
    configure()
    app = Endpoints(dd.DatadogMiddleware(site))
    assert {path: get(app, path).status_code for path in PATHS} == {
        "/health": 200,
        "/health/live": 200,
        "/health/ready": 200,
        "/health/startup": 200,
        "/stats": 403,
        "/metrics": 200,
    }
    assert get(app, "/").text == "hello"
    assert get(app, "/health/other").status_code == 404
    assert get(app, "/healthy").status_code == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(path: str, method: str, site: Any, get: Get, configure: Configure) -> None:
    """What is neither GET nor HEAD is 405 with the methods that are allowed."""
    configure()
    response = get(Endpoints(site), path, method=method)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_head_is_get_without_its_body(path: str, site: Any, get: Get, configure: Configure) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    configure()
    app = Endpoints(site)
    response = get(app, path, method="HEAD")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 10
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == get(app, path).headers["content-type"]


def test_a_prefix(site: Any, get: Get, configure: Configure) -> None:
    """With a prefix the endpoints are under it, and nowhere else."""
    configure(endpoints_prefix="/internal/")
    app = Endpoints(site)
    assert get(app, "/internal/health").json()["status"] == "healthy"
    assert get(app, "/health").status_code == 404


def test_switched_off(site: Any, get: Get, configure: Configure) -> None:
    """With the endpoints off, every request is the application's; with Prometheus off, /metrics is."""
    configure(endpoints_enabled=False)
    assert get(Endpoints(site), "/health").status_code == 404
    configure(prometheus_enabled=False)
    assert get(Endpoints(site), "/metrics").status_code == 404
    assert get(Endpoints(site), "/health").status_code == 200


def test_health_is_answered_also_with_everything_else_off(site: Any, get: Get, configure: Configure) -> None:
    """Whoever switches the telemetry off must not have an orchestrator kill the application."""
    configure(enabled=False)
    assert get(Endpoints(site), "/health/ready").json()["status"] == "healthy"


@pytest.mark.parametrize("path", ["/stats", "/stats/profile", "/metrics"])
def test_with_everything_off_only_health_is_ours(path: str, get: Get, configure: Configure) -> None:
    """What nothing is recorded for is the application's own answer, and its 404 where it has none."""

    async def own(request: Any) -> PlainTextResponse:
        return PlainTextResponse("its own")

    configure(enabled=False, stats_token="t0ken", endpoints_replace=["stats", "metrics"])
    assert get(Endpoints(Starlette(routes=[Route(path, own)])), path).text == "its own"
    assert get(Endpoints(Starlette()), path).status_code == 404
    assert get(Endpoints(), path).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/stats", 200), ("/metrics", 200), ("/mine", 204), ("/health", 204)]
)
def test_headers_that_can_be_read_once(path: str, status: int, configure: Configure) -> None:
    """A server may give them as an iterator: ours are read for the token, and an application reads them all the same."""
    configure(stats_token="t0ken", prometheus_token="t0ken")
    sent: list[Any] = []

    async def own(scope: Any, receive: Any, send: Any) -> None:
        found = (
            scope["path"] in ("/mine", "/health") and (b"authorization", b"Bearer t0ken") in scope["headers"]
        )
        await send({"type": "http.response.start", "status": 204 if found else 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = iter([(b"host", b"test"), (b"authorization", b"Bearer t0ken")])
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "client": None, "server": None,
    }  # fmt: skip
    asyncio.run(Endpoints(own)(scope, receive, send))
    assert sent[0]["status"] == status


@pytest.mark.parametrize("prefix", ["internal", "/a b", "/a//b", "/{x}", "/a?b"])
def test_a_prefix_that_is_no_path(prefix: str) -> None:
    """A prefix that could never match is an error at start-up."""
    with pytest.raises(ConfigError, match="write a path such as"):
        recorder.configure(endpoints_prefix=prefix)


def test_alone_and_mounted(get: Get, configure: Configure) -> None:
    """Without an application they are one; mounted in a router they answer below the mount."""
    configure()
    alone = Endpoints()
    assert get(alone, "/health").status_code == 200
    assert get(alone, "/").status_code == 404
    mounted = Starlette(routes=[Mount("/ops", Endpoints())])
    assert get(mounted, "/ops/health").status_code == 200
    assert get(mounted, "/health").status_code == 404


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/api", "/api/health", 200),
        ("/api", "/health", 200),
        ("/api", "/apihealth", 404),
        ("/", "/health", 200),
    ],
)
def test_behind_a_proxy_with_a_root_path(
    root_path: str, path: str, status: int, site: Any, configure: Configure
) -> None:
    """Servers differ in whether the path has the root path in front: both are understood."""
    configure()

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=Endpoints(site), root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    assert asyncio.run(main()).status_code == status


def test_lifespan_and_websockets_alone(configure: Configure) -> None:
    """Alone they can be served: the lifespan begins and ends, a WebSocket is refused."""
    configure()
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def main() -> None:
        app = Endpoints()
        await app({"type": "lifespan"}, receive, send)
        await app({"type": "websocket", "path": "/health"}, receive, send)

    asyncio.run(main())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


# --- /health --------------------------------------------------------------------------------------------------


def test_the_shape_of_health(site: Any, get: Get, configure: Configure, bearer: Any, token: str) -> None:
    """Everyone sees status, time, checks and the number of tasks; the token shows details and the worker."""
    configure(stats_token=token)

    class Fails(dd.health.Check):
        def run(self) -> None:
            raise ValueError("column secret_plan is missing")

    dd.health.register(Fails())
    coordinator = type("C", (), {"_tasks": {}, "_task_instances": {}, "_locks": {}})()
    app = Endpoints(site, coordinator=coordinator)
    response = get(app, "/health")
    assert response.status_code == 503
    answer = response.json()
    assert set(answer) == {"status", "timestamp", "checks", "active_tasks"}
    assert answer["status"] == "unhealthy"
    assert answer["checks"] == {"event_loop": "ok", "coordinator": "ok", "fails": "error: ValueError"}
    assert "secret_plan" not in response.text
    detailed = get(app, "/health", headers=bearer).json()
    assert detailed["details"]["fails"]["error"] == "column secret_plan is missing"
    assert detailed["worker"]["slot"] == "3"
    wrong = get(app, "/health", headers={"authorization": "Bearer wrong"}).json()
    assert "details" not in wrong


def test_alive_whatever_the_checks_say(site: Any, get: Get, configure: Configure) -> None:
    """Liveness asks no check: a restart would not bring a database back."""
    configure()

    class Down(dd.health.Check):
        def run(self) -> None:
            raise OSError

    dd.health.register(Down())
    app = Endpoints(site)
    assert get(app, "/health/live").status_code == 200
    assert get(app, "/health/ready").status_code == 503
    assert get(app, "/health/startup").status_code == 503


def test_not_ready_while_shutting_down(site: Any, get: Get, configure: Configure) -> None:
    """A worker that was told to end takes no new work, and is alive until it has ended."""
    seen = configure()
    app = Endpoints(site)
    assert get(app, "/health/ready").status_code == 200
    seen.stopping = True
    response = get(app, "/health/ready")
    assert (response.status_code, response.json()["reason"]) == (503, "shutting down")
    assert get(app, "/health/live").status_code == 200
    assert get(app, "/health").status_code == 200


def test_a_fault_of_ours_is_unhealthy_and_said(
    site: Any, get: Get, configure: Configure, monkeypatch: Any, caplog: Any
) -> None:
    """A handler that fails answers 503 without details, and the log has them."""
    configure()
    app = Endpoints(site)
    get(app, "/health")

    def fail(*_: Any) -> None:
        raise RuntimeError("inner workings")

    monkeypatch.setattr("streaming_dd.endpoints.health.runs.Health.report", fail)
    response = get(app, "/health")
    assert response.status_code == 503
    assert response.json() == {"status": "unhealthy", "error": "RuntimeError"}
    assert "inner workings" in caplog.text


@pytest.mark.slow
def test_a_storm_of_probes_is_one_run(site: Any, configure: Configure) -> None:
    """A thousand probes at once cost one run of the checks."""
    configure(health_cache=60)
    runs = []

    class Slow(dd.health.Check):
        def run(self) -> None:
            runs.append(1)
            threading.Event().wait(0.1)

    dd.health.register(Slow())

    async def main() -> set[int]:
        transport = httpx.ASGITransport(app=Endpoints(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = await asyncio.gather(*(client.get("/health") for _ in range(1000)))
        return {answer.status_code for answer in answers}

    assert asyncio.run(main()) == {200}
    assert len(runs) == 1


# --- hostile requests -----------------------------------------------------------------------------------------

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"authorization", b"Authorization", b"accept", b"cookie", b"host", b"x-" + b"y" * 9000]
        ),
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [b"Bearer", b"Bearer ", b"bearer operator", b"Basic b3BlcmF0b3I=", b"\xff" * 70_000]
            ),
            st.text(max_size=50).map(lambda text: b"application/openmetrics-text; version=" + text.encode()),
        ),
    ),
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(path=st.sampled_from(PATHS), headers=HEADERS, query=st.binary(max_size=100))
def test_hostile_requests_get_ordinary_answers(
    path: str, headers: list[tuple[bytes, bytes]], query: bytes, configure: Configure, token: str
) -> None:
    """Whatever the headers and the query, the answer is one of those documented, and /stats stays closed."""
    if recorder.current is None:
        configure(stats_token=token, health_cache=60)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": query}
    asyncio.run(Endpoints()({**scope, "client": None}, receive, send))
    start, body = sent
    assert start["status"] == (401 if path == "/stats" else 200)
    length = dict(start["headers"])[b"content-length"]
    assert int(length) == len(body["body"])
    if path != "/metrics":
        json.loads(body["body"])


@given(st.binary(max_size=40))
def test_only_the_token_is_the_token(given_: bytes) -> None:
    """No other bytes pass for the token; an empty token passes nobody."""
    scope = {"headers": [(b"authorization", b"Bearer " + given_)]}
    assert has_token(scope, "s3cret") == (given_.strip() == b"s3cret")
    assert not has_token(scope, "")


def test_tokens_are_taken_from_one_header_only() -> None:
    """Two Authorization headers are ambiguous, and refused; so is another scheme; the scheme's case is not told apart."""
    good = (b"authorization", b"Bearer s3cret")
    assert has_token({"headers": [good]}, "s3cret")
    assert has_token({"headers": [(b"Authorization", b"bearer s3cret")]}, "s3cret")
    assert not has_token({"headers": [good, good]}, "s3cret")
    assert not has_token({"headers": [(b"authorization", b"Basic s3cret")]}, "s3cret")
    assert not has_token({"headers": [(b"x-token", b"s3cret")]}, "s3cret")


class Odd:
    def __str__(self) -> str:
        raise RuntimeError


@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.binary(),
            st.just(Odd()),
            st.just({1}),
        ),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.one_of(st.text(), st.integers(), st.tuples()), inner)
        ),
        max_leaves=20,
    )
)
def test_anything_becomes_json(content: object) -> None:
    """What a section of /stats returns is JSON in the end, whatever it is."""
    json.loads(encode(content), parse_constant=lambda name: pytest.fail(name))


def test_what_contains_itself_becomes_json() -> None:
    """A structure that contains itself is cut."""
    loop: dict[str, object] = {}
    loop["self"] = loop
    assert b"..." in encode(loop)
    assert encode({"huge": 10**5000}) == b'{"huge": null}'


# --- who may read ---------------------------------------------------------------------------------------------


def test_stats_without_a_token_is_not_served(site: Any, get: Get, configure: Configure, caplog: Any) -> None:
    """Nobody reads /stats where no token is configured; the reason is in the server's log, not in the answer."""
    configure()
    response = get(Endpoints(site), "/stats", headers={"authorization": "Bearer "})
    assert (response.status_code, response.json()) == (403, {"error": "forbidden"})
    assert "STREAMING_STATS_TOKEN" in caplog.text


def test_stats_with_a_token(
    site: Any, get: Get, configure: Configure, bearer: Any, token: str, caplog: Any
) -> None:
    """The token opens /stats; any other gets 401, and the log has who asked, not what with."""
    configure(stats_token=token)
    app = Endpoints(site)
    response = get(app, "/stats", headers={"authorization": "Bearer guess-1234"})
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert "127.0.0.1" in caplog.text
    assert "guess-1234" not in caplog.text
    assert token not in caplog.text
    assert get(app, "/stats", headers=bearer).status_code == 200


def allowed(scope: Any) -> bool:
    """Permit whoever carries the header."""
    return (b"x-staff", b"yes") in scope["headers"]


async def allowed_async(scope: Any) -> bool:
    """The same on the loop."""
    await asyncio.sleep(0)
    return allowed(scope)


class AllowedObject:
    async def __call__(self, scope: Any) -> bool:
        return allowed(scope)


@pytest.mark.parametrize("permission", [allowed, allowed_async, AllowedObject(), "test_endpoints.allowed"])
def test_a_permission_decides(permission: Any, site: Any, get: Get, configure: Configure) -> None:
    """A function of the scope, a coroutine function, or a dotted path says who may read."""
    configure(stats_permission=permission)
    app = Endpoints(site)
    assert get(app, "/stats", headers={"x-staff": "yes"}).status_code == 200
    assert get(app, "/stats").status_code == 403


@pytest.mark.parametrize(
    ("permission", "status"),
    [
        (lambda scope: 1, 403),
        (lambda scope: "yes", 403),
        (lambda scope: None, 403),
        (lambda scope: allowed_async(scope), 403),
        (lambda scope: 1 / 0, 503),
        (lambda: True, 503),
    ],
)
def test_a_permission_that_is_broken_lets_nobody_in(
    permission: Any, status: int, site: Any, get: Get, configure: Configure
) -> None:
    """Only True lets a request in: not what is true-ish, not an exception, not a coroutine nobody awaited."""
    configure(stats_permission=permission)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        response = get(Endpoints(site), "/stats", headers={"x-staff": "yes"})
    assert response.status_code == status


def test_a_permission_that_hangs(site: Any, get: Get, configure: Configure, eventually: Any) -> None:
    """A permission that hangs is refused after the limit, and takes a bounded number of threads."""
    go = threading.Event()

    def hangs(scope: Any) -> bool:
        return go.wait(200)

    configure(stats_permission=hangs, health_timeout=0.05)
    app = Endpoints(site)
    try:
        assert [get(app, "/stats").status_code for _ in range(8)] == [503] * 8
        names = "streaming-dd-permission"  # one of another test may not have ended yet
        eventually(lambda: sum(thread.name == names for thread in threading.enumerate()) == 4)
    finally:
        go.set()


def test_a_permission_that_leads_nowhere_is_an_error_at_start_up(site: Any) -> None:
    """A dotted path without a function at its end is a ConfigError of instrument(), and never lets anybody in."""
    for path, problem in (("no.such.module", "cannot be imported"), ("json.no_such", "cannot be imported")):
        with pytest.raises(ConfigError, match=problem):
            dd.instrument(site, stats_permission=path, logs_enabled=False, tracing_enabled=False)
    with pytest.raises(ConfigError, match="is no function"):
        dd.instrument(site, stats_permission="json.__name__", logs_enabled=False, tracing_enabled=False)
    recorder.reset()


def test_metrics_with_a_token(site: Any, get: Get, configure: Configure) -> None:
    """/metrics is open unless it has a token of its own."""
    configure(prometheus_token="scraper", stats_token="other")
    app = Endpoints(site)
    assert get(app, "/metrics").status_code == 401
    assert get(app, "/metrics", headers={"authorization": "Bearer other"}).status_code == 401
    assert get(app, "/metrics", headers={"authorization": "Bearer scraper"}).status_code == 200


# --- what is left of them -------------------------------------------------------------------------------------


def requests_counted(seen: recorder.Recorder) -> dict[str, float]:
    seen.take_in()
    return {
        dict(handle.tags)["route"]: handle.total
        for handle in seen.metrics.handles()
        if isinstance(handle, Counter) and handle.metric is dd.catalog.HTTP_REQUESTS
    }


@pytest.mark.parametrize(("recorded", "routes"), [(False, {"/": 1.0}), (True, {"/": 1.0, "/health": 1.0})])
def test_their_requests_are_counted_only_if_asked(
    recorded: bool, routes: dict[str, float], site: Any, get: Get, configure: Configure, sender: Any
) -> None:
    """Probes are no traffic, unless the setting says so: then they count under their own route."""
    quiet = {"logs_enabled": False, "tracing_enabled": False, "flush_interval": 10, "health_interval": 0}
    app = dd.instrument(site, endpoints_recorded=recorded, metrics_enabled=False, **quiet)
    get(app, "/health")
    get(app, "/")
    seen = recorder.current
    assert seen is not None
    counted = requests_counted(seen)
    recorder.reset()
    assert counted == routes


def test_their_requests_are_not_in_the_access_log(
    site: Any, get: Get, configure: Configure, tmp_path: Any
) -> None:
    """The access log has the application's requests alone."""
    path = tmp_path / "app.log"
    configure(logs_enabled=True, log_stdout=False, log_file=str(path), health_disk_free=0)
    app = Endpoints(dd.DatadogMiddleware(site))
    for asked in ("/health", "/stats", "/metrics", "/"):
        get(app, asked)
    seen = recorder.current
    assert seen is not None
    seen.traffic.settle()
    recorder.reset()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    urls = [line["http.url"] for line in lines if line["logger.name"] == "streaming_dd.access"]
    assert urls == ["/"]


def test_two_applications_of_one_process_keep_their_own_tokens(configure: Configure, get: Get) -> None:
    """A token given to one wrapped application opens its doors alone, also once another one was wrapped."""
    quiet = {"logs_enabled": False, "tracing_enabled": False, "metrics_enabled": False}
    configure()
    first = dd.instrument(Starlette(), stats_token="first-token", **quiet)
    second = dd.instrument(Starlette(), stats_token="second-token", **quiet)
    for app, own, other in ((first, "first-token", "second-token"), (second, "second-token", "first-token")):
        assert get(app, "/stats", headers={"Authorization": f"Bearer {own}"}).status_code == 200
        assert get(app, "/stats", headers={"Authorization": f"Bearer {other}"}).status_code != 200
