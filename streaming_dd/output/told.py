"""Exceptions that an access line or a task's end line tells of: the server's or asyncio's own is no second error.

State: the last exceptions told, by id, class and place, and under granian as their text; the exceptions themselves are not
kept alive. docs/decisions/0112, 0180.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Final

#: Loggers of servers and frameworks that write what came out of an application, or what Django made a 500 of; and
#: asyncio's, which writes what came out of a task that nobody awaited.
_LOGGERS: Final = (
    "asyncio",
    *("uvicorn.error", "hypercorn.error", "gunicorn.error", "daphne.server", "_granian", "granian"),
    *("django.request", "quart.app", "litestar"),
)
_LIMIT: Final = 256
#: Class, and code object and line of the innermost frame.
_Mark = tuple[type[BaseException], int, int]
_told: OrderedDict[int, _Mark] = OrderedDict()

#: granian's line has no exception, it ends with its text: `LookupError: no such report`.
_TEXTUAL: Final = ("_granian", "granian")
_RAISED: Final = "Application callable raised an exception"
#: Seconds from the access line to granian's, which follows as soon as the application has returned.
_SOON: Final = 2.0
_told_texts: deque[tuple[float, str]] = deque(maxlen=32)


def note(error: BaseException) -> None:
    """Note an exception whose type, message and stack are on the line of its request or task."""
    _told[id(error)] = _mark(error)
    while len(_told) > _LIMIT:
        try:
            _told.popitem(last=False)
        except KeyError:  # another thread was quicker
            break
    if "granian" in sys.modules:
        _told_texts.append((time.monotonic(), _ending(error)))


def repeats(record: logging.LogRecord) -> bool:
    """Tell whether a record is a server's, framework's or asyncio's line about an exception that was noted."""
    if record.levelno < logging.ERROR or not str(record.name).startswith(_LOGGERS):
        return False
    error = record.exc_info[1] if record.exc_info else None
    if error is None and isinstance(record.args, tuple):  # daphne has it among the arguments
        error = next((arg for arg in record.args if isinstance(arg, BaseException)), None)
    if error is None and record.name.startswith(_TEXTUAL):
        return _tells_text(str(record.msg))
    return error is not None and _told.get(id(error)) == _mark(error)


def _mark(error: BaseException) -> _Mark:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error), 0, 0) if trace is None else (type(error), id(trace.tb_frame.f_code), trace.tb_lineno)


def _ending(error: BaseException) -> str:
    """Return how granian's line about an exception ends."""
    try:
        return f"\n{type(error).__qualname__}: {error}"
    except BaseException:  # noqa: BLE001 - an exception that cannot say what it is; granian says so in its place
        return f"\n{type(error).__qualname__}: <exception str() failed>"


def _tells_text(text: str) -> bool:
    """Tell whether a line of granian's ends as an exception that was noted right before; each is good for one line."""
    if not text.startswith(_RAISED):
        return False
    now = time.monotonic()
    for told in list(_told_texts):
        if now - told[0] <= _SOON and text.endswith(told[1]):
            with suppress(ValueError):  # another thread was quicker
                _told_texts.remove(told)
                return True
    return False
