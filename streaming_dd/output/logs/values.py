"""Values as JSON can hold them: any object becomes text, a number or a list, bounded and with its secrets masked.

No state.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

from ..redaction import MASK, Redactor, cut_text

#: Longest text of a value that JSON has no type for.
MAX_REPR: Final = 2_000
#: Levels of nesting, and values within one field, that are written; a cycle ends there.
MAX_DEPTH: Final = 8
MAX_NODES: Final = 2_000


class ValueCleaner:
    """Turns one value into what JSON can hold, masking what its keys name."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._left = MAX_NODES

    def clean(self, value: Any, depth: int = 0) -> Any:
        """Return `value` in JSON's types; never raises, whatever the value's own code does."""
        try:
            return self._clean(value, depth)
        except Exception:  # noqa: BLE001 - user code runs in there: __iter__, keys(), properties
            return self._redactor.mask(text_of(value))

    def _clean(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._redactor.mask(well_formed(str(value)))
        if isinstance(value, enum.Enum):
            return self.clean(value.value, depth + 1)
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else _long_int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._redactor.mask(bytes(value[:MAX_REPR]).decode("utf-8", "backslashreplace"))
        if depth >= MAX_DEPTH or self._left <= 0:
            return "..."
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return self._clean_mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._clean_items(value, depth)
        return self._redactor.mask(text_of(value))

    def _clean_mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, item in value.items():
            if self._left <= 0:
                cleaned["..."] = len(value)
                break
            name = well_formed(key) if isinstance(key, str) else text_of(key)
            cleaned[name] = MASK if self._redactor.hides(name, item) else self.clean(item, depth + 1)
        return cleaned

    def _clean_items(self, value: Any, depth: int) -> list[Any]:
        cleaned: list[Any] = []
        for item in value:
            if self._left <= 0:
                cleaned.append("...")
                break
            cleaned.append(self.clean(item, depth + 1))
        return cleaned


def well_formed(value: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates become `\\udc80` and the like."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def text_of(value: Any) -> str:
    """Return the object's own text, cut; or its type's name, if the object refuses."""
    try:
        return cut_text(well_formed(str(value)), MAX_REPR)
    except Exception as error:  # noqa: BLE001 - __str__ and __repr__ are user code
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"


def _long_int(value: int) -> str:
    """Return an integer's digits; in base 16 where base 10 would take long (Python refuses 4,300 digits)."""
    return str(value) if value.bit_length() < 4096 else cut_text(hex(value), MAX_REPR)
