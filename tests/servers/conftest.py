"""One local agent for all tests of real processes; every process has a service name of its own there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Emitted, Process, Server

from streaming_dd.local_agent import LocalAgent


@pytest.fixture(scope="session")
def agent() -> Iterator[LocalAgent]:
    local = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)
    with local.running():
        yield local


@pytest.fixture
def emitted(agent: LocalAgent) -> Emitted:
    """What the processes of this test send."""
    return Emitted(agent)


@pytest.fixture
def start(tmp_path: Path, agent: LocalAgent) -> Iterator[Callable[..., Any]]:
    """Start a server or another process; it is gone when the test ends."""
    started: list[Process] = []

    def make(kind: type[Process], command: list[str], env: dict[str, str], **options: Any) -> Process:
        started.append(kind(command, tmp_path, env, **options))
        started[-1].agent = agent
        return started[-1]

    yield make
    for process in started:
        process.kill()


@pytest.fixture
def serve(start: Callable[..., Any]) -> Callable[..., Server]:
    """Start a server."""
    return lambda command, env, **options: start(Server, command, env, **options)
