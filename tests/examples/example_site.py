"""The example project as real processes, on sockets that the test bound, and what a client does with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, connect_sse

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FINAL = ("complete", "error", "cancelled")
DEADLINE = 120.0
#: Less than the five seconds after which uvicorn closes an idle connection: none is used while it is being closed.
LIMITS = httpx.Limits(keepalive_expiry=2.0)


def listening_socket() -> socket.socket:
    """Return a socket on a port of the system's choice, to be handed to a server: nobody else can take it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


@dataclass
class Site:
    """A running example: what a client does with it."""

    url: str
    database: Path
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=DEADLINE, limits=LIMITS, trust_env=False)
    )

    def create(self, model: str, seconds: float = 0.2) -> int:
        """Create a task and return its id."""
        response = self.client.post(f"{self.url}/tasks/reports/{model}", json={"seconds": seconds})
        assert response.status_code == 201, response.text
        made: int = response.json()["id"]
        return made

    def stream(self, model: str, task_id: int, road: str = "", events: int = 0) -> list[ServerSentEvent]:
        """Read a task's stream to its final event, or so many events of it."""
        seen = []
        with connect_sse(self.client, "GET", f"{self.url}{road}/stream/reports/{model}/{task_id}") as source:
            for event in source.iter_sse():
                seen.append(event)
                if event.event in FINAL or len(seen) == events:
                    break
        return seen

    def cancel(self, model: str, task_id: int) -> httpx.Response:
        """Cancel a task."""
        return self.client.post(f"{self.url}/tasks/reports/{model}/{task_id}/cancel")

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Look into the database, or change it as another worker would."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            return connection.execute(statement, values).fetchall()


def environment(database: Path, prices: str) -> dict[str, str]:
    """Return the environment of a server that only serves: what it emits is not looked at here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DD_", "STREAMING_"))}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "examples.reports.settings",
        "REPORTS_DATABASE": str(database),
        "REPORTS_PRICES_URL": prices,
        "STREAMING_ENABLED": "false",
    }


@contextlib.contextmanager
def server(command: list[str], listening: socket.socket, env: dict[str, str], log: Path) -> Iterator[str]:
    """Run a server on a socket until the block ends; `{fd}` in the command is the socket's number."""
    number = listening.fileno()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=number) for part in command)],
            cwd=ROOT, env=env, pass_fds=[number], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()
    try:
        wait_until(lambda: answers(url) or process.poll() is not None, f"{command} to answer")
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def answers(url: str) -> bool:
    """Tell whether a server answers, whatever it says."""
    try:
        httpx.get(f"{url}/price/any", trust_env=False, timeout=DEADLINE)
    except httpx.TransportError:
        return False
    return True


def wait_until(condition: Any, what: str | Callable[[], str]) -> None:
    """Wait for a condition, at most DEADLINE seconds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE:.0f} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


UVICORN = ["uvicorn", "examples.reports.asgi:app", "--fd", "{fd}", "--timeout-graceful-shutdown", "3"]
PRICES = ["uvicorn", "examples.reports.prices:app", "--fd", "{fd}"]
GUNICORN = [
    "gunicorn", "examples.reports.asgi:app", "-b", "fd://{fd}", "-w", "2",
    "-k", "examples.reports.workers.Worker", "--timeout", "120",
]  # fmt: skip
