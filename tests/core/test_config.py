"""Settings: precedence, origins, and errors that name the setting and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from streaming_dd import config
from streaming_dd.errors import ConfigError


def test_arguments_win_over_django_over_environment_over_defaults() -> None:
    """Each source is used only where no stronger one has a value, and is named as the origin."""
    loaded = config.load(
        {"log_level": "ERROR"},
        django={"STREAMING_LOG_LEVEL": "DEBUG", "STREAMING_LOG_FILE": "a.log"},
        environ={"STREAMING_LOG_FILE": "b.log", "STREAMING_FLUSH_INTERVAL": "5", "DD_SERVICE": "reports"},
    )
    assert (loaded.log_level, loaded.log_file, loaded.flush_interval, loaded.service) == (
        "ERROR",
        "a.log",
        5,
        "reports",
    )
    assert loaded.origins["log_level"] == "argument"
    assert loaded.origins["log_file"] == "Django settings"
    assert loaded.origins["flush_interval"] == "environment STREAMING_FLUSH_INTERVAL"
    assert loaded.origins["service"] == "environment DD_SERVICE"
    assert loaded.origins["packing"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("STREAMING_METRICS_ENABLED", "maybe", "True or False"),
        ("STREAMING_FLUSH_INTERVAL", "soon", "number from 0.05 to 10"),
        ("STREAMING_FLUSH_INTERVAL", "nan", "number from"),
        ("STREAMING_LOG_LEVEL", "LOUD", "INFO"),
        ("STREAMING_TIMERS", "histogram", "'timer', 'distribution'"),
        ("STREAMING_LOG_AGENT", "localhost", "host:port"),
        ("STREAMING_ROUTE_PATTERNS", "stream", "no leading /"),
        ("STREAMING_TRACE_HEADER", "x trace", "header"),
        ("STREAMING_METRIC_PREFIX", "Streaming Metrics", "lower-case"),
        ("DD_DOGSTATSD_PORT", "99999", "65535"),
        ("DD_DOGSTATSD_URL", "tcp://localhost", "unixstream://"),
        ("DD_DOGSTATSD_URL", "udp://localhost", "udp://127.0.0.1:8125"),
        ("DD_TRACE_AGENT_URL", "localhost:8126", "http://host:port"),
        ("DD_TAGS", "team", "key:value"),
    ],
)
def test_a_value_that_cannot_work_names_the_setting_and_the_fix(name: str, value: str, hint: str) -> None:
    """A wrong value raises ConfigError with the setting's name, the value, its origin and what to write."""
    with pytest.raises(ConfigError) as caught:
        config.load(environ={name: value})
    assert caught.value.setting == name
    assert value in str(caught.value)
    assert "environment" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "fix"),
    [
        ({"arguments": {"servise": "x"}}, "'service'"),
        ({"django": {"STREAMING_METRIC_ENABLED": True}}, "STREAMING_METRICS_ENABLED"),
        ({"environ": {"STREAMING_LOGFILE": "x"}}, "STREAMING_LOG_FILE"),
        ({"django": {"STREAMING_JAEGER_HOST": "localhost"}}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"environ": {"STREAMING_QQQQQQQQ": "x"}}, "streaming-dd config"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(sources: dict[str, Any], fix: str) -> None:
    """A typing error in a setting's name raises at start-up, in place of silently keeping the default."""
    sources.setdefault("environ", {})
    with pytest.raises(ConfigError, match=r"no such setting|not a setting") as caught:
        config.load(sources.pop("arguments", None), **sources)
    assert fix in str(caught.value)


def test_tags_may_be_separated_by_commas_or_spaces() -> None:
    """DD_TAGS is read as Datadog's own tools read it."""
    assert config.load(environ={"DD_TAGS": "team:data, region:eu  tier:1"}).tags == (
        "team:data",
        "region:eu",
        "tier:1",
    )


def test_every_setting_is_described() -> None:
    """`streaming-dd config` has a line with name, value, origin and help for every setting."""
    rows = config.describe(config.load(environ={}))
    assert len(rows) == len(config.names())
    assert all(name and origin and help_text for name, _, origin, help_text in rows)


def test_a_secret_is_masked_in_descriptions_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a secret setting appears neither in the description nor in an error."""
    secrets = [name for name, item in config._FIELDS.items() if item.metadata["secret"]]
    for name in secrets:
        public = config.setting_name(name)
        rows = config.describe(config.load(environ={public: "s3cr3t-s3cr3t-s3cr3t"}))
        assert "s3cr3t" not in str(rows)
