"""Fixtures: the price service, a database, and the example under uvicorn, all real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_site import DEADLINE, PRICES, ROOT, UVICORN, Site, environment, listening_socket, server


@pytest.fixture(scope="session")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The price service's address."""
    folder = tmp_path_factory.mktemp("prices")
    with server(PRICES, listening_socket(), environment(folder / "none", ""), folder / "log") as url:
        yield url


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A migrated database of the test's own."""
    path = tmp_path / "reports.sqlite3"
    command = [sys.executable, "-m", "examples.reports.manage", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment(path, ""), check=True, timeout=DEADLINE)
    return path


@pytest.fixture(scope="session")
def site(prices: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The example under uvicorn, one worker, shared by the tests: they make tasks of their own."""
    folder = tmp_path_factory.mktemp("site")
    path = folder / "reports.sqlite3"
    env = environment(path, prices)
    command = [sys.executable, "-m", "examples.reports.manage", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=DEADLINE)
    with server(UVICORN, listening_socket(), env, folder / "log") as url:
        running = Site(url, path)
        yield running
        running.client.close()
