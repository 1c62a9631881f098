"""Break each check for real and print what /health says and how fast: `python tests/health/measure_health.py`.

The table in docs/health.md is its output. Default settings, but for the interval: nothing runs unless it is asked for.
"""

from __future__ import annotations

import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from test_health_broken import Site, running_site

#: Longer than the cache.
PAUSE = 3.2


@contextmanager
def nothing(site: Site) -> Iterator[None]:
    yield


@contextmanager
def file_gone(site: Site) -> Iterator[None]:
    site.database.unlink()
    yield


@contextmanager
def no_database(site: Site) -> Iterator[None]:
    site.database.write_bytes(b"no database" * 1000)
    yield


@contextmanager
def locked(site: Site) -> Iterator[None]:
    with closing(sqlite3.connect(site.database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def redis_stopped(site: Site) -> Iterator[None]:
    assert site.redis is not None
    site.redis.terminate()
    site.redis.wait()
    yield


@contextmanager
def redis_hangs(site: Site) -> Iterator[None]:
    assert site.redis is not None
    site.redis.send_signal(signal.SIGSTOP)
    yield
    site.redis.send_signal(signal.SIGCONT)


@contextmanager
def agent_stopped(site: Site) -> Iterator[None]:
    site.stop_agent()
    yield


@contextmanager
def loop_held(site: Site) -> Iterator[None]:
    port = site.client.base_url.port

    def hold() -> None:
        httpx.get(f"http://127.0.0.1:{port}/block", params={"seconds": 3}, timeout=60, trust_env=False)

    holding = threading.Thread(target=hold)
    holding.start()
    time.sleep(0.6)
    yield
    holding.join()


CASES: list[tuple[str, str, Callable[[Site], object]]] = [
    ("nothing", "", nothing),
    ("database file removed", "database", file_gone),
    ("database file overwritten", "database", no_database),
    ("database hangs (locked)", "database", locked),
    ("Redis stopped", "redis", redis_stopped),
    ("Redis hangs", "redis", redis_hangs),
    ("Agent stopped", "agent", agent_stopped),
    ("event loop held for 3 s", "event_loop", loop_held),
]


def measure(name: str, check: str, broken: Callable[[Site], object]) -> str:
    """Return one line of the table."""
    defaults = {
        "STREAMING_HEALTH_TIMEOUT": "2",
        "STREAMING_HEALTH_CACHE": "3",
        "STREAMING_HEALTH_INTERVAL": "0",
        "STREAMING_HEALTH_LOOP_LAG": "1",
    }
    with tempfile.TemporaryDirectory() as folder, running_site(Path(folder), **defaults) as site:
        site.health()
        time.sleep(PAUSE)
        with broken(site):  # type: ignore[attr-defined]
            status, answer, first = site.health()
            cached = statistics.median(site.health()[2] for _ in range(20))
            time.sleep(PAUSE)
            again_status, again, later = site.health()
    said = f"`{answer['checks'][check]}`" if check else "every check `ok`"
    if again_status != status:
        said += f"; {again_status} when asked again {PAUSE} s later"
    elif check and again["checks"][check] != answer["checks"][check]:
        said += f", then `{again['checks'][check]}`"
    times = " | ".join(f"{seconds * 1000:.0f} ms" for seconds in (first, cached, later))
    return f"| {name} | {status} {answer['status']} | {said} | {times} |"


def main() -> None:
    """Print the table."""
    write = sys.stdout.write
    write("| broken | answer | its check says | first answer | from the cache | asked again |\n")
    write("|---|---|---|---|---|---|\n")
    for case in CASES:
        write(measure(*case) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
