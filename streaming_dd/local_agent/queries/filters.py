"""Tag filters as predicates: `env:prod,!model:summary` becomes a function of a series' tags. No state.

Values are compared as Datadog's backend keeps them: lower case, unsafe characters as `_`; `*` is a wildcard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...assets.query_language import And, Everything, Filter, In, Not, Or, Tag, Variable
from ...errors import QueryError
from ..intake.dogstatsd import normalize_tag

Tags = frozenset[str]
Where = Callable[[Tags], bool]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen for a template variable: the tag key it stands for, and values; none or `*` means all."""

    key: str
    values: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        return not self.values or "*" in self.values


Choices = Mapping[str, Choice]


def choices(
    template_variables: Sequence[Mapping[str, object]], chosen: Mapping[str, Sequence[str]]
) -> dict[str, Choice]:
    """Return the choice for each of a dashboard's template variables: what was chosen, else its defaults."""
    found: dict[str, Choice] = {}
    for variable in template_variables:
        name = str(variable["name"])
        defaults = variable.get("defaults") or [variable.get("default") or "*"]
        values = chosen.get(name) or (defaults if isinstance(defaults, list) else ["*"])
        found[name] = Choice(str(variable.get("prefix") or name), tuple(map(str, values)))
    return found


def where(scope: Filter, variables: Choices | None = None) -> Where | None:
    """Return the predicate of a filter, None if it lets everything through. Raises QueryError."""
    if isinstance(scope, Everything):
        return None
    return _predicate(scope, variables or {})


def _predicate(node: Filter, variables: Choices) -> Where:
    match node:
        case Everything():
            return lambda tags: True
        case And(operands):
            both = [_predicate(operand, variables) for operand in operands]
            return lambda tags: all(each(tags) for each in both)
        case Or(operands):
            either = [_predicate(operand, variables) for operand in operands]
            return lambda tags: any(each(tags) for each in either)
        case Not(operand):
            inner = _predicate(operand, variables)
            return lambda tags: not inner(tags)
        case Variable(name, value_only, position):
            choice = _choice(name, variables, position)
            if choice.all:
                return lambda tags: True
            wanted = [_tag(value if value_only else f"{choice.key}:{value}") for value in choice.values]
            return lambda tags: any(each(tags) for each in wanted)
        case Tag(key, value, position) if value is not None and "$" in value:
            return _with_variable(key, value, variables, position)
        case Tag():
            return _tag(str(node))
        case In(key, values):
            wanted = [_tag(f"{key}:{value}") for value in values]
            return lambda tags: any(each(tags) for each in wanted)
    raise QueryError(f"not a filter: {node!r}")


def _with_variable(key: str, value: str, variables: Choices, position: int) -> Where:
    """Read `service:$service.value`: one tag for each chosen value."""
    found = re.search(r"\$([A-Za-z][\w\-.]*)", value)
    if found is None:
        return _tag(f"{key}:{value}")
    name = declared(found[1], variables)
    choice = _choice(name, variables, position)
    rest = found[1][len(name) :].removeprefix(".value") + value[found.end() :]
    values = ["*"] if choice.all else choice.values
    wanted = [_tag(f"{key}:{value[: found.start()]}{each}{rest}") for each in values]
    return lambda tags: any(each(tags) for each in wanted)


def declared(text: str, variables: Choices) -> str:
    """Return the longest beginning of `text` that is a variable's name: names may hold dots, and text may follow one."""
    pieces = text.split(".")
    beginnings = (".".join(pieces[:count]) for count in range(len(pieces), 0, -1))
    return next((each for each in beginnings if each in variables), pieces[0])


def _choice(name: str, variables: Choices, position: int) -> Choice:
    try:
        return variables[name]
    except KeyError:
        raise QueryError(f"the template variable ${name} is not declared", "", position) from None


def _tag(text: str) -> Where:
    if "*" not in text:
        wanted = normalize_tag(text)
        return lambda tags: wanted in tags
    if re.fullmatch(r"[^:*]+:\*", text):
        start = text[:-1].lower()
        return lambda tags: any(tag.startswith(start) for tag in tags)
    pieces = [re.escape(re.sub(r"[{}\s]", "_", piece.lower())) for piece in text.split("*")]
    pattern = re.compile(".*".join(pieces))
    return lambda tags: any(pattern.fullmatch(tag) for tag in tags)
