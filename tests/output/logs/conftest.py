"""Helpers of the log tests: a Logs of one's own that writes to a file, stopped and restored after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from log_helpers import read_lines
from loguru import logger

from streaming_dd import config as config_module
from streaming_dd import logs
from streaming_dd.logs import Logs
from streaming_dd.output import notices

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Stop what a test left running, and forget what was said."""
    notices.reset()
    before = set(logger._core.handlers)  # type: ignore[attr-defined]
    yield
    current = logs.current()
    if current is not None:
        current.stop(60)
    for added in set(logger._core.handlers) - before:  # type: ignore[attr-defined]
        logger.remove(added)
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
        item.stop(60)


@pytest.fixture
def lines(tmp_path: Path, start: Callable[..., Logs]) -> Lines:
    """Return a function that returns the lines delivered so far; stop or flush first."""
    return lambda: read_lines(tmp_path / "app.log")
