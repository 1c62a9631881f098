"""Settings of a local agent from the files that Datadog's own Agent reads: datadog.yaml and conf.d. No state.

So that local is as production, and a typo shows on the laptop. What the local agent has no use for is ignored.
PyYAML comes in here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import LocalAgentError
from .contexts import HistogramRules
from .settings import Settings
from .tail import LogSource

AGGREGATES = ("max", "min", "median", "avg", "sum", "count")


def load(directory: str | Path, settings: Settings | None = None) -> Settings:
    """Return `settings` with what `directory` (datadog.yaml, conf.d/*.yaml, conf.d/*.d/*.yaml) says.

    The first TCP log source gives `logs_port`; further ones are not listened on.
    Raises `LocalAgentError` with the file and key for what the Agent would not accept either.
    """
    directory = Path(directory)
    settings = settings or Settings()
    file = directory / "datadog.yaml"
    config = _read(file) if file.exists() else {}
    changes: dict[str, Any] = {}
    for key, name in (("dogstatsd_port", "dogstatsd_port"), ("dogstatsd_expiry_seconds", "expiry")):
        if key in config:
            changes[name] = _integer(config, key, file)
    for key in ("dogstatsd_socket", "dogstatsd_stream_socket"):
        # The package's default paths belong to a system-wide Agent; take those that can be made here.
        if (path := config.get(key)) and Path(str(path)).parent.is_dir():
            changes[key] = str(path)
    apm = _mapping(config, "apm_config", file)
    if "receiver_port" in apm:
        changes["trace_port"] = _integer(apm, "receiver_port", file)
    if (path := apm.get("receiver_socket")) and Path(str(path)).parent.is_dir():
        changes["trace_socket"] = str(path)
    if config.get("hostname"):
        changes["hostname"] = str(config["hostname"])
    tags = _strings(config, "tags", file)
    if env := config.get("env"):
        tags += (f"env:{env}",)
    if tags:
        changes["tags"] = tags
    if changes.get("dogstatsd_port") == 0:
        changes["dogstatsd_port"] = None  # as in the Agent, 0 switches the listener off
    if apm.get("enabled") is False:
        changes["trace_port"] = None
    changes["histogram"] = _histogram(config, settings.histogram, file)
    if config.get("logs_enabled", True):
        sources = tuple(source for path in _conf_files(directory) for source in _sources(path))
        changes["log_sources"] = sources
        ports = [source.port for source in sources if source.type == "tcp"]
        changes.update({"logs_port": ports[0]} if ports else {})
    else:
        changes["logs_port"] = None
    return replace(settings, **changes)


def _histogram(config: Mapping[str, Any], default: HistogramRules, file: Path) -> HistogramRules:
    aggregates = _strings(config, "histogram_aggregates", file) or default.aggregates
    for aggregate in aggregates:
        if aggregate not in AGGREGATES:
            raise LocalAgentError(
                f"{file}: histogram_aggregates: {aggregate!r} is none of {', '.join(AGGREGATES)}"
            )
    percentiles = default.percentiles
    if "histogram_percentiles" in config:
        percentiles = tuple(
            _percentile(text, file) for text in _strings(config, "histogram_percentiles", file)
        )
    return HistogramRules(aggregates, tuple(sorted(percentiles)))


def _percentile(text: str, file: Path) -> int:
    try:
        percentile = round(float(text) * 100)
    except ValueError:
        percentile = 0
    if not 1 <= percentile <= 100:
        raise LocalAgentError(
            f'{file}: histogram_percentiles: write fractions of 1 such as "0.95", not {text!r}'
        )
    return percentile


def _conf_files(directory: Path) -> list[Path]:
    conf = directory / "conf.d"
    return sorted([*conf.glob("*.yaml"), *conf.glob("*.d/*.yaml")])


def _sources(file: Path) -> list[LogSource]:
    sources = []
    for entry in _read(file).get("logs") or ():
        if not isinstance(entry, dict) or entry.get("type") not in ("file", "tcp"):
            continue
        if entry["type"] == "file" and not entry.get("path"):
            raise LocalAgentError(f"{file}: a log source of type file needs a path")
        sources.append(
            LogSource(
                entry["type"],
                path=str(entry.get("path", "")),
                port=_integer(entry, "port", file) if entry["type"] == "tcp" else 0,
                service=str(entry.get("service", "")),
                source=str(entry.get("source", "")),
                tags=_strings(entry, "tags", file),
            )
        )
    return sources


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LocalAgentError(f"{file}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise LocalAgentError(f"{file}: the file must hold keys and values, not a {type(content).__name__}")
    return content


def _mapping(config: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise LocalAgentError(f"{file}: {key} must hold keys and values")
    return value


def _integer(config: Mapping[str, Any], key: str, file: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise LocalAgentError(f"{file}: {key} must be a whole number from 0 to 65535, not {value!r}")
    return value


def _strings(config: Mapping[str, Any], key: str, file: Path) -> tuple[str, ...]:
    value = config.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise LocalAgentError(f"{file}: {key} must be a list")
    return tuple(str(item) for item in value)
