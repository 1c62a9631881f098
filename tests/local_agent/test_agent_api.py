"""The HTTP API of the page port: what each endpoint answers, bad requests, live updates and safety."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from local_agent_helpers import START, Clock
from starlette.routing import Route

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.holdings import Holdings
from streaming_dd.local_agent.page_server.answers import Lately
from streaming_dd.local_agent.page_server.api import make_app
from streaming_dd.local_agent.page_server.guard import MAX_BODY
from streaming_dd.local_agent.settings import Settings

TRACE = f"6b0485c200000000{2**64 - 1:016x}"
SPAN = str(2**64 - 2)


@pytest.fixture
def agent(run_agent, clock: Clock) -> LocalAgent:
    """An agent that has received something of everything, and closed a bucket."""
    agent = run_agent(page_port=0, clock=clock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", agent.dogstatsd_port))
        sock.send(
            b"streaming.tasks.started:3|c|#app:reports,model:Summary\nt:10:20:30|ms|#app:<b>x\nd:1:2|d\nrubbish\n"
            b"_e{5,4}:title|text|t:error\n_sc|db|2|#a:1|m:down"
        )
    line = {
        "message": "task reports.Summary started <script>alert(1)</script>", "logger.name": "streaming_dd.tasks",
        "task.app": "reports", "task.model": "Summary", "task.id": "7", "service": "web", "dd.trace_id": TRACE,
        "dd.span_id": SPAN, "number": 2**60,
    }  # fmt: skip
    with socket.create_connection(("127.0.0.1", agent.logs_port)) as sock:
        sock.sendall(json.dumps(line).encode() + b"\n" + b"x" * 10_000 + b"\n")
    span = {
        "service": "web", "name": "web.request", "resource": "GET /", "trace_id": 2**64 - 1, "span_id": 2**64 - 2,
        "start": START * 10**9, "duration": 10**9, "error": 1, "meta": {"_dd.p.tid": "6b0485c200000000", "env": "prod"},
        "metrics": {"_dd.top_level": 1.0}, "type": "web",
    }  # fmt: skip
    child = {**span, "span_id": 5, "parent_id": 2**64 - 2, "name": "step", "metrics": {}, "error": 0}
    httpx.put(
        f"http://127.0.0.1:{agent.trace_port}/v0.4/traces",
        content=msgspec.msgpack.encode([[span, child]]),
        timeout=60,
    )
    agent.wait_for(lambda received: received.service_checks and len(received.logs) == 2)
    clock.now += 10
    agent._on_loop(agent.holdings.tick)
    return agent


@pytest.fixture
def client(agent: LocalAgent) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.page_port}/api", timeout=60) as client:
        yield client


def get(client: httpx.Client, path: str, **parameters: object):
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_overview_tells_what_arrived_and_what_is_kept(client, agent) -> None:
    """The first look: counts, rates, limits, services."""
    overview = get(client, "/overview")
    assert overview["received"] == {
        "samples": 6, "spans": 2, "logs": 2, "events": 1, "service_checks": 1, "malformed": 1,
    }  # fmt: skip
    assert (overview["services"], overview["environments"]) == (["web"], ["prod"])
    assert overview["kept"]["spans"]["max_rows"] == agent.settings.max_spans
    assert overview["listening"]["dogstatsd_port"] == agent.dogstatsd_port


def test_health_shows_bad_lines_and_bounds(client) -> None:
    """What is wrong is shown with a sample; every bound with what it holds."""
    health = get(client, "/health")
    assert health["dogstatsd"]["malformed_lines"] == [{"line": "rubbish", "reason": "no '|' in the line"}]
    assert health["series"]["count"] <= health["series"]["max"]
    assert health["traces"]["requests"] == {"/v0.4/traces": 1}
    assert health["problems"] == []


def test_metrics_series_and_tags(client) -> None:
    """Metrics are listed with kinds and cardinality; series give times and values."""
    (info,) = get(client, "/metrics", search="tasks.STARTED")["metrics"]
    assert (info["name"], info["kinds"], info["last_value"]) == ("streaming.tasks.started", ["count"], 3.0)
    assert info["tags"] == {"app": 1, "host": 1, "model": 1}
    (series,) = get(client, "/series", metric="t.avg", tags="app:_b_x", range="5m")["series"]
    assert (series["times"], series["values"], series["kind"]) == ([START], [20.0], "gauge")
    assert get(client, "/series", metric="t.avg", tags="app:other")["series"] == []
    assert get(client, "/tags", metric="t.avg") == {"app": ["_b_x"], "host": ["local"]}


def test_summary_is_for_ci(client) -> None:
    """Totals and quantiles per series since the start."""
    found = {one["name"]: one for one in get(client, "/summary")["metrics"]}
    assert found["streaming.tasks.started"]["total"] == 3.0
    assert found["t"]["p50"] == pytest.approx(20, rel=0.01)


def test_services_are_made_of_trace_metrics(client) -> None:
    """Hits, errors and latency by service, and by resource of one service."""
    (row,) = get(client, "/services")["services"]
    assert (row["service"], row["operation"], row["hits"], row["errors"]) == ("web", "web.request", 1.0, 1.0)
    assert row["p95"] == pytest.approx(1.0, rel=0.01)
    (resource,) = get(client, "/services", service="web")["services"]
    assert resource["resource"] == "get_/"
    assert get(client, "/services", service="other")["services"] == []


def test_traces_are_searched_and_shown_with_their_logs(client) -> None:
    """Ids are text, whatever their size; a trace brings its spans, its logs and what links to it."""
    (span,) = get(client, "/traces", query="service:web status:error @duration:>=1s")["spans"]
    assert (span["trace_id"], span["span_id"], span["spans"], span["errors"]) == (TRACE, SPAN, 2, 1)
    assert len(get(client, "/traces", all=1)["spans"]) == 2
    for written in (TRACE, TRACE.upper(), TRACE[16:]):
        trace = get(client, f"/traces/{written}")
        assert [one["span_id"] for one in trace["spans"]] == [SPAN, "5"]
        assert trace["spans"][1]["parent_id"] == SPAN
        assert trace["logs"][0]["span_id"] == SPAN
        assert trace["linked_from"] == []


def test_logs_are_searched_paged_and_cut(client) -> None:
    """Lists cut long messages, one log is whole; large numbers arrive as text; markup arrives as it is, in JSON."""
    newest, oldest = get(client, "/logs")["logs"]
    assert (len(newest["message"]), newest["cut"]) == (4000, 10_000)
    assert len(get(client, f"/logs/{newest['id']}")["message"]) == 10_000
    assert oldest["attributes"]["number"] == str(2**60)
    assert "<script>" in oldest["message"]
    assert get(client, "/logs", query="started", after_id=0, limit=1)["logs"] == [oldest]
    assert get(client, "/logs", before_id=oldest["id"])["logs"] == []
    histogram = get(client, "/logs/histogram", range="1m", steps=6)
    assert sum(count for _, _, count in histogram["counts"]) == 2
    assert get(client, "/logs/facets", keys="service")["facets"] == {"service": [["web", 1]]}


def test_tasks_events_and_checks(client) -> None:
    """A started task runs; events and service checks are listed."""
    (task,) = get(client, "/tasks")["tasks"]
    assert (task["model"], task["id"], task["state"], task["trace_id"]) == ("Summary", "7", "running", TRACE)
    (event,) = get(client, "/events")["events"]
    assert (event["title"], event["alert_type"], event["timestamp"]) == ("title", "error", START)
    (check,) = get(client, "/checks")["checks"]
    assert check["runs"] == [{"timestamp": START, "status": "critical", "message": "down"}]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nothing", 404, "there is no"),
        ("/series", 400, "metric= is missing"),
        ("/logs?range=soon", 400, "range=15m"),
        ("/logs?start=x", 400, "epoch seconds"),
        ("/logs?start=5&end=1", 400, "before its end"),
        ("/logs?start=nan&end=nan", 400, "before its end"),
        ("/logs?start=-inf", 400, "before its end"),
        ("/logs?end=1e300", 400, "before its end"),
        ("/logs?limit=many", 400, "whole number"),
        ("/logs?before_id=-1", 400, "whole number"),
        ("/logs?query=(", 400, "expected"),
        ("/logs?query=@a:>b", 400, "number"),
        ("/logs?query=" + "a" * 3000, 400, "2000"),
        ("/logs/999", 404, "not kept"),
        ("/logs/9223372036854775808", 400, "id of a log"),
        ("/logs/" + "9" * 5000, 400, "id of a log"),
        ("/logs/x", 400, "id of a log"),
        ("/logs/facets?keys=@a'b", 200, "facets"),
        ("/traces/xyz", 400, "hexadecimal"),
        ("/traces/" + "a" * 32, 404, "not finished yet"),
    ],
)
def test_bad_requests_are_explained(client, path: str, status: int, words: str) -> None:
    """Every error is JSON with a sentence that helps; a query's with the position."""
    answer = client.get(path)
    assert answer.status_code == status
    assert words in answer.text
    if status != 200:
        assert set(answer.json()) <= {"error", "position"}


