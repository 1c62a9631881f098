"""Goal 6: what a user's own loguru line costs, against loguru's `serialize=True`; and our own access line.

CPU time of the process, writer thread and flush included, in interleaved rounds; the figures are medians of the
ratios within a round. Run `python benchmarks/logs.py`.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from streaming_dd import logs

ROUNDS = 9
LINES = 4000

Goal = tuple[str, float, float, bool]


def cpu_time(run: Callable[[], object]) -> float:
    """Return the process's CPU seconds spent in `run`, all threads together."""
    start = time.process_time()
    run()
    return time.process_time() - start


def user_lines() -> None:
    """Log as people do: a message with an argument and two fields."""
    for number in range(LINES):
        logger.info("row {} written", number, user_id=17, route="/reports/{id}")


def stdlib_lines() -> None:
    """Log through the standard library."""
    log = logging.getLogger("benchmark")
    for number in range(LINES):
        log.info("row %d written", number, extra={"user_id": 17, "route": "/reports/{id}"})


def peer(path: Path, lines: Callable[[], None]) -> float:
    """Return the CPU time of loguru's own JSON."""
    logger.remove()
    with path.open("w") as file:
        handler = logger.add(file, serialize=True)
        seconds = cpu_time(lines)
        logger.remove(handler)
    return seconds


def bare(path: Path, lines: Callable[[], None]) -> float:
    """Return the CPU time of loguru with a handler that does nothing: its floor."""
    logger.remove()
    handler = logger.add(lambda _message: None, format="{message}")
    seconds = cpu_time(lines)
    logger.remove(handler)
    return seconds


def ours(path: Path, lines: Callable[[], None]) -> float:
    """Return the CPU time of our handler, until the last line is in the file."""
    logger.remove()
    current = logs.configure(path=str(path), stdout=False, service="bench", env="test", version="1")

    def run() -> None:
        lines()
        current.flush(60)

    seconds = cpu_time(run)
    assert current.stop(60)
    assert not current.dropped
    return seconds


def access_lines() -> None:
    """Write access lines as the middleware does: one constant part per route, the rest per request."""
    current = logs.current()
    assert current is not None
    constant = current.constant_part(
        {"http.method": "GET", "http.route": "/reports/{id}", "http.status_code": 200}
    )
    for number in range(LINES):
        current.emit(
            {"message": "GET /reports/{id} 200", "duration": 1200000 + number, "network.bytes_written": 512},
            constant=constant,
        )


def measure() -> list[Goal]:
    """Return (goal, figure, limit, met) for each goal."""
    os.environ["STREAMING_LOG_QUEUE"] = str(LINES * 2)
    loguru_ratio, stdlib_ratio, emit_ratio, floor_ratio = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.log"
        for number in range(ROUNDS + 1):
            serialized = peer(path, user_lines)
            floor = bare(path, user_lines)
            line = ours(path, user_lines)
            bridged = ours(path, stdlib_lines)
            access = ours(path, access_lines)
            if number:  # the first round warms up
                loguru_ratio.append(line / serialized)
                floor_ratio.append(floor / serialized)
                stdlib_ratio.append(bridged / serialized)
                emit_ratio.append(access / serialized)
    return [
        _goal("6. a user's own loguru line / serialize=True", loguru_ratio, 0.45),
        _goal("   (for comparison: loguru with a handler that does nothing)", floor_ratio, 1.0),
        _goal("   a standard-library line / serialize=True", stdlib_ratio, 0.45),
        _goal("   an access line / serialize=True", emit_ratio, 0.15),
    ]


def _goal(name: str, ratios: list[float], limit: float) -> Goal:
    figure = statistics.median(ratios)
    return name, figure, limit, figure <= limit


if __name__ == "__main__":
    for goal, figure, limit, met in measure():
        print(f"{goal:64} {figure:6.3f}  limit {limit:5.2f}  {'met' if met else 'MISSED'}")
