"""The door that values pass: what Datadog takes as a tag, and what is a number. Nothing here trusts a value. No state."""

from __future__ import annotations

import re
import reprlib
from math import isfinite
from operator import index
from typing import Final, SupportsFloat, SupportsIndex, cast

from ..redaction import mask_value

#: The largest whole number that every receiver holds.
MOST: Final = 2**63 - 1

_TAG_VALUE_LIMIT: Final = 200
#: What is cut off may be what shows that the rest is a secret.
_MASKED_LIMIT: Final = 800
_FORBIDDEN = re.compile(r"[^\w\-:./{}<>*]+")
_UNDERSCORES = re.compile(r"__+")


def clean_tag_value(value: object, key: str = "") -> str:
    """Return `value` as Datadog would store it: one line, no separators, at most 200 characters, never empty.

    Secrets are masked, by their shape and by the tag's `key`.
    """
    text = value if type(value) is str else str(value)
    text = mask_value(key, value, text[:_MASKED_LIMIT])[:_TAG_VALUE_LIMIT]
    if _FORBIDDEN.search(text):
        text = _FORBIDDEN.sub("_", text)
    if "__" in text:
        text = _UNDERSCORES.sub("_", text)
    return text.rstrip("_:") or "none"


def clean_tag(tag: str) -> str:
    """Return a `key:value` tag with a clean value."""
    key, separator, value = tag.partition(":")
    return f"{_FORBIDDEN.sub('_', key)}:{clean_tag_value(value, key)}" if separator else clean_tag_value(key)


def unique_by_key(tags: list[str]) -> tuple[str, ...]:
    """Keep the first of two tags of one key: arguments win over DD_* variables that the client adds."""
    seen: dict[str, str] = {}
    for tag in tags:
        seen.setdefault(tag.partition(":")[0], tag)
    return tuple(seen.values())


def as_text(value: object) -> str:
    """Return a tag's value as a plain str; raises whatever the value's own `__str__` raises."""
    text = str(value)
    return text if type(text) is str else str.__str__(text)


def as_number(value: object) -> float | None:
    """Return what is a number as a finite float, or an int of at most 64 bits; None for everything else.

    Numbers are what has `__index__` or `__float__`: NumPy's, Decimal, Fraction too; texts and truth values are none.
    """
    kind = type(value)
    if kind.__name__ in ("bool", "bool_"):  # NumPy's as well
        return None
    try:
        if hasattr(kind, "__index__"):
            whole = int.__add__(int(index(cast(SupportsIndex, value))), 0)
            return whole if -MOST <= whole <= MOST else float(whole)
        if hasattr(kind, "__float__"):
            number = float(cast(SupportsFloat, value))
            return number if isfinite(number) else None
    except Exception:  # noqa: BLE001 - the value's own code; whatever it raises, it is no number: the caller counts that
        return None
    return None


def shown(value: object) -> str:
    """Return a value for a message, short, whatever its own `__repr__` does."""
    try:
        return reprlib.repr(value)[:80]
    except Exception:  # noqa: BLE001 - said in its place
        return f"a {type(value).__name__} that cannot be shown"
