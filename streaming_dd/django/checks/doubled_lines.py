"""Loggers of a LOGGING dictionary whose records are written to the same place twice. No state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings

Place = tuple[str, ...]

_ROOT: Final = "root"
#: What Django configures before LOGGING is applied, by name; see django.utils.log.DEFAULT_LOGGING.
_NOWHERE: Final = ("logging.NullHandler",)


def doubled(logging: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (logger, its handler, an ancestor, that one's handler) where both handlers write to the same place."""
    handlers: Mapping[str, Any] = logging.get("handlers") or {}
    loggers: dict[str, Mapping[str, Any]] = dict(logging.get("loggers") or {})
    loggers[""] = logging.get(_ROOT) or loggers.get("", {})
    for name in sorted(name for name in loggers if name):
        mine = {
            place: handler for handler in _handlers(loggers[name]) for place in _places(handlers, handler)
        }
        for ancestor in _ancestors(name, loggers):
            for handler in _handlers(loggers[ancestor]):
                for place in _places(handlers, handler):
                    if place in mine:
                        yield name, mine.pop(place), ancestor or _ROOT, handler


def _ancestors(name: str, loggers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the configured loggers that get a logger's records too, the nearest first."""
    while name and loggers.get(name, {}).get("propagate", True):
        name = name.rpartition(".")[0]
        if name in loggers:
            yield name


def _handlers(logger: Mapping[str, Any]) -> list[str]:
    return list(logger.get("handlers") or ())


def _places(handlers: Mapping[str, Any], name: str) -> Iterator[Place]:
    """Yield where a handler writes, as something that can be compared; nothing for one that writes nowhere."""
    handler = handlers.get(name) or {}
    kind = str(handler.get("class") or handler.get("()") or "")
    if kind in _NOWHERE or not _in_force(handler):
        return
    if filename := handler.get("filename"):
        yield "file", str(filename)
    elif kind.endswith(("StreamHandler", "RichHandler")):
        # Both are the terminal, or the container's output, which is where lines are read twice.
        yield ("console",)
    else:
        yield "handler", name


def _in_force(handler: Mapping[str, Any]) -> bool:
    """Whether Django's own filters let records pass with the present DEBUG; other filters are taken to."""
    filters = handler.get("filters") or ()
    return not (
        ("require_debug_true" in filters and not settings.DEBUG)
        or ("require_debug_false" in filters and settings.DEBUG)
    )
