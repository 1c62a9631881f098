"""The lifespan under every server: it starts, shares its state, fails and ends as without the middleware."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from typing import Any

import pytest
from served import APPS, GUNICORN, UVICORN, Emitted, Server, wait_until

pytestmark = pytest.mark.process

SITE = "lifespan_site:{side}"
SERVERS = {
    "uvicorn": [*UVICORN, SITE],
    "hypercorn": ["hypercorn", "--bind", "fd://{fd}", SITE],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "--working-dir", str(APPS), SITE],
    "gunicorn, uvicorn's worker": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", SITE],
    "gunicorn, its own": [*GUNICORN, "-k", "asgi", SITE],
}  # daphne has no lifespan


def started(server: str, side: str, startup: str, serve: Any, emitted: Emitted) -> Server:
    """Start the application on one side, bare or observed."""
    path = os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = emitted.environment(PYTHONPATH=path, STARTUP=startup, STREAMING_LOG_STDOUT="false")
    command = [word.replace("{side}", side) for word in SERVERS[server]]
    found: Server = serve(command, environment)
    return found


def seen(server: Server) -> list[str]:
    return [line for line in server.out.splitlines() if line.startswith("seen")]


@pytest.mark.parametrize("startup", ["raises", "failed"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_startup_that_fails(server: str, startup: str, serve: Any, emitted: Emitted) -> None:
    """The server ends, or serves all the same, as it does with the bare application; its reason stays in its output."""
    ends = []
    for side in ("bare", "observed"):
        found = started(server, side, startup, serve, emitted)
        wait_until(lambda found=found: seen(found), "the start")
        answer = _answer_if_any(found)
        code, _ = found.end(15 if answer else None)
        ends.append((answer, code, seen(found)[0], "no database at start" in found.out + found.err))
    assert ends[1] == ends[0]


def _answer_if_any(server: Server) -> tuple[int, str] | None:
    """What it answers, which granian begins to do when the start is over; None where it ends."""
    answers: list[tuple[int, str]] = []

    def answers_or_ends() -> bool:
        with contextlib.suppress(AssertionError, http.client.HTTPException):
            answers.append(server.get("/"))
        return bool(answers) or server.process.poll() is not None

    wait_until(answers_or_ends, "an answer or the end")
    return answers[0] if answers else None


@pytest.mark.parametrize("server", SERVERS)
def test_a_lifespan(server: str, serve: Any, emitted: Emitted) -> None:
    """Start and end are seen once each, in order; what the application keeps in its state reaches its requests."""
    ends = []
    for side in ("bare", "observed"):
        found = started(server, side, "completes", serve, emitted)
        wait_until(lambda found=found: _answers(found), "the server")
        answer = found.get("/")
        code, _ = found.end(15)
        ends.append((answer, code, seen(found)))
    assert ends[1] == ends[0]
    assert len(ends[0][2]) == 2


def _answers(server: Server) -> bool:
    with contextlib.suppress(OSError, AssertionError):
        socket.create_connection(("127.0.0.1", server.port), 1).close()
        return bool(seen(server))
    return False
