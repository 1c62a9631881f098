"""The demo as a person runs it: a process with arguments, an exit code, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_site import DEADLINE, ROOT, wait_until

from examples.demo.ports import Ports, PortTaken, holder
from examples.demo.servers import Servers

pytestmark = pytest.mark.process


@pytest.fixture
def offset() -> int:
    """An offset at which every port of the demo is free, below those that the system gives to clients."""
    for number in range(os.getpid() % 90 * 100 + 10_000, 22_000, 97):
        try:
            Ports().shifted(number).check()
        except PortTaken:
            continue
        return number
    raise AssertionError("no free ports for the demo")


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A TCP port that this process holds."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held


def command(*arguments: object) -> list[str]:
    """Return the demo's command line."""
    return [sys.executable, "-m", "examples.demo", *map(str, arguments)]


#: Keeps what it is put before, the making of the database, from ending by itself.
_SLOW_TO_MIGRATE = """
import sys, time
if "migrate" in sys.orig_argv: time.sleep(300)
"""


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [child for child, parent in pairs if parent == pid]
    return found + [below for child in found for below in children_of(child)]


def test_a_bounded_run_ends_well_when_everything_arrived(offset: int) -> None:
    """Exit code 0, and a summary; if not, the output says what is missing."""
    run = subprocess.run(
        command("--seconds", 6, "--port-offset", offset),
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE * 2.5, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Everything arrived that should." in run.stdout
    assert "\x1b" not in run.stdout


_WORKER = """
import signal, socket, sys, time
def end(*_):
    time.sleep(0.5)  # what the server waits for
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10).close()
    raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True: signal.pause()
"""
_PRICES = """
import socket
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True: listening.accept()
"""


def test_the_price_service_ends_after_the_workers_whose_tasks_ask_it(tmp_path: Path) -> None:
    """So the last screen of a demo has no failures of its own end."""

    async def run() -> tuple[dict[str, int], dict[str, int]]:
        async def start(*words: str) -> tuple[asyncio.subprocess.Process, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", *words, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            return process, (await process.stdout.readline()).decode().strip()

        prices, port = await start(_PRICES)
        worker, _ = await start(_WORKER, port)
        servers = Servers(Ports(), tmp_path)
        servers._running = {"prices": prices, "web": worker}
        return await servers.stop(), await servers.stop()

    assert asyncio.run(run()) == ({"web": 0, "prices": -signal.SIGTERM}, {})


@pytest.mark.parametrize(
    ("number", "moment", "servers"),
    [
        (signal.SIGINT, "requests", 3),
        (signal.SIGTERM, "requests", 3),
        (signal.SIGTERM, "Making the database", 0),
    ],
    ids=["ctrl-c", "sigterm", "while it starts"],
)
def test_a_signal_stops_everything(
    offset: int, number: signal.Signals, moment: str, servers: int, tmp_path: Path
) -> None:
    """Exit code 0, and no process of the demo is left, at whatever moment the signal comes."""
    environment = dict(os.environ)
    if not servers:
        (tmp_path / "sitecustomize.py").write_text(_SLOW_TO_MIGRATE)
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command("--port-offset", offset),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(moment):
                break
        wait_until(lambda: len(children_of(process.pid)) >= max(1, servers), "the processes of the demo")
        children = children_of(process.pid)
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(DEADLINE) == 0, rest
        assert "Traceback" not in rest
        assert ("What arrived" in rest) == (servers > 0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_until(
        lambda: not any(os.path.exists(f"/proc/{child}") for child in children), f"{children} to be gone"
    )


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(offset: int) -> None:
    """Exit code 2 and one message: port, purpose, process, what to do."""
    ports = Ports().shifted(offset)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", ports.dogstatsd))
        run = subprocess.run(
            command("--seconds", 1, "--port-offset", offset),
            cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
    assert run.returncode == 2
    assert f"{ports.dogstatsd}/udp, for metrics (DogStatsD): held by process {os.getpid()} (" in run.stderr
    assert "--port-offset" in run.stderr
    assert "Traceback" not in run.stderr


def test_every_taken_port_is_reported_at_once(offset: int) -> None:
    """Not one, then the next."""
    ports = Ports().shifted(offset)
    with socket.socket() as web, socket.socket() as logs:
        for held, port in ((web, ports.web), (logs, ports.logs)):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", port))
            held.listen()
        with pytest.raises(PortTaken) as error:
            ports.check()
    assert f"{ports.web}/tcp" in str(error.value)
    assert f"{ports.logs}/tcp" in str(error.value)


def test_a_holder_that_cannot_be_seen_is_guessed(taken: socket.socket) -> None:
    """A free port has no holder; the usual one is named."""
    assert holder(taken.getsockname()[1], "tcp").startswith(f"process {os.getpid()} (")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert holder(free.getsockname()[1], "tcp") == "an unknown process, perhaps another demo"


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--seconds", "soon"], ["--port-offset", "70000"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    """Exit code 2 and a line that says what to write."""
    run = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert run.returncode == 2
    assert arguments[0] in run.stderr
