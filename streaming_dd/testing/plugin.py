"""Fixtures for the tests of applications that use streaming_dd; installed by its entry point. No state.

Importing this module imports nothing heavy: what a fixture needs is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from . import Captured, LogCapture, MetricCapture, RunningAgent, SpanCapture


@pytest.fixture
def dd_settings() -> dict[str, Any]:
    """Settings that hold in every test with these fixtures, by the names of Config's fields; override it."""
    return {}


@pytest.fixture
def _dd_captured(dd_settings: dict[str, Any]) -> Iterator[Captured]:
    from . import capture

    with capture(**dd_settings) as captured:
        yield captured


@pytest.fixture
def dd_metrics(_dd_captured: Captured) -> MetricCapture:
    """The metrics that the test records, in memory: `dd_metrics.assert_count(catalog.TASKS_STARTED, 1)`."""
    return _dd_captured.metrics


@pytest.fixture
def dd_spans(_dd_captured: Captured) -> SpanCapture:
    """The spans that finish in the test, in memory: `dd_spans.one("task.run", tags={"task.status": "failed"})`."""
    return _dd_captured.spans


@pytest.fixture
def dd_logs(_dd_captured: Captured) -> LogCapture:
    """The JSON log lines that the test writes, in memory: `dd_logs.one("sent", status="info")`."""
    return _dd_captured.logs


@pytest.fixture
def dd_agent(dd_settings: dict[str, Any]) -> Iterator[RunningAgent]:
    """A real local agent to which everything of the test is sent: `dd_agent.wait_for(lambda got: got.spans)`."""
    from . import agent

    with agent(**dd_settings) as running:
        yield running
