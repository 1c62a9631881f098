"""`streaming-dd agent`: settings from the command line, the greeting, a command inside, signals and errors."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from streaming_dd import cli
from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import command, companion

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


def test_the_command_line_brings_what_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves the agent is masked by the emitting side's rules, the user's own keys included."""
    monkeypatch.setenv("STREAMING_LOG_REDACT", "iban, plate")
    options = cli.build_parser(["agent"]).parse_args(["agent", "--config", "dd-agent"])
    mask = command.settings_of(options).mask
    assert mask("password", "hunter2x") == mask("iban", "DE02") == "***"
    assert mask("", "plate=ABC12 at https://u:hunter2x@h/") == "plate=*** at https://u:***@h/"


def test_config_directory_must_hold_the_file(tmp_path: Path) -> None:
    """A directory named by the user without a datadog.yaml is a mistake."""
    with pytest.raises(LocalAgentError, match=r"there is no datadog\.yaml"):
        command.settings_of(parse("--config", str(tmp_path)))


@pytest.mark.process
def test_help_needs_no_extra() -> None:
    """`--help` works where uvicorn, msgspec and lark are not installed; starting says what to install."""
    code = (
        "import sys\n"
        "for name in ('uvicorn', 'msgspec', 'lark', 'yaml'): sys.modules[name] = None\n"
        "from streaming_dd.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    help_ = subprocess.run(
        [sys.executable, "-c", code, "agent", "--help"], capture_output=True, text=True, timeout=120
    )
    assert (help_.returncode, "--port-offset" in help_.stdout) == (0, True)
    start = subprocess.run([sys.executable, "-c", code, "agent"], capture_output=True, text=True, timeout=120)
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
        with urllib.request.urlopen(f"{found[1]}/api/overview", timeout=60) as answer:
            assert json.load(answer)["received"]["samples"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


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
        [*START, "--", sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env=environment,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.strip()) == (7, "True local"), ended.stderr


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_to_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """The command gets the signal once, may clean up, and the agent outlives it."""
    script = (
        "import os, signal, sys, time\n"
        "def end(number, frame): os.write(1, b'cleaned up %d\\n' % number); sys.exit(5)\n"
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
        assert process.wait(60) == 5


#: A signal may come while `running` is printed, within which nothing else can be.
COUNTING = (
    "import os, signal, sys, time\n"
    "def told(number, frame): os.write(1, b'signal %d\\n' % number)\n"
    "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, told)\n"
    "print('running', flush=True)\n"
    "sys.stdin.readline()\n"
)


def told_once(folder: Path, number: signal.Signals, whole_group: bool) -> tuple[str, float]:
    """Signal an agent with a command that counts; return what that said, and the seconds that signalling took."""
    with subprocess.Popen(
        [*START, "--", sys.executable, "-c", COUNTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, cwd=folder, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "running\n"
        began = time.monotonic()
        os.kill(process.pid, number)
        if whole_group:  # as `timeout` does: the command, then the group
            os.killpg(process.pid, number)
        took = time.monotonic() - began
        told = process.stdout.readline()
        process.stdin.write("end\n")
        process.stdin.close()
        told += process.stdout.read()
        assert process.wait(60) == 0
    return told, took


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [True, False])
def test_a_signal_reaches_the_command_once(tmp_path: Path, number: signal.Signals, whole_group: bool) -> None:
    """Without a terminal, a signal to the whole group or to the agent alone comes to the command once."""
    told, took = told_once(tmp_path, number, whole_group)
    while took > companion.ONE_BLOW / 3:  # the machine stood still in between: that were two
        told, took = told_once(tmp_path, number, whole_group)
    assert told == f"signal {number.value}\n"


@pytest.mark.process
def test_ctrl_c_on_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    """On a terminal the command is of the agent's job: Ctrl-C comes to both, and is not passed on."""
    terminal, other = os.openpty()
    begin = (  # a session's first process has the first terminal that it opens as its own
        "import os, sys\n"
        "terminal = os.open(sys.argv[1], os.O_RDWR)\n"
        "for number in range(3): os.dup2(terminal, number)\n"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    arguments = [sys.executable, "-c", begin, os.ttyname(other), *START, "--", sys.executable, "-c", COUNTING]
    with subprocess.Popen(arguments, cwd=tmp_path, start_new_session=True) as process:
        shown = _until(terminal, "running")
        os.write(terminal, b"\x03")
        shown += _until(terminal, "signal 2")  # whole: the terminal shows what is typed in between
        os.write(terminal, b"end\n")
        assert process.wait(60) == 0
    os.close(other)
    shown += _until(terminal, "nothing more")
    os.close(terminal)
    assert shown.count("signal 2") == 1, shown


def _until(terminal: int, word: str) -> str:
    shown = ""
    while word not in shown:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data.decode()
    return shown


STUBBORN = (
    "import os, signal, time\n"
    "def refuse(number, frame): os.write(1, b'not yet\\n')\n"
    "signal.signal(signal.SIGINT, refuse)\n"
    "print('running', flush=True)\n"
    "while True: time.sleep(60)"
)


@pytest.mark.process
def test_a_command_that_takes_long_to_end_is_named_and_a_second_signal_ends_it(tmp_path: Path) -> None:
    """After two seconds it is said what is waited for; Ctrl-C again gives it a moment, then it is killed."""
    with subprocess.Popen(
        [*START, "--", sys.executable, "-c", STUBBORN], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        line = next(line for line in process.stderr if line.startswith("Waiting"))
        assert line.startswith(f"Waiting for {sys.executable} to end, at most 30 s")
        assert "Ctrl-C again ends it now." in line
        process.send_signal(signal.SIGINT)
        assert next(process.stderr) == f"{sys.executable} did not end: it is killed.\n"
        assert process.wait(60) == 128 + signal.SIGKILL
        assert process.stdout.read() == "not yet\nnot yet\n"


@pytest.mark.process
def test_what_is_set_for_a_command_is_printed(tmp_path: Path) -> None:
    """Before the command runs a line says which variables it gets, and which of one's own they take the place of."""
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", "import os; print(os.environ['DD_TRACE_AGENT_URL'])"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "DD_TRACE_AGENT_URL": "http://elsewhere:8126", "DD_ENV": "staging"},
    )  # fmt: skip
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith(f"{sys.executable} runs with ")]
    assert f"DD_TRACE_AGENT_URL={ended.stdout.strip()} " in line
    assert re.search(
        r" STREAMING_LOG_TRACE_URL=http://127\.0\.0\.1:\d+/traces/ \(in place of your DD_TRACE_AGENT_URL\)$",
        line,
    )
    assert "DD_ENV" not in line


@pytest.mark.process
def test_mistakes_end_with_2_and_a_sentence(run_agent, tmp_path: Path) -> None:
    """A taken port, and a command that does not exist, are told without a traceback."""
    taken = run_agent()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where uvicorn is
    for arguments, words in (
        (["--trace-port", str(taken.trace_port)], "--port-offset"),
        (["--", "no-such-command"], "cannot run no-such-command"),
        (["--", "uvicrn", "app:app"], "cannot run uvicrn: No such file or directory; did you mean uvicorn?"),
    ):
        ended = subprocess.run(
            [*START, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=120,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        assert ended.returncode == 2
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.process
def test_listening_elsewhere_is_said_loudly(tmp_path: Path) -> None:
    """Whoever binds to all addresses is told what that means."""
    ended = subprocess.run(
        [*START, "--host", "0.0.0.0", "--", sys.executable, "-c", ""], capture_output=True, text=True,
        cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "WARNING: listening on 0.0.0.0" in ended.stderr


SCRIPT = (
    "import asyncio, streaming_dd as dd\n"
    "from streaming_dd import timers\n"
    "dd.configure(service='nightly')\n"
    "@timers.task('reports.export')\n"
    "async def export(number):\n"
    "    if number == 2: raise ValueError('no such\\nrow')\n"
    "async def main(): await asyncio.gather(*(export(number) for number in range(4)), return_exceptions=True)\n"
    "asyncio.run(main())\n"
)


@pytest.mark.process
def test_a_script_leaves_a_summary(tmp_path: Path) -> None:
    """What came is summed up when the command has ended: samples, spans, lines, tasks by outcome, errors."""
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    told = ended.stderr.splitlines()[-2:]
    assert re.fullmatch(
        r"Received \d+ samples of \d+ metrics · 4 spans in 4 traces \(1 failed\) · 8 log lines \(1 error\)"
        r" · tasks: 3 completed, 1 failed",
        told[0],
    ), ended.stderr
    assert told[1] == "  1 x ValueError: no such row, in reports.export"


@pytest.mark.process
def test_what_ran_in_a_killed_process_is_summed_up_as_lost(tmp_path: Path) -> None:
    """When the process is gone nothing runs any more: the summary says lost."""
    script = (
        "import asyncio, json, os, signal, time, urllib.request, streaming_dd as dd\n"
        "from streaming_dd import timers\n"
        "dd.configure(service='nightly')\n"
        "page = os.environ['STREAMING_LOG_TRACE_URL'].removesuffix('/traces/')\n"
        "def arrived():\n"
        "    with urllib.request.urlopen(page + '/api/tasks', timeout=60) as answer:\n"
        "        return json.load(answer)['tasks']\n"
        "@timers.task('reports.export')\n"
        "async def export(number):\n"
        "    while not await asyncio.to_thread(arrived): await asyncio.sleep(0.05)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(export(1))\n"
    )
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert ended.returncode == 128 + signal.SIGKILL, ended.stderr
    assert " · tasks: 1 lost" in ended.stderr


@pytest.mark.process
def test_a_command_that_sends_nothing_is_told_what_to_try(tmp_path: Path) -> None:
    """The summary of nothing names the doctor."""
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", ""], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert ended.returncode == 0
    assert "0 samples of 0 metrics · 0 spans in 0 traces · 0 log lines" in ended.stderr
    assert "streaming-dd doctor" in ended.stderr


@pytest.mark.process
def test_a_command_that_failed_before_it_sent_anything_is_not_taken_for_uninstrumented(
    tmp_path: Path,
) -> None:
    """The summary of nothing names its exit code, and where it says why."""
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", "raise SystemExit(3)"], capture_output=True, text=True, cwd=tmp_path,
        timeout=120,
    )  # fmt: skip
    assert ended.returncode == 3
    assert ended.stderr.endswith(
        "  Nothing: the command ended with exit code 3; its own output above says why.\n"
    )
    assert "instrumented" not in ended.stderr


@pytest.mark.process
def test_keep_leaves_the_agent_and_its_page(tmp_path: Path) -> None:
    """With `--keep` what a script sent can be looked at until a signal comes; the script's exit code is ours then."""
    with subprocess.Popen(
        [*START, "--keep", "--", sys.executable, "-c", SCRIPT + "raise SystemExit(3)"], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = next(line for line in process.stderr if "stays until" in line)
        url = line.split()[-1]
        with urllib.request.urlopen(f"{url}/api/tasks", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 3


@pytest.mark.process
def test_without_a_command_the_variables_are_printed(tmp_path: Path) -> None:
    """An application in another terminal is led here by what is printed, its log lines included."""
    with subprocess.Popen([*START, "--headless"], stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        ready, directions = process.stderr.readline(), process.stderr.readline()
        variables = dict(word.split("=", 1) for word in directions.split() if "=" in word)
        environment = {**os.environ, **variables}
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=120, capture_output=True
        )
        page = re.search(r"http://127.0.0.1:\d+", ready)
        assert page
        try:
            until = time.monotonic() + 60
            while not all(_received(page[0])[what] for what in ("samples", "spans", "logs")):
                assert time.monotonic() < until, _received(page[0])
                threading.Event().wait(0.05)
        finally:
            process.terminate()


def _received(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/api/overview", timeout=60) as answer:
        found: dict[str, int] = json.load(answer)["received"]
    return found


@pytest.mark.process
def test_a_broken_dashboard_is_named_at_the_start(tmp_path: Path) -> None:
    """Nobody need open the dashboards to learn that a file cannot be read."""
    (tmp_path / "dd-agent" / "dashboards").mkdir(parents=True)
    (tmp_path / "dd-agent" / "dashboards" / "mine.json").write_text('{"widgets": 3}')
    ended = subprocess.run(
        [*START, "--", sys.executable, "-c", ""], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert "dashboard mine: 'widgets' must be a list" in ended.stderr
