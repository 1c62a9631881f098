"""Forks while another thread imports the package, or uses it for the first time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streaming_dd.output import forks

PROGRAM = Path(__file__).with_name("fork_program.py")
USES = ("increment", "timer", "configure", "instrument", "middleware", "logs")


def run(*arguments: str) -> tuple[str, str]:
    """Return what the program printed, and what stands on standard error."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DD_", "STREAMING_", "OTEL_"))}
    env = {
        **kept,
        "DD_SERVICE": "forks",
        "DD_DOGSTATSD_URL": "udp://127.0.0.1:9",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "STREAMING_LOG_STDOUT": "false",
        "STREAMING_SHUTDOWN_TIMEOUT": "0.2",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM), *arguments],
        env=env, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    ("use", "point"),
    [
        ("increment", "streaming_dd.timers"),
        ("increment", "streaming_dd.timers+"),
        ("increment", "datadog.dogstatsd.base"),
        ("instrument", "streaming_dd.endpoints.asgi"),
        ("middleware", "streaming_dd.requests.traffic"),
        ("configure", "ddtrace.internal.forksafe+"),
        ("configure", "ddtrace._trace.tracer+"),
        ("logs", "streaming_dd.logs"),
        ("logs", "loguru._locks_machinery+"),
        ("logs", "loguru._logger+"),
    ],
)
def test_a_child_of_a_fork_within_the_first_use_can_use_the_package(use: str, point: str) -> None:
    """Wherever in its imports another thread is at a fork, the child does its work and ends, and nobody complains."""
    assert run(use, point) == ("ended", "")


@pytest.mark.process
@pytest.mark.parametrize("use", USES)
def test_a_fork_at_any_moment_of_the_first_use_leaves_a_child_that_works(use: str) -> None:
    """Five forks at random moments while another thread uses the package for the first time."""
    assert run(use, "0.5", str(USES.index(use))) == ("ended", "")


def test_a_fork_waits_no_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first use that never comes to its end (it may wait for the thread that forks) holds no fork up for ever."""
    monkeypatch.setattr(forks, "_LIMIT", 0.1)
    first_use = forks.FirstUse()
    held, leave = threading.Event(), threading.Event()

    def never_done() -> None:
        with first_use:
            held.set()
            leave.wait(60)

    thread = threading.Thread(target=never_done)
    thread.start()
    held.wait(60)
    first_use.before_fork()
    first_use.after_fork_in_parent()
    leave.set()
    thread.join()
    with first_use:  # it is nobody's
        pass


def test_who_forks_within_a_first_use_waits_for_nobody() -> None:
    """The thread that forks is itself in its first use (an application's settings start a process)."""
    first_use = forks.FirstUse()
    with first_use:
        first_use.before_fork()
        first_use.before_fork()  # registered twice
        first_use.after_fork_in_parent()
        first_use.after_fork_in_parent()
    first_use.before_fork()
    first_use.after_fork_in_child()
    with first_use:
        pass


def test_pythons_own_registration_is_put_back() -> None:
    """`os.register_at_fork` is Python's own again after an import and after a fork, also when both overlap."""
    registrations, own = forks.registrations, os.register_at_fork
    with registrations:
        assert os.register_at_fork is not own
        with registrations:
            pass
        assert os.register_at_fork is not own
    assert os.register_at_fork is own
