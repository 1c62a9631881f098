"""What the doctor says of misspelt names, and of values that are taken in silence for something else."""

from __future__ import annotations

import pytest

from streaming_dd import config
from streaming_dd.cli.doctor.spelling import spelling


def found(**environ: str) -> dict[str, tuple[str, str]]:
    settings = config.load(environ=environ)
    return {finding.id: (finding.message, finding.fix) for finding in spelling(environ, settings)}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DD_SERVCE", "DD_SERVICE"),
        ("DD_TRACE_AGENT_URI", "DD_TRACE_AGENT_URL"),
        ("DD_TRACE_SAMPLING_RULE", "DD_TRACE_SAMPLING_RULES"),
        ("DD_AGENT_HOTS", "DD_AGENT_HOST"),
    ],
)
def test_a_name_that_nobody_reads_is_found(name: str, meant: str) -> None:
    """A DD_ variable that is nearly one that ddtrace or we read is named, with what was meant."""
    assert found(**{name: "x"}) == {f"environment.{name}": (f"nobody reads {name}", f"Did you mean {meant}?")}


@pytest.mark.parametrize(
    "name",
    [
        "DD_SERVICE",
        "DD_TRACE_STARLETTE_ENABLED",
        "DD_API_KEY",
        "DD_SITE",
        "DD_APM_ENABLED",
        "DD_OF_OUR_OWN",
        "PATH",
    ],
)
def test_a_name_that_is_read_or_far_from_any_is_left_alone(name: str) -> None:
    """Names of ddtrace, of the Agent, and of somebody else's making are no finding."""
    assert found(**{name: "x"}) == {}


@pytest.mark.parametrize(
    ("name", "value", "identity"),
    [
        ("DD_TRACE_ENABLED", "flase", "environment.DD_TRACE_ENABLED"),
        ("DD_LOGS_INJECTION", "on", "environment.DD_LOGS_INJECTION"),
        ("DD_TRACE_SAMPLE_RATE", "2", "environment.DD_TRACE_SAMPLE_RATE"),
        ("DD_TRACE_SAMPLE_RATE", "half", "environment.DD_TRACE_SAMPLE_RATE"),
        ("STREAMING_EXCLUDE_PATHS", "health", "settings.exclude_paths"),
        ("STREAMING_WORKER", "a b", "settings.worker"),
        ("REDIS_URL", "nonsense", "environment.REDIS_URL"),
    ],
)
def test_a_value_that_is_taken_for_something_else_is_found(name: str, value: str, identity: str) -> None:
    """What would be accepted in silence is said, with what to write."""
    message, fix = found(**{name: value})[identity]
    assert value in message or name in message
    assert fix.startswith(("Write", "Use"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DD_TRACE_ENABLED", "False"),
        ("DD_TRACE_SAMPLE_RATE", "0.2"),
        ("STREAMING_EXCLUDE_PATHS", "/health,*.js"),
        ("STREAMING_WORKER", "a-1"),
        ("REDIS_URL", "redis://127.0.0.1:6379/0"),
    ],
)
def test_good_values_are_left_alone(name: str, value: str) -> None:
    """What works is no finding."""
    assert found(**{name: value}) == {}
