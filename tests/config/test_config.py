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
        ("STREAMING_LIVE_TASKS_URL", "http://me:secret@localhost/live", "without user"),
        ("STREAMING_LIVE_TASKS_URL", "http://localhost/live?token=secret", "without user"),
        ("STREAMING_LIVE_TASKS_URL", "/live", "address such as"),
        ("STREAMING_ROUTE_PATTERNS", "stream", "no leading /"),
        ("STREAMING_TRACE_HEADER", "x trace", "header"),
        ("STREAMING_METRIC_PREFIX", "Streaming Metrics", "lower-case"),
        ("DD_DOGSTATSD_PORT", "99999", "65535"),
        ("DD_DOGSTATSD_URL", "tcp://localhost", "unixstream://"),
        ("DD_DOGSTATSD_URL", "udp://localhost", "udp://127.0.0.1:8125"),
        ("DD_TRACE_AGENT_URL", "localhost:8126", "http://host:port"),
        ("DD_TRACE_AGENT_URL", "http://a b:8126", "http://host:port"),
        ("DD_TRACE_AGENT_URL", "http://:8126", "http://host:port"),
        ("DD_TRACE_AGENT_URL", "http://agent:99999", "http://host:port"),
        ("DD_TRACE_AGENT_URL", "http://ägent:8126", "http://host:port"),
        ("DD_DOGSTATSD_URL", "udp://[::1:8125", "udp://127.0.0.1:8125"),
        ("DD_DOGSTATSD_URL", "udp://a b:8125", "udp://127.0.0.1:8125"),
        ("DD_DOGSTATSD_URL", f"unixgram:///{'a' * 107}", "shorter path"),
        ("DD_TRACE_AGENT_URL", f"unix:///{'a' * 107}", "shorter path"),
        ("STREAMING_LOG_AGENT", "[::1:10518", "host:port"),
        ("STREAMING_LOG_AGENT", ":10518", "host:port"),
    ],
)
def test_a_value_that_cannot_work_names_the_setting_and_the_fix(name: str, value: str, hint: str) -> None:
    """A wrong value raises ConfigError with the setting's name, the value, its origin and what to write."""
    with pytest.raises(ConfigError) as caught:
        config.load(environ={name: value})
    assert caught.value.setting == name
    assert config.without_secrets(name, value) in str(caught.value)
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


@pytest.mark.parametrize(
    ("given", "tags", "unused"),
    [
        ("team:data, region:eu", ("team:data", "region:eu"), ""),
        ("team:data  tier:1", ("team:data", "tier:1"), ""),
        ("team:data,standalone", ("team:data", "standalone"), ""),
        ("git.commit.sha:", (), "'git.commit.sha:'"),
        ("name:hello world,team:data", ("name:hello_world", "team:data"), ""),
        ("1st:x,_dd.origin:rum", ("1st:x", "_dd.origin:rum"), ""),
        ("key1:val1, key2 : val2", ("key1:val1", "key2:val2"), ""),
        ("team:a,team:b", ("team:b",), ""),
        ("url:a:b", ("url:a:b",), ""),
        (":x,a:1", ("a:1",), "':x'"),
        (" , ", (), ""),
    ],
)
def test_dd_tags_is_read_as_datadogs_libraries_read_it(
    given: str, tags: tuple[str, ...], unused: str
) -> None:
    """What ddtrace takes is taken; what cannot be used is named, and no reason not to start."""
    found = config.load(environ={"DD_TAGS": given})
    assert found.tags == tags
    assert bool(found.complaints) is bool(unused)
    assert unused in "".join(found.complaints)


def test_tags_given_in_code_are_read_strictly() -> None:
    """A mistake in one's own code is told at once."""
    with pytest.raises(ConfigError, match="key:value"):
        config.load({"tags": ["team"]}, environ={})


def test_unified_tags_within_dd_tags() -> None:
    """`env:`, `service:` and `version:` in DD_TAGS are the settings, unless those are set themselves."""
    given = {"DD_TAGS": "env:prod,service:shop,version:1,team:data", "DD_ENV": "staging"}
    found = config.load(environ=given)
    assert (found.env, found.service, found.version, found.tags) == ("staging", "shop", "1", ("team:data",))
    assert found.origins["service"] == "environment DD_TAGS"


