"""The built-in checks, each against the real thing in a good and in a bad state."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from free_ports import free_port

from streaming_dd.endpoints.health import (
    AgentCheck,
    CoordinatorCheck,
    DiskCheck,
    Health,
    LoopCheck,
    Report,
    Unhealthy,
)
from streaming_dd.endpoints.health.loop import WINDOW, LoopWatch

Make = Callable[..., Health]
Run = Callable[[Health], Report]


def udp_port() -> socket.socket:
    """A socket whose port is nobody else's once it is closed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", free_port()))
    return listener


# --- agent ----------------------------------------------------------------------------------------------------


def test_an_agent_on_a_udp_port_is_found_and_missed() -> None:
    """A UDP port on this host counts as taken while somebody has it, and refuses afterwards."""
    with udp_port() as listener:
        check = AgentCheck(dogstatsd=f"udp://127.0.0.1:{listener.getsockname()[1]}")
        check.run()
        assert listener.recv(100) == b""  # no metric is made up
    with pytest.raises(Unhealthy, match="nothing takes metrics"):
        check.run()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_agent_on_a_unix_socket_is_found_and_missed(kind: socket.SocketKind, tmp_path: Path) -> None:
    """`unix://` finds datagram and stream sockets; a socket file that nobody listens on is missed."""
    path = str(tmp_path / "dsd.sock")
    check = AgentCheck(dogstatsd=f"unix://{path}")
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(path)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        check.run()
        exact = "unixgram" if kind == socket.SOCK_DGRAM else "unixstream"
        AgentCheck(dogstatsd=f"{exact}://{path}").run()
    with pytest.raises(Unhealthy, match="nothing takes metrics"):
        check.run()
    os.unlink(path)
    with pytest.raises(Unhealthy):
        check.run()


@pytest.mark.parametrize(
    "url", ["udp://[::1]:8125", "udp://no-such-host.invalid:8125", "unix:///no/such/socket"]
)
def test_an_agent_that_cannot_be_looked_up_is_missed(url: str) -> None:
    """An address that leads nowhere is an absent Agent, not an exception of its own."""
    with pytest.raises(Unhealthy):
        AgentCheck(dogstatsd=url).run()


def test_traces_are_looked_for_where_the_tracer_sends_them() -> None:
    """The trace intake's absence is named apart from that of metrics."""
    tracing: Any = SimpleNamespace(agent_answers=lambda timeout: False)
    with udp_port() as listener:
        address = f"udp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unhealthy, match=r"^nothing takes traces$"):
            AgentCheck(dogstatsd=address, tracing=tracing).run()


def test_an_absent_agent_makes_nothing_unhealthy(make_health: Make, run: Run) -> None:
    """The report says that the Agent is missing, and that the application is healthy."""
    with udp_port() as listener:
        port = listener.getsockname()[1]
    report = run(make_health(metrics_enabled=True, dogstatsd_url=f"udp://127.0.0.1:{port}"))
    assert report.summaries == {"agent": "error: nothing takes metrics"}
    assert report.healthy


# --- coordinator ----------------------------------------------------------------------------------------------


def test_a_coordinator_is_ok_while_its_state_is_there() -> None:
    """A coordinator whose dictionaries can be counted is ok; one that lost a dictionary is not."""
    coordinator = SimpleNamespace(_tasks={1: 2}, _task_instances={}, _locks={})
    check = CoordinatorCheck(coordinator=coordinator)
    assert check.run() == "1 tasks, 0 task_instances, 0 locks"
    del coordinator._locks
    with pytest.raises(AttributeError):
        check.run()


def test_another_kind_of_coordinator_is_ok() -> None:
    """A coordinator that keeps no such dictionaries has none that could be missing."""
    assert CoordinatorCheck(coordinator=object()).run() == ""


# --- disk -----------------------------------------------------------------------------------------------------


def test_the_disk_of_the_log_file(tmp_path: Path, make_health: Make, run: Run) -> None:
    """A log file needs its folder and room; the check is there where a file is set."""
    settings = {"logs_enabled": True, "log_stdout": False, "log_file": str(tmp_path / "logs" / "app.log")}
    assert run(make_health(**settings)).summaries == {"disk": "ok"}
    report = run(make_health(**settings, health_disk_free=2**60))
    assert not report.healthy
    assert report.summaries["disk"].endswith("inodes")
    assert run(make_health()).results == ()


def test_a_log_folder_that_is_gone(tmp_path: Path) -> None:
    """A folder that was removed under the running application is named."""
    with pytest.raises(Unhealthy, match="folder is missing"):
        DiskCheck(path=str(tmp_path / "gone" / "app.log")).run()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only log file is named."""
    path = tmp_path / "app.log"
    path.touch(0o444)
    with pytest.raises(Unhealthy, match="cannot be written"):
        DiskCheck(path=str(path)).run()


# --- event loop -----------------------------------------------------------------------------------------------


def test_a_held_loop_is_seen_while_it_is_held_and_remembered() -> None:
    """The lag grows while the loop owes its answer, and is the worst of the last seconds afterwards."""
    watch = LoopWatch()
    during: list[float] = []

    def look() -> None:
        watch.ask(time.monotonic())
        held.wait(100)
        time.sleep(0.3)
        during.append(watch.lag(time.monotonic()))
        seen.set()

    held, seen = threading.Event(), threading.Event()

    async def main() -> None:
        watch.watch(asyncio.get_running_loop())
        looking = threading.Thread(target=look)
        looking.start()
        held.set()
        seen.wait(100)  # holds the loop
        looking.join()
        await asyncio.sleep(0)
        now = time.monotonic()
        assert watch.lag(now) >= during[0] >= 0.25
        with pytest.raises(Unhealthy, match=r"held for \d"):
            LoopCheck(watch=watch, limit=0.2).run()
        assert watch.lag(now + WINDOW + 1) < 0.2
        assert str(LoopCheck(watch=watch, limit=3600).run()).startswith("worst lag")

    asyncio.run(main())


def test_a_loop_that_has_ended_has_no_lag() -> None:
    """A loop that was stopped owes nothing, and the next one begins anew."""
    watch = LoopWatch()

    async def main() -> None:
        watch.watch(asyncio.get_running_loop())
        watch.ask(time.monotonic())

    asyncio.run(main())
    assert watch.loop is None
    assert watch.lag(time.monotonic() + 100) == 0
    watch.ask(time.monotonic() + 100)
    asyncio.run(main())
    assert watch.lag(time.monotonic() + 100) == 0


def test_the_loop_is_asked_twice_a_second_at_most() -> None:
    """However often the recorder's thread asks, the loop is woken at a bounded rate, and never twice at once."""
    watch = LoopWatch()
    asked: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        watch.watch(loop)
        original = watch._answer
        watch._answer = lambda at: (asked.append(at), original(at))[1]  # type: ignore[method-assign]
        begun = time.monotonic()
        for step in range(40):
            watch.ask(begun + step * 0.1)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(main())
    assert 7 <= len(asked) <= 9
