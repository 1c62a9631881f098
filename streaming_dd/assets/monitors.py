"""The monitors: what is wrong, what it means, what to do first. No state.

Each function returns one monitor in Datadog's JSON. Its missing-data policy is chosen on purpose and said in a
comment; its thresholds come from the options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import catalog as c
from .options import THRESHOLDS, Options
from .queries import for_monitors

Json = dict[str, Any]
APP = ("env", "service")
KIND = ("env", "service", "app", "model")
ROUTE = ("env", "service", "route")
AREAS = {
    "task": "tasks",
    "tasks": "tasks",
    "request": "requests",
    "time": "requests",
    "client": "streams",
    "loop": "capacity",
    "telemetry": "telemetry",
    "log": "telemetry",
    "no": "health",
}
"""The tag `area` of a monitor, by the first word of its name."""


def build(options: Options) -> dict[str, Json]:
    """Return every monitor by its asset's name."""
    makers = (
        task_error_rate,
        request_error_rate,
        time_to_first_byte,
        task_duration,
        tasks_stalled,
        tasks_not_completing,
        client_disconnects,
        loop_lag,
        telemetry_dropped,
        log_lines_dropped,
        no_data,
        health,
        slo_task_success_burn_rate,
        slo_time_to_first_byte_budget,
    )
    return {maker.__name__.replace("_", "-"): maker(options) for maker in makers}


def task_error_rate(options: Options) -> Json:
    """Too many tasks fail."""
    q = for_monitors(options)
    failed, completed = q.count(c.TASKS_FAILED, KIND), q.count(c.TASKS_COMPLETED, KIND)
    # The constant stands for tasks that went well: pure arithmetic, which Datadog evaluates after adding up each
    # query. Counters send zeros while idle, so missing data means a gone app, which `no-data` reports.
    rate = f"{failed} / ({failed} + {completed} + {options.threshold('task-error-rate.minimum')}) * 100"
    return _metric_monitor(
        options,
        "task-error-rate",
        "Tasks fail too often",
        f"sum(last_10m):{rate}",
        ">",
        missing="default",
        priority=2,
        means="Of the tasks {{model.name}} ({{app.name}}) that ended in the last 10 minutes, {{value}} % failed. "
        f"{options.threshold('task-error-rate.minimum')} successes are added to every window, so that one failure among "
        "a few tasks stays calm.",
        first=[
            "Open *Streaming: tasks*, chart *Failed by error*: is it one error type or many?",
            "Open a failed trace of `task.run` there; its log lines and stack are beside it.",
            "Compare with the last deployment: group by `version`.",
        ],
    )


def request_error_rate(options: Options) -> Json:
    """Too many requests end in an error."""
    q = for_monitors(options)
    errors, requests = q.count(c.HTTP_ERRORS, APP), q.count(c.HTTP_REQUESTS, APP)
    rate = f"{errors} / ({requests} + {options.threshold('request-error-rate.minimum')}) * 100"
    return _metric_monitor(
        options,
        "request-error-rate",
        "Requests end in errors too often",
        f"sum(last_10m):{rate}",
        ">",
        missing="default",
        priority=2,
        means="{{value}} % of the requests to {{service.name}} in the last 10 minutes ended by an exception or a 5xx "
        "status. Clients that left do not count.",
        first=[
            "Open *Streaming overview*, list *Request errors by route*: one route or all?",
            "All routes: look at the health checks (database, cache) and at the last deployment.",
            "One route: open its failed traces in *Streaming: APM*.",
        ],
    )


