"""Say which settings are in force, where each came from, and which differ; secrets are masked. No state."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from typing import Any, Final

from .masking import MASK, Redactor, mask_text
from .settings import FIELDS, Config, setting_name

#: `key:value` of a list of tags, and `user:password@host` without a scheme.
_TAG: Final = re.compile(r"""(?<![^\s,'"\[])([^\s:,'"\[]+):([^\s,'"]+)""")
_USER: Final = re.compile(r"""([^\s/:@'"]*:)[^\s/@'"][^\s'"]*(?=@)""")


@cache
def _builtin() -> Redactor:
    """The judge of keys by the built-in rules alone: the user's own are not known before the settings are read."""
    return Redactor()


def without_secrets(name: str, value: Any) -> Any:
    """Return the value of the setting or variable `name` as it may be shown; what is no text and no list as it is."""
    if isinstance(value, list | tuple | set):
        return [without_secrets(name, item) for item in value]
    if not isinstance(value, str) or not value:
        return value
    hides = _builtin().hides
    if hides(name, value):
        return MASK
    text = mask_text(value)
    if name.lower().endswith("tags"):
        return _TAG.sub(lambda tag: f"{tag[1]}:{MASK}" if hides(tag[1], tag[2]) else tag[0], text)
    return _USER.sub(rf"\1{MASK}", text)


def describe(config: Config) -> list[tuple[str, str, str, str]]:
    """Return (name, value, origin, help) of every setting; secrets are masked."""
    rows = []
    for name, item in FIELDS.items():
        value = getattr(config, name)
        mask = item.metadata["secret"]
        if mask and value:
            shown = repr(mask(value)) if callable(mask) else "***"
        elif callable(value):
            shown = repr(f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}")
        else:
            shown = repr(without_secrets(name, value))
        rows.append((setting_name(name), shown, config.origins.get(name, "default"), item.metadata["help"]))
    return rows


def differing(one: Config, other: Config, leaving: Collection[str] = ()) -> list[str]:
    """Return the written names of the settings in which two configurations differ, but for the fields `leaving`."""
    return [
        setting_name(name)
        for name in FIELDS
        if name not in leaving and getattr(one, name) != getattr(other, name)
    ]
