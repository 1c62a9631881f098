"""The door to loguru: our handler in it, and its default handler (standard error), muted while lines go elsewhere.

State: the handler's id in loguru, and the default handler's level from before it was muted. docs/decisions/0020, 0110.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any, Protocol

from ..forks import registrations
from . import feedback

with registrations:
    import loguru
    from loguru import logger


class Writer(Protocol):
    """What takes loguru's records."""

    def write_loguru(self, record: Any) -> None:
        """Write one record; never raises."""


class LoguruHandler:
    """Our handler in loguru, which outlives `logger.remove()`, and can be copied and pickled with the logger.

    The work is done in the handler's *filter*, which then says no: loguru would go on to copy and format the record
    and take its lock, for 2 us a line and a deadlock when a line is logged within a line. docs/decisions/0020.
    """

    def __init__(self, writer: Writer, level: int, *, mutes_default: bool) -> None:
        self._writer = writer
        self._level = level
        self._lock = threading.RLock()
        self._id: int | None = None
        self._handler: Any = None
        self._installed = True
        self._muted = _mute_default_handler() if mutes_default else None
        self.install()

    def install(self) -> None:
        """Add our handler unless it is there."""
        with self._lock:
            if self._installed and self._id is None:
                self._id = logger.add(
                    self, level=self._level, format="", filter=self.filter, colorize=False, catch=True
                )
                self._handler = _handlers().get(self._id)

    def uninstall(self) -> None:
        """Take our handler off and let loguru's default one speak again."""
        with self._lock:
            self._installed = False
            if self._id is not None:
                with contextlib.suppress(ValueError):
                    logger.remove(self._id)
                self._id = None
            if self._muted is not None:
                _set_level(*self._muted)
                self._muted = None

    def filter(self, record: Any) -> bool:
        """Write the record, and keep it from loguru."""
        if self._installed and not (feedback.watched and feedback.is_echo(lambda: str(record["message"]))):
            self._writer.write_loguru(record)
        return False

    def write(self, message: str) -> None:
        """Satisfy loguru; the filter lets nothing come here."""

    def stop(self) -> None:
        """Stay through `logger.remove()` and `logger.configure(handlers=...)`: they mean the user's own handlers."""
        if not self._installed or self._put_back():
            return
        self._id = None
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            threading.Thread(target=self.install, name="streaming-dd-loguru", daemon=True).start()

    def _put_back(self) -> bool:
        """Enter our handler again, and return whether loguru's inside is as it is known to be.

        loguru holds its lock while it calls `stop()`, so `logger.add` would wait for ever. That the handler counts as
        stopped does not matter: its filter is asked first.
        """
        core: Any = getattr(logger, "_core", None)
        if self._handler is None or not hasattr(core, "min_level") or type(core.handlers) is not dict:
            return False
        if self._id not in core.handlers:  # else a copy of the logger has let it go
            core.handlers = {**core.handlers, self._id: self._handler}
            core.min_level = min(core.min_level, self._level)
        return True

    def __copy__(self) -> LoguruHandler:
        return self

    def __deepcopy__(self, memo: object) -> LoguruHandler:
        return self  # a copied logger writes where the original does

    def __reduce__(self) -> tuple[Any, ...]:
        return PassedHandler, (self._writer,)


class PassedHandler:
    """Our handler in a logger that came from another process, pickled."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def filter(self, record: Any) -> bool:
        """Write the record, and keep it from loguru."""
        self._writer.write_loguru(record)
        return False

    def write(self, message: str) -> None:
        """Satisfy loguru; the filter lets nothing come here."""


def _handlers() -> dict[int, Any]:
    return getattr(getattr(logger, "_core", None), "handlers", {})


def _mute_default_handler() -> tuple[Any, int] | None:
    """Mute handler 0 if it is loguru's own, and return it with its level.

    It is not removed: an app that says `logger.remove(0)` after us would get a ValueError.
    """
    handler = _handlers().get(0)
    autoinit = getattr(getattr(loguru, "_defaults", None), "LOGURU_AUTOINIT", True)
    if handler is None or not autoinit or not hasattr(handler, "_levelno"):
        return None  # then 0 is the user's own, or is gone
    level = handler.levelno
    _set_level(handler, sys.maxsize)
    return handler, level


def _set_level(handler: Any, level: int) -> None:
    handler._levelno = level
    logger.remove(logger.add(_no_sink, level=sys.maxsize))  # makes loguru compute its lowest level anew


def _no_sink(message: str) -> None:
    """Write nothing."""
