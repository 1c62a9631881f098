"""A local agent for each test of the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streaming_dd.local_agent import LocalAgent


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0)
    with agent.running():
        yield agent
