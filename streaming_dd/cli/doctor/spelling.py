"""Variables that are set and that nobody reads, or whose value is taken in silence for something else. No state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from ...config import Config
from ...output.metrics.cleaning import clean_tag_value
from ...output.misspelt import misspelt
from .report import Finding

_FLAGS: Final = frozenset({"1", "0", "true", "false"})
#: Switches for which ddtrace takes every word that it does not know as "off" or "on".
_SWITCHES: Final = (
    "DD_TRACE_ENABLED",
    "DD_LOGS_INJECTION",
    "DD_RUNTIME_METRICS_ENABLED",
    "DD_DYNAMIC_INSTRUMENTATION_ENABLED",
    "DD_APPSEC_ENABLED",
    "DD_IAST_ENABLED",
    "DD_TRACE_DEBUG",
)

Environ = Mapping[str, str]


def spelling(environ: Environ, config: Config) -> Iterator[Finding]:
    """Look at the names and at the values."""
    for look in (_names, _switches, _rates, _paths, _worker, _urls):
        yield from look(environ, config)


def _names(environ: Environ, config: Config) -> Iterator[Finding]:
    for name, meant in misspelt(environ):
        yield Finding(f"environment.{name}", "warning", f"nobody reads {name}", f"Did you mean {meant}?")


def _switches(environ: Environ, config: Config) -> Iterator[Finding]:
    for name in _SWITCHES:
        value = environ.get(name, "").strip()
        if value and value.lower() not in _FLAGS:
            yield Finding(
                f"environment.{name}",
                "warning",
                f"{name}={value} is neither true nor false: ddtrace takes it for false",
                f"Write {name}=true or {name}=false.",
            )


def _rates(environ: Environ, config: Config) -> Iterator[Finding]:
    name = "DD_TRACE_SAMPLE_RATE"
    value = environ.get(name, "").strip()
    if value and not _is_share(value):
        yield Finding(
            f"environment.{name}",
            "warning",
            f"{name}={value} is no share of traces",
            "Write a number from 0 to 1, such as 0.2 for a fifth.",
        )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _paths(environ: Environ, config: Config) -> Iterator[Finding]:
    for pattern in config.exclude_paths:
        if not pattern.startswith(("/", "*", "^", "(")):
            yield Finding(
                "settings.exclude_paths",
                "warning",
                f"STREAMING_EXCLUDE_PATHS has {pattern!r}, which no path begins with",
                f"Write /{pattern}.",
            )


def _worker(environ: Environ, config: Config) -> Iterator[Finding]:
    if config.worker and clean_tag_value(config.worker) != config.worker:
        yield Finding(
            "settings.worker",
            "warning",
            f"STREAMING_WORKER={config.worker!r} is sent as {clean_tag_value(config.worker)!r}: Datadog would change it",
            "Use lower-case letters, digits, - and _.",
        )


def _urls(environ: Environ, config: Config) -> Iterator[Finding]:
    for name in ("REDIS_URL", "DATABASE_URL"):
        value = environ.get(name, "")
        if value and not urlsplit(value).scheme:
            yield Finding(
                f"environment.{name}",
                "warning",
                f"{name} is no URL: its health check will fail",
                "Write it with its scheme, such as redis://127.0.0.1:6379/0.",
            )
