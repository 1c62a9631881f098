"""The one frozen Config: every setting with its type, default and help, and where its value came from.

Precedence: arguments of `configure()` > Django settings > environment > default. To add a setting, add a field
to `Config`: its name in Django settings and in the environment is `STREAMING_` plus the field's name in upper
case, unless the field names a Datadog variable (`DD_*`) of its own. No state; the Config in use is the recorder's.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from .errors import ConfigError

PREFIX: Final = "STREAMING_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

#: Settings of other tools that people bring along, and what to write instead.
_REPLACED: Final[dict[str, str]] = {
    "STREAMING_JAEGER_HOST": "Set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT in the environment instead.",
    "STREAMING_JAEGER_PORT": "Set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT in the environment instead.",
}

Parser = Callable[[Any], Any]


# --- parsers: each returns the value, or raises ValueError saying what to write --------------------------------


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError("write True or False")


def _text(value: Any) -> str:
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return str(value).strip()
    raise ValueError("write a string")


def _number(minimum: float, maximum: float = float("inf")) -> Parser:
    def parse(value: Any) -> float:
        hint = f"write a number from {minimum:g}" + ("" if maximum == float("inf") else f" to {maximum:g}")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(hint)
        try:
            number = float(value)
        except ValueError:
            raise ValueError(hint) from None
        if not minimum <= number <= maximum or number in (float("inf"), float("-inf")):
            raise ValueError(hint)
        return number

    return parse


def _integer(minimum: int, maximum: int = sys.maxsize) -> Parser:
    def parse(value: Any) -> int:
        hint = f"write a whole number from {minimum}" + ("" if maximum == sys.maxsize else f" to {maximum}")
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not minimum <= number <= maximum:
            raise ValueError(hint)
        return number

    return parse


def _choice(*choices: str) -> Parser:
    def parse(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError("write one of " + ", ".join(map(repr, choices)))

    return parse


def _level(value: Any) -> str:
    levels = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
    if isinstance(value, str) and value.upper() in levels:
        return value.upper()
    raise ValueError("write one of " + ", ".join(levels))


def _texts(value: Any) -> tuple[str, ...]:
    """A list in Python; words separated by commas in the environment."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("write a list of strings (in the environment: separated by commas)")


def _tags(value: Any) -> tuple[str, ...]:
    tags = _texts(value.replace(" ", ",") if isinstance(value, str) else value)
    for tag in tags:
        if not re.match(r"[A-Za-z][^,|#\s:]*:[^,|#\s]+\Z", tag):
            raise ValueError(f"write tags as 'key:value', without spaces; {tag!r} is not")
    return tags


def _metric_prefix(value: Any) -> str:
    text = _text(value).rstrip(".")
    if re.match(r"[a-z][a-z0-9_.]{0,99}\Z", text):
        return text
    raise ValueError("write lower-case words joined by dots, such as 'streaming'")


