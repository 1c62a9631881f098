"""What a monitor would have said: Datadog's message template, rendered. No state.

Understood: `{{value}}`, `{{threshold}}`, `{{model.name}}`, sections such as `{{#is_alert}}` and `{{^is_recovery}}`, and
`{{#is_match "env.name" "prod"}}` and `{{#is_priority 'P1'}}`. What is not understood is left as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..queries.lines import Group, Value, shown
from .rules import State

_TAG = re.compile(r"\{\{\s*([#^/]?)\s*([^{}]*?)\s*\}\}")
_HANDLE = re.compile(r"(?<![\w.@])@[A-Za-z0-9][\w.\-]*(?:@[\w.\-]+)?")
_CONDITION = re.compile(r'(is_match|is_exact_match)\s+((?:"[^"]*"\s*){2,})')
_PRIORITY = re.compile(r"is_priority\s+['\"]P?([1-5])['\"]", re.IGNORECASE)
MOST_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a message is rendered for."""

    state: State
    before: State
    value: Value
    group: Group
    thresholds: Mapping[str, float | None]
    comparator: str = ""
    check_message: str = ""
    renotify: bool = False
    priority: int | None = None

    def flags(self) -> set[str]:
        """Return the conditions that hold."""
        recovered = self.state == "OK"
        held = {
            "is_alert": self.state == "Alert",
            "is_warning": self.state == "Warn",
            "is_no_data": self.state == "No Data",
            "is_recovery": recovered,
            "is_alert_recovery": recovered and self.before == "Alert",
            "is_warning_recovery": recovered and self.before == "Warn",
            "is_no_data_recovery": recovered and self.before == "No Data",
            "is_alert_to_warning": self.state == "Warn" and self.before == "Alert",
            "is_warning_to_alert": self.state == "Alert" and self.before == "Warn",
            "is_renotify": self.renotify,
            f"is_priority {self.priority}": self.priority is not None,
        }
        return {name for name, holds in held.items() if holds}

    def values(self) -> dict[str, str]:
        """Return what stands for each variable."""
        found = {
            "value": shown(self.value),
            "comparator": self.comparator,
            "check_message": self.check_message,
            "threshold": shown(self.thresholds.get("critical")),
            "warn_threshold": shown(self.thresholds.get("warning")),
            "ok_threshold": shown(self.thresholds.get("ok")),
        }
        for key, value in self.group.items():
            found[f"{key}.name"] = found[key] = value
        return found


def title(name: str, occasion: Occasion) -> str:
    """Return the notification's title: `[Triggered on {app:reports}] Tasks fail`."""
    word = {"Alert": "Triggered", "Warn": "Warn", "No Data": "No data", "OK": "Recovered"}.get(
        occasion.state, occasion.state
    )
    if occasion.renotify:
        word = f"Re-{word}"
    on = ",".join(f"{key}:{value}" for key, value in occasion.group.items())
    return f"[{word}{f' on {{{on}}}' if on else ''}] {name}"


def render(message: str, occasion: Occasion) -> str:
    """Render a message; a section that is never closed reaches to the end."""
    flags, values = occasion.flags(), occasion.values()
    out: list[str] = []
    open_sections: list[bool] = []
    position = 0
    for found in _TAG.finditer(message):
        if all(open_sections):
            out.append(message[position : found.start()])
        position = found.end()
        kind, content = found[1], found[2]
        if kind in ("#", "^") and len(open_sections) < MOST_DEPTH:
            open_sections.append(_holds(content, flags, values) == (kind == "#"))
        elif kind == "/":
            if open_sections:
                open_sections.pop()
        elif all(open_sections):
            out.append(values.get(content, found[0]) if not kind else found[0])
    if all(open_sections):
        out.append(message[position:])
    return re.sub(r"\n{3,}", "\n\n", "".join(out)).strip()


def _holds(condition: str, flags: set[str], values: Mapping[str, str]) -> bool:
    if found := _PRIORITY.fullmatch(condition):
        return f"is_priority {found[1]}" in flags
    found = _CONDITION.fullmatch(condition)
    if found is None:
        return condition in flags
    variable, *wanted = re.findall(r'"([^"]*)"', found[2])
    value = values.get(variable, "")
    if found[1] == "is_exact_match":
        return value in wanted or any(_same_number(value, each) for each in wanted)
    return any(each in value for each in wanted) if any(wanted) else value == ""


def _same_number(one: str, other: str) -> bool:
    """Say whether two texts are the same number: `5` and `5.0` are."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def handles(text: str) -> tuple[str, ...]:
    """Return whom a message would reach: `@slack-ops`, `@someone@example.com`."""
    return tuple(dict.fromkeys(found.rstrip(".-") for found in _HANDLE.findall(text)))
