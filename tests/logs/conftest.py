"""Helpers of the log tests: a Logs of one's own that writes to a file, stopped and restored after the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_dd import config as config_module
from streaming_dd import logs, notices
from streaming_dd.logs import Logs

Lines = Callable[[], list[dict[str, Any]]]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the file's lines, each of which must be one JSON object."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until `condition` holds; fail after a deadline that a loaded machine keeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Stop what a test left running, and forget what was said."""
    notices.reset()
    yield
    current = logs.current()
    if current is not None:
        current.stop(5)
    notices.reset()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Logs]]:
    """Start a Logs that writes to `tmp_path / "app.log"` and not to standard output; arguments are settings."""
    started: list[Logs] = []

    def start_logs(*, correlation: Callable[[], tuple[str, str]] | None = None, **settings: Any) -> Logs:
        settings = {"log_stdout": False, "log_file": str(tmp_path / "app.log"), **settings}
        config = config_module.load(settings, environ={})
        started.append(Logs(config, correlation=correlation or (lambda: ("0", "0"))))
        return started[-1]

    yield start_logs
    for item in started:
        item.stop(5)


@pytest.fixture
def lines(tmp_path: Path, start: Callable[..., Logs]) -> Lines:
    """Return a function that returns the lines delivered so far; stop or flush first."""
    return lambda: read_lines(tmp_path / "app.log")
