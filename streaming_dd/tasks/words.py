"""What an application calls its tasks, events and results, as bounded text; whatever it is, nothing here raises.

State: a `Said` per run that said something of itself. Only exact built-in types are asked for their text or their size:
anything else could run the application's own code.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import Any, Final

from ..output import redaction

_LIMIT: Final = 100
_TEXT_LIMIT: Final = 200
#: How much more of a text is masked than is kept: what is cut off may be what shows that the rest is a secret.
_MASKED: Final = 4
_NAME_MASKED: Final = _MASKED * _LIMIT
#: Tags of a task's own, and the length of their names.
TAGS_LIMIT: Final = 20
_TAG_LIMIT: Final = 50
#: Greatest number of items that a progress tells exactly.
_MOST: Final = 2**53
#: An int of more bits is told by its size: Python refuses to write very long ones.
_BITS_LIMIT: Final = 256
_SCALARS: Final = frozenset({bool, float, type(None)})
_SIZED: Final = frozenset(
    {str, bytes, bytearray, list, tuple, dict, set, frozenset, deque, range, memoryview}
)


def as_text(value: Any, limit: int = _LIMIT) -> str:
    """Return an id or a name as text: its own words where they can be had, else those of its class."""
    kind = type(value)
    if kind is str:
        return str(value[:limit])
    if kind is int and value.bit_length() > _BITS_LIMIT:
        return f"int of {value.bit_length()} bits"
    try:
        text = str(value)[:limit]
        return text if type(text) is str else kind.__name__
    except Exception:  # noqa: BLE001 - a broken __str__ costs its own text and nothing else
        return kind.__name__


def shown_text(value: Any, limit: int = _LIMIT) -> str:
    """Return an id or a text without secrets."""
    text = as_text(value, _MASKED * limit)
    return redaction.mask(text)[:limit] if text else ""


def shown_name(value: Any, limit: int = _LIMIT) -> str:
    """Return a name that comes again and again, such as an event's type, without secrets."""
    text = value[:_NAME_MASKED] if type(value) is str else as_text(value, _NAME_MASKED)
    return redaction.mask_name(text)[:limit]


def short_value(value: Any) -> str:
    """Return a result in a form fit for a tag: short scalars as they are, everything else by type and size."""
    kind = type(value)
    if kind in _SCALARS or (kind is int and value.bit_length() <= _BITS_LIMIT):
        return str(value)
    if kind is int:
        return f"int of {value.bit_length()} bits"
    if kind is str and len(value) <= _LIMIT:
        return redaction.mask(value)
    return f"{kind.__name__} of {len(value)}" if kind in _SIZED else kind.__name__


class Said:
    """What a task said of itself: how far it is, what it does now, and tags of its own; bounded."""

    __slots__ = ("done", "tags", "text", "total")

    def __init__(self) -> None:
        self.done: float | None = None
        self.total: float | None = None
        self.text = ""
        self.tags: dict[str, str] = {}

    def progress(self, done: Any, total: Any) -> None:
        """Note how far the task is; what is no finite number is left out."""
        self.done, self.total = _number(done), _number(total)

    def tag(self, name: Any, value: Any) -> None:
        """Note a tag, unless there are too many; a name's letters that a facet cannot have become `_`."""
        key = re.sub(r"[^\w.-]", "_", shown_name(name, _TAG_LIMIT))
        if key and (key in self.tags or len(self.tags) < TAGS_LIMIT):
            text = as_text(value, _MASKED * _TEXT_LIMIT)
            self.tags[key] = redaction.mask_value(key, value, text)[:_TEXT_LIMIT]

    def say(self, text: Any) -> None:
        """Note what the task does now."""
        self.text = shown_text(text, _TEXT_LIMIT)

    def report(self) -> dict[str, object]:
        """Return it by the names of `catalog.SPAN_TAGS`."""
        found: dict[str, object] = {f"task.tags.{name}": value for name, value in self.tags.copy().items()}
        if self.done is not None:
            found["task.done"] = self.done
            if self.total:
                found["task.total"] = self.total
                found["task.progress"] = round(min(max(self.done / self.total, 0.0), 1.0), 4)
        if self.text:
            found["task.status_text"] = self.text
        return found


def _number(value: Any) -> float | None:
    if type(value) not in (int, float):
        try:
            value = float(value)
        except Exception:  # noqa: BLE001 - it is no number
            return None
    if type(value) is int:
        return value if -_MOST <= value <= _MOST else None
    return value if math.isfinite(value) else None
