"""Settings and environment: what is missing, what is switched off, and which variables contradict each other. No state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ... import config as config_module
from ...config import Config
from ...errors import ConfigError
from ...output.tracing import otlp_address
from .report import Finding

_PREFIXES: Final = ("STREAMING_", "DD_", "OTEL_", "DATADOG_")
_ON: Final = ("1", "true")
_OFF: Final = ("0", "false")

Environ = Mapping[str, str]


def variables(environ: Environ) -> dict[str, str]:
    """Return the variables that this package, ddtrace or OpenTelemetry read, with secrets masked."""
    return {
        name: config_module.without_secrets(name, environ[name])
        for name in sorted(environ)
        if name.startswith(_PREFIXES)
    }


def settings(config: Config) -> Iterator[Finding]:
    """Look at the settings themselves."""
    if not config.enabled:
        yield Finding(
            "settings.enabled",
            "warning",
            "STREAMING_ENABLED is false: nothing is recorded.",
            "Set it to true.",
        )
        return
    if config.service and config.origins.get("service") != "inferred":
        yield Finding("settings.service", "ok", f"the service is {config.service!r}")
    else:
        yield Finding(
            "settings.service",
            "warning",
            "no service name is set: one is made from what was started, and changes with it",
            "Set DD_SERVICE, such as DD_SERVICE=reports.",
        )
    missing = [f"DD_{name.upper()}" for name in ("env", "version") if not getattr(config, name)]
    if missing:
        yield Finding(
            "settings.unified_tags",
            "info",
            f"{' and '.join(missing)} not set: deployments cannot be told apart",
            "Set DD_ENV to prod, staging or the like, and DD_VERSION to the deployed version.",
        )
    off = [name for name in ("metrics", "tracing", "logs") if not getattr(config, f"{name}_enabled")]
    if off:
        yield Finding("settings.switched_off", "info", f"switched off: {', '.join(off)}")
    if config.logs_enabled:
        yield _log_destinations(config)


def _log_destinations(config: Config) -> Finding:
    places = [
        *(["standard output"] if config.log_stdout else []),
        *([config.log_file] if config.log_file else []),
        *([f"the Agent at {config.log_agent}"] if config.log_agent else []),
    ]
    if not places:
        return Finding(
            "settings.log_destinations",
            "warning",
            "log lines go nowhere",
            "Set STREAMING_LOG_STDOUT, STREAMING_LOG_FILE or STREAMING_LOG_AGENT, or STREAMING_LOGS_ENABLED=false.",
        )
    if config.log_file:
        folder = Path(config.log_file).absolute().parent
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        target = Path(config.log_file) if Path(config.log_file).exists() else existing
        if not existing.is_dir() or not os.access(target, os.W_OK):
            return Finding(
                "settings.log_destinations",
                "error",
                f"the log file {config.log_file} cannot be written: no permission for {target}",
                "Set STREAMING_LOG_FILE to a path that this user may write.",
            )
    return Finding("settings.log_destinations", "ok", f"log lines go to {', '.join(places)}")


# --- contradictions -----------------------------------------------------------------------------------------------


def contradictions(environ: Environ, config: Config) -> Iterator[Finding]:
    """Look for variables that contradict each other, or that something else overrules."""
    for look in _LOOKS:
        yield from look(environ, config)


def _says(environ: Environ, name: str, words: tuple[str, ...]) -> bool:
    return environ.get(name, "").strip().lower() in words


def _overruled(environ: Environ, config: Config) -> Iterator[Finding]:
    """A variable that Django's settings or an argument win over."""
    for public, name in config_module.names().items():
        origin = config.origins.get(name, "default")
        if public not in environ or origin.startswith("environment") or origin == "default":
            continue
        try:
            same = config_module.load(environ={public: environ[public]})
        except ConfigError:
            continue  # nobody reads it
        if getattr(same, name) != getattr(config, name):
            yield Finding(
                f"environment.{public}",
                "warning",
                f"{public} is set, but not obeyed: {'Django settings win' if 'Django' in origin else 'an argument wins'}",
                f"Remove it, or the {origin}.",
            )


def _off_for_ddtrace(environ: Environ, config: Config) -> Iterator[Finding]:
    if not (config.enabled and config.tracing_enabled):
        return
    if _says(environ, "DD_TRACE_ENABLED", _OFF):
        fix = "Remove DD_TRACE_ENABLED, or set STREAMING_TRACING_ENABLED=false to say so on purpose."
        yield Finding(
            "environment.DD_TRACE_ENABLED", "warning", "DD_TRACE_ENABLED is false: no spans are made", fix
        )
    if _says(environ, "OTEL_TRACES_EXPORTER", ("none",)) and not _says(environ, "DD_TRACE_ENABLED", _ON):
        yield Finding(
            "environment.OTEL_TRACES_EXPORTER",
            "warning",
            "OTEL_TRACES_EXPORTER=none: ddtrace makes no spans either",
            "Remove it; =otlp sends spans to an OpenTelemetry receiver.",
        )


