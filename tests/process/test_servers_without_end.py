"""Which command lines leave open streams open at the end of their server."""

from __future__ import annotations

import sys

import pytest
from django.core.checks import CheckMessage

from streaming_dd.cli.doctor import process
from streaming_dd.django.checks.serving import server_ends_streams
from streaming_dd.process.servers import without_end

WAITS = [
    (["/venv/bin/python", "/venv/bin/uvicorn", "site:app"], {}, "--timeout-graceful-shutdown 10"),
    (["python", "-m", "uvicorn", "site:app", "--workers", "2"], {}, "--timeout-graceful-shutdown 10"),
    (["python", "/venv/bin/granian", "--interface", "asgi", "site:app"], {}, "--workers-kill-timeout 10"),
    (["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "site:app"], {}, "--graceful-timeout"),
    (["gunicorn", "site:app"], {"GUNICORN_CMD_ARGS": "--worker-class=asgi"}, "--graceful-timeout"),
]
ENDS = [
    (["uvicorn", "site:app", "--timeout-graceful-shutdown", "5"], {}),
    (["uvicorn", "site:app", "--timeout-graceful-shutdown=5"], {}),
    (["uvicorn", "site:app"], {"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "5"}),
    (["granian", "site:app", "--workers-kill-timeout", "5"], {}),
    (["granian", "site:app"], {"GRANIAN_WORKERS_KILL_TIMEOUT": "5"}),
    (["gunicorn", "site:app"], {}),
    (["hypercorn", "site:app"], {}),
    (["daphne", "site:app"], {}),
    (["python", "serve.py", "tools", "uvicorn"], {}),
]


@pytest.mark.parametrize(("arguments", "environ", "fix"), WAITS)
def test_a_server_that_waits_is_named_with_what_to_set(
    arguments: list[str], environ: dict[str, str], fix: str
) -> None:
    """Without a limit, or until it is killed."""
    found = without_end(arguments, environ)
    assert found is not None
    assert fix in found[1]


@pytest.mark.parametrize(("arguments", "environ"), ENDS)
def test_a_server_that_ends_its_streams_is_not(arguments: list[str], environ: dict[str, str]) -> None:
    """It has a limit, or one by default, or it is another program."""
    assert without_end(arguments, environ) is None


def test_the_doctor_names_it_within_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`diagnose()` called by the served application."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "uvicorn", "site:app"])
    (found,) = [one for one in process.findings() if one.id == "process.server"]
    assert (found.level, "docs/shutdown.md" in found.fix) == ("warning", True)


def test_djangos_check_goes_by_the_servers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """`manage.py check --deploy` runs where the server's variables are set."""
    assert server_ends_streams(None) == []
    monkeypatch.setenv("UVICORN_PORT", "8000")
    (warning,) = server_ends_streams(None)
    assert isinstance(warning, CheckMessage)
    assert (warning.id, "--timeout-graceful-shutdown 10" in (warning.hint or "")) == (
        "streaming_dd.W013",
        True,
    )
    monkeypatch.setenv("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", "10")
    assert server_ends_streams(None) == []
