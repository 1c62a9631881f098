"""The one frozen Config: every setting with its type, default and help. No state; the Config in use is the recorder's.

To add a setting, add a field to `Config`: its name in Django settings and in the environment is `STREAMING_` plus the
field's name in upper case, unless the field names a Datadog variable (`DD_*`) of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from . import parsers
from .parsers import Parser

PREFIX: Final = "STREAMING_"


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: without user, password and query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{'***' if credentials else ''}{at}{place.partition('?')[0]}"


def setting(
    default: Any, parse: Parser, help: str, *, env: str = "", secret: bool | Callable[[str], str] = False
) -> Any:
    """Declare one setting; `env` names the Datadog variable that it is known by, where there is one.

    A `secret` is shown as `***`, or as the given function shows it.
    """
    return field(default=default, metadata={"parse": parse, "help": help, "env": env, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who we are, and where the Agent is."""

    # who we are: Datadog's unified service tags
    service: str = setting("", parsers.text, "Service name, the tag `service`.", env="DD_SERVICE")
    env: str = setting("", parsers.text, "Deployment environment, the tag `env`.", env="DD_ENV")
    version: str = setting(
        "", parsers.text, "Version of the deployed code, the tag `version`.", env="DD_VERSION"
    )
    tags: tuple[str, ...] = setting(
        (), parsers.tags, "Tags for every metric, such as ['team:data'].", env="DD_TAGS"
    )

    # where the agent is
    agent_host: str = setting("", parsers.host, "Host of the Agent.", env="DD_AGENT_HOST")
    dogstatsd_port: int = setting(
        8125, parsers.integer(1, 65535), "DogStatsD's UDP port.", env="DD_DOGSTATSD_PORT"
    )
    dogstatsd_url: str = setting(
        "", parsers.statsd_url, "DogStatsD's address; wins over host and port.", env="DD_DOGSTATSD_URL"
    )
    trace_agent_url: str = setting(
        "", parsers.trace_url, "Address of the trace intake.", env="DD_TRACE_AGENT_URL"
    )

    def dogstatsd_address(self) -> str:
        """Return where metrics go, as a URL."""
        return self.dogstatsd_url or f"udp://{self._host()}:{self.dogstatsd_port}"

    def trace_address(self) -> str:
        """Return where spans go, as a URL."""
        return self.trace_agent_url or f"http://{self._host()}:8126"

    def _host(self) -> str:
        return f"[{self.agent_host}]" if ":" in self.agent_host else self.agent_host or "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Identity):
    """Every setting, validated. Make one with `load()`; `origins` says where each value came from."""

    # the pillars, each switched off alone
    enabled: bool = setting(
        True,
        parsers.boolean,
        "Switch for everything: False leaves the app as if not wrapped, but for /health.",
    )
    metrics_enabled: bool = setting(True, parsers.boolean, "Send DogStatsD metrics and service checks.")
    tracing_enabled: bool = setting(True, parsers.boolean, "Create ddtrace spans.")
    logs_enabled: bool = setting(True, parsers.boolean, "Write JSON log lines.")

    # metrics
    metric_prefix: str = setting(
        "streaming", parsers.metric_prefix, "First part of the catalogue's metric names."
    )
    flush_interval: float = setting(
        2.0, parsers.number(0.05, 10), "Seconds between two flushes of metrics; at most 10."
    )
    packing: bool = setting(
        True, parsers.boolean, "Pack many values in a line (DogStatsD 1.1, Agent 7.25 or newer)."
    )
    timers: str = setting(
        "distribution",
        parsers.choice("timer", "distribution"),
        "Send timers as distributions `|d`, whose percentiles hold over routes, workers and hosts, or as `|ms`.",
    )
    worker: str = setting(
        "",
        parsers.text,
        "Value of the `worker` tag, `{slot}` for the first free slot on this host; empty is that alone.",
    )
    siblings: str = setting(
        "auto",
        parsers.text,
        "Workers that answer for each other: those of one server (auto), none (off), or all of one name of yours.",
    )
    max_series: int = setting(
        2000, parsers.integer(10), "Tag combinations of one metric; values beyond become `other`."
    )

    # tracing
    task_trace: str = setting(
        "link", parsers.choice("link", "child"), "A task's span: a new root with a link, or a child."
    )
    task_segment: float = setting(
        600.0, parsers.number(0.1), "Seconds after which a long task's span is cut into segments."
    )
    trace_header: str = setting(
        "", parsers.header, "Response header that carries the trace id; empty sends none."
    )

    # requests and streams
    exclude_paths: tuple[str, ...] = setting(
        (), parsers.texts, "Paths to leave out of everything; `*` matches any text."
    )
    route_style: str = setting(
        "colon",
        parsers.choice("colon", "braces"),
        "How routes are written: '/items/:id', which Datadog stores as it is, or '/items/{id}'.",
    )
    route_patterns: tuple[str, ...] = setting(
        (),
        parsers.route_patterns,
        "Templates for an app without routes, such as ['/stream/{app}/{model}/{id}'].",
    )
    first_byte_limit: float = setting(
        1.0,
        parsers.number(0.001),
        "Seconds to the first byte of a body within which a response is in time (for the SLO).",
    )
    stream_stall: float = setting(
        30.0, parsers.number(0.1), "Seconds without an event after which a stream counts as stalled."
    )
    stream_zombie: float = setting(
        30.0,
        parsers.number(0.1),
        "Seconds after its client has left at which a stream that goes on is named in the log.",
    )

    # insight
    task_cpu: bool = setting(
        True, parsers.boolean, "Measure the CPU time and the longest step of tasks (1 us a step)."
    )
    task_memory: bool = setting(
        False,
        parsers.boolean,
        "Measure the memory that tasks allocate, by tracemalloc: slow, for a search only.",
    )
    task_event_history: int = setting(
        10, parsers.integer(0, 1000), "Last events of a task that are kept with their times."
    )
    task_max_age: float = setting(
        0.0, parsers.number(0), "Seconds after which a running task counts as stalled; 0 goes by its own p95."
    )
    task_max_age_p95: float = setting(
        5.0,
        parsers.number(0),
        "Multiple of its kind's p95 after which a task counts as stalled; 0 never does.",
    )
    task_heartbeat: float = setting(
        30.0,
        parsers.number(0),
        "Seconds between two log lines that say which tasks run for longer than that, and where they wait; 0 writes none.",
    )
    live_tasks_url: str = setting(
        "",
        parsers.page_address,
        "Address of the staff's page of live tasks; told with long tasks, for a link to it.",
    )
    task_silence: float = setting(
        60.0,
        parsers.number(0),
        "Seconds without an event after which a task that sends events is stalled; 0 never.",
    )
    loop_block: float = setting(
        0.1,
        parsers.number(0),
        "Seconds after which a held event loop is reported; 0 does not watch the loops.",
    )
    profiling_enabled: bool = setting(
        False, parsers.boolean, "Run Datadog's continuous profiler.", env="DD_PROFILING_ENABLED"
    )

    # logs
    log_level: str = setting("INFO", parsers.level, "Lowest level that is written.")
    log_stdout: bool = setting(True, parsers.boolean, "Write log lines to standard output.")
    log_format: str = setting(
        "auto",
        parsers.choice("auto", "json", "console"),
        "How standard output is written: 'console' for people, 'json', or 'auto': by whether it is a terminal.",
    )
    log_trace_url: str = setting(
        "",
        parsers.web_url,
        "Address that a trace's id is appended to: ids on a terminal lead there, e.g. http://127.0.0.1:8181/traces/.",
    )
    log_file: str = setting("", parsers.text, "File for log lines; empty writes none.")
    log_file_bytes: int = setting(10_485_760, parsers.integer(1024), "Size at which the log file is rotated.")
    log_file_count: int = setting(5, parsers.integer(1, 1000), "Rotated log files that are kept.")
    log_agent: str = setting(
        "", parsers.address, "host:port of the Agent's TCP log intake; empty sends none."
    )
    log_bridge: bool = setting(
        True, parsers.boolean, "Write the standard library's loggers as JSON lines too."
    )
    log_redact: tuple[str, ...] = setting(
        (),
        parsers.texts,
        "Further keys whose values are masked, beside passwords, tokens, cookies and the like.",
    )
    log_queue: int = setting(
        10_000, parsers.integer(10), "Lines a destination may fall behind before lines are dropped."
    )
    access_log: bool = setting(True, parsers.boolean, "Write one line per request.")

    # shutdown
    drain_after: float | None = setting(
        None,
        parsers.number(0.05, 3600),
        "Seconds after a signal at which what is open is recorded as ended; None goes by the server's own limit.",
    )
    retry_after_drain: float = setting(
        0.0,
        parsers.number(0, 3600),
        "Tell who opens an event stream after the signal to come back in so many seconds; 0 leaves it to the app.",
    )
    shutdown_timeout: float = setting(
        2.0, parsers.number(0, 60), "Most seconds that the end may take, all steps together."
    )

    # endpoints
    endpoints_enabled: bool = setting(True, parsers.boolean, "Serve /health, /stats and /metrics.")
    endpoints_prefix: str = setting("", parsers.path_prefix, "Path before them, such as '/internal'.")
    endpoints_replace: tuple[str, ...] = setting(
        (), parsers.endpoints, "Those to serve also where the app has its own: health, stats, metrics."
    )
    endpoints_recorded: bool = setting(
        False, parsers.boolean, "Count, trace and log the requests to the endpoints too."
    )
    health_timeout: float = setting(2.0, parsers.number(0.05, 60), "Seconds that one health check may take.")
    health_cache: float = setting(
        3.0, parsers.number(0, 60), "Seconds for which the result of a run is answered."
    )
    health_interval: float = setting(
        15.0,
        parsers.number(0, 3600),
        "Seconds between two runs when nobody asks; 0 runs them only when asked.",
    )
    health_required: tuple[str, ...] = setting(
        (), parsers.required_check_names, "Optional health checks to require, such as ['redis']."
    )
    health_optional: tuple[str, ...] = setting(
        (), parsers.check_names, "Health checks that are reported, but do not make the app unhealthy."
    )
    health_skip: tuple[str, ...] = setting((), parsers.check_names, "Health checks to leave out.")
    health_loop_lag: float = setting(
        1.0,
        parsers.number(0.01, 60),
        "Seconds that the event loop may be held before it counts as unhealthy.",
    )
    health_disk_free: int = setting(
        104_857_600, parsers.integer(0), "Bytes that must be free where the log file is."
    )
    redis_url: str = setting(
        "",
        parsers.text,
        "Redis server to check; empty checks none.",
        env="REDIS_URL",
        secret=without_credentials,
    )
    stats_token: str = setting(
        "", parsers.bearer_token, "Bearer token for /stats and the details of /health.", secret=True
    )
    stats_permission: Callable[..., Any] | str = setting(  # noqa: RUF009 - it is a field
        "", parsers.function, "Function of the ASGI scope, or its dotted path, that says who may read /stats."
    )
    prometheus_enabled: bool = setting(
        True, parsers.boolean, "Serve /metrics where prometheus-client is installed."
    )
    prometheus_token: str = setting(
        "", parsers.bearer_token, "Bearer token for /metrics; empty asks for none.", secret=True
    )
    prometheus_worker: bool = setting(
        False, parsers.boolean, "Label every series of /metrics with the worker that answered."
    )
    prometheus_buckets: tuple[float, ...] = setting(
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600),
        parsers.buckets,
        "Upper bounds of the histograms of timers, in seconds.",
    )

    #: Where each value came from: field name -> 'argument', 'Django settings', 'environment NAME' or 'default'.
    origins: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )
    #: What could not be used of variables that Datadog's own libraries read, to be said once.
    complaints: tuple[str, ...] = field(default=(), compare=False, repr=False)


FIELDS: Final = {item.name: item for item in fields(Config) if item.metadata}
#: Fields that each application of a process keeps where `instrument()` was given them: who may come in, and where.
DOORS: Final = (
    "stats_token",
    "stats_permission",
    "prometheus_token",
    "endpoints_prefix",
    "exclude_paths",
    "route_patterns",
)


def setting_name(name: str) -> str:
    """Return the name by which users know the field `name`."""
    return FIELDS[name].metadata["env"] or PREFIX + name.upper()


def names() -> dict[str, str]:
    """Return every setting's public name and its field's name."""
    return {setting_name(name): name for name in FIELDS}