@pytest.mark.parametrize(
    ("given", "host", "url"),
    [
        ("agent", "agent", "http://agent:8126"),
        ("agent:8126", "agent", "http://agent:8126"),
        ("http://agent:8126/", "agent", "http://agent:8126"),
        ("udp://10.0.0.1", "10.0.0.1", "http://10.0.0.1:8126"),
        ("::1", "::1", "http://[::1]:8126"),
        ("[::1]:8126", "::1", "http://[::1]:8126"),
    ],
)
def test_an_agents_host_with_more_than_a_host(given: str, host: str, url: str) -> None:
    """A scheme or port in DD_AGENT_HOST is left out, and named."""
    found = config.load(environ={"DD_AGENT_HOST": given})
    assert (found.agent_host, found.trace_address()) == (host, url)
    assert bool(found.complaints) is (given not in ("agent", "::1"))


@pytest.mark.parametrize("given", ["http://agent", "agent:8126", "a b", "[::1", "user@agent"])
def test_an_agents_host_given_as_an_argument_is_a_host_alone(given: str) -> None:
    """An argument is this package's own, so what is no host is an error."""
    with pytest.raises(ConfigError, match="write a host's name or address alone"):
        config.load({"agent_host": given}, environ={})


@pytest.mark.parametrize("given", ["::1", "[::1]"])
def test_an_ipv6_address_is_in_brackets_before_a_port(given: str) -> None:
    """Whichever way it is given, metrics and spans go to the same host."""
    found = config.load({"agent_host": given}, environ={})
    assert (found.agent_host, found.dogstatsd_address()) == ("::1", "udp://[::1]:8125")
    assert found.trace_address() == "http://[::1]:8126"


@pytest.mark.parametrize("given", ["udp://::1:8125", "udp://[fe80::1%eth0]:8125", "udp://agent.local:8125"])
def test_addresses_of_dogstatsd_that_are_taken(given: str) -> None:
    """IPv6 with brackets and without, with a zone, and names."""
    assert config.load(environ={"DD_DOGSTATSD_URL": given}).dogstatsd_url == given


@pytest.mark.parametrize(
    ("given", "enabled", "complains"),
    [("auto", True, False), ("true", True, False), ("False", False, False), ("flase", False, True)],
)
def test_the_profiler_is_switched_as_ddtrace_switches_it(given: str, enabled: bool, complains: bool) -> None:
    """`auto` is on; a word that is none counts as false and is named."""
    found = config.load(environ={"DD_PROFILING_ENABLED": given})
    assert (found.profiling_enabled, bool(found.complaints)) == (enabled, complains)


def test_every_setting_is_described() -> None:
    """`streaming-dd config` has a line with name, value, origin and help for every setting."""
    rows = config.describe(config.load(environ={}))
    assert len(rows) == len(config.names())
    assert all(name and origin and help_text for name, _, origin, help_text in rows)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("STREAMING_LIVE_TASKS_URL", "ftp://u:hunter2x@h/"),
        ("DD_DOGSTATSD_URL", "udp://u:hunter2x@h:99999"),
        ("DD_TRACE_AGENT_URL", "ftp://u:hunter2x@h"),
        ("STREAMING_LOG_AGENT", "u:hunter2x@h"),
    ],
)
def test_an_error_quotes_no_password(name: str, given: str) -> None:
    """An address that cannot be used is quoted without its password."""
    with pytest.raises(ConfigError) as caught:
        config.load(environ={name: given})
    assert "hunter2x" not in str(caught.value)
    assert "u:***@h" in str(caught.value)


def test_passwords_in_addresses_and_tags_are_masked_in_descriptions_and_complaints() -> None:
    """`streaming-dd config` shows neither a URL's password nor the value of a tag that names a secret."""
    given = {
        "DD_TRACE_AGENT_URL": "http://u:hunter2x@h:8126",
        "DD_DOGSTATSD_URL": "udp://u:hunter2x@h:8125",
        "STREAMING_LOG_TRACE_URL": "http://u:hunter2x@h/traces/",
        "STREAMING_LOG_AGENT": "u:hunter2x@h:10518",
        "DD_TAGS": "team:data,password:hunter2x,broken:",
    }
    found = config.load(environ=given)
    rows = {name: value for name, value, _, _ in config.describe(found)}
    assert "hunter2x" not in str(rows) + str(found.complaints)
    assert found.complaints
    assert rows["DD_TAGS"] == "['team:data', 'password:***']"
    assert rows["DD_TRACE_AGENT_URL"] == "'http://u:***@h:8126'"
    assert rows["STREAMING_LOG_AGENT"] == "'u:***@h:10518'"


def test_a_secret_is_masked_in_descriptions_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a secret setting appears neither in the description nor in an error."""
    secrets = [name for name, item in config.FIELDS.items() if item.metadata["secret"]]
    for name in secrets:
        public = config.setting_name(name)
        rows = config.describe(config.load(environ={public: "s3cr3t-s3cr3t-s3cr3t"}))
        assert "s3cr3t" not in str(rows)
