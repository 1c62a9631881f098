"""Clients that leave: gone from the gauge although the app never looks, no error whatever the server's ASGI version."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import pytest
from served import APPS, UVICORN, Emitted, least, totals

pytestmark = pytest.mark.process

SERVER_24 = [sys.executable, str(APPS / "server_24.py"), "{fd}"]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_is_gone_although_the_app_neither_receives_nor_sends(
    loop: str, serve: Any, emitted: Emitted
) -> None:
    """The stream of a raw ASGI app waits for ever; the socket's truth is on the gauge within two seconds."""
    server = serve(
        [*UVICORN, "observed_wild_site:app", "--loop", loop],
        emitted.environment(STREAMING_FLUSH_INTERVAL="0.1"),
    )
    stays = server.stream("/stream/tests/Silent/1")
    opened = 1

    def until_it_is_gone() -> float:
        nonlocal opened
        opened += 1
        leaves = server.stream(f"/stream/tests/Silent/{opened}")
        emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 2)
        leaves.leave()
        left = time.monotonic()
        emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 1)
        return time.monotonic() - left

    assert least(until_it_is_gone, 4) < 4, "two looks of 0.75 s each; the rest is for a loaded machine"
    emitted.wait_for(lambda: emitted.level("streaming.tasks.active") == opened)  # the tasks go on

    assert server.end(signal.SIGTERM)[0] == -signal.SIGTERM
    assert stays.event() == ""
    emitted.wait_for(lambda: len(emitted.spans("sse.request")) == opened)
    ends = [(span.meta["stream.outcome"], span.error) for span in emitted.spans("sse.request")]
    assert sorted(ends) == [*[("client_disconnect", 0)] * (opened - 1), ("server_shutdown", 0)]
    assert {span.resource for span in emitted.spans("sse.request")} == {"GET /stream/:app/:model/:id"}
    check_no_error(emitted)


@pytest.mark.parametrize(
    "command",
    [
        [*UVICORN, "observed_starlette_site:app"],
        [*UVICORN, "ddtrace_first_site:app"],
        [*SERVER_24, "observed_starlette_site:app"],
        [*SERVER_24, "ddtrace_first_site:app"],
        [*SERVER_24, "observed_wild_site:app"],
    ],
    ids=["uvicorn", "uvicorn, ddtrace", "2.4", "2.4, ddtrace", "2.4, raw"],
)
def test_a_client_that_leaves_is_no_error(command: list[str], serve: Any, emitted: Emitted) -> None:
    """With ASGI 2.3 the app hears of it by receive(), with 2.4 its send() raises: the outcome is the same."""
    server = serve(command, emitted.environment(), module=command[0] == "uvicorn")
    server.stream("/stream/tests/Endless/1").leave()
    emitted.wait_for(lambda: emitted.logs(outcome="client_disconnect"))
    emitted.wait_for(lambda: emitted.spans("sse.request"))
    (span,) = emitted.spans("sse.request")
    assert span.meta["stream.outcome"] == "client_disconnect"
    assert span.meta["http.status_code"] == "200"
    server.end(signal.SIGTERM)
    emitted.wait_for(lambda: emitted.spans("task.run"))
    assert totals(emitted.spans()) == {"sse.request": 1, "task.submit": 1, "task.run": 1}
    assert emitted.count("streaming.streams.closed", outcome="client_disconnect") == 1
    check_no_error(emitted)


def check_no_error(emitted: Emitted) -> None:
    assert {span.error for span in emitted.spans()} == {0}
    assert emitted.count("streaming.http.errors") == 0
    assert emitted.count("streaming.http.requests", status_class="5xx") == 0
    assert {line["http.status_code"] for line in emitted.logs() if "http.status_code" in line} == {200}
    assert emitted.levels() == {0}
