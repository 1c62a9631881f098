"""When the recorder's thread looks at what is due: on a grid, so that a flush interval is what it says."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from types import SimpleNamespace

import pytest
from emitting_fixtures import MemorySender

from streaming_dd import recorder
from streaming_dd.catalog import Metric
from streaming_dd.process import signals
from streaming_dd.timers import increment

ROWS = Metric("rounds.rows", "count", "row", (), "Rows.")


class Clock:
    """A clock that moves while somebody waits for a call, which never comes, and as a round takes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def get(self, timeout: float) -> None:
        assert timeout > 0
        self.now += timeout
        raise Empty


@pytest.mark.parametrize("takes", [[0.0] * 4, [0.05, 0.001, 0.19, 0.0]])
def test_rounds_lie_on_a_grid(takes: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """However long each takes, the next one is due at the same moment."""
    clock = Clock()
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock.now))
    wake = signals.WakeUp()
    monkeypatch.setattr(wake, "_calls", clock)
    due = []
    for seconds in takes:
        assert wake.wait(0.2) is False
        due.append(clock.now - 1000.0)
        clock.now += seconds
    assert due == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=1e-6)


def test_a_round_that_was_too_long_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause of the machine there is one round, not as many as were missed."""
    clock = Clock()
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock.now))
    wake = signals.WakeUp()
    monkeypatch.setattr(wake, "_calls", clock)
    wake.wait(0.2)
    clock.now += 10.05
    wake.wait(0.2)
    assert clock.now - 1000.0 == pytest.approx(10.4, abs=1e-6)


def test_a_flush_is_due_at_the_nearest_round(
    configure: Callable[..., recorder.Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that comes a hair early flushes all the same: else every other flush interval would be twice as long."""
    seen = configure(flush_interval=0.2, tracing_enabled=False, logs_enabled=False)
    flushes: list[float] = []
    clock = Clock()
    monkeypatch.setattr(seen.ending, "flush", lambda: flushes.append(clock.now))
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: clock.now))
    for clock.now in (100.0, 100.203, 100.4, 100.601, 100.65):
        seen.round()
    assert flushes == [100.0, 100.203, 100.4, 100.601]


def test_who_ends_a_process_by_himself_may_stop_the_recorder(
    configure: Callable[..., recorder.Recorder], sender: MemorySender
) -> None:
    """`recorder.get().stop()` sends what is left, as the end of the interpreter does."""
    seen = configure(flush_interval=10, tracing_enabled=False, logs_enabled=False)
    seen.start()
    increment(ROWS)
    seen.stop()
    assert sender.total("rounds.rows") == 1
