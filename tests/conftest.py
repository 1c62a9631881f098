"""What every test relies on: ddtrace stays quiet and offline, no test sees the shell's settings, slowness is no failure."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow to generate and slow to run, and the first example builds a grammar: neither is a failure.
# Every run tries the same examples: what a property does not hold for fails each time, not in one run of a thousand.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("fast", settings.get_profile("patient"), max_examples=10)
settings.register_profile("exploring", settings.get_profile("patient"), derandomize=False)
settings.load_profile("patient")

for name in [name for name in os.environ if name.startswith(("STREAMING_", "DD_", "OTEL_"))]:
    del os.environ[name]
os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
# A shell lets what it runs in the background ignore Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["emitting_fixtures"]


#: A module that is no part of a run without these marks.
_LEFT_OUT = re.compile(r"^pytestmark = pytest\.mark\.(process|browser|slow)$", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a module out unread if its mark would: importing and compiling the servers' tests takes long."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    mark = _LEFT_OUT.search(collection_path.read_text(encoding="utf-8"))
    return True if mark and f"not {mark[1]}" in config.getoption("markexpr") else None


#: Fixtures that start an agent with its servers: most of a second for each test.
_SERVING = {"run_agent", "local_agent"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what starts an agent as slow."""
    if _SERVING & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep a picture of the page that a failing browser test was looking at, in `.screenshots/`."""
    report = yield
    if report.when == "call" and report.failed:
        for page in getattr(item, "funcargs", {}).values():
            if type(page).__module__.startswith("playwright.") and hasattr(page, "screenshot"):
                path = (
                    item.config.rootpath / ".screenshots" / (re.sub(r"[^\w.-]+", "_", item.nodeid) + ".png")
                )
                page.screenshot(path=path, full_page=True)
                report.sections.append(("screenshot", str(path)))
    return report
