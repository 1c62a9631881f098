"""Dashboards, monitors and SLOs as files: found, served by the command's agent, named when broken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.page_server import shipped

REPOSITORY = Path(__file__).parents[2]
FREE_PORTS = ["--dogstatsd-port", "0", "--trace-port", "0", "--logs-port", "0", "--page-port", "0"]
START = [sys.executable, "-m", "streaming_dd.cli", "agent", *FREE_PORTS]
DEADLINE = 120.0


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, Path]]:
    """Run `streaming-dd agent` in a folder; give its address and the file with what it says."""
    said = folder / "said.txt"
    with said.open("w") as out, subprocess.Popen([*START, *arguments], stderr=out, cwd=folder) as process:
        try:
            deadline = time.monotonic() + DEADLINE
            while not (found := re.search(r"(http://127\.0\.0\.1:\d+) ", said.read_text())):
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.05)
            yield found[1], said
        finally:
            process.terminate()


@pytest.mark.process
def test_what_is_shipped_is_served_wherever_one_stands(tmp_path: Path) -> None:
    """In a directory without `dd-agent` the command shows every shipped dashboard, monitor and SLO."""
    with served(tmp_path) as (url, _):
        assert {each["name"] for each in fetch(f"{url}/api/dashboards")["dashboards"]} == names("dashboards")
        found = fetch(f"{url}/api/monitors")
        assert {each["name"] for each in found["monitors"]} == names("monitors")
        assert {each["name"] for each in fetch(f"{url}/api/slos")["slos"]} == names("slos")
        assert [each["problem"] for each in found["monitors"] if each["problem"]] == []
        assert found["problems"] == []


def names(kind: str) -> set[str]:
    found = {file.stem for file in (REPOSITORY / "dd-agent" / kind).glob("*.json")}
    assert found
    return found


@pytest.mark.process
def test_broken_files_are_named_and_the_rest_works(tmp_path: Path) -> None:
    """The command says which file is broken and why, on stderr, on the page and in the health view."""
    own = tmp_path / "dd-agent"
    for kind in ("dashboards", "monitors", "slos"):
        shutil.copytree(REPOSITORY / "dd-agent" / kind, own / kind)
    (own / "monitors" / "cut.json").write_text('{"name": "half a')
    (own / "monitors" / "typo.json").write_text(
        '{"type": "query alert", "query": "avg(last_5m):avg:a{*} >> 1"}'
    )
    (own / "dashboards" / "flat.json").write_text('{"title": "no list", "widgets": {"a": 1}}')
    (own / "dashboards" / "odd.json").write_text('{"title": "odd", "widgets": [7]}')
    (own / "dashboards" / "list.json").write_text("[]")
    (own / "slos" / "empty.json").write_text("{}")
    with served(tmp_path) as (url, said):
        dashboards = fetch(f"{url}/api/dashboards")
        assert {each["name"] for each in dashboards["dashboards"]} == names("dashboards")
        monitors = fetch(f"{url}/api/monitors")
        assert {each["name"] for each in monitors["monitors"]} == names("monitors") | {"typo"}
        (typo,) = (each for each in monitors["monitors"] if each["name"] == "typo")
        assert typo["problem"]
        assert {each["name"] for each in fetch(f"{url}/api/slos")["slos"]} == names("slos")
        assert fetch(f"{url}/api/usage")["used"]
        told = fetch(f"{url}/api/health")["problems"]
        text = said.read_text()
        for broken in (
            "cut.json",
            "monitor typo",
            "dashboard flat",
            "dashboard odd",
            "list.json",
            "SLO empty",
        ):
            assert sum(broken in problem for problem in told) == 1, (broken, told)
            assert broken in text
        assert "Traceback" not in text


@pytest.mark.process
def test_named_directory_wins_over_what_is_shipped(tmp_path: Path) -> None:
    """`--config DIRECTORY` names the dashboards and monitors too, where it has any."""
    (tmp_path / "mine" / "monitors").mkdir(parents=True)
    (tmp_path / "mine" / "datadog.yaml").write_text("env: test\n")
    monitor = {"name": "Mine", "type": "query alert", "query": "avg(last_5m):avg:mine{*} > 1"}
    (tmp_path / "mine" / "monitors" / "own.json").write_text(json.dumps(monitor))
    with served(tmp_path, "--config", "mine") as (url, _):
        assert [each["title"] for each in fetch(f"{url}/api/monitors")["monitors"]] == ["Mine"]


def test_project_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked for where one stands, then in the wheel, then in the checkout."""
    monkeypatch.chdir(tmp_path)
    assert shipped.find() == REPOSITORY / "dd-agent"
    packaged = tmp_path / "shipped_json"
    (packaged / "dashboards").mkdir(parents=True)
    monkeypatch.setattr(shipped, "_PACKAGED", packaged)
    assert shipped.find() == packaged
    (tmp_path / "dd-agent" / "dashboards").mkdir(parents=True)
    assert shipped.find() == tmp_path / "dd-agent"


def test_what_is_recorded_can_be_limited(run_agent: Callable[..., LocalAgent], send) -> None:
    """`record_limit` bounds each kind that is kept as it came; what came in is counted beyond it."""
    agent = run_agent(record_limit=3)
    send(agent, b"\n".join(b"m:%d|c" % number for number in range(10)))
    agent.wait_for(lambda received: agent.holdings.totals()["samples"] == 10)
    assert [sample.values for sample in agent.received.metrics] == [(7.0,), (8.0,), (9.0,)]
