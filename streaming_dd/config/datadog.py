"""DD_* variables of the environment that Datadog's own libraries read more kindly than a setting of ours is. No state.

They are set once for all of Datadog's tools, so what one of those accepts is no reason for an application not to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

#: Unified service tags, which have settings of their own: ddtrace takes them out of DD_TAGS.
UNIFIED: Final = ("service", "env", "version")
_SEPARATORS: Final = re.compile(r"[\s,|#]+")
_ON: Final = frozenset({"1", "true", "yes", "on", "auto"})
_OFF: Final = frozenset({"0", "false", "no", "off", ""})

#: Returns the value, and what is wrong with what was given; "" where nothing is.
Reader = Callable[[str], tuple[Any, str]]


def tags(given: str) -> tuple[tuple[str, ...], str]:
    """Read tags as ddtrace does: separated by commas, or by spaces where there is none; of one key the last counts.

    A tag may have no value (`standalone`); a key with a colon and nothing behind it is left out.
    """
    found: dict[str, str] = {}
    unusable: list[str] = []
    for piece in given.split("," if "," in given else None):
        key, colon, value = (part.strip() for part in piece.partition(":"))
        if not key and not value:
            continue
        if not key or (colon and not value):
            unusable.append(repr(piece.strip()))
            continue
        key, value = _SEPARATORS.sub("_", key), _SEPARATORS.sub("_", value)
        found[key] = f"{key}:{value}" if colon else key
    wrong = f"{', '.join(unusable)} cannot be used: write tags as key:value" if unusable else ""
    return tuple(found.values()), wrong


def host(given: str) -> tuple[str, str]:
    """Read a host's name or address; a scheme, a port or a path around it is left out."""
    name = given.strip().partition("://")[2] or given.strip()
    name = name.partition("/")[0].rpartition("@")[2]
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    wrong = ""
    if given.strip() not in (name, f"[{name}]"):
        wrong = (
            f"{name!r} is used of it: it is a host alone. A port is set by DD_TRACE_AGENT_PORT and DD_DOGSTATSD_PORT, "
            "an address by DD_TRACE_AGENT_URL and DD_DOGSTATSD_URL"
        )
    return name, wrong


def switch(given: str) -> tuple[bool, str]:
    """Read a switch as ddtrace does: what is not a word for on (`auto` is one) is off."""
    word = given.strip().lower()
    return word in _ON, "" if word in _ON | _OFF else f"{given!r} counts as false"


READERS: Final[dict[str, Reader]] = {
    "DD_TAGS": tags,
    "DD_AGENT_HOST": host,
    "DD_PROFILING_ENABLED": switch,
}
