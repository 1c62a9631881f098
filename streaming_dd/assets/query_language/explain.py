"""Say what is wrong with a query in words that name the fix. No state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...errors import QueryError

if TYPE_CHECKING:
    from lark import UnexpectedInput

# How an error message names what the grammar expected.
_WORDS = {
    "AGGREGATOR": "an aggregator such as 'avg'",
    "AGO": "a shift such as '1d_ago'",
    "BARE": "a number",
    "BUDGET": "'error_budget' or 'burn_rate'",
    "CHANGE": "'change' or 'pct_change'",
    "COMPARATOR": "a comparison such as '>'",
    "KEY": "a key",
    "METHOD": "as_count(), as_rate(), rollup() or fill()",
    "NAME": "a name",
    "NUMBER": "a number",
    "PHRASE": "a quoted text",
    "SOURCE": "'logs' or 'trace-analytics'",
    "STRING": "a quoted text",
    "SYMBOL": "'${monitor:name}'",
    "TAG": "a tag such as 'env:prod'",
    "VALUE": "a tag's value",
    "VARIABLE": "a template variable",
    "WINDOW": "a window such as 'last_5m'",
    "WORD": "a word",
    "_AND": "AND",
    "_BY": "by",
    "_IN": "IN",
    "_MINUS": "'-'",
    "_NOT": "NOT",
    "_OR": "OR",
    "_TO": "TO",
    "$END": "the end",
    "COLON": "':'",
    "COMMA": "','",
    "DOT": "'.'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "BANG": "'!'",
    "EQUAL": "'='",
    "MINUS": "'-'",
    "PLUS": "'+'",
    "STAR": "'*'",
    "SLASH": "'/'",
    "DBLVBAR": "'||'",
    "__ANON_0": "'||'",
    "__ANON_1": "'&&'",
}
_BOOLEAN_WORDS = re.compile(r"\b(AND|OR|NOT|IN)\b", re.IGNORECASE)


def explained(error: UnexpectedInput, text: str) -> QueryError:
    """Say what was expected and what was found, in words."""
    token = getattr(error, "token", None)
    ended = token is not None and token.type == "$END"
    position = len(text) if ended else max(error.pos_in_stream or 0, 0)
    found = "the end" if ended else repr(str(token) if token is not None else text[position])
    hint = _hint(text, position)
    if hint:
        return QueryError(f"{hint} (found {found})", text, position)
    terminals = (
        getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", ())
    )
    words = sorted({_WORDS.get(name, name) for name in terminals or ()})
    expected = (
        ", ".join(words[:-1]) + (" or " if words[:-1] else "") + words[-1] if words else "something else"
    )
    return QueryError(f"expected {expected}, found {found}", text, position)


def _hint(text: str, position: int) -> str:
    """Name the mistakes that people make most."""
    rest = text[position:]
    scope = text[text.rfind("{", 0, position) + 1 : position] if "{" in text[:position] else ""
    inside = bool(scope) and "}" not in re.sub(r"\{\w+\}", "", scope)
    if inside and (
        (_BOOLEAN_WORDS.match(rest) and re.search(r"[!,]", scope))
        or (rest[:1] in ("!", ",") and _BOOLEAN_WORDS.search(scope))
    ):
        return "',' and '!' cannot be mixed with AND, OR, NOT and IN: choose one style"
    if re.match(r"=(?!=)", rest) and not inside:
        return "'=' does not compare: write '=='"
    if re.match(r"[{:]", rest) and re.search(r"(^|[\s(+\-*/:])[A-Za-z_][\w.]*$", text[:position]):
        name = re.findall(r"[\w.]+$", text[:position])[0]
        return no_aggregator(name)
    return ""


def no_aggregator(name: str) -> str:
    """Say that a metric's name stands without its aggregator."""
    return f"{name!r} has no aggregator before it: write avg:{name}{{*}}, or sum:, min:, max:, p95:"
