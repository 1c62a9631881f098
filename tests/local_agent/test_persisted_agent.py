"""`--persist FILE`: metrics, spans, logs and tasks over restarts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_agent_helpers import START, Clock, make_span

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.queries import explorer
from streaming_dd.local_agent.store.persistence import SeriesFile
from streaming_dd.local_agent.store.records import Records
from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.store.sketch import Sketch

EVER = (START - 86_000, START + 10**6)
NO_TAGS: frozenset[str] = frozenset()


def contents(store: Store) -> dict[object, object]:
    """Return everything that a store would answer, as plain values."""
    return {
        (series.metric, series.tags, series.kind): (
            series.interval, series.times, series.values, [dict(sketch.items()) for sketch in series.sketches],
        )
        for name in store.names()
        for series in store.select(name, None, *EVER)
    }  # fmt: skip


def test_store_is_the_same_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    """Counts, gauges and sketches of all ages, units and last values are there again, and go on."""
    store, records = Store(clock=clock), Records(tmp_path / "f")
    file = SeriesFile(store, records.connection)
    store.units["g"] = "millisecond"
    for hour in range(8):
        clock.now = START + hour * 3600
        for kind, name in (("count", "c"), ("gauge", "g")):
            store.put(name, frozenset(("a:1", "flag")), kind, int(clock.now), hour)
        sketch = Sketch()
        sketch.add([hour, hour + 0.5])
        store.put_sketch("d", NO_TAGS, int(clock.now), sketch)
        store.age()
        file.save_if_due()
    file.save()
    before = contents(store)
    records.close()

    again, records = Store(clock=clock), Records(tmp_path / "f")
    file = SeriesFile(again, records.connection)
    file.load()
    assert contents(again) == before
    assert (again.units, again.bins, again.series_count) == (store.units, store.bins, 3)
    assert again.metric("c") == store.metric("c")
    clock.now += 60
    again.put("c", frozenset(("a:1", "flag")), "count", int(clock.now), 1)
    file.save()
    records.close()
    third, records = Store(clock=clock), Records(tmp_path / "f")
    SeriesFile(third, records.connection).load()
    assert third.metric("c").last_value == 1
    records.close()


def test_file_forgets_what_the_store_forgets(tmp_path: Path, clock: Clock) -> None:
    """After a day the file holds no points, no sketches and no series of then."""
    store, records = Store(clock=clock), Records(tmp_path / "f")
    file = SeriesFile(store, records.connection)
    store.put("c", NO_TAGS, "count", START, 1)
    sketch = Sketch()
    sketch.add([1])
    store.put_sketch("d", NO_TAGS, START, sketch)
    file.save()
    clock.now += 26 * 3600
    store.age()
    file.save()
    counts = [
        records.connection.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
        for t in ("points", "sketches", "series")
    ]
    assert counts == [0, 0, 0]
    records.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(points=st.lists(st.tuples(st.integers(0, 500), st.floats(-1e9, 1e9)), max_size=30))
def test_any_points_come_back(points) -> None:
    """Whatever was written is loaded, to the bit."""
    clock = Clock()
    store, records = Store(clock=clock), Records()
    file = SeriesFile(store, records.connection)
    for step, value in points:
        store.put("g", NO_TAGS, "gauge", START - 10 * step, value)
    file.save()
    again = Store(clock=clock)
    SeriesFile(again, records.connection).load()
    assert contents(again) == contents(store)
    records.close()


def test_agent_goes_on_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    """A second agent on the same file knows the metrics, spans, logs and tasks of the first."""
    ports = {"dogstatsd_port": 0, "trace_port": 0, "logs_port": 0, "page_port": None}
    options = {**ports, "persist": str(tmp_path / "f"), "clock": clock}
    with LocalAgent(**options).running() as first:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"c:5|c", ("127.0.0.1", first.dogstatsd_port))
        first.wait_for(lambda received: received.metrics)
        line = {"task.app": "reports", "task.model": "Summary", "task.id": "7"}
        first._on_loop(
            lambda: first.holdings.records.add_logs([Log(START, "info", "started", "web", attributes=line)])
        )
        first._on_loop(lambda: first.holdings.records.add_spans([make_span(metrics={"_dd.top_level": 1.0})]))
    clock.now += 20
    with LocalAgent(**options).running() as second:
        (series,) = second.holdings.store.select("c", None, *EVER)
        assert series.values == [5.0]
        assert [task.id for task in second.holdings.tasks.all()] == ["7"]
        rows = second._on_loop(lambda: explorer.spans(second.holdings.records, start=0, end=1e10))
        assert [row["name"] for row in rows] == ["web.request"]


def test_failing_disk_is_told_and_survived(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file cannot be written the agent goes on receiving, and says what is lost."""
    agent = LocalAgent(
        dogstatsd_port=None, trace_port=None, logs_port=None, page_port=None, persist=str(tmp_path / "f"), clock=clock
    )  # fmt: skip
    agent.bind()
    agent.holdings.records.connection.execute("PRAGMA query_only = ON")
    agent.holdings.records.add_logs([Log(START, "info", "m")])
    clock.now += 100
    agent.holdings.tick()
    agent.holdings.tick()
    assert len(agent.holdings.problems) == 2
    assert "what came in meanwhile is lost" in "".join(agent.holdings.problems)
    assert "metrics could not be saved" in "".join(agent.holdings.problems)
    assert agent.holdings.records.counts()["logs"]["dropped"] == 1
    agent.holdings.records.connection.execute("PRAGMA query_only = OFF")
    agent.holdings.records.close()
