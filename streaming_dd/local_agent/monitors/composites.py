"""Composite monitors: the groups that members share, and their states combined. No state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...assets.query_language import And, Not, Or
from ..queries.lines import Group
from .rules import State, both, either, opposite
from .state import Monitor


def common_groups(members: Sequence[Monitor]) -> dict[tuple[str, ...], Group]:
    """Return the groups that all members with groups share, by their values; Datadog ignores the keys.

    A group of fewer tags goes with every finer one that has its values: (host) with (device, host), not with (host, url).
    """
    grouped = [
        {_values(state.group): state.group for state in member.groups.values()}
        for member in members
        if any(state.group for state in member.groups.values())
    ]
    if not grouped:
        return {(): {}} if any(member.groups for member in members) else {}
    finest = max(grouped, key=lambda groups: max(map(len, groups)))
    return {
        values: finest[values]
        for values in sorted(finest)
        if all(any(_within(other, values) for other in groups) for groups in grouped)
    }


def member_state(member: Monitor, values: tuple[str, ...]) -> State:
    """Return a member's state for a group; one without groups has the same for all."""
    fitting = [state for state in member.groups.values() if _within(_values(state.group), values)]
    state = max(fitting, key=lambda state: len(state.group), default=None)
    if state is None:
        return "No Data"
    return "OK" if state.state in ("Skipped", "Ignored") else state.state


def _values(group: Group) -> tuple[str, ...]:
    return tuple(sorted(group.values()))


def _within(some: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return not Counter(some) - Counter(values)


def composed(node: Any, states: Mapping[str, State]) -> State:
    match node:
        case And(operands):
            found = composed(operands[0], states)
            for operand in operands[1:]:
                found = both(found, composed(operand, states))
            return found
        case Or(operands):
            found = composed(operands[0], states)
            for operand in operands[1:]:
                found = either(found, composed(operand, states))
            return found
        case Not(operand):
            return opposite(composed(operand, states))
    return states[node.id]
