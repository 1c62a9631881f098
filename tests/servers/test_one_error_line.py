"""One exception is one error line: the server's own line about it is left out, the access line has it all.

granian's line arrives without the exception that it is about: it is known by its text.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import pytest
from served import APPS, DEADLINE, GUNICORN, UVICORN, Emitted, Server, wait_until

pytestmark = pytest.mark.process

SITE = "failing_once_site:app"
SERVERS = {
    "uvicorn": [*UVICORN, SITE],
    "hypercorn": ["hypercorn", "--bind", "fd://{fd}", "--error-logfile", "-", SITE],
    "daphne": ["daphne", "--fd", "{fd}", SITE],
    "gunicorn, uvicorn's worker": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", SITE],
    "gunicorn, its own": [*GUNICORN, "-k", "asgi", SITE],
    "granian": ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", SITE],
}


@pytest.mark.parametrize("name", SERVERS)
def test_one_exception_is_one_error_line(name: str, serve: Any, emitted: Emitted) -> None:
    """Of an exception before the response, and of one in the middle of it."""
    path = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
    server: Server = serve(SERVERS[name], emitted.environment(PYTHONPATH=path))

    wait_until(lambda: _listens(server), "the server")
    for number, kind in enumerate(("early", "late"), 1):
        # The client stays until it is over: it must not be the one that ends it.
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
            connection.sendall(f"GET /{kind} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            emitted.wait_for(lambda count=number: len(emitted.logs(outcome="error")) == count)
    server.end(15)
    errors = [line for line in emitted.logs() if line["status"] in ("error", "critical", "emergency")]
    assert [line.get("error.kind") for line in errors] == ["LookupError", "LookupError"]
    assert {line["error.message"] for line in errors} == {"early on purpose", "late on purpose"}
    assert all("failing_once_site.py" in line["error.stack"] for line in errors)


def _listens(server: Server) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1).close()
        return True
    return False
