"""One sick worker of three is seen: by the shipped monitor on health checks, and by the SLO that rests on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from free_ports import free_port
from truth_books import ROOT

from streaming_dd.local_agent import LocalAgent

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="workers meet where there is /proc"),
]
HERE = Path(__file__).parent
WORKERS = 3
DEADLINE = 120.0


@pytest.fixture
def site(agent: LocalAgent, tmp_path: Path) -> Iterator[str]:
    """The address of a server with three workers."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DD_", "STREAMING_"))}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "TMPDIR": str(tmp_path),
        "DD_SERVICE": "sickly",
        "DD_ENV": "truth",
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": str(agent.dogstatsd_port),
        "DD_TRACE_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    }
    environment.pop("XDG_RUNTIME_DIR", None)
    port = free_port()
    workers = ["--workers", str(WORKERS), "--timeout-worker-healthcheck", "120"]
    command = ["uvicorn", "sick_site:app", "--port", str(port), *workers]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {DEADLINE:g} s for {what}"
        time.sleep(0.1)
    return found


class Seen:
    """What the page of the local agent shows of the shipped monitor and SLO."""

    def __init__(self, agent: LocalAgent) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{agent.page_port}/api", trust_env=False, timeout=60
        )

    def states(self) -> dict[str, str]:
        """The state of the check of each worker, by slot."""
        groups = self._client.get("/monitors/health").raise_for_status().json()["groups"]
        return {
            each["group"]["worker"]: each["state"] for each in groups if each["group"]["check"] == "vital"
        }

    def overall(self) -> str:
        monitors = self._client.get("/monitors").raise_for_status().json()["monitors"]
        (state,) = (str(each["state"]) for each in monitors if each["name"] == "health")
        return state

    def availability(self) -> float | None:
        slos = self._client.get("/slos").raise_for_status().json()["slos"]
        (slo,) = (each for each in slos if each["name"] == "availability")
        value: float | None = slo["statuses"][0]["indicator"]
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()


def change(site: str, how: str, pid: int) -> None:
    """Reach the worker with this pid, however often another one answers."""

    def reached() -> bool:
        return httpx.get(f"{site}/{how}", params={"pid": pid}, trust_env=False, timeout=60).text == str(pid)

    wait_until(reached, f"worker {pid} to answer")


def workers(site: str) -> dict[str, int]:
    """The pid of each worker by its slot, once all of them take part."""

    def found() -> dict[str, int]:
        headers = {"authorization": "Bearer operator-of-a-test"}
        try:
            told = httpx.get(f"{site}/stats", headers=headers, trust_env=False, timeout=60).json()["workers"]
        except httpx.TransportError:
            return {}
        return {slot: one["worker"]["pid"] for slot, one in told.items()} if len(told) == WORKERS else {}

    return dict(wait_until(found, "three workers"))


def test_one_sick_worker_of_three_is_seen(agent: LocalAgent, site: str) -> None:
    """The two that are sound hide nothing: the monitor alerts for that worker and no other, and the time is not
    available time; when it is sound again, so is everything."""
    with Seen(agent) as seen:
        look_on(seen, site)


def look_on(seen: Seen, site: str) -> None:
    """Make one worker sick and sound again."""
    pids = workers(site)
    sound = dict.fromkeys(pids, "OK")
    wait_until(lambda: seen.states() == sound, "three sound workers")
    assert (seen.overall(), seen.availability()) == ("OK", 100.0)
    sick = sorted(pids)[1]
    change(site, "sicken", pids[sick])
    wait_until(lambda: seen.states() == {**sound, sick: "Alert"}, "the alert")
    assert seen.overall() == "Alert"
    wait_until(lambda: (seen.availability() or 100.0) < 100.0, "time that was not available")
    change(site, "heal", pids[sick])
    wait_until(lambda: seen.states() == sound, "the recovery")
    assert (seen.availability() or 0.0) < 100.0  # the past stays
