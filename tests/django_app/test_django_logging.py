"""The handler for LOGGING: JSON lines in processes that serve nothing, never twice."""

from __future__ import annotations

import json
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_dd import recorder
from streaming_dd.django.logs import Handler
from streaming_dd.testing import LogCapture


@pytest.fixture
def shop() -> Iterator[logging.Logger]:
    """A logger with the handler alone."""
    logger = logging.getLogger("shop_of_the_test")
    logger.setLevel(logging.INFO)
    handler = Handler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


@pytest.mark.parametrize("bridged", [True, False])
def test_each_record_is_one_line(dd_logs: LogCapture, shop: logging.Logger, bridged: bool) -> None:
    """With the bridge and without it, whether the logger propagates or not."""
    recorder.configure(log_bridge=bridged)
    for propagates in (True, False):
        shop.propagate = propagates
        shop.warning("propagates: %s", propagates)
    shop.propagate = True
    assert [line["message"] for line in dd_logs.find("propagates")] == [
        "propagates: True",
        "propagates: False",
    ]
    assert dd_logs.find("propagates")[0]["logger.name"] == "shop_of_the_test"


def test_levels_hold(dd_logs: LogCapture) -> None:
    """`"level"` in LOGGING and STREAMING_LOG_LEVEL are both obeyed, where no bridge is."""
    recorder.configure(log_bridge=False, log_level="WARNING")
    Handler().handle(logging.LogRecord("shop", logging.INFO, __file__, 1, "level 20", (), None))
    handler = Handler("ERROR")
    for level in (logging.WARNING, logging.ERROR):
        handler.handle(logging.LogRecord("shop", level, __file__, 1, f"level {level}", (), None))
    assert [line["message"] for line in dd_logs.find("level")] == ["level 40"]


def test_it_goes_on_after_a_new_configuration(dd_logs: LogCapture, shop: logging.Logger) -> None:
    """The handler finds the logs that are in use, not those of its first record."""
    shop.info("before")
    recorder.configure(service="another")
    shop.info("after")
    assert dd_logs.one("after")["service"] == "another"
    assert len(dd_logs.find("before")) == 1


SCRIPT = """
import logging, logging.config
logging.config.dictConfig({
    "version": 1,
    "handlers": {"json": {"class": "streaming_dd.django.logs.Handler"}},
    "root": {"handlers": ["json"], "level": "INFO"},
})
logging.getLogger("nightly").info("rows: %d", 3)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("nightly").exception("it broke")
"""


@pytest.mark.process
@pytest.mark.parametrize("agent", [{}, {"DD_TRACE_AGENT_URL": "http://127.0.0.1:1"}])
def test_a_process_that_only_logs(tmp_path: Path, agent: dict[str, str]) -> None:
    """LOGGING alone starts the log: a command's lines are JSON on standard output, each once, to the last."""
    env = {"PATH": "", "PYTHONPATH": ":".join(sys.path), "DD_SERVICE": "shop", **agent}
    env |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    own = [line for line in lines if line["logger.name"] == "nightly"]
    assert [(line["status"], line["message"], line["service"]) for line in own] == [
        ("info", "rows: 3", "shop"),
        ("error", "it broke", "shop"),
    ]
    assert own[1]["error.kind"] == "ZeroDivisionError"
