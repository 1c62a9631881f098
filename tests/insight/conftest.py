"""What the tests of this folder share: work that takes real CPU time, and waiting for something to become true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from streaming_dd import testing

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def burn(seconds: float) -> None:
    """Use this much CPU time of the calling thread, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def eventually(condition: Callable[[], Any], timeout: float = 20) -> Any:
    """Wait until `condition` is true; blocks."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)
    return found


async def soon(condition: Callable[[], Any], timeout: float = 20) -> Any:
    """Wait until `condition` is true, the loop running on."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become true"
        await asyncio.sleep(0.005)
    return found


@pytest.fixture(name="burn")
def burn_fixture() -> Callable[[float], None]:
    return burn


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually


@pytest.fixture(name="soon")
def soon_fixture() -> Callable[..., Any]:
    return soon


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine on asyncio's loop, and on uvloop."""

    def run_on(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(coroutine)

    return run_on


@pytest.fixture
def captured() -> Iterator[testing.Captured]:
    """Capture metrics, spans and log lines."""
    with testing.capture(task_max_age_p95=0, task_silence=0) as found:
        yield found


@pytest.fixture
def capture() -> Any:
    """Capture with settings of the test's own."""
    return testing.capture
