"""Settings of a local agent from the files that Datadog's own Agent reads: datadog.yaml and conf.d. No state.

So that local is as production, and a typo shows on the laptop. What the local agent has no use for is ignored.
PyYAML comes in here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ..errors import LocalAgentError
from .intake.tail import LogSource
from .settings import Settings
from .store.contexts import HistogramRules

USED = (
    "dogstatsd_port", "dogstatsd_expiry_seconds", "dogstatsd_socket", "dogstatsd_stream_socket", "apm_config", "hostname",
    "tags", "extra_tags", "env", "use_dogstatsd",
    "histogram_aggregates", "histogram_percentiles", "logs_enabled", "dogstatsd_tags",
    "statsd_metric_namespace",
)  # fmt: skip
NOT_USED = {
    "dogstatsd_mapper_profiles": "names of metrics are not mapped",
    "histogram_copy_to_distribution": "histograms are not copied to distributions",
    "statsd_metric_namespace_blacklist": "the default list of names without the prefix is used",
    "statsd_metric_blocklist": "no metric is left out",
    "metric_filterlist": "no metric is left out",
}
"""Keys of the Agent that change in production what is received, and change nothing here."""
OTHERS = (
    "api_key", "site", "dd_url", "dogstatsd_non_local_traffic", "dogstatsd_so_rcvbuf",
    "dogstatsd_buffer_size", "dogstatsd_origin_detection", "dogstatsd_tag_cardinality", "logs_config", "process_config",
    "dogstatsd_flush_incomplete_buckets", "bind_host", "log_level", "proxy", "cmd_port",
)  # fmt: skip
"""Keys that are known, so that a name near one of them is no slip."""
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
    tags = _strings(config, "tags", file) + _strings(config, "extra_tags", file)
    if env := config.get("env"):
        tags += (f"env:{env}",)
    if tags:
        changes["tags"] = tags
    for name in ("dogstatsd_port", "trace_port"):
        if changes.get(name) == 0:
            changes[name] = None  # as in the Agent, 0 switches the listener off
    if config.get("use_dogstatsd") is False:
        changes.update(dogstatsd_port=None, dogstatsd_socket=None, dogstatsd_stream_socket=None)
    if apm.get("enabled") is False:
        changes["trace_port"] = None
    notes = [f"{file}: {key} is not used here: {why}" for key, why in NOT_USED.items() if config.get(key)]
    notes += _slips(config, file)
    changes["histogram"] = _histogram(config, settings.histogram, file, notes)
    changes["dogstatsd_tags"] = _strings(config, "dogstatsd_tags", file)
    changes["namespace"] = str(config.get("statsd_metric_namespace") or "")
    changes["notes"] = (*settings.notes, *notes)
    if config.get("logs_enabled", True):
        sources = tuple(source for path in _conf_files(directory) for source in _sources(path))
        changes["log_sources"] = sources
        ports = [source.port for source in sources if source.type == "tcp"]
        changes.update({"logs_port": ports[0]} if ports else {})
    else:
        changes["logs_port"] = None
    return replace(settings, **changes)


def _slips(config: Mapping[str, Any], file: Path) -> list[str]:
    """Name the keys that are nearly one of the Agent's."""
    known = (*USED, *NOT_USED, *OTHERS)
    found = []
    for key in config:
        if key not in known and (near := get_close_matches(str(key), known, n=1, cutoff=0.85)):
            found.append(f"{file}: {key} is unknown; did you mean {near[0]!r}?")
    return found


def _histogram(
    config: Mapping[str, Any], default: HistogramRules, file: Path, notes: list[str]
) -> HistogramRules:
    """Return the rules; an entry that makes no sense is passed over and noted, an empty list means none, as in the Agent."""
    aggregates, percentiles = default.aggregates, default.percentiles
    if config.get("histogram_aggregates") is not None:
        named = _strings(config, "histogram_aggregates", file)
        aggregates = tuple(each for each in named if each in AGGREGATES)
        notes += [
            f"{file}: histogram_aggregates: {each!r} is none of {', '.join(AGGREGATES)} and is passed over"
            for each in named
            if each not in AGGREGATES
        ]
    if config.get("histogram_percentiles") is not None:
        read = {text: _percentile(text) for text in _strings(config, "histogram_percentiles", file)}
        percentiles = tuple(sorted({each for each in read.values() if each}))
        notes += [
            f'{file}: histogram_percentiles: {text!r} is passed over; write fractions of 1 such as "0.95"'
            for text, percentile in read.items()
            if not percentile
        ]
    return HistogramRules(aggregates, percentiles)


def _percentile(text: str) -> int:
    """Return 95 for "0.95", 0 for what is no fraction of 1."""
    try:
        percentile = round(float(text) * 100)
    except (ValueError, OverflowError):
        return 0
    return percentile if 1 <= percentile <= 100 else 0


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
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)  # as the Agent's own reader does
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise LocalAgentError(f"{file}: {key} must be a whole number from 0 to 65535, not {value!r}")
    return value


def _strings(config: Mapping[str, Any], key: str, file: Path) -> tuple[str, ...]:
    """Return a list; a text is one whose items are separated by spaces, as the Agent's own reader takes it."""
    value = config.get(key)
    if value is None:
        return ()
    if isinstance(value, dict):
        raise LocalAgentError(f"{file}: {key} must be a list")
    return tuple(str(item) for item in (value if isinstance(value, list) else str(value).split()))