def _header(value: Any) -> str:
    text = _text(value)
    if text and not re.match(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z", text):
        raise ValueError("write an HTTP header's name, such as 'x-trace-id', or '' for none")
    return text.lower()


def _route_patterns(value: Any) -> tuple[str, ...]:
    patterns = _texts(value)
    for pattern in patterns:
        if not pattern.startswith("/"):
            raise ValueError(
                f"write patterns such as '/stream/{{app}}/{{model}}/{{id}}'; {pattern!r} has no leading /"
            )
    return patterns


def _address(value: Any) -> str:
    """`host:port`, or '' for none."""
    text = _text(value)
    if not text:
        return ""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("write host:port, such as '127.0.0.1:10518'")
    return text


def _statsd_url(value: Any) -> str:
    text = _text(value)
    if not text:
        return ""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {"udp", "unix", "unixgram", "unixstream"} or not rest:
        raise ValueError("write udp://host:port, unix:///path, unixgram:///path or unixstream:///path")
    if scheme == "udp":
        port = rest.rpartition(":")[2] if ":" in rest else ""
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("write udp://host:port, such as udp://127.0.0.1:8125")
    return text


def _trace_url(value: Any) -> str:
    text = _text(value)
    if text and not re.match(r"(https?://[^/\s]+|unix:///\S+)", text):
        raise ValueError("write http://host:port or unix:///path, such as http://127.0.0.1:8126")
    return text


def _path_prefix(value: Any) -> str:
    text = _text(value).rstrip("/")
    if text and not re.match(r"(/[A-Za-z0-9._~-]+)+\Z", text):
        raise ValueError("write a path such as '/internal', or '' for none")
    return text


def _endpoints(value: Any) -> tuple[str, ...]:
    chosen = _texts(value)
    if not set(chosen) <= {"health", "stats", "metrics"}:
        raise ValueError("write some of 'health', 'stats', 'metrics'")
    return chosen


def _check_names(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if not re.match(r"[a-z][a-z0-9_.]*\Z", name):
            raise ValueError(f"write names of health checks, such as ['redis']; {name!r} is none")
    return names


def _required_check_names(value: Any) -> tuple[str, ...]:
    names = _check_names(value)
    if "agent" in names:
        raise ValueError("leave 'agent' out: an application without its Agent is healthy")
    return names


def _bearer_token(value: Any) -> str:
    text = _text(value)
    if text and not re.match(r"[!-~]+\Z", text):
        raise ValueError("write a token of printable ASCII characters without spaces")
    return text


def _function(value: Any) -> Any:
    """A callable, or the dotted path of one, resolved where it is used."""
    if callable(value) or value == "":
        return value
    if isinstance(value, str) and re.match(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\Z", value.strip()):
        return value.strip()
    raise ValueError("write a function, or its dotted path such as 'reports.access.may_see_stats'")


def _buckets(value: Any) -> tuple[float, ...]:
    hint = "write upper bounds in seconds, rising, such as [0.1, 1, 10]"
    parts = _texts(value) if isinstance(value, str) else value
    try:
        bounds = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(hint) from None
    if not 1 <= len(bounds) <= 100 or any(not 0 < bound < float("inf") for bound in bounds):
        raise ValueError(hint)
    if list(bounds) != sorted(set(bounds)):
        raise ValueError(hint)
    return bounds


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: without user, password and query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{'***' if credentials else ''}{at}{place.partition('?')[0]}"


# --- the settings ---------------------------------------------------------------------------------------------


def setting(
    default: Any, parse: Parser, help: str, *, env: str = "", secret: bool | Callable[[str], str] = False
) -> Any:
    """Declare one setting; `env` names the Datadog variable that it is known by, where there is one.

    A `secret` is shown as `***`, or as the given function shows it.
    """
    return field(default=default, metadata={"parse": parse, "help": help, "env": env, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, validated. Make one with `load()`; `origins` says where each value came from."""

    # who we are: Datadog's unified service tags
    service: str = setting("", _text, "Service name, the tag `service`.", env="DD_SERVICE")
    env: str = setting("", _text, "Deployment environment, the tag `env`.", env="DD_ENV")
    version: str = setting("", _text, "Version of the deployed code, the tag `version`.", env="DD_VERSION")
    tags: tuple[str, ...] = setting((), _tags, "Tags for every metric, such as ['team:data'].", env="DD_TAGS")

    # where the agent is
    agent_host: str = setting("", _text, "Host of the Agent.", env="DD_AGENT_HOST")
    dogstatsd_port: int = setting(8125, _integer(1, 65535), "DogStatsD's UDP port.", env="DD_DOGSTATSD_PORT")
    dogstatsd_url: str = setting(
        "", _statsd_url, "DogStatsD's address; wins over host and port.", env="DD_DOGSTATSD_URL"
    )
    trace_agent_url: str = setting("", _trace_url, "Address of the trace intake.", env="DD_TRACE_AGENT_URL")

    # the pillars, each switched off alone
    enabled: bool = setting(True, _boolean, "Switch for everything: False leaves the app as if not wrapped.")
    metrics_enabled: bool = setting(True, _boolean, "Send DogStatsD metrics and service checks.")
    tracing_enabled: bool = setting(True, _boolean, "Create ddtrace spans.")
    logs_enabled: bool = setting(True, _boolean, "Write JSON log lines.")

    # metrics
    metric_prefix: str = setting("streaming", _metric_prefix, "First part of the catalogue's metric names.")
    flush_interval: float = setting(
        2.0, _number(0.05, 10), "Seconds between two flushes of metrics; at most 10."
    )
    packing: bool = setting(
        True, _boolean, "Pack many values in a line (DogStatsD 1.1, Agent 7.25 or newer)."
    )
    timers: str = setting(
        "timer", _choice("timer", "distribution"), "Send timers as `|ms` or as distributions `|d`."
    )
    worker: str = setting(
        "", _text, "Value of the `worker` tag; empty takes the first free slot on this host."
    )
    max_series: int = setting(
        2000, _integer(10), "Tag combinations of one metric; values beyond become `other`."
    )

    # tracing
    task_trace: str = setting(
        "link", _choice("link", "child"), "A task's span: a new root with a link, or a child."
    )
    task_segment: float = setting(
        600.0, _number(0.1), "Seconds after which a long task's span is cut into segments."
    )
    trace_header: str = setting("", _header, "Response header that carries the trace id; empty sends none.")

    # requests and streams
    exclude_paths: tuple[str, ...] = setting(
        (), _texts, "Paths to leave out of everything; `*` matches any text."
    )
    route_patterns: tuple[str, ...] = setting(
        (), _route_patterns, "Templates for an app without routes, such as ['/stream/{app}/{model}/{id}']."
    )
    stream_stall: float = setting(
        30.0, _number(0.1), "Seconds without an event after which a stream counts as stalled."
    )

    # insight
    task_cpu: bool = setting(
        True, _boolean, "Measure the CPU time and the longest step of tasks (1 us a step)."
    )
    task_memory: bool = setting(
        False, _boolean, "Measure the memory that tasks allocate, by tracemalloc: slow, for a search only."
    )
    task_event_history: int = setting(
        10, _integer(0, 1000), "Last events of a task that are kept with their times."
    )
    task_max_age: float = setting(
        0.0, _number(0), "Seconds after which a running task counts as stalled; 0 goes by its own p95."
    )
    task_max_age_p95: float = setting(
        5.0, _number(0), "Multiple of its kind's p95 after which a task counts as stalled; 0 never does."
    )
    task_silence: float = setting(
        60.0, _number(0), "Seconds without an event after which a task that sends events is stalled; 0 never."
    )
    loop_block: float = setting(
        0.1, _number(0), "Seconds after which a held event loop is reported; 0 does not watch the loops."
    )
    profiling_enabled: bool = setting(
        False, _boolean, "Run Datadog's continuous profiler.", env="DD_PROFILING_ENABLED"
    )

    # logs
    log_level: str = setting("INFO", _level, "Lowest level that is written.")
    log_stdout: bool = setting(True, _boolean, "Write log lines to standard output.")
    log_file: str = setting("", _text, "File for log lines; empty writes none.")
    log_file_bytes: int = setting(10_485_760, _integer(1024), "Size at which the log file is rotated.")
    log_file_count: int = setting(5, _integer(1, 1000), "Rotated log files that are kept.")
    log_agent: str = setting("", _address, "host:port of the Agent's TCP log intake; empty sends none.")
    log_bridge: bool = setting(True, _boolean, "Write the standard library's loggers as JSON lines too.")
    log_redact: tuple[str, ...] = setting(
        (), _texts, "Further keys whose values are masked, beside passwords, tokens, cookies and the like."
    )
    log_queue: int = setting(
        10_000, _integer(10), "Lines a destination may fall behind before lines are dropped."
    )
    access_log: bool = setting(True, _boolean, "Write one line per request.")

    # shutdown
    shutdown_timeout: float = setting(2.0, _number(0, 60), "Most seconds that the last flush may take.")

    # endpoints
    endpoints_enabled: bool = setting(True, _boolean, "Serve /health, /stats and /metrics.")
    endpoints_prefix: str = setting("", _path_prefix, "Path before them, such as '/internal'.")
    endpoints_replace: tuple[str, ...] = setting(
        (), _endpoints, "Those to serve also where the app has its own: health, stats, metrics."
    )
    endpoints_recorded: bool = setting(
        False, _boolean, "Count, trace and log the requests to the endpoints too."
    )
    health_timeout: float = setting(2.0, _number(0.05, 60), "Seconds that one health check may take.")
    health_cache: float = setting(3.0, _number(0, 60), "Seconds for which the result of a run is answered.")
    health_interval: float = setting(
        15.0, _number(0, 3600), "Seconds between two runs when nobody asks; 0 runs them only when asked."
    )
    health_required: tuple[str, ...] = setting(
        (), _required_check_names, "Optional health checks to require, such as ['redis']."
    )
    health_optional: tuple[str, ...] = setting(
        (), _check_names, "Health checks that are reported, but do not make the app unhealthy."
    )
    health_skip: tuple[str, ...] = setting((), _check_names, "Health checks to leave out.")
    health_loop_lag: float = setting(
        1.0, _number(0.01, 60), "Seconds that the event loop may be held before it counts as unhealthy."
    )
    health_disk_free: int = setting(
        104_857_600, _integer(0), "Bytes that must be free where the log file is."
    )
    redis_url: str = setting(
        "", _text, "Redis server to check; empty checks none.", env="REDIS_URL", secret=without_credentials
    )
    stats_token: str = setting(
        "", _bearer_token, "Bearer token for /stats and the details of /health.", secret=True
    )
    stats_permission: Callable[..., Any] | str = setting(  # noqa: RUF009 - it is a field
        "", _function, "Function of the ASGI scope, or its dotted path, that says who may read /stats."
    )
    prometheus_enabled: bool = setting(True, _boolean, "Serve /metrics where prometheus-client is installed.")
    prometheus_token: str = setting(
        "", _bearer_token, "Bearer token for /metrics; empty asks for none.", secret=True
    )
    prometheus_worker: bool = setting(
        False, _boolean, "Label every series of /metrics with the worker that answered."
    )
    prometheus_buckets: tuple[float, ...] = setting(
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600),
        _buckets,
        "Upper bounds of the histograms of timers, in seconds.",
    )

    #: Where each value came from: field name -> 'argument', 'Django settings', 'environment NAME' or 'default'.
    origins: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )

    def dogstatsd_address(self) -> str:
        """Return where metrics go, as a URL."""
        return self.dogstatsd_url or f"udp://{self.agent_host or '127.0.0.1'}:{self.dogstatsd_port}"

    def trace_address(self) -> str:
        """Return where spans go, as a URL."""
        return self.trace_agent_url or f"http://{self.agent_host or '127.0.0.1'}:8126"


_FIELDS: Final = {item.name: item for item in fields(Config) if item.name != "origins"}


_DATADOG_NAMES: Final = frozenset(item.metadata["env"] for item in _FIELDS.values() if item.metadata["env"])


def setting_name(name: str) -> str:
    """Return the name by which users know the field `name`."""
    return _FIELDS[name].metadata["env"] or PREFIX + name.upper()


def names() -> dict[str, str]:
    """Return every setting's public name and its field's name."""
    return {setting_name(name): name for name in _FIELDS}


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    django: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the Config in force, or raise ConfigError naming the setting and what to write.

    `django` maps names such as STREAMING_LOG_LEVEL to values; `environ` is os.environ unless given.
    """
    arguments = dict(arguments or {})
    environ = os.environ if environ is None else environ
    django = {} if django is None else django
    _refuse_unknown_arguments(arguments)
    _refuse_unknown_names([name for name in django if name.startswith(PREFIX)], "Django settings")
    _refuse_unknown_names([name for name in environ if name.startswith(PREFIX)], "environment")

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, item in _FIELDS.items():
        public = setting_name(name)
        if arguments.get(name) is not None:
            raw, origin, shown = arguments[name], "argument", name
        elif public in django or PREFIX + name.upper() in django:
            shown = public if public in django else PREFIX + name.upper()
            raw, origin = django[shown], "Django settings"
        elif environ.get(public) or environ.get(PREFIX + name.upper()):
            shown = public if environ.get(public) else PREFIX + name.upper()
            raw, origin = environ[shown], f"environment {shown}"
        else:
            values[name], origins[name] = item.default, "default"
            continue
        try:
            values[name] = item.metadata["parse"](raw)
        except ValueError as error:
            given = "***" if item.metadata["secret"] else repr(raw)
            raise ConfigError(shown, f"{given} (from {origin}) cannot be used:", f"{error}.") from None
        origins[name] = origin
    return Config(**values, origins=MappingProxyType(origins))


def _refuse_unknown_arguments(arguments: Mapping[str, Any]) -> None:
    for name in arguments:
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, n=1)
            fix = f"Did you mean {close[0]!r}?" if close else "`streaming-dd config` lists the settings."
            raise ConfigError(name, "no such setting.", fix)


def _refuse_unknown_names(given: list[str], origin: str) -> None:
    """Refuse an unknown STREAMING_* name: a typing error there would silently keep the default."""
    known = {name: field_name for name, field_name in names().items() if name.startswith(PREFIX)}
    known.update({PREFIX + field_name.upper(): field_name for field_name in _FIELDS})
    for name in given:
        if name in known:
            continue
        if name in _REPLACED:
            raise ConfigError(name, f"not a setting of streaming_dd (found in {origin}).", _REPLACED[name])
        words = {known_name.removeprefix(PREFIX): known_name for known_name in known}
        close = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1)
        fix = f"Did you mean {words[close[0]]}?" if close else "`streaming-dd config` lists the settings."
        raise ConfigError(name, f"no such setting (found in {origin}).", fix)


def django_settings() -> dict[str, Any]:
    """Return the Django settings that are ours, if this process has Django and its settings are configured."""
    module = sys.modules.get("django.conf")
    if module is None and os.environ.get("DJANGO_SETTINGS_MODULE") and importlib.util.find_spec("django"):
        module = importlib.import_module("django.conf")
    if module is None or not (module.settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")):
        return {}
    try:
        names = [name for name in dir(module.settings) if name.startswith(PREFIX) or name in _DATADOG_NAMES]
        return {name: getattr(module.settings, name) for name in names}
    except ImportError as error:
        fix = "Unset it, or run where that module can be imported."
        raise ConfigError(
            "DJANGO_SETTINGS_MODULE", f"Django's settings cannot be imported ({error}).", fix
        ) from error


def describe(config: Config) -> list[tuple[str, str, str, str]]:
    """Return (name, value, origin, help) of every setting; secrets are masked."""
    rows = []
    for name, item in _FIELDS.items():
        value = getattr(config, name)
        mask = item.metadata["secret"]
        if mask and value:
            shown = repr(mask(value)) if callable(mask) else "***"
        elif callable(value):
            shown = repr(f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}")
        else:
            shown = repr(list(value) if isinstance(value, tuple) else value)
        rows.append((setting_name(name), shown, config.origins.get(name, "default"), item.metadata["help"]))
    return rows
