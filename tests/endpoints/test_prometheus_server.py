"""A real Prometheus server scrapes a real site, and answers queries about it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from free_ports import free_port

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus binary here"),
]

HERE = Path(__file__).parent

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: site
    authorization: {{credentials: scraper}}
    static_configs: [{{targets: ["{target}"]}}]
"""


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[None]:
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "uvicorn", "scraped_site:app", "--fd", str(listener.fileno())]
        options = {"env": {**os.environ, "PYTHONPATH": path}, "pass_fds": [listener.fileno()], "cwd": folder}
        with running(command, folder / "site.log", **options):
            yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def query(site: str, tmp_path_factory: Any) -> Iterator[Callable[[str], dict[str, float]]]:
    """Return a function that asks Prometheus: the value of each series, by its labels as JSON."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(CONFIG.format(target=site))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--web.listen-address={address}", "--config.file=prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", "--log.level=warn"]
    with (
        running(command, folder / "prometheus.log", cwd=folder),
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=100) as client,
    ):

        def ask(expression: str) -> dict[str, float]:
            try:
                answer = client.get("/api/v1/query", params={"query": expression}).json()
            except (httpx.TransportError, json.JSONDecodeError):  # it is still starting
                return {}
            if answer["status"] != "success":
                return {}
            series = answer["data"]["result"]
            return {json.dumps(one["metric"], sort_keys=True): float(one["value"][1]) for one in series}

        yield ask


def until(ask: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 100) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = ask()
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_prometheus_scrapes_the_site(site: str, query: Callable[[str], dict[str, float]]) -> None:
    """The target is up, with its token, and no sample is refused."""
    until(lambda: query("up"), lambda found: list(found.values()) == [1.0])
    refused = "scrape_samples_scraped - scrape_samples_post_metric_relabeling"
    found = until(lambda: query(refused), bool)  # there is none while a scrape is late
    assert list(found.values()) == [0.0]


def test_prometheus_answers_about_tasks(site: str, query: Callable[[str], dict[str, float]]) -> None:
    """Counts by app, model and error, and a percentile of durations, come out as they went in."""
    with httpx.Client(base_url=f"http://{site}", trust_env=False, timeout=100) as client:
        for number in range(10):
            client.get("/work", params={"fail": 1} if number < 3 else {})
    started = "sum by (app, model) (streaming_tasks_started_total)"
    kind = json.dumps({"app": "reports", "model": "Export"}, sort_keys=True)
    until(lambda: query(started), lambda found: found == {kind: 10.0})
    completed = "sum(streaming_tasks_completed_total)"  # a scrape may have come before the last one's end
    until(lambda: query(completed), lambda found: found == {"{}": 7.0})
    until(lambda: query("sum(streaming_active_tasks)"), lambda found: found == {"{}": 0.0})
    failing = 'sum by (error_type) (streaming_tasks_failed_total{error_type!="none"})'
    failed = until(lambda: query(failing), bool)
    assert failed == {json.dumps({"error_type": "ValueError"}): 3.0}
    half = "histogram_quantile(0.5, sum by (le) (streaming_task_duration_seconds_bucket))"
    (duration,) = until(lambda: query(half), lambda found: bool(found)).values()
    assert 0.05 < duration < 5
    count = "sum(streaming_task_duration_seconds_count)"
    until(lambda: query(count), lambda found: found == {"{}": 10.0})
    share = "sum(streaming_tasks_failed_total) / sum(streaming_tasks_started_total)"
    (ratio,) = until(lambda: query(share), bool).values()
    assert ratio == pytest.approx(0.3)


def test_prometheus_counts_no_scrape_as_a_request(
    site: str, query: Callable[[str], dict[str, float]]
) -> None:
    """Scrapes are not in the request metrics: those have the site's own routes alone."""
    httpx.get(f"http://{site}/hello", trust_env=False, timeout=100)
    hello = json.dumps({"route": "/hello"})
    routes = until(
        lambda: query("sum by (route) (streaming_http_requests_total)"), lambda found: hello in found
    )
    assert routes[hello] == 1.0
    assert set(routes) <= {hello, json.dumps({"route": "/work"})}