def time_to_first_byte(options: Options) -> Json:
    """A route answers slowly."""
    q = for_monitors(options)
    # No requests is no slowness: resolve. A gone app is the business of `no-data`.
    return _metric_monitor(
        options,
        "time-to-first-byte",
        "Clients wait too long for the first byte",
        f"{_slow(q.timer(c.HTTP_TIME_TO_FIRST_BYTE, 'p95', ROUTE), '10m')}",
        ">",
        missing="resolve",
        priority=3,
        means="The 95th percentile of the time to the first byte of `{{route.name}}` is {{value}} ms over 10 minutes. "
        "For a stream this is its latency; its length does not enter.",
        first=[
            "Open *Streaming: capacity*, chart *Lag*: a held event loop slows every route at once.",
            "Open slow traces of the route: where does the time go before the first byte?",
            "Compare requests per second with an hour ago: load or code?",
        ],
    )


def task_duration(options: Options) -> Json:
    """A kind of task takes longer than a week ago."""
    q = for_monitors(options)
    p95 = q.timer(c.TASK_DURATION, "p95", KIND, outcome="completed")
    # A kind of task that did not run has not become slower: resolve.
    return _metric_monitor(
        options,
        "task-duration",
        "Tasks take much longer than a week ago",
        f"pct_change(avg(last_1h),last_1w):{p95}",
        ">",
        missing="resolve",
        priority=4,
        means="The 95th percentile of the duration of {{model.name}} ({{app.name}}) in the last hour is {{value}} % "
        "above the same hour of last week. Only completed tasks are looked at.",
        first=[
            "Open *Streaming: tasks*, group *Time*: CPU, queue or waiting?",
            "More queue time: too many tasks at once, see *Streaming: capacity*.",
            "More waiting: follow a slow trace to the database or the service it waits for.",
        ],
    )


def tasks_stalled(options: Options) -> Json:
    """Running tasks make no progress."""
    q = for_monitors(options)
    # The gauge is sent while tasks run; nothing running is nothing stalled.
    return _metric_monitor(
        options,
        "tasks-stalled",
        "Tasks hang",
        f"min(last_5m):{q.gauge(c.TASKS_STALLED, by=KIND)}",
        ">=",
        missing="resolve",
        priority=2,
        means="{{value}} tasks {{model.name}} ({{app.name}}) have been too old, or silent for too long, for 5 minutes "
        "on end.",
        first=[
            "Look at the log lines `task stalled`: they carry the task's id and the line of code where it waits.",
            "If they all wait for the same service, look at that service.",
            "Cancel one by its id and see whether it ends: a task that swallows cancellation is a defect.",
        ],
    )


def tasks_not_completing(options: Options) -> Json:
    """Tasks run, none completes."""
    q = for_monitors(options)
    active, completed = q.gauge(c.TASKS_ACTIVE, by=APP), q.rate(c.TASKS_COMPLETED, APP)
    # One completion anywhere in the window pulls the minimum far below zero; without any, it is the least number of
    # tasks that were active. (A composite of "some are active" and "none completes" would show one half red all day.)
    return _metric_monitor(
        options,
        "tasks-not-completing",
        "Tasks run but none completes",
        f"min(last_30m):{active} - {completed} * 1000000000",
        ">=",
        missing="resolve",
        priority=2,
        means="In {{service.name}} at least {{value}} tasks were active for 30 minutes on end, and none completed.",
        first=[
            "Open *Streaming: tasks*: failed, cancelled or hanging?",
            "Hanging: chart *Stalls by reason*, then the log lines `task stalled`.",
            "If your tasks usually take longer than 30 minutes, widen this monitor's window.",
        ],
    )


def client_disconnects(options: Options) -> Json:
    """Clients leave more often than an hour ago."""
    q = for_monitors(options)
    left, closed = q.count(c.STREAMS_CLOSED, APP, outcome="client_disconnect"), q.count(c.STREAMS_CLOSED, APP)
    share = f"{left} / ({closed} + {options.threshold('client-disconnects.minimum')}) * 100"
    # People leave pages all day: what matters is the change against an hour ago.
    return _metric_monitor(
        options,
        "client-disconnects",
        "Clients suddenly leave their streams",
        f"change(sum(last_15m),1h_ago):{share}",
        ">",
        missing="resolve",
        priority=3,
        means="The share of streams of {{service.name}} that the client closed before the end rose by {{value}} percentage "
        "points within an hour.",
        first=[
            "Open *Streaming: streams*: did the time to the first event or the longest gap grow as well?",
            "All lifetimes nearly equal: a proxy cuts them. Compare with its idle timeout, send heartbeats.",
            "Was the page deployed? Its EventSource may close too early.",
        ],
    )


