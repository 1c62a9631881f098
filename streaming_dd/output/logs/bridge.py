"""The standard library's loggers, written as JSON lines exactly once, with their console handlers taken off meanwhile.

State: the loggers that a Bridge changed, so that `remove` puts everything back. docs/decisions/0023.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from .. import told
from . import feedback

#: Servers' access lines: ours say the same, as JSON with a trace id.
ACCESS_LOGGERS: Final = frozenset({"uvicorn.access", "hypercorn.access", "gunicorn.access", "granian.access"})
_SEEN: Final = "streaming_dd_seen"


class BridgeHandler(logging.Handler):
    """Hands records to `write`, each once however many loggers it passes; takes no lock, so it cannot deadlock."""

    def __init__(
        self, write: Callable[[logging.LogRecord], None], excluded: frozenset[str], level: int
    ) -> None:
        super().__init__(level)
        self._write = write
        self._excluded = excluded

    def handle(self, record: logging.LogRecord) -> bool:
        if _SEEN in record.__dict__ or record.name in self._excluded or _came_from_loguru(record):
            return False
        if told.repeats(record) or (feedback.watched and feedback.is_echo(record.getMessage)):
            return False
        record.__dict__[_SEEN] = True
        self._write(record)
        return True


class Bridge:
    """Installs one BridgeHandler where records end up: on the root logger and on every logger that keeps its own.

    `refresh` may be called at any time; it repairs what a later `dictConfig` changed.
    """

    def __init__(self, handler: BridgeHandler, level: int, *, access_log: bool, owns_console: bool) -> None:
        self._handler = handler
        self._level = level
        self._access_log = access_log
        self._owns_console = owns_console
        self._taken: dict[logging.Logger, list[logging.Handler]] = {}
        self._order: dict[logging.Logger, list[logging.Handler]] = {}
        self._root_level: int | None = None

    def refresh(self) -> None:
        """Put the handler where it is missing, and take off console handlers that came since."""
        root = logging.getLogger()
        if self._root_level is None and not root.handlers and root.level == logging.WARNING:
            self._root_level = root.level  # nobody configured it: without this, INFO lines would end here
            root.setLevel(self._level)
        for logger in [root, *_loggers()]:
            self._refresh_one(logger, is_root=logger is root)

    def _refresh_one(self, logger: logging.Logger, *, is_root: bool) -> None:
        own = [handler for handler in logger.handlers if handler is not self._handler]
        if any(forwards_to_loguru(handler) for handler in own):
            return  # the user's own bridge: its lines come through loguru
        silenced = self._access_log and logger.name in ACCESS_LOGGERS
        console = [handler for handler in own if self._owns_console and writes_to_console(handler)]
        taken = self._taken.get(logger)
        if taken is not None and (console if silenced else self._handler not in logger.handlers):
            taken = None  # somebody configured it anew: what was there before is not ours to bring back
        keeps_its_own = not logger.propagate and any(not isinstance(h, logging.NullHandler) for h in own)
        if not (is_root or console or keeps_its_own or taken is not None):
            return
        if taken is None:
            self._order[logger] = own
        for handler in console:
            logger.removeHandler(handler)
        self._taken[logger] = (taken or []) + console
        if not silenced and self._handler not in logger.handlers:
            logger.addHandler(self._handler)

    def remove(self) -> None:
        """Put everything back as it was, but for what somebody configured anew."""
        for logger, handlers in self._taken.items():
            if self._handler in logger.handlers or logger.name in ACCESS_LOGGERS:
                logger.removeHandler(self._handler)
                for handler in handlers:
                    logger.addHandler(handler)
                place = {id(handler): number for number, handler in enumerate(self._order[logger])}
                # A new list, not a sort in place: another thread may be walking through the old one.
                logger.handlers = sorted(logger.handlers, key=lambda one: place.get(id(one), len(place)))
        self._taken.clear()
        self._order.clear()
        if self._root_level is not None:
            if logging.getLogger().level == self._level:
                logging.getLogger().setLevel(self._root_level)
            self._root_level = None


def _loggers() -> list[logging.Logger]:
    return [
        item for item in list(logging.root.manager.loggerDict.values()) if isinstance(item, logging.Logger)
    ]


def writes_to_console(handler: logging.Handler) -> bool:
    """Tell whether a handler writes to standard output or standard error."""
    if isinstance(handler, logging.FileHandler):
        return False
    listener: Any = getattr(handler, "listener", None)  # of a QueueHandler, since Python 3.12
    if listener is not None:
        return bool(listener.handlers) and all(map(writes_to_console, listener.handlers))
    if isinstance(handler, logging.StreamHandler):
        stream: Any = handler.stream
    else:  # rich's RichHandler and the like
        stream = getattr(getattr(handler, "console", None), "file", None)
    if any(
        stream is one for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if one is not None
    ):
        return True
    try:
        return stream.fileno() in (1, 2)
    except (AttributeError, OSError, ValueError):
        return False


def forwards_to_loguru(handler: logging.Handler) -> bool:
    """Tell whether a handler's `emit` uses loguru's logger: the InterceptHandler of loguru's documentation."""
    emit: Any = inspect.unwrap(type(handler).emit)
    code = getattr(emit, "__code__", None)
    names = getattr(emit, "__globals__", {})
    return code is not None and any(
        type(names.get(name)).__module__ == "loguru._logger" for name in code.co_names
    )


def _came_from_loguru(record: logging.LogRecord) -> bool:
    """Tell whether loguru made this record for a sink that is a logging handler: it was written already."""
    if not isinstance(record.__dict__.get("extra"), dict):
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "loguru._simple_sinks":
            return True
        frame = frame.f_back
    return False
