"""STREAMING_SHUTDOWN_TIMEOUT is one budget for all steps of an end, whatever is deaf."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streaming_dd import recorder
from streaming_dd.config import Config
from streaming_dd.logs import Logs
from streaming_dd.process import ending
from streaming_dd.process.ending import _LEAST

TIMEOUT = 2.0
#: Steps of an end that wait for somebody: profiler, metrics, lines, spans; at the very end spans, losses, lines.
STEPS = 7


class Deaf:
    """What is flushed by an end, on a clock that moves only while somebody waits: each step takes all that it is given."""

    def __init__(self, seen: recorder.Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        monkeypatch.setattr(ending, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(seen, "logs", SimpleNamespace(drain=self.wait, dropped={}, stop=self.wait))
        for owner, name in (
            (seen.insight, "stop"),
            (seen.metrics, "final_flush"),
            (seen.tracing, "flush"),
            (seen.tracing, "stop"),
            (seen.losses, "at_end"),
        ):
            monkeypatch.setattr(owner, name, self.wait)

    def wait(self, timeout: float) -> None:
        self.waited.append(timeout)
        self.now += timeout


@pytest.fixture
def deaf(configure: Callable[..., recorder.Recorder], monkeypatch: pytest.MonkeyPatch) -> Any:
    seen = configure(shutdown_timeout=TIMEOUT)
    monkeypatch.setattr(seen, "round", lambda **_: None)  # which would flush what is deaf, in the thread
    seen.start()
    return seen, Deaf(seen, monkeypatch)


def test_an_end_takes_no_longer_than_its_budget(deaf: Any) -> None:
    """The end of the process gives every step what the others have left, and at least a tenth of a second."""
    seen, receivers = deaf
    seen.ending.stop()
    assert len(receivers.waited) == STEPS
    assert receivers.now <= TIMEOUT + (STEPS - 1) * _LEAST + 0.001


def test_the_end_of_serving_and_that_of_the_process_share_it(deaf: Any) -> None:
    """What the drain has spent is not there for the end of the process."""
    seen, receivers = deaf
    seen.ending.drain()
    drained = receivers.now
    assert drained >= TIMEOUT
    seen.ending.stop()
    assert receivers.now <= TIMEOUT + len(receivers.waited) * _LEAST + 0.001


def test_the_last_lines_get_no_second_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """logging's own end, which comes after ours, waits no longer than the drain was allowed to."""
    logs = Logs(Config(log_stdout=False, shutdown_timeout=60.0))
    try:
        given: list[float] = []
        monkeypatch.setattr(logs, "stop", given.append)
        logs.drain(0.25)
        logs.stop_at_end()
        assert given == [0.25]
    finally:
        monkeypatch.undo()
        logs.stop(10)
