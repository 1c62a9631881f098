"""Which changes of a monitor are told, to whom, and in which words. No state: it is in the groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .notification import Occasion, handles, render, title
from .rules import State
from .shares import Measured
from .state import GroupState, Monitor, Notification, Transition

TRIGGERED: tuple[State, ...] = ("Alert", "Warn", "No Data")


def notifications(
    monitor: Monitor, now: float, changed: Sequence[Transition], shares: Callable[[], Measured]
) -> list[Notification]:
    """Return what Datadog would send after an evaluation, and note in the groups that it was said.

    `shares` gives the true shares behind damped values; it is asked only if there is something to say.
    """
    due: dict[tuple[State, tuple[str, ...]], list[tuple[GroupState, Occasion]]] = {}
    moved = {frozenset(transition.group.items()): transition for transition in changed}
    for key, state in monitor.groups.items():
        transition = moved.get(key)
        renotify = transition is None and _renotifies(monitor, state, now)
        if not renotify and (transition is None or not _speaks(monitor, state, transition)):
            continue
        before = state.told if transition is None else transition.before
        occasion = Occasion(
            state.state,
            before,
            state.value,
            state.group,
            monitor.thresholds,
            monitor.comparator,
            state.check_message,
            renotify,
            monitor.priority,
        )
        state.renotified = state.renotified + 1 if renotify else 0
        state.notified, state.told = now, state.state
        due.setdefault((state.state, _merged_by(monitor, state)), []).append((state, occasion))
    true = shares() if due else {}
    return [_said(monitor, now, entries, true) for entries in due.values()]


def _speaks(monitor: Monitor, state: GroupState, transition: Transition) -> bool:
    """Say whether a transition is one that Datadog notifies about."""
    if transition.after == "No Data":
        policy = monitor.missing
        return bool(policy and policy.notify) or bool(monitor.options.get("notify_no_data"))
    if transition.after == "OK":
        return state.told in TRIGGERED
    return transition.after in ("Alert", "Warn")


def _said(
    monitor: Monitor, now: float, entries: list[tuple[GroupState, Occasion]], true: Measured
) -> Notification:
    first, occasion = entries[0]
    message = str(monitor.document.get("message") or "")
    if occasion.renotify and monitor.options.get("escalation_message"):
        message = f"{message}\n\n{monitor.options['escalation_message']}"
    text = render(message, occasion)
    labels = tuple(state.label for state, _ in entries)
    heading = title(monitor.title, occasion)
    if len(labels) > 1:
        heading = f"{heading} (and {len(labels) - 1} more groups)"
    measured = true.get(frozenset(first.group.items()), "")
    return Notification(now, monitor.name, labels, first.state, heading, text, handles(text), measured)


def _renotifies(monitor: Monitor, state: GroupState, now: float) -> bool:
    options = monitor.options
    minutes = float(options.get("renotify_interval") or 0)
    if not minutes or not state.notified or state.told != state.state:
        return False
    statuses = options.get("renotify_statuses") or ["alert", "no data"]
    if state.state.lower() not in statuses or now - state.notified < minutes * 60:
        return False
    most = options.get("renotify_occurrences")
    return most is None or state.renotified < int(most)


def _merged_by(monitor: Monitor, state: GroupState) -> tuple[str, ...]:
    """Return what tells the notifications of one evaluation apart: the group, or less if `notify_by` says so."""
    keys = monitor.options.get("notify_by")
    if keys is None:
        return tuple(state.group.values())
    return tuple(state.group.get(key, "") for key in keys if key != "*")
