"""The dashboards, monitors and SLOs that are shipped as Datadog's own JSON: found, read, evaluated.

State: one `Shipped` per agent, used on its loop only. Files are read and queries parsed when first needed: building
the grammar takes a tenth of a second, which is not spent before the agent is ready.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...assets.query_language import MetricQuery, walk
from ...errors import QueryError
from ..holdings import Holdings
from ..monitors.evaluation import Monitors, load
from ..monitors.files import read_folder
from ..monitors.state import Notification, Transition
from ..queries import widget_data

Json = dict[str, Any]
_PACKAGED = Path(__file__).parents[1] / "shipped_json"
"""Where a wheel carries dd-agent's JSON."""
_CHECKOUT = Path(__file__).parents[3] / "dd-agent"


class Shipped:
    """What `dd-agent/` holds, over the stores of an agent."""

    def __init__(self, held: Holdings, directory: Path | None = None) -> None:
        self.held = held
        named = held.settings.dashboards
        self.directory = directory or (Path(named) if named else find())
        self.problems: list[str] = []
        """What is wrong with files, for the page."""
        self.unread: list[str] = []
        """Monitors and SLOs among them that are in no list."""

    @cached_property
    def dashboards(self) -> dict[str, Json]:
        if self.directory is None:
            return {}
        found, problems = read_folder(self.directory / "dashboards")
        for name in list(found):
            if wrong := fault(found[name]):
                problems.append(f"dashboard {name}: {wrong}")
                del found[name]
        self._note(problems)
        first = {name: found[name] for name in ("overview",) if name in found}
        return {**first, **found}

    @cached_property
    def monitors(self) -> Monitors:
        monitors, problems = load(
            self.directory or Path("/nonexistent"),
            self.held.store,
            self.held.records,
            on_transition=self._tell,
            on_notification=self._notify,
        )
        broken = [
            f"monitor {each.name}: {each.problem}" for each in monitors.monitors.values() if each.problem
        ]
        self.unread = problems
        self._note([*problems, *broken])
        self.held.monitors = monitors
        if self.held.state_file is not None:
            try:
                self.held.state_file.attach(monitors)
            except (ValueError, sqlite3.Error) as error:  # of another version of this package
                self._note([f"the states of the monitors cannot be read and begin anew: {error}"])
        return monitors

    def _note(self, problems: list[str]) -> None:
        self.problems += problems
        for problem in problems:
            self.held.note_problem(problem)

    def on_bucket(self, bucket: int) -> None:
        """Evaluate the monitors at the end of a bucket that closed."""
        self.monitors.evaluate(bucket + 10)

    def _tell(self, transition: Transition) -> None:
        self.held.live.send("transition", asdict(transition))

    def _notify(self, notification: Notification) -> None:
        self.held.live.send("notification", asdict(notification), keep=False)
        if webhook := self.held.webhook:
            webhook.notify(
                self._masked(notification), f"{self.held.page_url}/monitors/{notification.monitor}"
            )

    def _masked(self, notification: Notification) -> Notification:
        """Return it as it may leave the agent: values of groups and messages of checks are in its texts."""
        mask = self.held.settings.mask
        return replace(
            notification,
            title=mask("", notification.title),
            text=mask("", notification.text),
            groups=tuple(mask("", group) for group in notification.groups),
        )


def find() -> Path | None:
    """Return the directory with `dashboards/`: that of the project one stands in, else the one that is shipped."""
    for directory in (Path("dd-agent"), _PACKAGED, _CHECKOUT):
        if (directory / "dashboards").is_dir():
            return directory.resolve()
    return None


def fault(document: Mapping[str, Any]) -> str:
    """Say why a dashboard cannot be shown at all, "" if it can; what is wrong with one query is said in its widget."""
    found = document.get("widgets")
    if not isinstance(found, list):
        return "'widgets' must be a list"
    for index, widget in enumerate(found):
        definition = widget.get("definition") if isinstance(widget, dict) else None
        if not isinstance(definition, dict) or not isinstance(definition.get("type"), str):
            return f"widgets[{index}] needs a 'definition' with a 'type'"
        if not isinstance(definition.get("requests", []), list | dict):
            return f"widgets[{index}]: 'requests' must be a list"
        if definition["type"] == "group" and (wrong := fault(definition)):
            return f"widgets[{index}]: {wrong}"
    return ""


def widgets(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the definitions of a dashboard's widgets, those inside of groups too."""
    for widget in document.get("widgets") or ():
        definition = widget.get("definition") or {}
        if definition.get("type") == "group":
            yield from widgets(definition)
        else:
            yield definition


def dashboards_using(dashboards: Mapping[str, Json]) -> dict[str, set[str]]:
    """Return the dashboards that query each metric."""
    used: dict[str, set[str]] = {}
    for name, document in dashboards.items():
        for definition in widgets(document):
            for request in definition.get("requests") or ():
                for metric in _metrics_of(request):
                    used.setdefault(metric, set()).add(name)
    return used


def _metrics_of(request: Any) -> set[str]:
    try:
        queries, formulas = widget_data.parts(request)
    except (QueryError, KeyError, TypeError, AttributeError):
        return set()  # not on metrics, or broken: the widget itself says so
    expressions = [*queries.values(), *(expression for _, expression in formulas)]
    return {node.metric for each in expressions for node in walk(each) if isinstance(node, MetricQuery)}


def monitors_using(monitors: Monitors) -> dict[str, set[str]]:
    """Return the monitors that query each metric."""
    used: dict[str, set[str]] = {}
    for monitor in monitors.monitors.values():
        for node in walk(monitor.query) if monitor.query else ():
            if isinstance(node, MetricQuery):
                used.setdefault(node.metric, set()).add(monitor.name)
    return used
