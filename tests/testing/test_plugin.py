"""The pytest plugin itself: what loading it costs, and tests that run in pytest processes of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HEAVY = ("ddtrace", "datadog", "loguru", "starlette", "orjson", "django", "uvicorn", "msgspec")

SUITE = """
import asyncio
import os

import pytest
import streaming_dd as dd
from streaming_dd import catalog


@dd.task("reports.export")
async def export():
    return 3


@pytest.mark.parametrize("number", range(8))
def test_one(dd_metrics, dd_spans, dd_logs, number):
    with dd_metrics.grows(catalog.TASKS_STARTED):
        asyncio.run(export())
    dd_metrics.assert_count(catalog.TASKS_STARTED, 1)
    dd_spans.one("task.run")
    dd_logs.one(fields={"task.status": "completed"})


@pytest.mark.parametrize("number", range(2))
def test_agent(dd_agent, number):
    asyncio.run(export())
    dd_agent.wait_for(lambda got: got.spans and got.logs and got.metrics)
    assert len(dd_agent.received.spans) == 1
"""


@pytest.fixture(autouse=True)
def _same_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))


def test_the_entry_point_is_there() -> None:
    """An installed package offers its fixtures without any configuration."""
    found = {item.name: item.value for item in entry_points(group="pytest11")}
    assert found["streaming_dd"] == "streaming_dd.testing.plugin"


@pytest.mark.process
def test_loading_the_plugin_loads_nothing_heavy() -> None:
    """Every pytest run of everybody who has the package installed loads this module."""
    script = f"""
import sys, pytest
before = set(sys.modules)
import streaming_dd.testing.plugin
new = set(sys.modules) - before
assert not [name for name in new if name.split(".")[0] in {HEAVY!r}], new
ours = {{name for name in new if name.startswith("streaming_dd")}}
forks = {{"streaming_dd.output", "streaming_dd.output.forks"}}
assert ours == {{"streaming_dd", "streaming_dd.testing", "streaming_dd.testing.plugin", *forks}}, new
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=200)


@pytest.mark.process
@pytest.mark.parametrize("workers", ["0", "2"])
def test_under_xdist(pytester: pytest.Pytester, workers: str) -> None:
    """Tests that run at the same time in several processes see their own samples only."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-n", workers, "-q", "-p", "no:cacheprovider", timeout=290)
    result.assert_outcomes(passed=10)


@pytest.mark.process
def test_async_tests_of_anyios_plugin(pytester: pytest.Pytester) -> None:
    """The fixtures are as good in async tests, where the test itself runs inside the loop."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        import streaming_dd as dd
        from streaming_dd import catalog

        @dd.task("reports.export")
        async def export():
            await asyncio.sleep(0)

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_one(dd_metrics, dd_spans):
            with dd_metrics.grows(catalog.TASKS_COMPLETED, by=2):
                await asyncio.gather(export(), asyncio.create_task(export()))
            assert len(dd_spans.find("task.run")) == 2
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", timeout=280)
    result.assert_outcomes(passed=1)


@pytest.mark.process
def test_settings_and_failures_in_a_users_suite(pytester: pytest.Pytester) -> None:
    """`dd_settings` sets what holds in the tests; a failure's report shows what was captured."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def dd_settings():
            return {"metric_prefix": "shop"}
        """
    )
    pytester.makepyfile(
        """
        import asyncio
        import streaming_dd as dd
        from streaming_dd import catalog

        @dd.task("reports.export")
        async def export():
            pass

        def test_one(dd_metrics):
            asyncio.run(export())
            dd_metrics.assert_count("shop.tasks.started", 2)
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", timeout=280)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * AssertionError: shop.tasks.started is 1, not 2.",
            "E * Captured metrics:",
            "E *   count * shop.tasks.started{app:reports,model:export} 1",
        ]
    )


def test_the_file_is_small() -> None:
    """The plugin stays a list of fixtures; what they do is in `streaming_dd.testing`."""
    import streaming_dd.testing.plugin as plugin

    assert len(Path(plugin.__file__).read_text().splitlines()) < 80
