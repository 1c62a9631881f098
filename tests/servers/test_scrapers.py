"""Real scrapers over four workers behind one port: one server of truth, whichever worker a scrape happens to reach."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from free_ports import free_port
from served import APPS, Emitted, Process, Server, wait_until

pytestmark = pytest.mark.process

WORKERS, CALLS = 4, 60
MANY = ["--workers", str(WORKERS), "--timeout-worker-healthcheck", "120"]
SITE = ["uvicorn", "--fd", "{fd}", *MANY, "--app-dir", str(APPS), "workers_site:app"]
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: site
    authorization: {{credentials: operator}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
SCRAPERS = {
    "prometheus": ["--web.listen-address={at}", "--config.file={config}", "--storage.tsdb.path={data}"],
    "victoria-metrics": [
        "-httpListenAddr={at}",
        "-promscrape.config={config}",
        "-storageDataPath={data}",
        "-search.latencyOffset=1s",
    ],
}


@pytest.fixture(params=SCRAPERS)
def scraper(request: Any) -> str:
    """A scraper that this machine has."""
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} binary here")
    name: str = request.param
    return name


@pytest.fixture
def scrape(scraper: str, start: Callable[..., Any], tmp_path: Path) -> Callable[[int], httpx.Client]:
    """Start the scraper, and return a client of its query API."""

    def make(port: int) -> httpx.Client:
        config = tmp_path / "scrape.yml"
        config.write_text(CONFIG.format(port=port))
        at = f"127.0.0.1:{free_port()}"
        words = [word.format(at=at, config=config, data=tmp_path / "data") for word in SCRAPERS[scraper]]
        start(Process, [str(shutil.which(scraper)), *words], dict(os.environ))
        return httpx.Client(base_url=f"http://{at}", trust_env=False, timeout=30)

    return make


def value(client: httpx.Client, expression: str) -> float | None:
    """What the scraper answers to a query for one number; None while it has none."""
    try:
        answer = client.get("/api/v1/query", params={"query": expression}).json()
    except (httpx.TransportError, json.JSONDecodeError):
        return None  # it is still starting
    found = answer.get("data", {}).get("result", [])
    return float(found[0]["value"][1]) if found else None


def told(client: httpx.Client, expression: str) -> float:
    """What it answers once it has an answer: a scrape that a busy machine was too slow for leaves it without."""
    found: list[float] = []

    def has_an_answer() -> bool:
        number = value(client, expression)
        found.extend([] if number is None else [number])
        return bool(found)

    wait_until(has_an_answer, expression)
    return found[0]


def test_four_workers_are_one_target(
    serve: Callable[..., Server], emitted: Emitted, scrape: Callable[[int], httpx.Client]
) -> None:
    """The counter is what the clients counted and is never reset, the gauges are those of all, no worker is missing."""
    server = serve(SITE, emitted.environment(DD_TRACE_ENABLED="false"))
    with scrape(server.port) as client, httpx.Client(trust_env=False, timeout=30) as site:
        wait_until(lambda: value(client, "sum(streaming_worker_up)") == WORKERS, "all workers in a scrape")
        for _ in range(CALLS):
            site.get(f"http://127.0.0.1:{server.port}/work").raise_for_status()
        wait_until(
            lambda: value(client, "sum(streaming_tasks_completed_total)") == CALLS, "the clients' count"
        )
        for _ in range(10):  # scrapes of this time reach other workers, and tell the same
            assert told(client, "sum(streaming_tasks_completed_total)") == CALLS
            time.sleep(0.5)
        assert told(client, "max(resets(streaming_tasks_completed_total[5m]))") == 0
        assert told(client, "sum(streaming_task_duration_seconds_count)") == CALLS
        assert told(client, "sum(streaming_active_tasks)") == 0