def loop_lag(options: Options) -> Json:
    """Something holds the event loop."""
    q = for_monitors(options)
    return _metric_monitor(
        options,
        "loop-lag",
        "The event loop is held",
        f"{_slow(q.timer(c.LOOP_LAG, 'p95', APP), '5m')}",
        ">",
        missing="resolve",
        priority=3,
        means="Every request, stream and task of {{service.name}} waits: timers run {{value}} ms late (95th percentile).",
        first=[
            "Open *Streaming: capacity*, list *Blocked by*: it names the line of code that does not await.",
            "No single line: the process has more work than one core does, add workers.",
            "Move blocking calls to `asyncio.to_thread`.",
        ],
    )


def telemetry_dropped(options: Options) -> Json:
    """We drop samples."""
    q = for_monitors(options)
    # Not added to the log lines: a sum of two is nothing as long as one of the two was never sent.
    return _metric_monitor(
        options,
        "telemetry-dropped",
        "Metrics are dropped: do not trust the other numbers",
        f"sum(last_10m):{q.count(c.TELEMETRY_DROPPED, APP)}",
        ">=",
        missing="default",
        priority=4,
        means="{{value}} samples of {{service.name}} were dropped in 10 minutes rather than slow the application down.",
        first=[
            "Open *Streaming: capacity*, chart *Dropped*: the tag `reason` says why.",
            "The Agent does not take them: run `streaming-dd doctor` on the host, is the Agent up, its socket there?",
            "Too many series: a tag has too many values, find it in the metrics explorer.",
        ],
    )


def log_lines_dropped(options: Options) -> Json:
    """We drop log lines."""
    q = for_monitors(options)
    return _metric_monitor(
        options,
        "log-lines-dropped",
        "Log lines are dropped",
        f"sum(last_10m):{q.count(c.TELEMETRY_LOGS_DROPPED, APP)}",
        ">=",
        missing="default",
        priority=4,
        means="{{value}} log lines of {{service.name}} were dropped in 10 minutes rather than slow the application down.",
        first=[
            "Open *Streaming: capacity*, chart *Dropped*: the tag `reason` says why.",
            "A full queue: the destination is slower than the application writes. Lower the level, or write to a file.",
            "A failing destination: disk full, Agent's TCP port gone?",
        ],
    )


def no_data(options: Options) -> Json:
    """The application is gone."""
    q = for_monitors(options)
    # The one monitor whose point is missing data: it says so, aloud.
    return _metric_monitor(
        options,
        "no-data",
        "The application is gone",
        f"max(last_5m):{q.gauge(c.PROCESS_RSS, 'max', APP)}",
        "<",
        missing="show_and_notify_no_data",
        priority=1,
        thresholds={"critical": 1},
        means="No worker of {{service.name}} in {{env.name}} has sent anything for 5 minutes.",
        first=[
            "Is the process up? Is the Agent up? (`agent status`, `streaming-dd doctor`)",
            "Was it stopped or renamed on purpose? Then mute this group; it is forgotten after a day.",
            "Network policies between the application and the Agent change silently: check the socket or port.",
        ],
    )


