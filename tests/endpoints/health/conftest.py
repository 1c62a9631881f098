"""Helpers of the health tests: a process configured in memory, reports on demand, and waiting with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streaming_dd import recorder
from streaming_dd.endpoints import health
from streaming_dd.endpoints.health import Health, Report
from streaming_dd.output import notices


class KeptChecks:
    """A sender that keeps the service checks."""

    payload_limit = 1432
    tags: tuple[str, ...] = ()
    suffix = ""

    def __init__(self) -> None:
        self.checks: list[tuple[str, int, list[str], str]] = []

    def send(self, payload: bytes) -> bool:
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        self.checks.append((name, status, tags, message))

    def close(self) -> None:
        pass


@pytest.fixture
def sender() -> KeptChecks:
    return KeptChecks()


@pytest.fixture
def make_health(sender: KeptChecks) -> Iterator[Callable[..., Health]]:
    """Return the Health of a newly configured process; arguments are settings. No run happens unless it is asked for."""

    def make(**settings: Any) -> Health:
        quiet = {"logs_enabled": False, "tracing_enabled": False, "metrics_enabled": False}
        alone = {"worker": "7", "health_interval": 0, "health_cache": 0, "health_skip": ["database"]}
        alone["health_timeout"] = 60  # a slow machine makes no check fail
        recorder.reset()
        configured = recorder.configure(sender=sender, **{**quiet, **alone, **settings})
        return configured.part(Health)

    yield make
    for name in health.registered():
        health.unregister(name)
    recorder.reset()
    notices.reset()


def wait_until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Poll until `condition` holds; fail after a deadline that a loaded machine keeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def run() -> Callable[[Health], Report]:
    """Run the checks and return their report."""
    return lambda checks: checks.report().result(200)
