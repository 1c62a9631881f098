"""Cells of the fault matrix: what an outage costs is counted exactly, and it holds up neither loop nor exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from matrix import AT_ONCE, CELLS, LIMIT, METRICS, Cell, Outcome, measure

pytestmark = pytest.mark.process

#: Seconds: what a held loop or exit would exceed by far, and a loaded machine does not.
HELD_LOOP = 3.0
HELD_EXIT = LIMIT + 13


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Callable[[Cell], Outcome]]:
    """Measure the cells that are asked for, several at a time: they wait for most of theirs."""
    asked = {
        item.callspec.params["cell"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "cell" in getattr(item, "fixturenames", ())
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        measured = {cell: pool.submit(measure, cell) for cell in CELLS if cell in asked}
        yield lambda cell: measured[cell].result()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_what_is_lost_is_said(cell: Cell, outcomes: Callable[[Cell], Outcome]) -> None:
    """Every count, timing, span and line arrives once, or is counted as lost; nobody waits for what is broken."""
    outcome = outcomes(cell)
    assert outcome.lag < HELD_LOOP, outcome
    assert outcome.exit < HELD_EXIT, outcome
    assert outcome.doubled == 0
    assert min(outcome.lost.values()) >= 0, outcome
    metrics_broken = cell.outlet in (*METRICS, "all")
    # What a kernel has taken for a reader that never reads is out of our hands.
    kernel_took = cell.fault == "resets" or (cell.fault == "stuck" and not cell.mended)
    if cell.mended or not metrics_broken:
        assert outcome.lost["counts"] == outcome.lost["timings"] == 0, outcome
    elif not kernel_took:
        assert outcome.said["process_end"] >= outcome.lost["counts"] + outcome.lost["timings"], outcome
    spans_said = outcome.said.get("traces_refused", 0) + outcome.said.get("no_trace_agent", 0)
    if cell.mended:
        assert outcome.lost["spans"] == spans_said, outcome
    else:  # the payload under way at the very end may be said too late
        assert outcome.lost["spans"] * 0.5 <= spans_said <= outcome.made, outcome
    if not kernel_took:
        assert outcome.lost["lines"] <= sum(outcome.lines_said.values()), outcome
