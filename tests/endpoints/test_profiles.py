"""Profiles on demand: what threads run and where tasks wait, bounded, and readable in a browser."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from streaming_dd import recorder, timers
from streaming_dd.endpoints import Endpoints, profiling
from streaming_dd.errors import ProfileError


@timers.task("reports.crunch")
async def crunch(stop: threading.Event) -> None:
    while not stop.is_set():
        grind()
        await asyncio.sleep(0)


def grind() -> None:
    sum(number * number for number in range(20_000))


def zigzag(stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0.01)
        grind()


@timers.task("reports.waits")
async def waits_long() -> None:
    await asyncio.sleep(60)


def seconds_of(profile: dict[str, Any], *names: str) -> float:
    """Seconds of the stacks in which these functions occur, in this order."""
    frames = [frame["name"] for frame in profile["shared"]["frames"]]
    total = 0.0
    for track in profile["profiles"]:
        for stack, weight in zip(track["samples"], track["weights"], strict=True):
            left = list(names)
            for number in stack:
                if left and left[0] in frames[number]:
                    left.pop(0)
            total += weight if not left else 0
    return total


@pytest.mark.slow
def test_a_profile_shows_what_runs_and_where_tasks_wait(run: Any, captured: Any) -> None:
    """A speedscope file: the loop's thread under the task that holds it, and a track of the waiting tasks."""
    stop = threading.Event()

    async def main() -> bytes:
        tasks = [asyncio.create_task(crunch(stop)), asyncio.create_task(waits_long())]
        found = await asyncio.to_thread(profiling.sample, 1.0, 50)
        stop.set()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    profile = json.loads(run(main()))
    assert profile["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    total = max(sum(track["weights"]) for track in profile["profiles"])
    assert total >= 0.9
    assert seconds_of(profile, "task reports.crunch", "crunch", "grind") > 0.1
    waiting = profile["profiles"][0]
    assert waiting["name"] == "tasks: where they wait"
    assert seconds_of({**profile, "profiles": [waiting]}, "task reports.waits", "waits_long", "sleep") > 0.1
    for track in profile["profiles"]:
        assert track["type"] == "sampled"
        assert track["unit"] == "seconds"
        assert track["endValue"] == pytest.approx(sum(track["weights"]))
        assert len(track["samples"]) == len(track["weights"])
        assert all(
            0 <= number < len(profile["shared"]["frames"]) for stack in track["samples"] for number in stack
        )


@pytest.mark.slow
def test_a_profile_is_bounded(captured: Any) -> None:
    """A profile that would hold too much ends before its time, and says so."""
    with ThreadPoolExecutor(1) as pool:
        stop = threading.Event()
        pool.submit(zigzag, stop)
        taken = profiling.take(30, 200, 3)
        stop.set()
    assert "it held as many stacks as it may" in taken.cut
    assert sum(len(track.stacks) for track in taken.tracks) <= 3 + 64
    assert "cut" in json.loads(taken.speedscope())["name"]


@pytest.mark.parametrize(
    ("seconds", "hz", "limit", "named"),
    [
        (0, 10, 10, "seconds"),
        (61, 10, 10, "seconds"),
        (-1, 10, 10, "seconds"),
        (float("nan"), 10, 10, "seconds"),
        (1, 0, 10, "hz"),
        (1, 251, 10, "hz"),
        (1, 10, 0, "limit"),
        (1, 10, 10**9, "limit"),
    ],
)
def test_numbers_out_of_bounds_are_refused(seconds: float, hz: float, limit: int, named: str) -> None:
    """Too long, too often, too much: an error names the number and its bound."""
    with pytest.raises(ProfileError, match=f"^{named}: write a number above 0, at most"):
        profiling.take(seconds, hz, limit)


@pytest.mark.slow
def test_one_profile_at_a_time(captured: Any, eventually: Any) -> None:
    """A second profile is refused while the first is taken; afterwards it is welcome again."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(profiling.take, 60, 20)
        eventually(profiling._taking.locked)
        try:
            with pytest.raises(ProfileError, match="being taken already"):
                profiling.take(0.1, 20)
        finally:
            recorder.get().stopping = True
        assert first.result().samples > 0
    recorder.get().stopping = False
    assert profiling.take(0.1, 20).samples > 0


def test_a_profile_ends_with_the_process(captured: Any, eventually: Any) -> None:
    """A profile does not keep a process that was told to end."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(profiling.take, 60, 50)
        eventually(profiling._taking.locked)
        recorder.get().stopping = True
        assert taken.result(60).cut == "the process is shutting down"


def test_a_page_of_its_own_shows_a_flame_graph(captured: Any) -> None:
    """The page holds every function with its share, escaped, and loads nothing from anywhere."""
    track = profiling.Track("thread <main>")
    track.add((("outer", "a.py", 1), ("<listcomp>", "a.py", 2)), 3.0)
    track.add((("outer", "a.py", 1), ("other", "b.py", 7)), 1.0)
    page = profiling.Profile("one & only", [track], 4).html().decode()
    assert "<h1>one &amp; only</h1>" in page
    assert 'style="width:75.000%"><span title="&lt;listcomp&gt; (a.py:2) 3.000 s, 75.0%">' in page
    assert 'style="width:25.000%"><span title="other (b.py:7) 1.000 s, 25.0%">' in page
    assert "http" not in page
    assert "<script" not in page


_CONTINUOUS = """
import asyncio, sys, time
import streaming_dd as dd
from streaming_dd import recorder, timers

@timers.task("reports.crunch")
async def crunch():
    end = time.monotonic() + 1
    while time.monotonic() < end:
        sum(range(1000))
        await asyncio.sleep(0)

async def main():
    recorder.get().serve()
    assert recorder.get().insight.profiles, "the profiler does not run"
    await crunch()

dd.configure(service="shop", env="test", version="7", log_stdout=False, metrics_enabled=False)
asyncio.run(main())
recorder.get().ending.drain()
"""


class Intake(BaseHTTPRequestHandler):
    """An Agent that takes profiles."""

    received: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    do_PUT = do_POST

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.process
def test_datadogs_profiler_runs_by_one_setting() -> None:
    """With DD_PROFILING_ENABLED profiles of the service reach the Agent, the last one at the end of serving."""
    intake = type("OwnIntake", (Intake,), {"received": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), intake) as server:
        server.daemon_threads = True  # who keeps a connection keeps nobody else waiting
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        environment = {
            **os.environ,
            "DD_PROFILING_ENABLED": "true",
            "STREAMING_SHUTDOWN_TIMEOUT": "60",  # a busy machine needs longer for a profile than the 2 s
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{server.server_port}",
        }
        done = subprocess.run(
            [sys.executable, "-c", _CONTINUOUS], env=environment, capture_output=True, text=True, timeout=250
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    profiles = [body for path, body in intake.received if path.endswith("/profiling/v1/input")]
    assert profiles
    assert b"service:shop" in profiles[0]
    assert b"version:7" in profiles[0]


def test_nothing_is_profiled_by_default(captured: Any) -> None:
    """Without the setting no profiler runs."""

    async def main() -> None:
        recorder.get().insight.serve()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert not recorder.get().insight.profiles


# --- /stats/profile -------------------------------------------------------------------------------------------

TOKEN = "operator-token"


@pytest.fixture
def asked(captured: Any) -> Any:
    """Ask /stats/profile in front of an application."""
    recorder.configure(stats_token=TOKEN)

    def ask(query: str = "", token: str = TOKEN, times: int = 1) -> list[httpx.Response]:
        async def main() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=Endpoints())
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                headers = {"authorization": f"Bearer {token}"} if token else {}
                requests = (client.get(f"/stats/profile?{query}", headers=headers) for _ in range(times))
                return list(await asyncio.gather(*requests))

        return asyncio.run(main())

    return ask


def test_a_profile_over_http_is_a_file_for_speedscope(asked: Any) -> None:
    """Who may read /stats gets a profile of the live process, to be kept as a file."""
    (found,) = asked("seconds=0.3&hz=50")
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/json"
    assert "speedscope.json" in found.headers["content-disposition"]
    assert found.json()["profiles"]


def test_a_profile_over_http_is_a_page(asked: Any) -> None:
    """The page may run no script and load nothing, and the browser is told so."""
    (found,) = asked("seconds=0.2&format=html")
    assert found.headers["content-type"].startswith("text/html")
    assert found.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<h1>" in found.text


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_profile_needs_the_token(asked: Any, token: str) -> None:
    """A profile shows the code's functions: not for everyone."""
    (found,) = asked("seconds=0.1", token)
    assert found.status_code == 401
    assert "profiles" not in found.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("seconds=1000", "seconds: write a number above 0, at most 60"),
        ("seconds=x", "seconds: write a number"),
        ("hz=nan", "hz: write a number above 0"),
        ("format=svg", "format: write speedscope or html"),
        ("second=1", "there is no 'second'"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_with_the_fix(asked: Any, query: str, said: str) -> None:
    """A wrong parameter is named, with what to write."""
    (found,) = asked(query)
    assert found.status_code == 400
    assert said in found.json()["error"]


@pytest.mark.slow
def test_only_one_profile_over_http_at_a_time(asked: Any) -> None:
    """Of three at once, one is taken; the others are told to ask again."""
    statuses = sorted(found.status_code for found in asked("seconds=4&hz=20", times=3))
    assert statuses == [200, 409, 409]
