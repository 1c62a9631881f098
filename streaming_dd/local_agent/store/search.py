"""Log and span searches as SQL: `service:web @duration:>1s "timed out"` becomes a WHERE clause. No state.

A field without `@` is a reserved attribute (a column) or a tag; one with `@` is an attribute. Words without a
field are looked for in the text, whole words, whatever their case; `*` and `?` are wildcards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ...assets.query_language import And, Compare, Everything, Not, Or, Phrase, Range, Search, Term, quantity
from ...errors import QueryError

Clause = tuple[str, list[object]]
MAX_CLAUSES = 100


@dataclass(frozen=True)
class Fields:
    """How a table names what searches name. `columns` maps a field to an SQL expression, `text` is searched by words."""

    columns: dict[str, str]
    text: str
    tags: str = "''"
    """The column of a row's tags, `,a:b,c:d,`."""
    numbers: frozenset[str] = frozenset()
    """Fields whose column holds a number."""
    words: dict[str, Callable[[str], str]] | None = None
    """Fields whose value is translated before it is compared: `status:error` of a span is `error = 1`."""


SPANS = Fields(
    columns={
        "service": "service",
        "operation_name": "name",
        "resource_name": "resource",
        "type": "type",
        "trace_id": "trace_id",
        "span_id": "span_id",
        "parent_id": "parent_id",
        "status": "error",
        "@duration": "duration_ns",
        "@start": "start_ns",
    },
    text="(name || ' ' || resource || ' ' || service || ' ' || ifnull(json_extract(attributes, '$.\"error.message\"'), ''))",
    numbers=frozenset(("@duration", "@start")),
    words={"status": lambda value: {"error": "1", "ok": "0"}.get(value, value)},
)
LOGS = Fields(
    columns={
        "service": "service",
        "source": "source",
        "status": "status",
        "host": "host",
        "message": "message",
        "trace_id": "trace_id",
        "span_id": "span_id",
    },
    text="message",
    tags="tags",
)


def where(search: Search, fields: Fields) -> Clause:
    """Return the SQL condition of a search and its parameters; raise `QueryError` for what cannot be one."""
    clauses = 0

    def build(node: Search) -> Clause:
        nonlocal clauses
        clauses += 1
        if clauses > MAX_CLAUSES:
            raise QueryError(f"the search has more than {MAX_CLAUSES} terms")
        match node:
            case Everything():
                return "1", []
            case And(operands):
                return _joined(" AND ", [build(operand) for operand in operands])
            case Or(operands):
                return _joined(" OR ", [build(operand) for operand in operands])
            case Not(operand):
                sql, parameters = build(operand)
                return f"NOT ifnull({sql}, 0)", parameters
            case Term(None, value):
                return _words(value, fields)
            case Phrase(None, value):
                return _contains(value, fields)
            case Term(key, value) if key is not None:
                return _equals(key, value, fields, wild=True)
            case Phrase(key, value) if key is not None:
                return _equals(key, value, fields, wild=False)
            case Compare(key, operator, value):
                return f"{_number(key, fields)} {operator} ?", [_quantity(value)]
            case Range(key, low, high):
                return _range(_number(key, fields), low, high)
        raise QueryError(f"a search cannot hold {node} here: template variables are replaced first")

    return build(search)


@lru_cache(256)
def _pattern(word: str) -> re.Pattern[str]:
    inner = re.escape(_unescaped(word)) if not _wild(word) else _regex(word)
    return re.compile(rf"(?<!\w){inner}(?!\w)", re.IGNORECASE)


def has_word(text: str | None, word: str) -> bool:
    """Say whether a text holds a word; SQLite calls it as `has_word`."""
    return text is not None and _pattern(word).search(text) is not None


def _contains(value: str, fields: Fields) -> Clause:
    return f"{fields.text} LIKE ? ESCAPE '\\'", [f"%{_like(value)}%"]


