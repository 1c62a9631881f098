"""What Datadog makes of names and tags before it keeps them. Pure functions, no state.

Source: datadog-agent pkg/trace/traceutil/normalize; the backend does the same with what DogStatsD brings. The lengths of
names are bytes, those of tags characters.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TAG = 200
"""Characters of a metric name and of a tag that are looked at."""
MAX_TAG_BYTES = 400

_PLAIN_TAG = re.compile(r"[a-z:][a-z0-9:./-]*(?:_[a-z0-9:./-]+)*")
_PLAIN_VALUE = re.compile(r"(?:[a-z0-9:./-]|_(?=[a-z0-9:./-]))*")
_NO_NAME = re.compile(r"[^A-Za-z0-9.]+")


def cut(text: str, size: int) -> str:
    """Return at most `size` bytes of a text, whole characters only."""
    if len(text) <= size // 4:
        return text
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= size else raw[:size].decode("utf-8", "ignore")


def metric_name(name: str, longest: int = MAX_TAG) -> str:
    """Return a name from its first letter on, others than `[A-Za-z0-9.]` as one `_`, none beside a dot; "" for none."""
    start = next((index for index, char in enumerate(name) if char.isascii() and char.isalpha()), None)
    if start is None:
        return ""
    name = name[start : start + longest]
    if "__" in name or "_." in name or _NO_NAME.search(name.replace("_", "")):
        name = re.sub(r"_?\._?", ".", _NO_NAME.sub("_", name))
    return name.removesuffix("_")


def tag(text: str) -> str:
    """Return a whole tag, `key:value`: lower case, from its first letter or colon on, unsafe characters as one `_`."""
    return _tag(text, from_letter=True)


def tag_value(text: str) -> str:
    """Return the value of a tag alone; it may begin with a digit."""
    return _tag(text, from_letter=False)


def _tag(text: str, *, from_letter: bool) -> str:
    plain = _PLAIN_TAG if from_letter else _PLAIN_VALUE
    if len(text) <= MAX_TAG and plain.fullmatch(text):
        return text
    kept: list[str] = []
    size = 0
    for char in text:
        lower = char.lower()
        size += len(char.encode("utf-8", "replace"))
        if unicodedata.category(char) == "Lu" and len(lower.encode()) == len(char.encode()):
            char = lower
        category = unicodedata.category(char)
        if category[0] == "L" or char == ":":
            kept.append(char)
        elif kept or not from_letter:
            kept.append(char if category == "Nd" or char in "./-" else "_")
        if size >= MAX_TAG_BYTES or len(kept) >= MAX_TAG:
            break  # counted before `_` are made one: what lies beyond is lost
    return re.sub("_+", "_", "".join(kept)).removesuffix("_")
