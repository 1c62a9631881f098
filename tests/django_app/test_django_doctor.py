"""`manage.py streaming_dd_doctor`: the doctor with the project's settings and Django's checks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import modify_settings, override_settings

from streaming_dd import recorder
from streaming_dd.django import hooks
from streaming_dd.local_agent import LocalAgent
from streaming_dd.output import tracing


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    with modify_settings(INSTALLED_APPS={"append": "streaming_dd.django"}), tracing.borrowed():
        yield
    recorder.reset()
    hooks.uninstall()


def doctor(*options: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and report."""
    out, code = io.StringIO(), 0
    try:
        call_command("streaming_dd_doctor", "--json", *options, stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, json.loads(out.getvalue())


def test_settings_and_checks_are_in_the_report() -> None:
    """The project's settings are used, the checks for deployments are run, and all goes the whole way."""
    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=None, page_port=0, headless=True)
    with (
        agent.running(),
        override_settings(
            DD_SERVICE="shop",
            STREAMING_STATS_TOKEN="a-token-of-some-length",
            DD_DOGSTATSD_URL=f"udp://127.0.0.1:{agent.dogstatsd_port}",
            DD_TRACE_AGENT_URL=f"http://127.0.0.1:{agent.trace_port}",
        ),
    ):
        code, report = doctor("--timeout", "100")
        levels = {item["id"]: item["level"] for item in report["findings"]}
        assert (code, report["ok"]) == (0, True)
        assert levels["settings.service"] == "ok"
        assert (levels["probe.metric"], levels["probe.span"]) == ("ok", "ok")
        assert levels["django.checks"] == "ok"


def test_what_the_checks_find_is_in_the_report() -> None:
    """A warning keeps the exit code at what the rest says, an error makes it 1; each keeps its id."""
    with override_settings(DD_DOGSTATSD_URL="udp://127.0.0.1:1", DD_TRACE_AGENT_URL="http://127.0.0.1:1"):
        code, report = doctor("--no-probe")
        levels = {item["id"]: item["level"] for item in report["findings"]}
        assert code == 1
        assert levels["django.streaming_dd.W008"] == "warning"
        assert levels["agent.traces"] == "error"
    with override_settings(STREAMING_LOG_LEVEL="LOUD"):
        code, report = doctor("--no-probe")
        levels = {item["id"]: item["level"] for item in report["findings"]}
        assert code == 1
        assert levels["django.streaming_dd.E001"] == "error"
        assert levels["settings.invalid"] == "error"
