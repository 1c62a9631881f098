"""Fixtures of the local agent's tests: a clock, agents that stop by themselves, a UDP sender."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from local_agent_helpers import Clock

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.store.aggregate import Aggregator
from streaming_dd.local_agent.store.series import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock=clock)


@pytest.fixture
def aggregator(store: Store, clock: Clock) -> Aggregator:
    return Aggregator(store, clock=clock, host="")


@pytest.fixture
def run_agent() -> Iterator[Callable[..., LocalAgent]]:
    """Start agents on ports of the system's choice; they stop when the test ends."""
    with ExitStack() as stack:

        def run(**settings: object) -> LocalAgent:
            ports = {"dogstatsd_port": 0, "trace_port": 0, "logs_port": 0, "page_port": None}
            return stack.enter_context(LocalAgent(**{**ports, **settings}).running())

        yield run


@pytest.fixture
def send() -> Iterator[Callable[[LocalAgent, bytes], None]]:
    """Send datagrams to an agent over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield lambda agent, datagram: sock.sendto(datagram, ("127.0.0.1", agent.dogstatsd_port))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="sdd") as directory:
        yield Path(directory)
