"""Each check broken for real, in a real server: what /health says, and how fast."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

HERE = Path(__file__).parent
ALL_OK = {"database": "ok", "event_loop": "ok", "redis": "ok", "agent": "ok", "coordinator": "ok"}
LIMIT = 2.0
Wait = Callable[..., None]


class Site:
    """A running server, the Redis server and the Agent that it needs."""

    def __init__(self, client: httpx.Client, server: subprocess.Popen[bytes], folder: Path) -> None:
        self.client = client
        self.server = server
        self.database = folder / "site.sqlite3"
        self.redis: subprocess.Popen[bytes] | None = None
        self.stop_agent: Callable[[], None] = lambda: None
        self.agent: LocalAgent | None = None

    def health(self, path: str = "/health", **headers: str) -> tuple[int, Any, float]:
        """Ask, and return status, answer and seconds."""
        started = time.perf_counter()
        answer = self.client.get(path, headers=headers)
        return answer.status_code, answer.json(), time.perf_counter() - started

    def wait_for(self, check: str, starts: str, status: int) -> Any:
        """Ask until a check's result begins with `starts`, and the answer has this status: on a busy machine any other
        check may be late now and then.
        """
        return self.until(
            lambda found, answer: found == status and answer["checks"][check].startswith(starts)
        )

    def until(self, wanted: Callable[[int, Any], bool], path: str = "/health", **headers: str) -> Any:
        """Ask until status and answer are what is wanted, and return the answer."""
        deadline = time.monotonic() + 100
        while True:
            status, answer, _ = self.health(path, **headers)
            if wanted(status, answer):
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)


@contextmanager
def redis_server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no redis-server here")
    path = folder / "redis.sock"
    command = [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        deadline = time.monotonic() + 100
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_agent() -> Iterator[tuple[LocalAgent, Callable[[], None]]]:
    """An agent, and a function that stops it before the end of the block."""
    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)
    running = agent.running()
    running.__enter__()
    stopped = threading.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            running.__exit__(None, None, None)

    try:
        yield agent, stop
    finally:
        stop()


@contextmanager
def running_site(folder: Path, **settings: str) -> Iterator[Site]:
    with closing(sqlite3.connect(folder / "site.sqlite3")) as database:
        database.execute("CREATE TABLE rows (id INTEGER)")
    with redis_server(folder) as redis, running_agent() as (agent, stop_agent), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
            "SITE_DATABASE": str(folder / "site.sqlite3"),
            "REDIS_URL": f"unix://{folder}/redis.sock",
            "DD_SERVICE": f"health-{os.getpid()}",
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{agent.dogstatsd_port}",
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.trace_port}",
            "STREAMING_HEALTH_TIMEOUT": str(LIMIT),
            "STREAMING_HEALTH_CACHE": "0.2",
            "STREAMING_HEALTH_INTERVAL": "0.5",
            "STREAMING_HEALTH_LOOP_LAG": "2",
            **settings,
        }
        command = [sys.executable, str(HERE / "health_site.py"), str(listener.fileno())]
        with open(folder / "server.log", "wb") as log:
            server = subprocess.Popen(
                command, env=environment, pass_fds=[listener.fileno()], stdout=log, stderr=log, cwd=folder
            )
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=base, timeout=200, trust_env=False) as client:
                site = Site(client, server, folder)
                site.redis, site.agent, site.stop_agent = redis, agent, stop_agent
                yield site
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as running:
        running.until(lambda _, answer: answer["checks"] == ALL_OK)
        yield running


def test_everything_is_well(site: Site) -> None:
    """A site in order says so: 200, every check ok, and fast from then on."""
    answer = site.until(lambda status, answer: status == 200 and answer["checks"] == ALL_OK)
    assert (answer["status"], answer["active_tasks"]) == ("healthy", 0)
    site.until(lambda status, _: status == 200, "/health/ready")
    assert site.health("/health/startup")[0] == 200
    assert site.health("/health/live")[:1] == (200,)


def test_a_database_whose_file_is_gone(site: Site) -> None:
    """A SQLite file that is missing makes the site unhealthy, and is not created again by the check."""
    site.database.unlink()
    missing = "error: the database file is missing: `python manage.py migrate` makes it"
    assert site.wait_for("database", missing, 503)["status"] == "unhealthy"
    assert not site.database.exists()
    assert site.health("/health/ready")[0] == 503
    assert site.health("/health/startup")[0] == 200  # it was healthy once
    assert site.health("/health/live")[0] == 200


def test_a_database_that_is_none(site: Site) -> None:
    """A database that answers with an error: strangers learn its type, those with the token its text."""
    site.database.write_bytes(b"no database" * 1000)
    assert "details" not in site.wait_for("database", "error: DatabaseError", 503)
    site.until(
        lambda _, answer: answer["details"]["database"].get("error") == "file is not a database",
        authorization="Bearer operator",
    )


def test_a_database_that_hangs(site: Site) -> None:
    """A database that does not answer costs a probe the limit, later ones nothing, and one thread; then it is ok again."""
    with closing(sqlite3.connect(site.database, timeout=100, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        site.wait_for("database", "error: timed out", 503)
        took = []
        for _ in range(10):
            status, answer, seconds = site.health()
            assert status == 503
            assert answer["checks"]["database"].startswith("error: timed out")
            took.append(seconds)
            time.sleep(0.25)  # longer than the cache: each asks for a run
        assert min(took) < LIMIT
        threads = site.client.get("/stats", headers={"authorization": "Bearer operator"}).json()["process"][
            "threads"
        ]
        assert threads < 15
        holder.execute("ROLLBACK")
    site.wait_for("database", "ok", 200)


def test_redis_stopped_and_started_again_is_optional(site: Site, tmp_path: Path) -> None:
    """A Redis server that is down is reported and makes nothing unhealthy."""
    assert site.redis is not None
    site.redis.terminate()
    site.redis.wait()
    assert site.wait_for("redis", "error: ConnectionError", 200)["status"] == "healthy"
    (tmp_path / "redis.sock").unlink(missing_ok=True)
    with redis_server(tmp_path):
        site.wait_for("redis", "ok", 200)


def test_redis_that_hangs_and_is_required(tmp_path: Path) -> None:
    """A Redis server that accepts and never answers is given up within the limit; it decides where it is required."""
    with running_site(tmp_path, STREAMING_HEALTH_REQUIRED="redis") as site:
        site.wait_for("redis", "ok", 200)
        assert site.redis is not None
        site.redis.send_signal(signal.SIGSTOP)
        answer = site.wait_for("redis", "error", 503)
        assert answer["status"] == "unhealthy"
        # Its own timeout, or the check's limit where redis-py waits several times (5.0: a handshake).
        assert answer["checks"]["redis"].startswith(("error: TimeoutError", "error: timed out"))
        site.redis.send_signal(signal.SIGCONT)
        site.wait_for("redis", "ok", 200)


def test_an_agent_that_was_stopped(site: Site) -> None:
    """Without an Agent the site stays healthy, and says what nobody takes."""
    site.stop_agent()
    site.wait_for("agent", "error: nothing takes metrics or traces", 200)


def test_a_loop_that_is_held(site: Site, wait_until: Wait) -> None:
    """A probe behind a blocked loop waits for it, and then hears of it; the Agent hears of it too."""
    assert site.agent is not None
    port = site.client.base_url.port
    held: list[float] = []

    def hold() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=200, trust_env=False) as client:
            started = time.perf_counter()
            client.get("/block", params={"seconds": 6})
            held.append(time.perf_counter() - started)

    holding = threading.Thread(target=hold)
    holding.start()
    status, answer, seconds = site.health()
    while answer["checks"]["event_loop"] == "ok" and holding.is_alive():  # that probe came before the block
        status, answer, seconds = site.health()
    holding.join()
    assert status == 503
    assert answer["checks"]["event_loop"].startswith("error: held for")
    assert seconds < held[0] + 20
    checks = site.agent.received

    def was_critical() -> bool:
        tag, name = "check:event_loop", "streaming.health"
        found = [check for check in checks.service_checks if check.name == name and tag in check.tags]
        return any(check.status == "critical" for check in found)

    wait_until(was_critical)
    site.wait_for("event_loop", "ok", 200)


def test_the_endpoints_leave_no_trace(site: Site, wait_until: Wait) -> None:
    """Probes are no traffic: no request is counted or traced, though the application's own are."""
    assert site.agent is not None
    received = site.agent.received
    for _ in range(3):
        site.health()
        site.client.get("/stats")
        site.client.get("/metrics")
    site.client.get("/")
    wait_until(lambda: any(sample.name == "streaming.http.requests" for sample in received.metrics))
    wait_until(
        lambda: any(span.name == "asgi.request" or span.resource == "GET /" for span in received.spans)
    )
    routes = {
        tag for sample in received.metrics if sample.name == "streaming.http.requests" for tag in sample.tags
    }
    assert {tag for tag in routes if tag.startswith("route:")} == {"route:/"}
    assert {span.resource for span in received.spans if span.meta.get("http.method")} == {"GET /"}


def test_worker_says_which_it_is(site: Site) -> None:
    """`/stats` names the worker that answers: its slot and process id."""
    stats = site.client.get("/stats", headers={"authorization": "Bearer operator"}).json()
    assert stats["worker"]["pid"] == site.server.pid
    assert stats["worker"]["slot"] == "0"
    assert json.dumps(stats)
