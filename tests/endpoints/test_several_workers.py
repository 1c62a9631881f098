"""Several workers on one port: whichever answers, it answers for both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.process

HERE = Path(__file__).parent


def test_two_workers_of_one_server(tmp_path: Path) -> None:
    """/stats has the worker that answered and sections of both; in /metrics each series is labelled if asked."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
            "DD_SERVICE": f"workers-{os.getpid()}",
            "STREAMING_STATS_TOKEN": "operator",
            "STREAMING_PROMETHEUS_WORKER": "true",
        }
        patient = ["--timeout-worker-healthcheck", "120"]  # its 5 s may pass on a busy machine
        command = [sys.executable, "-m", "uvicorn", "scraped_site:app", "--workers", "2", *patient, "--fd"]
        with open(tmp_path / "server.log", "wb") as log:
            server = subprocess.Popen(
                [*command, str(listener.fileno())],
                env=environment,
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            workers: dict[str, set[int]] = {}
            sections: set[str] = set()
            labels: set[str] = set()
            deadline = time.monotonic() + 200
            while len(workers) < 2 or len(labels) < 2 or len(sections) < 2:
                assert time.monotonic() < deadline, (workers, sections, labels)
                # A connection of its own for each question: any worker may take it.
                stats = httpx.get(
                    f"{url}/stats", headers={"authorization": "Bearer operator"}, trust_env=False, timeout=200
                )
                worker = stats.json()["worker"]
                sections = set(stats.json()["workers"])
                workers.setdefault(worker["slot"], set()).add(worker["pid"])
                text = httpx.get(
                    f"{url}/metrics",
                    headers={"authorization": "Bearer scraper"},
                    trust_env=False,
                    timeout=200,
                ).text
                labels = {
                    sample.labels["worker"]
                    for family in text_string_to_metric_families(text)
                    for sample in family.samples
                }
            assert set(workers) == sections == labels == {"0", "1"}
            assert all(len(pids) == 1 for pids in workers.values())
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
