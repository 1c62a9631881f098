"""Check a document against Datadog's API models, strictly: no unknown field, no unknown value.

The schema is `schema.json`, made by `update_schema.py`. A general validator reports "matches none of 41 widget
types"; this one finds the alternative that was meant by its `type` or `data_source` and reports what is wrong
with that. State: the schema, read at the first check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

Json = Any
UNKNOWN_FIELD = "unknown field"
_NOT_ONE_OF = " is not one of "
_LOOSE = re.compile(r'expected (?:an integer|a number)(?: or null)?, found "-?[0-9.]+"$|, found null$')
_NAMES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(
        files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    )
    return schema


def violations(kind: str, document: Json) -> list[tuple[str, str]]:
    """List what Datadog's API would refuse, as (path, message); `kind` is dashboard, monitor or slo."""
    return list(_check(_schema()["properties"][kind], document, ""))


def note_of(path: str, message: str) -> str:
    """Name the rule by which a violation in a file of others is a note, "" if it is a fault.

    Datadog has kinds of widgets and sources that its published models lack, and its API takes numbers as text and null for
    nothing. A kind that is nearly a known one is a slip all the same.
    """
    if message.startswith(UNKNOWN_FIELD):
        return "unknown-field"
    if path.rpartition(".")[2] in ("type", "data_source") and "." in path and _NOT_ONE_OF in message:
        return "" if "did you mean" in message else "unknown-kind"
    return "loose-type" if _LOOSE.search(message) else ""


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _check(schema: dict[str, Any], value: Json, path: str) -> Iterator[tuple[str, str]]:
    schema = _resolved(schema)
    if "oneOf" in schema:
        yield from _check_alternatives(schema["oneOf"], value, path)
    elif "enum" in schema:
        if value not in schema["enum"] or isinstance(value, bool):
            yield path, _not_one_of(value, schema["enum"])
    elif not _has_type(value, schema.get("type")):
        yield path, f"expected {_article(schema['type'])}, found {_shown(value)}"
    elif isinstance(value, dict):
        yield from _check_object(schema, value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check(schema.get("items", {}), item, f"{path}[{index}]")
    yield from _check_limits(schema, value, path)


def _check_object(schema: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield path, f"the field {name!r} is missing"
    for name, item in value.items():
        inner = f"{path}.{name}" if path else name
        if name in known:
            yield from _check(known[name], item, inner)
        elif extra is False:
            yield inner, f"{UNKNOWN_FIELD}{_did_you_mean(name, known)}"
        elif isinstance(extra, dict):
            yield from _check(extra, item, inner)


def _check_alternatives(options: list[dict[str, Any]], value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Check against the one alternative that was meant."""
    candidates = [_resolved(option) for option in options]
    flat = [inner for each in candidates for inner in each.get("oneOf", [each])]
    candidates = [_resolved(each) for each in flat]
    if isinstance(value, dict):
        objects = [each for each in candidates if each.get("type") == "object"]
        chosen = [each for each in objects if not _contradictions(each, value)]
        if objects and not chosen:
            yield from _nearest_contradiction(objects, value, path)
            return
        candidates = chosen
    else:
        candidates = [each for each in candidates if "enum" in each or _has_type(value, each.get("type"))]
    found = [list(_check(each, value, path)) for each in candidates]
    if not found:
        kinds = sorted({each.get("type", "a known value") for each in map(_resolved, flat)})
        yield path, f"expected {' or '.join(map(_article, kinds))}, found {_shown(value)}"
    elif all(found):
        yield from min(found, key=len)


def _contradictions(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, list[Any]]:
    """Find the fields whose value belongs to another alternative: those that only know a few words."""
    wrong: dict[str, list[Any]] = {}
    for name in ("type", "data_source", "request_type", "response_format"):
        allowed = _resolved(schema.get("properties", {}).get(name, {})).get("enum")
        if allowed and name in value and value[name] not in allowed:
            wrong[name] = allowed
    return wrong


def _nearest_contradiction(
    options: list[dict[str, Any]], value: dict[str, Any], path: str
) -> Iterator[tuple[str, str]]:
    fewest = min(len(_contradictions(option, value)) for option in options)
    allowed: dict[str, set[Any]] = {}
    for option in options:
        wrong = _contradictions(option, value)
        if len(wrong) == fewest:
            for name, words in wrong.items():
                allowed.setdefault(name, set()).update(words)
    for name, known in allowed.items():
        yield (f"{path}.{name}" if path else name), _not_one_of(value[name], sorted(known))


def _check_limits(schema: dict[str, Any], value: Json, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield path, f"{value} is below {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield path, f"{value} is above {schema['maximum']}"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield path, f"holds {len(value)} items, at least {schema['minItems']} are needed"
        if len(value) > schema.get("maxItems", len(value)):
            yield path, f"holds {len(value)} items, at most {schema['maxItems']} are allowed"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield path, f"is shorter than {schema['minLength']} characters"
        if len(value) > schema.get("maxLength", len(value)):
            yield path, f"is longer than {schema['maxLength']} characters"


def _has_type(value: Json, name: str | None) -> bool:
    if name is None:
        return True
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _NAMES[name])


def _article(name: str) -> str:
    return {"null": "null", "a known value": name}.get(name, f"{'an' if name[0] in 'aio' else 'a'} {name}")


def _shown(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _not_one_of(value: Json, allowed: list[Any]) -> str:
    listed = ", ".join(map(str, allowed[:12])) + (", ..." if len(allowed) > 12 else "")
    return f"{_shown(value)}{_NOT_ONE_OF}{listed}{_did_you_mean(value, allowed)}"


def _did_you_mean(value: Json, allowed: Any) -> str:
    close = get_close_matches(value, map(str, allowed), n=1, cutoff=0.7) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""
