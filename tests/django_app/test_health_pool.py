"""A pool of connections to a real PostgreSQL: busy is not down, and after an outage the first answer is right."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.endpoints.health import DatabaseCheck

pytest.importorskip("psycopg_pool")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("psql") is None, reason="PostgreSQL is not installed"),
]


class Postgres:
    """A server of this test's own, on a unix socket alone."""

    def __init__(self, folder: Path, user: dict[str, Any]) -> None:
        self.folder = folder
        self._user = user
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        self._bin = binaries[-1] if binaries else Path(shutil.which("pg_ctl") or "").parent
        self._run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "tests", "-N")

    def _run(self, command: str, *words: str) -> None:
        subprocess.run([self._bin / command, *words], check=True, stdout=subprocess.DEVNULL, **self._user)

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", "immediate", "stop")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="pg") as name:  # short: a socket's path has room for 107 bytes
        folder = Path(name)
        if os.getuid() == 0:  # PostgreSQL does not run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": name}
        server = Postgres(folder, user)
        server.start()
        yield server
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()


@pytest.fixture
def pooled(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Django connection with a pool of two, under the alias `default`."""
    import django.db
    from django.db import utils

    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "HOST": str(postgres.folder),
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 30}},
    }
    monkeypatch.setattr("django.db.connections", utils.ConnectionHandler({"default": settings}))
    connection: Any = django.db.connections["default"]
    yield connection
    connection.close()
    connection.close_pool()


def test_a_busy_pool_is_said_and_is_healthy(pooled: Any) -> None:
    """With every connection of the pool taken the check still reaches the database, and says how busy the pool is."""
    check = DatabaseCheck()
    assert check.run() == "postgresql"
    pooled.pool.open()  # as a request's first query does
    taken = [pooled.pool.getconn() for _ in range(2)]
    assert check.run() == "postgresql, its pool is busy: 2 of 2 connections are taken, 0 requests wait"
    for connection in taken:
        pooled.pool.putconn(connection)
    assert check.run() == "postgresql"


def test_a_database_that_is_back_is_ok_at_once(pooled: Any, postgres: Postgres) -> None:
    """While it is down the check fails; the first look after that is no false alarm by a connection of before."""
    check = DatabaseCheck()
    with pooled.cursor() as cursor:
        cursor.execute("SELECT 1")
    pooled.close()  # the pool keeps it
    postgres.stop()
    with pytest.raises(Exception, match="connection"):
        check.run()
    postgres.start()
    assert check.run().startswith("postgresql")
