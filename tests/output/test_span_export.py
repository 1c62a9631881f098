"""What the exporter cannot send is kept, bounded, while an Agent is away, and counted where it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from trace_receiver import TraceReceiver

from streaming_dd.output.tracing.export import Export
from streaming_dd.output.tracing.outlet import Outlet

pytestmark = pytest.mark.process

#: Requests in three times: the Agent takes spans, answers as the test says, takes them again.
SCRIPT = """
    import asyncio, json, os, sys, urllib.request
    sys.path.insert(0, os.environ["TESTS"])
    sys.argv.append("starlette")
    import span_scenarios as site
    from streaming_dd import recorder
    from streaming_dd.output.tracing import export, tracer as door
    export.KEPT_LIMIT = int(os.environ.get("LIMIT") or export.KEPT_LIMIT)
    recorder.Recorder.start = lambda self: None  # rounds are the test's to make
    found = recorder.get()
    dropped = {}
    found.metrics.drop = lambda reason, text, count=1: dropped.__setitem__(reason, dropped.get(reason, 0) + count)
    app = site.DatadogMiddleware(site.site())
    asyncio.run(site.ask(app, "/items/warm")); found.round()
    def some(number):
        for _ in range(number):
            asyncio.run(site.ask(app, "/items/plain"))
            found.tracing._direct._send_ended()
            site.tracer().flush()
            found.round()
    def answer(status):
        urllib.request.urlopen(os.environ["DD_TRACE_AGENT_URL"] + f"/answer/{status}").close()
    some(2)
    answer(os.environ["STATUS"])
    some(3)
    answer("200")
    some(2)
    print(json.dumps(dropped))
"""


def environment_of(agent: str) -> dict[str, str]:
    """Return the environment of a process whose spans go to this URL."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DD_", "STREAMING_"))},
        "DD_TRACE_AGENT_URL": agent,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_WRITER_INTERVAL_SECONDS": "3600",
        "STREAMING_METRICS_ENABLED": "false",
        "STREAMING_LOGS_ENABLED": "false",
        "TESTS": os.path.dirname(__file__),
    }


def run(status: int, limit: int | None = None) -> tuple[int, dict[str, int]]:
    """Return how many spans arrived of the 7, and what was counted as dropped."""
    receiver = TraceReceiver()
    with receiver.listening():
        environment = {
            **environment_of(receiver.url),
            "STATUS": str(status),
            "LIMIT": str(limit or ""),
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-1500:]
    arrived = sum(span["meta"].get("http.url", "").endswith("plain") for span in receiver.spans(""))
    return arrived, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_a_busy_agent_refuses_arrives_later(status: int) -> None:
    """Spans that met a 429 or a 5xx are kept, and sent once the Agent takes them again."""
    assert run(status) == (7, {})


@pytest.mark.parametrize("status", [413, 404])
def test_what_an_agent_refuses_for_good_is_counted(status: int) -> None:
    """Spans that would be refused again are lost, and counted."""
    assert run(status) == (4, {"traces_refused": 3})


def test_what_is_kept_has_a_bound() -> None:
    """Without room left, spans are lost and counted, and those that were kept still arrive."""
    arrived, dropped = run(503, limit=700)
    assert 4 <= arrived < 7
    assert dropped == {"traces_refused": 7 - arrived}


ENDING = """
    import asyncio, os, sys, time
    sys.path.insert(0, os.environ["TESTS"])
    sys.argv.append("starlette")
    import span_scenarios as site
    from streaming_dd import recorder
    recorder.get()
    app = site.DatadogMiddleware(site.site())
    for _ in range(2):
        asyncio.run(site.ask(app, "/items/plain"))
        recorder.get().round()
    print("waiting", flush=True)
    sys.stdin.readline()
    print(time.time(), flush=True)
"""


def test_an_intake_that_never_answers_does_not_hold_the_exit() -> None:
    """ddtrace tries one payload for 20 s; the end of the process takes no longer than STREAMING_SHUTDOWN_TIMEOUT says."""
    with socket.create_server(("127.0.0.1", 0)) as intake:
        taken = threading.Event()

        def take() -> None:
            with (
                contextlib.ExitStack() as open_until_then,
                contextlib.suppress(OSError),
            ):  # the end of the test
                while True:
                    connection = open_until_then.enter_context(intake.accept()[0])
                    if b"traces" in connection.recv(65_536):
                        taken.set()

        taking = threading.Thread(target=take, daemon=True)
        taking.start()
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(ENDING)],
            env={
                **environment_of(f"http://127.0.0.1:{intake.getsockname()[1]}"),
                "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.1",
                "STREAMING_SHUTDOWN_TIMEOUT": "2",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        assert taken.wait(100)  # the payload is under way
        print(file=process.stdin, flush=True)
        began = float(process.stdout.readline())
        process.communicate(timeout=200)
        intake.shutdown(socket.SHUT_RDWR)
        taking.join()
        assert process.returncode == 0
        assert time.time() - began < 17


class Panic(BaseException):
    """As the native exporter raises it: no Exception."""


def test_a_panic_of_the_exporter_holds_nobody_up() -> None:
    """Whatever ends the sending of a payload is told to who waits for it: the end of the process is one of them."""

    def send(payload: bytes, count: int, client: Any) -> None:
        raise Panic("at the exporter")

    writer = SimpleNamespace(_send_payload=send)
    tracer = SimpleNamespace(_span_aggregator=SimpleNamespace(writer=writer))
    Export(tracer, Outlet()).attach()
    with pytest.raises(Panic, match="at the exporter"):
        writer._send_payload(b"", 1, None)
