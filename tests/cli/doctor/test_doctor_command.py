"""`streaming-dd doctor` as a process: output, JSON, exit codes, an application of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

APP = """
import sys
from loguru import logger
from starlette.applications import Starlette
import streaming_dd as dd

print("the application says hello")
app = dd.instrument(Starlette(), service="from-the-app")
logger.info("the application logs")
bare = Starlette()
"""


def doctor(
    folder: Path, *options: str, agent: LocalAgent | None = None, **environment: str
) -> tuple[int, str, str]:
    addresses = {"DD_DOGSTATSD_URL": "udp://127.0.0.1:1", "DD_TRACE_AGENT_URL": "http://127.0.0.1:1"}
    if agent is not None:
        addresses = {
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{agent.dogstatsd_port}",
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.trace_port}",
            "STREAMING_LOG_AGENT": f"127.0.0.1:{agent.logs_port}",
        }
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ":".join(sys.path[1:]),
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        **addresses,
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "streaming_dd.cli", "doctor", "--timeout", "60", *options],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def report(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output)
    return found


def test_healthy(local_agent: LocalAgent, tmp_path: Path) -> None:
    """Exit code 0, everything verified, the environment's secrets masked."""
    code, out, _ = doctor(
        tmp_path,
        "--json",
        agent=local_agent,
        DD_SERVICE="shop",
        DD_API_KEY="0123456789abcdef0123456789abcdef",
    )
    found = report(out)
    assert (code, found["ok"], found["errors"], found["warnings"]) == (0, True, 0, 0)
    ids = {item["id"]: item["level"] for item in found["findings"]}
    assert {ids[f"probe.{kind}"] for kind in ("metric", "span", "log")} == {"ok"}
    assert found["variables"]["DD_API_KEY"] == "***"
    assert found["facts"]["patched by ddtrace"] == "nothing"


def test_for_people(tmp_path: Path) -> None:
    """Without --json, sections with marks and fixes, and a verdict; exit code 1 with no Agent."""
    code, out, _ = doctor(tmp_path, "--no-probe", DD_SERVICE="shop")
    assert code == 1
    assert (
        "ERROR    nothing takes spans at http://127.0.0.1:1: connection refused\n           fix: Start one"
        in out
    )
    assert out.splitlines()[-1] == "Something is wrong. 2 errors, 0 warnings."


def test_warnings_count_with_strict(local_agent: LocalAgent, tmp_path: Path) -> None:
    """A missing service name is exit code 0, and 1 with --strict."""
    assert doctor(tmp_path, agent=local_agent)[0] == 0
    assert doctor(tmp_path, "--strict", agent=local_agent)[0] == 1


def test_probes_of_no_service_are_the_doctors(local_agent: LocalAgent, tmp_path: Path) -> None:
    """None that looks like the application's is left on the agent's page."""
    assert doctor(tmp_path, agent=local_agent)[0] == 0
    assert [span.service for span in local_agent.received.spans] == ["streaming-dd-doctor"]
    (sample,) = local_agent.received.metrics
    assert "service:streaming-dd-doctor" in sample.tags
    assert [line["service"] for line in local_agent.received.logs] == ["streaming-dd-doctor"]


def test_an_application_of_ones_own(local_agent: LocalAgent, tmp_path: Path) -> None:
    """Its configuration is the one that is looked at; what it prints and logs stays off standard output."""
    (tmp_path / "site_of_mine.py").write_text(APP)
    code, out, err = doctor(tmp_path, "--json", "--app", "site_of_mine:app", agent=local_agent)
    found = report(out)
    ids = {item["id"]: item for item in found["findings"]}
    assert code == 0
    assert ids["settings.service"]["message"] == "the service is 'from-the-app'"
    assert ids["application.middleware"]["level"] == "ok"
    assert "the application says hello" in err
    assert "the application logs" in err


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("site_of_mine:bare", "the application is not wrapped"),
        ("site_of_mine", "names no application"),
        ("no_such_module:app", "there is no module no_such_module"),
        ("site_of_mine:no_such_app", "site_of_mine has no no_such_app"),
        ("site_that_fails:app", "site_that_fails:app fails: ZeroDivisionError: division by zero"),
    ],
)
def test_an_application_that_is_none(tmp_path: Path, target: str, problem: str) -> None:
    """Whatever is wrong with it is a finding among the others, and exit code 1."""
    (tmp_path / "site_of_mine.py").write_text(APP)
    (tmp_path / "site_that_fails.py").write_text("1 / 0")
    code, out, _ = doctor(tmp_path, "--json", "--no-probe", "--app", target)
    assert code == 1
    assert any(problem in item["message"] for item in report(out)["findings"])


def test_under_ddtrace_run(local_agent: LocalAgent, tmp_path: Path) -> None:
    """What ddtrace has patched is shown, and its loguru integration is warned of."""
    script = (
        "import sys, ddtrace.auto, loguru\nfrom streaming_dd.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--json", "--no-probe"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(sys.path[1:]),
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{local_agent.trace_port}",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = report(done.stdout)
    assert "loguru" in found["facts"]["patched by ddtrace"]
    ids = {item["id"]: item["level"] for item in found["findings"]}
    assert ids["process.loguru"] == "warning"
    assert ids["process.ddtrace_run"] == "ok"
    assert "process.asyncio_twice" not in ids


@pytest.mark.parametrize("unload", ["auto", "0"])
def test_gevent_beside_ddtrace_run(unload: str, tmp_path: Path) -> None:
    """Where gevent is installed ddtrace.auto has asyncio imported twice: said, with the variable that prevents it."""
    (tmp_path / "gevent.py").write_text("")
    script = (
        "import sys, ddtrace.auto\nfrom streaming_dd.cli import main\n"
        "sys.exit(main(['doctor', '--json', '--no-probe']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join([str(tmp_path), *sys.path[1:]]),
            "DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE": unload,
            "DD_TRACE_ENABLED": "false",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = {item["id"]: item for item in report(done.stdout)["findings"]}
    assert ("process.asyncio_twice" in found) == (unload == "auto")
    if unload == "auto":
        assert "DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE=0" in found["process.asyncio_twice"]["fix"]