def _otlp(environ: Environ, config: Config) -> Iterator[Finding]:
    otlp_wanted = environ.get("OTEL_TRACES_EXPORTER", "").lower() == "otlp"
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if otlp_wanted and not otlp_address(environ):
        yield Finding(
            "environment.DD_TRACE_AGENT_PROTOCOL_VERSION",
            "warning",
            "DD_TRACE_AGENT_PROTOCOL_VERSION is set: spans go to the Agent in spite of OTEL_TRACES_EXPORTER=otlp",
            "Remove DD_TRACE_AGENT_PROTOCOL_VERSION.",
        )
    elif otlp_wanted and "DD_TRACE_AGENT_URL" in environ:
        yield Finding(
            "environment.DD_TRACE_AGENT_URL",
            "warning",
            f"DD_TRACE_AGENT_URL is set, but spans go to {otlp_address(environ)}: OTEL_TRACES_EXPORTER=otlp wins",
            "Remove one of the two.",
        )
    elif endpoint and not otlp_wanted:
        yield Finding(
            "environment.OTEL_EXPORTER_OTLP_ENDPOINT",
            "warning",
            f"OTEL_EXPORTER_OTLP_ENDPOINT names {endpoint}, but spans go to the Agent",
            "Set OTEL_TRACES_EXPORTER=otlp as well, or remove it.",
        )


def _hosts(environ: Environ, config: Config) -> Iterator[Finding]:
    """Metrics and spans that go to different hosts: one of two addresses was forgotten."""
    metrics = urlsplit(config.dogstatsd_address())
    spans = urlsplit(otlp_address(environ) or config.trace_address())
    names = {_host(metrics.hostname), _host(spans.hostname)}
    if metrics.scheme == "udp" and spans.scheme == "http" and len(names) == 2 and not otlp_address(environ):
        yield Finding(
            "environment.hosts",
            "warning",
            f"metrics go to {metrics.hostname}, spans to {spans.hostname}",
            "Set DD_AGENT_HOST alone if one Agent takes both.",
        )
    port = environ.get("DD_DOGSTATSD_PORT")
    if config.dogstatsd_url and (port or config.agent_host) and "DD_DOGSTATSD_URL" in environ:
        same = metrics.scheme == "udp" and str(metrics.port) == (port or str(metrics.port))
        if not same or (config.agent_host and metrics.hostname != config.agent_host):
            yield Finding(
                "environment.DD_DOGSTATSD_URL",
                "warning",
                f"metrics go to {config.dogstatsd_url}: DD_DOGSTATSD_URL wins over DD_AGENT_HOST and DD_DOGSTATSD_PORT",
                "Remove one of them.",
            )


def _host(name: str | None) -> str:
    return "127.0.0.1" if name in ("localhost", "::1", None) else name


def _tags(environ: Environ, config: Config) -> Iterator[Finding]:
    tags = dict(
        tag.partition(":")[::2] for tag in environ.get("DD_TAGS", "").replace(" ", ",").split(",") if tag
    )
    for key in ("service", "env", "version"):
        tagged, own = tags.get(key), getattr(config, key)
        if tagged and own and tagged != own:
            yield Finding(
                f"environment.DD_TAGS.{key}",
                "warning",
                f"DD_TAGS says {key}:{tagged}, DD_{key.upper()} says {own}; the latter wins",
                f"Remove {key} from DD_TAGS.",
            )
    name = environ.get("OTEL_SERVICE_NAME")
    if name and config.service and name != config.service:
        yield Finding(
            "environment.OTEL_SERVICE_NAME",
            "warning",
            f"OTEL_SERVICE_NAME is {name!r}, DD_SERVICE is {config.service!r}; the latter wins",
            "Remove OTEL_SERVICE_NAME, or make them equal.",
        )


def _of_the_client(environ: Environ, config: Config) -> Iterator[Finding]:
    if _says(environ, "DD_DOGSTATSD_DISABLE", (*_ON, "yes")) and config.enabled and config.metrics_enabled:
        yield Finding(
            "environment.DD_DOGSTATSD_DISABLE",
            "warning",
            "DD_DOGSTATSD_DISABLE is set, but only Datadog's own client obeys it: our metrics are sent",
            "Set STREAMING_METRICS_ENABLED=false to send none.",
        )


_LOOKS: Final[tuple[Callable[[Environ, Config], Iterator[Finding]], ...]] = (
    _overruled,
    _off_for_ddtrace,
    _otlp,
    _hosts,
    _tags,
    _of_the_client,
)
