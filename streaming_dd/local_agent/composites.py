"""Composite monitors: the groups that members share, and their states combined. No state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..query_language import And, Not, Or
from .lines import Group
from .monitor_rules import State, both, either, opposite
from .monitor_state import Monitor


def common_groups(members: Sequence[Monitor]) -> dict[tuple[str, ...], Group]:
    """Return the groups that all members with groups share, by their values; Datadog ignores the keys."""
    grouped = [
        {tuple(sorted(state.group.values())): state.group for state in member.groups.values()}
        for member in members
        if any(state.group for state in member.groups.values())
    ]
    if not grouped:
        return {(): {}} if any(member.groups for member in members) else {}
    common = set.intersection(*(set(each) for each in grouped))
    return {values: grouped[0][values] for values in sorted(common)}


def member_state(member: Monitor, values: tuple[str, ...]) -> State:
    """Return a member's state for a group; one without groups has the same for all."""
    for state in member.groups.values():
        if not state.group or tuple(sorted(state.group.values())) == values:
            return "OK" if state.state in ("Skipped", "Ignored") else state.state
    return "No Data"


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
