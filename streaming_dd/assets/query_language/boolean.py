"""What tag filters, searches and composite monitors have in common: boolean nodes, and a walk. No state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Final, Generic, NamedTuple, TypeVar

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


class Notation(NamedTuple):
    """How one of Datadog's languages writes the three: what stands before an operand, and between operands."""

    negation: str
    conjunction: str
    disjunction: str


WORDS: Final = Notation("NOT ", " AND ", " OR ")
SEARCH: Final = Notation("-", " ", " OR ")
SYMBOLS: Final = Notation("!", " && ", " || ")


def written(node: object, notation: Notation, own: Callable[[object], str | None] = lambda node: None) -> str:
    """Write a node; operands that are `And` or `Or` themselves stand in brackets where they must.

    `own` gives the text of nodes that a language writes in a way of its own, and None for all others.
    """

    def grouped(part: object) -> str:
        text = written(part, notation, own)
        return f"({text})" if isinstance(part, And | Or) else text

    if (text := own(node)) is not None:
        return text
    if isinstance(node, Not):
        return f"{notation.negation}{grouped(node.operand)}"
    if isinstance(node, And):
        return notation.conjunction.join(map(grouped, node.operands))
    if isinstance(node, Or):
        return notation.disjunction.join(
            grouped(part) if isinstance(part, Or) else written(part, notation, own) for part in node.operands
        )
    return str(node)


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
