"""The monitors in Datadog's JSON, made of the rows of `alerts/`; the health check and the SLO alerts beside them.

No state. The value in a message carries its unit and the threshold that it passed, and alert, warning, missing data
and recovery have a section each.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from .. import catalog as c
from .alerts import ALERTS, Alert
from .options import NOT_PAGED, THRESHOLDS, Options
from .queries import for_monitors

Json = dict[str, Any]
PRODUCT = "[Streaming]"
"""How every title begins: in a list of a thousand monitors nobody knows whose "The application is gone" is."""
QUIET = 4
"""Priority from which a monitor is not repeated while it lasts."""
ABOUT = {
    **{name: alert.about for name, alert in ALERTS.items()},
    "health": "Tells that a health check of a worker has failed several times in a row: database, cache, coordinator, "
    "event loop, disk.",
    "slo-task-success-burn-rate": "Tells that tasks fail so fast that the month's error budget will be spent within days.",
    "slo-time-to-first-byte-budget": "Tells that late first bytes have spent most of the month's error budget.",
}
"""What each monitor is for, in one sentence without values."""


def build(options: Options) -> dict[str, Json]:
    """Return every monitor by its asset's name."""
    found = {name: _metric_monitor(options, name, alert) for name, alert in ALERTS.items()}
    found["health"] = _health(options)
    found["slo-task-success-burn-rate"] = _slo_alert(
        options,
        "slo-task-success-burn-rate",
        "Failing tasks burn the error budget",
        'burn_rate("${slo:task-success}").over("30d").long_window("1h").short_window("5m")',
        priority=1,
        means="The 30 days' budget of failed tasks burns too fast: {value} the speed at which it would just last.",
        unit="times",
        traces="operation_name:task.run status:error",
    )
    found["slo-time-to-first-byte-budget"] = _slo_alert(
        options,
        "slo-time-to-first-byte-budget",
        "Slow first bytes have nearly spent the error budget",
        'error_budget("${slo:time-to-first-byte}").over("30d")',
        priority=3,
        means="{value} of the 30 days' budget of late first bytes are spent.",
        unit="%",
        traces="",
    )
    return found


def _metric_monitor(options: Options, name: str, alert: Alert) -> Json:
    levels = dict(alert.thresholds) or _thresholds(options, name)
    query = alert.query(for_monitors(options), options)
    return {
        "name": f"{PRODUCT} {alert.title}",
        "type": "query alert",
        "query": f"{query} {alert.comparator} {levels['critical']}",
        "message": _message(options, alert, levels),
        "tags": [f"area:{alert.area}"],
        "priority": alert.priority,
        "options": {
            "thresholds": levels,
            "on_missing_data": alert.missing,
            "require_full_window": False,
            "new_group_delay": 60,
            **_repeated(alert.priority),
            "include_tags": True,
            "notify_audit": False,
        },
    }


def _health(options: Options) -> Json:
    """One of the application's health checks fails, in one worker: nine sound ones do not hide a sick one."""
    name = c.HEALTH.full_name(options.prefix)
    scope = [
        f"{key}:{value}" for key, value in (("env", options.env), ("service", options.service)) if value
    ] or ["*"]
    over = ",".join(f'"{tag}"' for tag in scope)
    row = Alert(
        title="A health check fails",
        area="health",
        dashboard="Streaming overview",
        priority=1,
        query=lambda q, o: "",
        missing="default",
        about=ABOUT["health"],
        means="The health check {{check.name}} of {{service.name}} fails in worker {{worker.name}} on {{host.name}}: "
        "{{check_message}}",
        first=(
            "Ask `/health` of that worker: it names every check with its error.",
            "Look at the dependency that the check is named after: database, cache, coordinator.",
            "Only one worker of several? Restart that one.",
        ),
        traces="",
    )
    return {
        "name": f"{PRODUCT} {row.title}",
        "type": "service check",
        "query": f'"{name}".over({over}).by("env","service","check","host","worker").last(5).count_by_status()',
        "message": _message(options, row, {"critical": 0, "warning": 0}),
        "tags": [f"area:{row.area}"],
        "priority": row.priority,
        "options": {
            "thresholds": {
                level: options.threshold(f"health.{level}") for level in ("critical", "warning", "ok")
            },
            # A silent check is a gone application; `no-data` reports that once, not once for each check.
            "notify_no_data": False,
            **_repeated(row.priority),
            "include_tags": True,
            "notify_audit": False,
        },
    }


