"""What tag filters, searches and composite monitors have in common: boolean nodes, and a walk. No state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Everything:
    """Match all: `*`."""

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True, slots=True)
class Variable:
    """A dashboard's template variable: `$env` stands for `env:prod`, `$env.value` for `prod`."""

    name: str
    value_only: bool = False
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"${self.name}.value" if self.value_only else f"${self.name}"


@dataclass(frozen=True, slots=True)
class Not(Generic[T_co]):
    """The opposite of its operand."""

    operand: T_co


@dataclass(frozen=True, slots=True)
class And(Generic[T_co]):
    """Every operand holds; there are two or more."""

    operands: tuple[T_co, ...]


@dataclass(frozen=True, slots=True)
class Or(Generic[T_co]):
    """At least one operand holds; there are two or more."""

    operands: tuple[T_co, ...]


def walk(node: object) -> Iterator[object]:
    """Give `node` and every node below it, parents first, left to right."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(children(current)))


def children(node: object) -> list[object]:
    """List the nodes directly below `node`."""
    found: list[object] = []
    if is_dataclass(node):
        for each in fields(node):
            value = getattr(node, each.name)
            found.extend(
                one for one in (value if isinstance(value, tuple) else (value,)) if is_dataclass(one)
            )
    return found