def test_a_slow_search_is_answered(client, agent, monkeypatch) -> None:
    """A search that takes too long is stopped with 503 and advice."""
    monkeypatch.setattr("streaming_dd.local_agent.store.records.MAX_SECONDS", -1.0)
    with socket.create_connection(("127.0.0.1", agent.logs_port)) as sock:
        sock.sendall(b"word\n" * 20_000)
    agent.wait_for(lambda received: len(received.logs) >= 20_000)
    answer = client.get("/logs", params={"query": "no*such*thing*"})
    assert (answer.status_code, "narrow the time range" in answer.text) == (503, True)


def test_live_stream_begins_with_the_last_state_and_follows(client, agent, clock) -> None:
    """A reader gets the last tick at once, and the next when a bucket closes; it ends when the agent stops."""
    with client.stream("GET", "/live", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert _next(lines, "tick") == (str(START), {"bucket": START})
        clock.now += 10
        agent._on_loop(agent.holdings.tick)
        assert _next(lines, "tick") == (str(START + 10), {"bucket": START + 10})
        agent.stop()
        assert list(lines) is not None


def _next(lines: Iterator[str], event: str) -> tuple[str, dict[str, object]]:
    identity = ""
    for line in lines:
        if line.startswith("id: "):
            identity = line[4:]
        if line == f"event: {event}":
            return identity, json.loads(next(lines).removeprefix("data: "))
    raise AssertionError("the stream ended")


def test_only_local_hosts_and_no_other_origins(agent) -> None:
    """DNS rebinding and cross-site requests are refused; nothing is ever allowed by CORS."""
    address = f"http://127.0.0.1:{agent.page_port}"
    with httpx.Client(base_url=address, timeout=60) as client:
        for host in ("evil.example", "evil.example:8181", "127.0.0.1.evil.example", ""):
            answer = client.get("/api/overview", headers={"host": host})
            assert answer.status_code == 400, host
        for host in ("localhost", f"localhost:{agent.page_port}", "[::1]:99", "127.0.0.1"):
            assert client.get("/api/overview", headers={"host": host}).status_code == 200, host
        answer = client.options("/api/overview", headers={"origin": "http://evil.example"})
        assert answer.status_code == 400
        answer = client.get("/api/overview", headers={"origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert client.post("/api/overview", content=b"a=1").status_code == 400
        assert client.post("/api/overview", json={}).status_code == 405


def test_security_headers_are_on_every_answer(agent) -> None:
    """Pages, JSON, errors and refusals carry the content security policy."""
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.page_port}", timeout=60) as client:
        for path, host in (
            ("/", "localhost"),
            ("/api/overview", "localhost"),
            ("/api/no", "localhost"),
            ("/", "evil"),
        ):
            headers = client.get(path, headers={"host": host}).headers
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


def test_large_bodies_are_refused(run_agent) -> None:
    """A body beyond the limit is answered with 413 by an endpoint that reads it."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    agent = LocalAgent(dogstatsd_port=None, trace_port=None, logs_port=None, page_port=0)
    agent.routes.append(Route("/api/echo", echo, methods=["POST"]))
    with agent.running():
        url, json_type = f"http://127.0.0.1:{agent.page_port}/api/echo", {"content-type": "application/json"}
        assert httpx.post(url, content=b"x" * 10, headers=json_type, timeout=60).text == "10"
        answer = httpx.post(url, content=b"x" * (MAX_BODY + 1), headers=json_type, timeout=60)
        assert (answer.status_code, "larger" in answer.text) == (413, True)


def test_deep_json_is_a_bad_request(client) -> None:
    """A body nested beyond what is decoded is 400, as any other that is no JSON."""
    deep = b'{"requests":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    answer = client.post("/query", content=deep, headers={"content-type": "application/json"})
    assert (answer.status_code, "no JSON" in answer.json()["error"]) == (400, True)


def test_openers_of_live_are_counted_one_by_one(run_agent) -> None:
    """Of 60 that open the stream at the same moment 50 get it, and whoever leaves makes room again."""
    agent = run_agent(page_port=0)
    request = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    pages = [socket.create_connection(("127.0.0.1", agent.page_port)) for _ in range(60)]
    try:
        for page in pages:
            page.sendall(request)
        for page in pages:
            page.settimeout(60)
        statuses = [int(page.recv(4096).split()[1]) for page in pages]
        assert (statuses.count(200), statuses.count(503)) == (50, 10)
    finally:
        for page in pages:
            page.close()
    with httpx.Client(base_url=agent.page_url, timeout=60) as client:
        until = time.monotonic() + 60
        while client.get("/api/health").json()["live"]["readers"]:
            assert time.monotonic() < until
        with client.stream("GET", "/api/live") as answer:
            assert answer.status_code == 200


def test_a_wrong_method_is_told_from_a_wrong_path(client: httpx.Client) -> None:
    """Every path of the API answers a method that it does not take with 405 and those that it takes in `Allow`."""
    app = make_app(Holdings(Settings()))
    paths = {
        route.path.replace("{trace_id}", "1").replace("{id}", "1").replace("{name}", "x"): route.methods
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith("/api/") and "{rest" not in route.path
    }
    assert len(paths) > 25
    for path, methods in paths.items():
        wrong = "GET" if "POST" in methods else "POST"
        answer = client.request(wrong, path.removeprefix("/api"), json={})
        allow = ", ".join(sorted(methods))
        assert (answer.status_code, answer.headers["allow"]) == (405, allow), path
        assert answer.json() == {"error": f"{path} takes {allow}, no {wrong}"}
    for method in ("GET", "POST", "DELETE"):
        assert client.request(method, "/nothing", json={}).json() == {"error": "there is no /api/nothing"}


def test_answers_that_took_long_are_given_again(clock: Clock) -> None:
    """One that took a second is good for five, one of a tenth for one; what was quick is made anew, and few are kept."""
    lately, made = Lately(clock, cost=clock), []

    def take(seconds: float) -> int:
        clock.now += seconds
        made.append(seconds)
        return len(made)

    for seconds, good in ((1.0, Lately.LONGEST), (0.1, 1.0)):
        key = f"{seconds}"
        first = lately.answer(key, lambda seconds=seconds: take(seconds))
        clock.now += good - 0.01
        assert lately.answer(key, lambda: take(0)) == first
        clock.now += 0.02
        assert lately.answer(key, lambda: take(0)) != first
    assert lately.answer("quick", lambda: take(0.01)) != lately.answer("quick", lambda: take(0.01))
    for number in range(100):
        lately.answer(number, lambda: take(1))
    assert len(lately._kept) == Lately.MOST_ANSWERS


def test_many_readers_of_the_errors_are_answered_by_one_grouping(client, agent, monkeypatch) -> None:
    """Open pages ask at the same tick: what takes long is worked out once, and anew once all was cleared."""
    asked = []
    monkeypatch.setattr(
        Lately, "LONGEST", 600.0
    )  # however long a busy machine takes from question to question
    monkeypatch.setattr(Lately, "TIMES", 1200)

    def slow(*args: object, **options: object) -> list[object]:
        asked.append(1)
        until = time.thread_time() + 0.5
        while time.thread_time() < until:
            pass
        return []

    monkeypatch.setattr("streaming_dd.local_agent.page_server.stored.grouped_errors.groups", slow)
    for _ in range(3):
        assert get(client, "/errors")["errors"] == []
    assert len(asked) == 1
    assert get(client, "/errors", query="x")["errors"] == []
    client.post("/clear", headers={"Content-Type": "application/json"})
    get(client, "/errors")
    assert len(asked) == 3
