"""`streaming-dd agent`: settings from the command line, the greeting, a command inside, signals and errors."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import command

FREE_PORTS = ["--dogstatsd-port", "0", "--trace-port", "0", "--logs-port", "0", "--page-port", "0"]
START = [sys.executable, "-m", "streaming_dd.cli", "agent", *FREE_PORTS]


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["agent", *arguments])


def test_defaults_are_the_agents_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options it listens where Datadog's Agent would, on this machine only, and keeps no raw samples."""
    monkeypatch.chdir(tmp_path)
    settings = command.settings_of(parse())
    assert (settings.dogstatsd_port, settings.trace_port, settings.logs_port, settings.page_port) == (
        8125,
        8126,
        10518,
        8181,
    )
    assert (settings.host, settings.record, settings.persist) == ("127.0.0.1", False, None)


def test_offset_shifts_every_port_that_was_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--port-offset` moves defaults and the files' ports; a port on the command line means what it says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dd-agent").mkdir()
    (tmp_path / "dd-agent" / "datadog.yaml").write_text("dogstatsd_port: 9125\n")
    settings = command.settings_of(parse("--port-offset", "100", "--trace-port", "7000"))
    assert (settings.dogstatsd_port, settings.trace_port, settings.page_port) == (9225, 7000, 8281)


def test_config_directory_must_hold_the_file(tmp_path: Path) -> None:
    """A directory named by the user without a datadog.yaml is a mistake."""
    with pytest.raises(LocalAgentError, match=r"there is no datadog\.yaml"):
        command.settings_of(parse("--config", str(tmp_path)))


def test_help_needs_no_extra() -> None:
    """`--help` works where uvicorn, msgspec and lark are not installed; starting says what to install."""
    code = (
        "import sys\n"
        "for name in ('uvicorn', 'msgspec', 'lark', 'yaml'): sys.modules[name] = None\n"
        "from streaming_dd.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    help_ = subprocess.run(
        [sys.executable, "-c", code, "agent", "--help"], capture_output=True, text=True, timeout=60
    )
    assert (help_.returncode, "--port-offset" in help_.stdout) == (0, True)
    start = subprocess.run([sys.executable, "-c", code, "agent"], capture_output=True, text=True, timeout=60)
    assert (start.returncode, "pip install 'streaming-dd[agent]'" in start.stderr) == (2, True)


@pytest.mark.process
def test_agent_greets_serves_and_stops_on_a_signal(tmp_path: Path) -> None:
    """One line says where everything is; SIGTERM ends it with 0."""
    with subprocess.Popen([*START, "--headless"], stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(
            r"ready in [\d.]+ s: (http://127.0.0.1:\d+) · DogStatsD udp:\d+ · traces \d+ · logs tcp:\d+", line
        )
        assert found, line
        with urllib.request.urlopen(f"{found[1]}/api/overview", timeout=10) as answer:
            assert json.load(answer)["received"]["samples"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.process
def test_command_runs_with_the_agents_addresses(tmp_path: Path) -> None:
    """The command finds the agent by its environment, and its exit code is ours."""
    script = (
        "import json, os, socket, sys, urllib.request\n"
        "from datadog.dogstatsd import DogStatsd\n"
        "info = json.load(urllib.request.urlopen(os.environ['DD_TRACE_AGENT_URL'] + '/info'))\n"
        "print(info['config']['statsd_port'] == int(os.environ['DD_DOGSTATSD_PORT']), os.environ['DD_ENV'])\n"
        "host, port = os.environ['STREAMING_LOG_AGENT'].split(':')\n"
        "socket.create_connection((host, int(port))).close()\n"
        "sys.exit(7)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60,
        env=environment,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.strip()) == (7, "True local"), ended.stderr


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_to_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """The command gets the signal once, may clean up, and the agent outlives it."""
    script = (
        "import signal, sys, time\n"
        "def end(number, frame): print('cleaned up', number, flush=True); sys.exit(5)\n"
        "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, end)\n"
        "print('running', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [*START, "--", sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"cleaned up {number.value}\n"
        assert process.wait(20) == 5


@pytest.mark.process
def test_mistakes_end_with_2_and_a_sentence(run_agent, tmp_path: Path) -> None:
    """A taken port, and a command that does not exist, are told without a traceback."""
    taken = run_agent()
    for arguments, words in (
        (["--trace-port", str(taken.trace_port)], "--port-offset"),
        (["--", "no-such-command"], "cannot run no-such-command"),
    ):
        ended = subprocess.run([*START, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.process
def test_listening_elsewhere_is_said_loudly(tmp_path: Path) -> None:
    """Whoever binds to all addresses is told what that means."""
    ended = subprocess.run(
        [*START, "--host", "0.0.0.0", "--", sys.executable, "-c", ""], capture_output=True, text=True,
        cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "WARNING: listening on 0.0.0.0" in ended.stderr