def _slo_alert(
    options: Options, name: str, title: str, query: str, *, priority: int, means: str, unit: str, traces: str
) -> Json:
    levels = _thresholds(options, name)
    row = Alert(
        title=title,
        area="slo",
        dashboard="Streaming overview",
        priority=priority,
        query=lambda q, o: query,
        missing="default",
        about=ABOUT[name],
        means=means,
        unit=unit,
        first=("Open *Streaming overview*: the monitors there name the cause.",),
        traces=traces,
    )
    return {
        "name": f"{PRODUCT} {title}",
        "type": "slo alert",
        "query": f"{query} > {levels['critical']}",
        "message": _message(options, row, levels, grouped=False),
        "tags": [f"area:{row.area}"],
        "priority": priority,
        "options": {"thresholds": levels, "include_tags": True, "notify_audit": False},
    }


def _repeated(priority: int) -> Json:
    return {} if priority >= QUIET else {"renotify_interval": 60}


def _thresholds(options: Options, name: str) -> dict[str, float]:
    return {
        level: options.threshold(f"{name}.{level}")
        for level in ("critical", "warning")
        if f"{name}.{level}" in THRESHOLDS
    }


# --- the message ------------------------------------------------------------------------------------------------


def _message(options: Options, row: Alert, levels: dict[str, float], *, grouped: bool = True) -> str:
    """Write what it means in each state, what to do first, where to look, and whom to tell."""
    below = "below" if row.comparator.startswith("<") else "above" if row.comparator == ">" else "from"
    parts = [_section("is_alert", f"**{_said(options, row, f'alerts {below}', '{{threshold}}')}**")]
    if "warning" in levels:
        text = _said(options, row, f"warns {below}", "{{warn_threshold}}")
        parts.append(_section("is_warning", f"**Warning.** {text}"))
    if row.missing == "show_and_notify_no_data":
        gone = re.sub(r": \{value\}\.$", ".", row.means)
        parts.append(_section("is_no_data", f"**{gone}**"))
    else:
        parts.append(_section("is_no_data", "No data: nothing can be said about it."))
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(row.first, 1))
    parts.append(
        f"\n\n{{{{^is_recovery}}}}What to do first:\n\n{steps}{{{{/is_recovery}}}}\n"
        "{{#is_recovery}}It is over.{{/is_recovery}}"
    )
    parts.append(f"\n\n{_links(options, row, grouped=grouped)}")
    if options.notify:
        parts.append(f"\n\n{_handles(options, row, grouped=grouped)}")
    return "".join(parts)


def _section(name: str, text: str) -> str:
    return f"{{{{#{name}}}}}{text}{{{{/{name}}}}}"


def _said(options: Options, row: Alert, how: str, threshold: str) -> str:
    """Fill in the value with its unit and the threshold, and the options' numbers."""
    unit = f" {row.unit}" if row.unit else ""
    text = row.means.replace("{value}", f"{{{{value}}}}{unit} ({how} {threshold})")
    return re.sub(r"(?<!\{)\{([a-z.-]+)\}(?!\})", lambda found: f"{options.threshold(found[1])}", text)


def _links(options: Options, row: Alert, *, grouped: bool) -> str:
    """Point to the dashboard, the traces and the logs of what alerts; an SLO has no groups to narrow them by."""
    own = "env:{{env.name}} service:{{service.name}}"
    if not grouped:
        given = (("env", options.env), ("service", options.service))
        own = " ".join(f"{key}:{value}" for key, value in given if value)
    searches = (("Traces", "apm/traces", row.traces), ("Logs", "logs", "status:(error OR warn)"))
    links = [f"[{row.dashboard}]({options.web}/dashboard/lists?q={quote(row.dashboard)})"]
    links += [
        f"[{title}]({options.web}/{path}?query={_search(f'{own} {search}'.strip())})"
        for title, path, search in searches
    ]
    return " · ".join(links)


def _search(text: str) -> str:
    """Quote a search for an address, but for the variables in it."""
    return quote(text, safe="{}:")


def _handles(options: Options, row: Alert, *, grouped: bool) -> str:
    """Tell whoever is to be told; a page that wakes somebody up is not for a developer's environment."""
    if row.priority > 1 or options.env or not grouped:
        return options.notify
    environments = " ".join(f'"{name}"' for name in NOT_PAGED)
    condition = f'is_exact_match "env.name" {environments}'
    return f"{{{{^{condition}}}}}{options.notify}{{{{/is_exact_match}}}}"
