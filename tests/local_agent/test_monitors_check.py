"""`streaming-dd monitors`: a release gate over real traffic, with an agent of its own or a running one."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent, monitors_command

COMMAND = [sys.executable, "-m", "streaming_dd.cli", "monitors"]
SHIPPED = Path(__file__).parents[2] / "dd-agent"
TAGS = b"env:test,service:web,app:reports,model:export"


def monitor(query: str, **options: Any) -> str:
    return json.dumps({"name": "A monitor", "type": "query alert", "query": query, "options": options})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with one monitor: failed tasks, by model."""
    (tmp_path / "dd-agent" / "dashboards").mkdir(parents=True)
    (tmp_path / "dd-agent" / "monitors").mkdir()
    query = "sum(last_5m):sum:tasks.failed{*} by {model}.as_count() > 5"
    (tmp_path / "dd-agent" / "monitors" / "failures.json").write_text(
        monitor(query, thresholds={"critical": 5, "warning": 2})
    )
    return tmp_path


@contextmanager
def traffic(port: int, *lines: bytes) -> Iterator[None]:
    """Send lines again and again, from a thread, until the block ends."""
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not over.wait(0.1):
                sock.sendto(b"\n".join(lines), ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "check", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def served(run_agent: Callable[..., LocalAgent], directory: Path) -> tuple[LocalAgent, str]:
    agent = run_agent(page_port=0, dashboards=str(directory))
    return agent, f"http://127.0.0.1:{agent.page_port}"


@pytest.mark.process
def test_healthy_traffic_passes_the_shipped_monitors(run_agent, tmp_path: Path) -> None:
    """Exit code 0 and a line per monitor and group, with the value beside the thresholds."""
    agent, url = served(run_agent, SHIPPED)
    with traffic(
        agent.dogstatsd_port,
        b"streaming.tasks.completed:1|c|#" + TAGS,
        b"streaming.process.workers:9|g|#" + TAGS,
    ):
        ended = check(tmp_path, "--for", "1s", "--agent", url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    names = {file.stem for file in (SHIPPED / "monitors").glob("*.json")}
    words = [line[9:].split()[0] for line in ended.stdout.splitlines()[:-1]]
    assert set(words) == names
    (line,) = (line for line in ended.stdout.splitlines() if "no-data" in line)
    assert line.startswith("OK")
    assert "{env:test,service:web}  9 (critical < 1)" in line
    assert "Passed: no monitor in Alert. Received" in ended.stdout


@pytest.mark.process
def test_failing_tasks_fail_the_shipped_monitors(run_agent, tmp_path: Path) -> None:
    """Exit code 1, the alerting group first: also a group that Datadog would leave alone for being new."""
    agent, url = served(run_agent, SHIPPED)
    with traffic(agent.dogstatsd_port, b"streaming.tasks.failed:50|c|#" + TAGS):
        ended = check(tmp_path, "--for", "1s", "--agent", url, "--json")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    result = json.loads(ended.stdout)
    assert result["passed"] is False
    assert result["groups"][0]["state"] == "Alert"
    (found,) = (row for row in result["groups"] if row["monitor"] == "task-error-rate")
    assert found["state"] == "Alert"
    assert found["value"] > found["critical"]
    assert "model:export" in found["group"]
    assert "a new group" in found["waits"]
    assert result["received"]["samples"] > 0


@pytest.mark.process
def test_own_agent_receives_what_is_checked(own: Path) -> None:
    """Without `--agent` the command listens itself; an alert among the groups is exit code 1, the others are shown."""
    ports = [f"--{name}-port=0" for name in ("dogstatsd", "trace", "logs", "page")]
    with subprocess.Popen(
        [*COMMAND, "check", "--for", "1s", *ports],
        cwd=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        found = re.search(r"DogStatsD udp:(\d+)", process.stderr.readline())
        assert found
        with traffic(int(found[1]), b"tasks.failed:9|c|#model:bad", b"tasks.failed:0|c|#model:good"):
            said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    first, second, last = said.splitlines()
    assert first.startswith("ALERT    failures {model:bad}")
    assert "(critical > 5, warning > 2)" in first
    assert second.startswith("OK       failures {model:good}  0 (")
    assert last.startswith("Failed: failures in Alert.")


@pytest.mark.process
def test_without_traffic_nothing_is_checked(run_agent, own: Path) -> None:
    """A gate that nothing came through has not passed: exit code 2, and what to do."""
    _, url = served(run_agent, own / "dd-agent")
    ended = check(own, "--for", "1s", "--agent", url)
    assert ended.returncode == 2
    assert "nothing came in" in ended.stderr
    assert "DD_AGENT_HOST" in ended.stderr


@pytest.mark.process
def test_broken_monitor_is_no_pass(run_agent, own: Path) -> None:
    """Monitors that cannot be read are named, the others are checked, and the exit code is 2."""
    (own / "dd-agent" / "monitors" / "typo.json").write_text(monitor("avg(last_5m):avg:a{*} >> 1"))
    (own / "dd-agent" / "monitors" / "cut.json").write_text("{")
    agent, url = served(run_agent, own / "dd-agent")
    with traffic(agent.dogstatsd_port, b"tasks.failed:0|c|#model:good"):
        ended = check(own, "--for", "1s", "--agent", url)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "BROKEN   typo" in ended.stdout
    assert "OK       failures {model:good}" in ended.stdout
    assert "2 broken" in ended.stdout
    assert "cut.json" in ended.stderr


def rows(**states: str) -> dict[str, Any]:
    return {
        "groups": [
            {"monitor": name, "group": "*", "title": name, "state": state, "value": 1.0, "comparator": ">",
             "critical": 0.5, "warning": None, "rule": "", "waits": ""}
            for name, state in states.items()
        ],
    }  # fmt: skip


def test_alert_that_recovered_meanwhile_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in Alert at any evaluation has failed; what alerted before the check has not."""
    monkeypatch.setattr(monitors_command, "LOOK_EVERY", 0)
    common = {"problems": [], "now": 100.0}
    answers = iter(
        [
            {**rows(a="OK", b="Alert"), "evaluated": 100.0, "received": {"samples": 1}, **common},
            {**rows(a="OK", b="Alert"), "evaluated": 100.0, "received": {"samples": 1}, **common},
            {**rows(a="Alert", b="OK"), "evaluated": 110.0, "received": {"samples": 2}, **common},
            {**rows(a="OK", b="OK"), "evaluated": 120.0, "received": {"samples": 3}, **common},
        ]
    )
    watch = monitors_command.look_on(lambda: next(answers), 20)
    assert [(row["monitor"], row["state"], row["now"]) for row in watch.verdict()] == [
        ("a", "Alert", "OK"),
        ("b", "OK", "OK"),
    ]
    assert watch.received == {"samples": 2}
    assert "meanwhile; OK at the end" in monitors_command._line(watch.verdict()[0])


def test_agent_that_stops_evaluating_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate ends with an error where no evaluation comes, and where there are no monitors."""
    monkeypatch.setattr(monitors_command, "LOOK_EVERY", 0)
    monkeypatch.setattr(monitors_command, "LATE", -10.9)
    answer = {**rows(a="OK"), "evaluated": 1.0, "received": {"samples": 1}, "problems": [], "now": 100.0}
    with pytest.raises(LocalAgentError, match="stopped evaluating"):
        monitors_command.look_on(lambda: answer, 1)
    with pytest.raises(LocalAgentError, match="no monitors"):
        monitors_command.look_on(lambda: {**answer, "groups": []}, 1)


def test_terminal_is_safe_from_tags() -> None:
    """A tag with an escape sequence does not reach the terminal."""
    (row,) = rows(a="OK")["groups"]
    assert "\x1b" not in monitors_command._line({**row, "group": "model:\x1b[2J", "now": "OK"})


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--agent", "http://127.0.0.1:9"], "no agent answers"),
        (["check", "--agent", "127.0.0.1:8181"], "write the address of its page"),
        (["check", "--for", "soon"], "60s, 5m or 1h"),
        (["check", "--for", "0s"], "60s, 5m or 1h"),
        (["list", "--config", "nowhere"], "there is no monitors/"),
    ],
)
def test_mistakes_are_told(arguments: list[str], words: str, tmp_path: Path) -> None:
    """Exit code 2 and a sentence with the fix, no traceback."""
    ended = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.process
def test_list_names_every_monitor(tmp_path: Path) -> None:
    """Each shipped monitor with its query; a broken one is named, with exit code 1."""
    shutil.copytree(SHIPPED / "monitors", tmp_path / "mine" / "monitors")
    listed = subprocess.run(
        [*COMMAND, "list", "--config", "mine", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert listed.returncode == 0, listed.stderr
    found = {each["name"]: each for each in json.loads(listed.stdout)}
    assert set(found) == {file.stem for file in (SHIPPED / "monitors").glob("*.json")}
    assert found["task-error-rate"]["thresholds"] == {"critical": 5, "warning": 2}
    (tmp_path / "mine" / "monitors" / "typo.json").write_text(monitor("avg(last_5m):avg:a{*} >> 1"))
    listed = subprocess.run(
        [*COMMAND, "list", "--config", "mine"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (listed.returncode, "monitor typo" in listed.stderr) == (1, True)
    assert "task-error-rate" in listed.stdout


@pytest.mark.process
def test_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    """`streaming-dd monitors list | head -1` ends quietly."""
    with subprocess.Popen(
        [*COMMAND, "list"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")
