"""What the doctor says of settings and environment variables, without looking at any socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming_dd import config as config_module
from streaming_dd.cli.doctor import settings as looks


def found(environ: dict[str, str], **arguments: Any) -> dict[str, tuple[str, str]]:
    config = config_module.load(arguments, environ=environ)
    findings = [*looks.settings(config), *looks.contradictions(environ, config)]
    return {finding.id: (finding.level, finding.message) for finding in findings}


def contradictions(environ: dict[str, str], **arguments: Any) -> dict[str, str]:
    config = config_module.load(arguments, environ=environ)
    return {finding.id: finding.message for finding in looks.contradictions(environ, config)}


@pytest.mark.parametrize(
    ("environ", "name", "part"),
    [
        ({"DD_TRACE_ENABLED": "false"}, "environment.DD_TRACE_ENABLED", "no spans are made"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "environment.OTEL_TRACES_EXPORTER", "makes no spans"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "DD_TRACE_AGENT_PROTOCOL_VERSION": "v0.4"},
            "environment.DD_TRACE_AGENT_PROTOCOL_VERSION",
            "spans go to the Agent in spite of",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "DD_TRACE_AGENT_URL": "http://agent:8126"},
            "environment.DD_TRACE_AGENT_URL",
            "spans go to http://localhost:4318/v1/traces",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"},
            "environment.OTEL_EXPORTER_OTLP_ENDPOINT",
            "names http://jaeger:4318, but spans go to the Agent",
        ),
        (
            {"DD_AGENT_HOST": "agent", "DD_TRACE_AGENT_URL": "http://other:8126"},
            "environment.hosts",
            "metrics go to agent, spans to other",
        ),
        (
            {"DD_DOGSTATSD_URL": "udp://127.0.0.1:9125", "DD_DOGSTATSD_PORT": "8125"},
            "environment.DD_DOGSTATSD_URL",
            "metrics go to udp://127.0.0.1:9125",
        ),
        (
            {"DD_DOGSTATSD_URL": "unix:///var/run/dsd.socket", "DD_DOGSTATSD_PORT": "8125"},
            "environment.DD_DOGSTATSD_URL",
            "DD_DOGSTATSD_URL wins",
        ),
        ({"DD_TAGS": "env:prod", "DD_ENV": "staging"}, "environment.DD_TAGS.env", "DD_TAGS says env:prod"),
        (
            {"DD_SERVICE": "reports", "OTEL_SERVICE_NAME": "shop"},
            "environment.OTEL_SERVICE_NAME",
            "OTEL_SERVICE_NAME is 'shop'",
        ),
        ({"DD_DOGSTATSD_DISABLE": "true"}, "environment.DD_DOGSTATSD_DISABLE", "our metrics are sent"),
    ],
)
def test_a_contradiction_is_found(environ: dict[str, str], name: str, part: str) -> None:
    """Each is named by its variable, says what happens instead, and is the only one found."""
    messages = contradictions(environ)
    assert list(messages) == [name]
    assert part in messages[name]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DD_SERVICE": "reports", "DD_ENV": "prod", "DD_VERSION": "1", "DD_AGENT_HOST": "agent"},
        {"DD_TAGS": "team:data env:prod", "DD_ENV": "prod"},
        {"DD_TRACE_ENABLED": "false", "STREAMING_TRACING_ENABLED": "false"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"},
        {"DD_DOGSTATSD_URL": "udp://127.0.0.1:8125", "DD_TRACE_AGENT_URL": "http://localhost:8126"},
        {"DD_DOGSTATSD_URL": "unix:///var/run/dsd.socket", "DD_TRACE_AGENT_URL": "http://agent:8126"},
        {"DD_SERVICE": "shop", "OTEL_SERVICE_NAME": "shop"},
    ],
)
def test_what_goes_together_is_none(environ: dict[str, str]) -> None:
    """Nothing is said of variables that agree, or that are switched off on purpose."""
    assert contradictions(environ) == {}


def test_a_variable_that_an_argument_overrules() -> None:
    """The loser is named; one that says the same is none."""
    environ = {"DD_SERVICE": "reports", "DD_ENV": "prod"}
    messages = contradictions(environ, service="shop", env="prod")
    assert messages == {"environment.DD_SERVICE": "DD_SERVICE is set, but not obeyed: an argument wins"}


def test_a_variable_that_djangos_settings_overrule() -> None:
    """Django's settings stand above the environment."""
    environ = {"STREAMING_LOG_LEVEL": "DEBUG"}
    config = config_module.load(django={"STREAMING_LOG_LEVEL": "INFO"}, environ=environ)
    (finding,) = looks.contradictions(environ, config)
    assert finding.message == "STREAMING_LOG_LEVEL is set, but not obeyed: Django settings win"


def test_settings_that_are_missing_or_off() -> None:
    """No service is a warning, no env and version a hint, what is off is said; everything off is said alone."""
    bare = found({"STREAMING_LOGS_ENABLED": "false"})
    assert bare["settings.service"][0] == "warning"
    assert bare["settings.unified_tags"] == (
        "info",
        "DD_ENV and DD_VERSION not set: deployments cannot be told apart",
    )
    assert bare["settings.switched_off"] == ("info", "switched off: logs")
    whole = found({"DD_SERVICE": "reports", "DD_ENV": "prod", "DD_VERSION": "1"})
    assert {level for level, _ in whole.values()} == {"ok"}
    assert list(found({"STREAMING_ENABLED": "false"})) == ["settings.enabled"]


def test_log_lines_that_go_nowhere_or_cannot(tmp_path: Path) -> None:
    """No destination is a warning; a file that cannot be written is an error, before the application finds out."""
    assert found({"STREAMING_LOG_STDOUT": "false"})["settings.log_destinations"] == (
        "warning",
        "log lines go nowhere",
    )
    (tmp_path / "taken").write_text("a file where a folder should be")
    bad = found({"STREAMING_LOG_FILE": str(tmp_path / "taken" / "app.log")})
    assert bad["settings.log_destinations"][0] == "error"
    good = found({"STREAMING_LOG_FILE": str(tmp_path / "new" / "app.log")})
    assert good["settings.log_destinations"][0] == "ok"
    assert not (tmp_path / "new").exists()


def test_secrets_are_masked() -> None:
    """Variables are listed by name, keys and tokens without their value, and nothing of others."""
    shown = looks.variables(
        {
            "DD_API_KEY": "0123456789abcdef",
            "STREAMING_STATS_TOKEN": "s3cret-s3cret",
            "DD_SERVICE": "reports",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:hunter2@otlp.example.com",
            "HOME": "/home/me",
        }
    )
    assert list(shown) == ["DD_API_KEY", "DD_SERVICE", "OTEL_EXPORTER_OTLP_ENDPOINT", "STREAMING_STATS_TOKEN"]
    assert shown["DD_SERVICE"] == "reports"
    text = " ".join(shown.values())
    assert not any(secret in text for secret in ("0123", "s3cret", "hunter2"))
