"""The block inside which nothing leaves the process, and everything can be asked for.

State: the recorder's `redirect`, for the duration of the block. docs/decisions/0066.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from .. import recorder
from ..errors import StreamingDDError
from ..logs import LEVELS
from ..output import notices, tracing
from ..output.redirect import Redirect
from .log_lines import LogCapture
from .metrics import MetricCapture
from .spans import SpanCapture

#: What a capture needs of the settings, whatever the application says: a test suite often switches things off.
_SETTINGS: Final[dict[str, Any]] = {
    "enabled": True,
    "metrics_enabled": True,
    "tracing_enabled": True,
    "logs_enabled": True,
    "log_stdout": False,
    "log_file": "",
    "log_agent": "",
    "worker": "0",  # no lock file: tests may run in many processes
    "health_interval": 0,  # no check in the background opens a test's database
}


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture has: `metrics`, `spans` and `logs`."""

    metrics: MetricCapture = field(default_factory=MetricCapture)
    spans: SpanCapture = field(default_factory=SpanCapture)
    logs: LogCapture = field(default_factory=LogCapture)


@contextmanager
def capture(**settings: Any) -> Iterator[Captured]:
    """Capture metrics, spans and log lines inside the block; nothing is sent, nothing of before is seen.

    The application may be instrumented before or inside the block; `settings`, by the names of Config's fields,
    win over its own. Raises ConfigError for those that cannot be used.
    """
    captured = Captured()
    redirect = Redirect({**_SETTINGS, **settings}, captured.metrics.sender, captured.logs.destination)
    with redirected(redirect) as arguments, tracing.captured(captured.spans.take):
        logs = recorder.configure(**arguments).logs
        with _root_logger_open(LEVELS[logs.config.log_level] if logs is not None else logging.WARNING):
            yield captured


@contextmanager
def redirected(redirect: Redirect) -> Iterator[dict[str, Any]]:
    """Have every `configure()` inside the block obey `redirect`; afterwards configure as it was before.

    Yields the arguments that the application configured with: its excluded paths, say, hold in its tests too.
    """
    if recorder.redirect is not None:
        raise StreamingDDError(
            "a capture is going on already: a test uses either dd_metrics, dd_spans and dd_logs (capture()) or "
            "dd_agent (agent()), once"
        )
    before = recorder.current
    arguments: dict[str, Any] = {}
    if before is not None:
        origins = before.config.origins
        arguments = {name: getattr(before.config, name) for name in origins if origins[name] == "argument"}
    recorder.redirect = redirect
    notices.reset()
    try:
        yield arguments
    finally:
        recorder.redirect = None
        recorder.reset()
        notices.reset()
        if before is not None:
            recorder.configure(**arguments)


@contextmanager
def _root_logger_open(level: int) -> Iterator[None]:
    """Let lines of `level` through a root logger that nobody configured.

    The bridge does so itself where the root logger has no handlers; pytest puts some there.
    """
    root = logging.getLogger()
    before = root.level
    if before == logging.WARNING:
        root.setLevel(min(level, before))
    try:
        yield
    finally:
        root.setLevel(before)