def health(options: Options) -> Json:
    """One of the application's health checks fails."""
    name = c.HEALTH.full_name(options.prefix)
    scope = [
        f"{key}:{value}" for key, value in (("env", options.env), ("service", options.service)) if value
    ] or ["*"]
    over = ",".join(f'"{tag}"' for tag in scope)
    return {
        "name": "A health check fails",
        "type": "service check",
        "query": f'"{name}".over({over}).by("env","service","check").last(5).count_by_status()',
        "message": _message(
            options,
            "The health check {{check.name}} of {{service.name}} fails: {{check_message}}",
            [
                "Ask `/health` of one worker: it names every check with its error.",
                "Look at the dependency that the check is named after: database, cache, coordinator.",
                "Only one worker? Compare the tag `worker`, restart that one.",
            ],
        ),
        "tags": ["area:health"],
        "priority": 1,
        "options": {
            "thresholds": {
                level: options.threshold(f"health.{level}") for level in ("critical", "warning", "ok")
            },
            # A silent check is a gone application; `no-data` reports that once, not once for each check.
            "notify_no_data": False,
            "renotify_interval": 60,
            "include_tags": True,
            "notify_audit": False,
        },
    }


def slo_task_success_burn_rate(options: Options) -> Json:
    """The budget of failed tasks burns fast."""
    return _slo_alert(
        options,
        "slo-task-success-burn-rate",
        "Failing tasks burn the error budget",
        'burn_rate("${slo:task-success}").over("30d").long_window("1h").short_window("5m")',
        priority=1,
        means="At this speed the 30 days' budget of failed tasks is spent within two days.",
    )


def slo_time_to_first_byte_budget(options: Options) -> Json:
    """The budget of slow first bytes is nearly spent."""
    return _slo_alert(
        options,
        "slo-time-to-first-byte-budget",
        "Slow first bytes have nearly spent the error budget",
        'error_budget("${slo:time-to-first-byte}").over("30d")',
        priority=3,
        means="{{value}} % of the 30 days' budget of slow five-minute slices is spent.",
    )


# --- shapes ----------------------------------------------------------------------------------------------------


def _metric_monitor(
    options: Options,
    name: str,
    title: str,
    query: str,
    comparator: str,
    *,
    missing: str,
    priority: int,
    means: str,
    first: Sequence[str],
    thresholds: dict[str, float] | None = None,
) -> Json:
    """Return a monitor on metrics; its thresholds are the options' unless given."""
    levels = thresholds or _thresholds(options, name)
    return {
        "name": title,
        "type": "query alert",
        "query": f"{query} {comparator} {levels['critical']}",
        "message": _message(options, means, first),
        "tags": [f"area:{AREAS[name.partition('-')[0]]}"],
        "priority": priority,
        "options": {
            "thresholds": levels,
            "on_missing_data": missing,
            "require_full_window": False,
            "new_group_delay": 60,
            "renotify_interval": 60,
            "include_tags": True,
            "notify_audit": False,
        },
    }


def _slo_alert(options: Options, name: str, title: str, query: str, *, priority: int, means: str) -> Json:
    levels = _thresholds(options, name)
    return {
        "name": title,
        "type": "slo alert",
        "query": f"{query} > {levels['critical']}",
        "message": _message(
            options, means, ["Open *Streaming overview*: the monitors there name the cause."]
        ),
        "tags": ["area:slo"],
        "priority": priority,
        "options": {"thresholds": levels, "include_tags": True, "notify_audit": False},
    }


def _thresholds(options: Options, name: str) -> dict[str, float]:
    return {
        level: options.threshold(f"{name}.{level}")
        for level in ("critical", "warning")
        if f"{name}.{level}" in THRESHOLDS
    }


def _slow(query: str, window: str) -> str:
    """Aggregate a p95 in time: of a distribution exactly, else as the mean of the Agents' percentiles."""
    return f"percentile(last_{window}):{query}" if query.startswith("p") else f"avg(last_{window}):{query}"


def _message(options: Options, means: str, first: Sequence[str]) -> str:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(first, 1))
    text = (
        f"{{{{^is_recovery}}}}**{means}**\n\nWhat to do first:\n\n{steps}{{{{/is_recovery}}}}\n"
        "{{#is_recovery}}It is over.{{/is_recovery}}"
    )
    return f"{text}\n\n{options.notify}" if options.notify else text