def _words(value: str, fields: Fields) -> Clause:
    if value.strip("*") == "":
        return "1", []
    longest = max(re.split(r"[*?]", value), key=len)
    # LIKE is native and throws most rows out before the Python function sees them.
    return (
        f"({fields.text} LIKE ? ESCAPE '\\' AND has_word({fields.text}, ?))",
        [f"%{_like(_unescaped(longest))}%", value],
    )


def _equals(key: str, value: str, fields: Fields, *, wild: bool) -> Clause:
    if fields.columns.get(key) == fields.text:
        return _words(value, fields) if wild else _contains(value, fields)
    if fields.words and key in fields.words:
        value = fields.words[key](value)
    expression, parameters = value_of(key, fields)
    if wild and value == "*":
        return f"{expression} <> ''", parameters
    if wild and _wild(value):
        return f"CAST({expression} AS TEXT) GLOB ?", [*parameters, _glob(value)]
    return f"CAST({expression} AS TEXT) = ?", [*parameters, _unescaped(value) if wild else value]


def value_of(key: str, fields: Fields) -> Clause:
    """Return the SQL of a field's value: a column, an attribute (`@`), or a tag (an attribute will do as one).

    A backslash in the key hides the letter behind it from the syntax: `@a.b\\:c` is the attribute `a.b:c`.
    """
    key = _unescaped(key)
    if column := fields.columns.get(key):
        return column, []
    if key.startswith("@"):
        return "json_extract(attributes, ?)", [_path(key[1:])]
    return (
        f"coalesce(json_extract(attributes, ?), json_extract(attributes, ?), tag_of({fields.tags}, ?))",
        [_path(f"dd.{key}"), _path(key), key],
    )


def tag_of(tags: str, key: str) -> str | None:
    """Return the value of a tag in `,a:b,c:d,`, None if there is none; SQLite calls it as `tag_of`."""
    _, found, rest = tags.partition(f",{key}:")
    return rest.partition(",")[0] if found else None


def _number(key: str, fields: Fields) -> str:
    """Return the SQL of a field as a number, NULL where it holds none. The key stands in the text: quotes are doubled."""
    if key in fields.numbers:
        return fields.columns[key]
    if key in fields.columns:
        raise QueryError(f"{key} is no number: compare it with {key}:value")
    path = _path(_unescaped(key).removeprefix("@")).replace("'", "''")
    raw = f"json_extract(attributes, '{path}')"
    return f"(CASE WHEN {raw} GLOB '*[0-9]*' AND NOT {raw} GLOB '*[^0-9.eE+-]*' THEN CAST({raw} AS REAL) END)"


def _range(expression: str, low: str, high: str) -> Clause:
    sql, parameters = [f"{expression} IS NOT NULL"], []
    if low != "*":
        sql.append(f"{expression} >= ?")
        parameters.append(_quantity(low))
    if high != "*":
        sql.append(f"{expression} <= ?")
        parameters.append(_quantity(high))
    return f"({' AND '.join(sql)})", list(parameters)


def _quantity(text: str) -> float:
    value = quantity(text)
    if value is None:
        raise QueryError(f"{text!r} is no number; write 500, 1.5, 20ms or 2s")
    return value


def _joined(word: str, clauses: list[Clause]) -> Clause:
    parameters = [parameter for _, part in clauses for parameter in part]
    return f"({word.join(sql for sql, _ in clauses)})", parameters


def _path(name: str) -> str:
    """Return the JSON path of a flat attribute name."""
    return '$."' + name.replace('"', "") + '"'


def _wild(value: str) -> bool:
    return re.search(r"(?<!\\)[*?]", value) is not None


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value)


def _like(value: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", value)


def _glob(value: str) -> str:
    """Return a value with wildcards as a GLOB pattern; escaped characters are taken literally."""
    return re.sub(
        r"\\(.)|([\[\]])", lambda found: f"[{found[1] or found[2]}]" if (found[1] or found[2]) else "", value
    )


def _regex(word: str) -> str:
    parts = re.split(r"((?<!\\)[*?])", word)
    return "".join(
        {"*": r"\S*", "?": r"\S"}.get(part) or re.escape(_unescaped(part)) if part else "" for part in parts
    )
