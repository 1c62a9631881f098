"""A port or socket that is taken: who holds it is said, and --port-offset moves out of the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.intake import holders

ME = (
    f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
    if Path("/proc/self").exists()
    else ""
)
PORTS = ("dogstatsd", "trace", "logs", "page")
needs_proc = pytest.mark.skipif(not ME, reason="only /proc tells who holds a port")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `streaming-dd agent` around a command that does nothing."""
    return subprocess.run(
        [sys.executable, "-m", "streaming_dd.cli", "agent", *arguments, "--", sys.executable, "-c", ""],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def hold(kind: socket.SocketKind, port: int = 0) -> socket.socket:
    held = socket.socket(socket.AF_INET, kind)
    held.bind(("127.0.0.1", port))
    if kind == socket.SOCK_STREAM:
        held.listen()
    return held


@pytest.mark.process
@needs_proc
@pytest.mark.parametrize("name", PORTS)
def test_taken_port_names_its_holder(name: str, tmp_path: Path) -> None:
    """Each of the four ports: exit code 2, the port, the process that holds it, and the way out."""
    with hold(socket.SOCK_DGRAM if name == "dogstatsd" else socket.SOCK_STREAM) as held:
        port = held.getsockname()[1]
        others = [f"--{other}-port=0" for other in PORTS if other != name]
        ended = run(tmp_path, *others, f"--{name}-port", str(port))
    assert ended.returncode == 2
    assert f"127.0.0.1:{port}: the port is taken by {ME}" in ended.stderr
    assert "--port-offset" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.process
@needs_proc
@pytest.mark.parametrize(
    ("option", "kind"), [("--dogstatsd-socket", socket.SOCK_DGRAM), ("--trace-socket", socket.SOCK_STREAM)]
)
def test_taken_unix_socket_names_its_holder(option: str, kind: socket.SocketKind, short_path: Path) -> None:
    """Both unix sockets: exit code 2, the path and the process; the socket of the other process is left alone."""
    path = short_path / "s"
    with socket.socket(socket.AF_UNIX, kind) as held:
        held.bind(str(path))
        if kind == socket.SOCK_STREAM:
            held.listen()
        ended = run(short_path, *(f"--{name}-port=0" for name in PORTS), option, str(path))
        assert path.exists()
    assert ended.returncode == 2
    assert f"{ME} listens on {path}" in ended.stderr
    assert "choose another path" in ended.stderr


def free_offset(ports: tuple[int, ...]) -> int:
    """Return an offset at which every port is free, and given neither to clients by the system nor by `free_port`."""
    for offset in range(os.getpid() % 90 * 100 + 10_000, 22_000, 97):
        try:
            for index, port in enumerate(ports):
                hold(socket.SOCK_STREAM if index else socket.SOCK_DGRAM, port + offset).close()
        except OSError:
            continue
        return offset
    raise AssertionError("no free ports")


@pytest.mark.process
def test_offset_moves_all_four_ports_out_of_the_way(tmp_path: Path) -> None:
    """What `--port-offset` proposes works: the agent runs beside what holds the default ports."""
    offset = free_offset((8125, 8126, 10518, 8181))
    ended = run(tmp_path, "--port-offset", str(offset))
    assert ended.returncode == 0, ended.stderr
    where = f"http://127.0.0.1:{8181 + offset} · DogStatsD udp:{8125 + offset} · traces {8126 + offset} · "
    assert f"{where}logs tcp:{10518 + offset}" in ended.stderr


def test_failure_at_the_last_port_closes_the_others(short_path: Path) -> None:
    """An agent that cannot start holds nothing: its other ports and socket files are free again."""
    with hold(socket.SOCK_STREAM) as held:
        agent = LocalAgent(
            dogstatsd_port=0, trace_port=0, logs_port=0, page_port=held.getsockname()[1],
            dogstatsd_socket=str(short_path / "d"),
        )  # fmt: skip
        with pytest.raises(LocalAgentError, match="the page: cannot listen"):
            agent.bind()
        hold(socket.SOCK_STREAM, agent.trace_port).close()
        hold(socket.SOCK_DGRAM, agent.dogstatsd_port).close()
    assert not (short_path / "d").exists()


@needs_proc
def test_clients_of_a_port_do_not_hold_it() -> None:
    """A connection from a port is not taken for a listener; an unknown port has no holder."""
    with hold(socket.SOCK_STREAM) as listener, socket.create_connection(listener.getsockname()) as client:
        assert holders.of_port(listener.getsockname()[1], "tcp") == ME
        assert holders.of_port(client.getsockname()[1], "tcp") == ""
    assert holders.of_unix_socket("/nowhere") == ""


@needs_proc
def test_a_connection_that_holds_a_port_is_named() -> None:
    """A client's end keeps others from listening on its port; it is told apart from a server's."""
    with hold(socket.SOCK_STREAM) as listener, socket.create_connection(listener.getsockname()) as client:
        port = client.getsockname()[1]
        agent = LocalAgent(dogstatsd_port=None, trace_port=port, logs_port=None, page_port=None)
        with pytest.raises(LocalAgentError) as caught:
            agent.bind()
    assert f"127.0.0.1:{port}: the port is taken by a connection that {ME} has from it." in str(caught.value)


def test_systems_without_proc_get_a_message_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing tells who holds a port, the message says that it is taken, and how to go on."""
    monkeypatch.setattr(holders, "PROC", tmp_path)
    with hold(socket.SOCK_DGRAM) as held:
        agent = LocalAgent(
            dogstatsd_port=held.getsockname()[1], trace_port=None, logs_port=None, page_port=None
        )
        with pytest.raises(LocalAgentError, match=r"the port is taken\. Stop that process, or shift"):
            agent.bind()
