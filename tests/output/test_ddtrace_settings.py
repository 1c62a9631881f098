"""What ddtrace cannot start with: a ConfigError names the setting and what to write, in place of ddtrace's own error."""

from __future__ import annotations

import os
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

from streaming_dd.config import Config
from streaming_dd.errors import ConfigError
from streaming_dd.output.blame import check_address, naming_settings

START = """
import sys
from streaming_dd import recorder
from streaming_dd.cli import doctor
from streaming_dd.errors import ConfigError
try:
    tracing = recorder.configure(service="x", **eval(sys.argv[1])).tracing
except ConfigError as error:
    print(f"{error.setting}|{error}|", *(f"{f.level} {f.message}" for f in doctor.diagnose(send=False).findings))
else:
    print(f"|started|{tracing.address}")
"""


def started(arguments: dict[str, Any] | None = None, **variables: str) -> list[str]:
    """Start a process with these variables: the setting that was refused, the error, and what the doctor finds."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("DD_", "OTEL_", "STREAMING_"))
    }
    quiet = {"STREAMING_LOGS_ENABLED": "false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    ran = subprocess.run(
        [sys.executable, "-c", START, repr(arguments or {})],
        env={**clean, **quiet, **variables},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().split("|")


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("DD_TRACE_AGENT_PORT", "abc", "write a whole number from 1 to 65535."),
        ("DD_TRACE_AGENT_PORT", "99999", "write a whole number from 1 to 65535."),
        ("DD_AGENT_PORT", "-1", "write a whole number from 1 to 65535."),
        ("DD_AGENT_HOST", "a b", "write a host's name or address alone, such as 'localhost'."),
        ("DD_TRACE_AGENT_HOSTNAME", "[::1", "write a host's name or address alone, such as 'localhost'."),
        ("DD_TRACE_AGENT_URL", "http://[::1", "write http://host:port or unix:///path, such as"),
        ("DD_TRACE_RATE_LIMIT", "zzz", "write a whole number."),
        ("DD_TRACE_AGENT_TIMEOUT_SECONDS", "soon", "write a number."),
        ("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", "1.5", "write a whole number."),
        ("DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH", "long", "write a whole number."),
        ("DD_TRACE_WRITER_BUFFER_SIZE_BYTES", "-1", "write a whole number from 1."),
        ("DD_TRACE_WRITER_INTERVAL_SECONDS", "often", "write a number."),
        ("DD_TRACE_LOGGING_RATE", "abc", "write a whole number."),
        ("DD_TRACE_SAMPLING_RULES", "7", "write a JSON list of rules, such as"),
        ("DD_SPAN_SAMPLING_RULES_FILE", "/not/there", "No such file or directory"),
    ],
)
def test_what_ddtrace_raises_over_names_the_setting_and_what_to_write(
    name: str, value: str, fix: str
) -> None:
    """At the start a ConfigError, and the doctor finds the same; what else is set beside it is not blamed."""
    setting, error, found = started(**{"DD_ENTITY_ID": "pod-7", "DD_VERSION": "1", name: value})
    assert setting == name
    assert f"{value!r} (from environment {name}) cannot be used:" in error
    assert fix in error
    assert f"error {name}: {value!r} (from environment {name}) cannot be used:" in found


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"DD_AGENT_HOST": "[::1"}, "http://[::1]:8126"),
        ({"DD_TRACE_AGENT_URL": "http://127.0.0.1:1", "DD_TRACE_AGENT_PORT": "99999"}, "http://127.0.0.1:1"),
        ({"DD_TRACE_SAMPLING_RULES": "{", "DD_TRACE_AGENT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
    ],
)
def test_what_ddtrace_starts_with_is_not_refused(variables: dict[str, str], address: str) -> None:
    """A wrong port that an address overrules, and rules that ddtrace complains of and leaves, end no start."""
    assert started(**variables)[1:] == ["started", address]


def test_an_agents_ipv6_address_given_as_an_argument_is_one_to_ddtrace_too() -> None:
    """The host is put in brackets before the port."""
    assert started({"agent_host": "::1"})[1:] == ["started", "http://[::1]:8126"]


def test_a_host_given_as_an_argument_is_named_as_one() -> None:
    """The error names the argument, not a variable that nobody set."""
    assert started({"agent_host": "a b"})[:2] == [
        "agent_host",
        "agent_host: 'a b' (from argument) cannot be used: write a host's name or address alone, such as 'localhost'.",
    ]


def _config(**given: Any) -> Config:
    return Config(**given, origins=MappingProxyType({}))


def test_a_fault_that_is_no_settings_passes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation, or an error in which no variable occurs, is raised unchanged."""
    monkeypatch.setenv("DD_ENV", "prod")
    for fault in (ImportError("DD_ENV"), ValueError("of another kind")):
        with pytest.raises(type(fault)) as caught, naming_settings(_config()):
            raise fault
        assert caught.value is fault


def test_a_password_in_an_address_that_is_refused_is_masked() -> None:
    """The address is quoted without it."""
    with pytest.raises(ConfigError) as caught:
        check_address("http://u:hunter2x@h:99999", _config())
    assert "hunter2x" not in str(caught.value)
    assert "u:***@h:99999" in str(caught.value)


def test_a_secret_that_ddtrace_quotes_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a variable whose name tells of a secret appears neither as the value nor in ddtrace's words."""
    monkeypatch.setenv("DD_API_KEY", "s3cr3t-s3cr3t")
    with pytest.raises(ConfigError) as caught, naming_settings(_config()):
        raise ValueError("not a key: 's3cr3t-s3cr3t'")
    assert caught.value.setting == "DD_API_KEY"
    assert "s3cr3t" not in str(caught.value)
