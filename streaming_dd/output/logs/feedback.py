"""Standard output that somebody made a logger of, as Celery's worker does: a line of ours must not come back as a record.

A stream that shows its logger is not written to: the process' own is. Of any other without a descriptor is remembered what
was written; where that is logged, in the same thread or in another, it is no record to be written, and the process' own
stream is taken from then on. State: `watched`, such streams; `_here`, what this thread is writing. docs/decisions/0023.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, TextIO

#: Lines that are known again.
_RECENT: Final = 500


class _Here(threading.local):
    writing: Echoes | None = None


_here: Final = _Here()
#: Empty nearly always: whoever takes records looks at this before it asks `is_echo`.
watched: Final[list[Echoes]] = []


def process_stream(name: Literal["stdout", "stderr"]) -> TextIO | None:
    """Return `sys.stdout` or `sys.stderr`, or the one that the process began with where that is a logger in disguise."""
    stream: TextIO | None = getattr(sys, name)
    if stream is None or descriptor_of(stream) >= 0 or not _shows_logger(stream):
        return stream
    return getattr(sys, f"__{name}__")  # type: ignore[no-any-return]


def descriptor_of(stream: Any) -> int:
    """Return a stream's file descriptor, -1 if it has none."""
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
    return number if isinstance(number, int) else -1


def _shows_logger(stream: object) -> bool:
    """Tell whether one of an object's members is a logger: Celery's LoggingProxy, and most that people write."""
    return any(
        isinstance(member, logging.Logger | logging.LoggerAdapter)
        or type(member).__module__ == "loguru._logger"
        for member in getattr(stream, "__dict__", {}).values()
    )


def is_echo(text: Callable[[], str]) -> bool:
    """Tell whether a record, of this text, was caused by a line of ours that was written to a stream."""
    if _here.writing is not None:
        _here.writing.logged = True
        return True
    try:
        found = text()
    except Exception:  # noqa: BLE001 - arguments that do not fit: whoever writes the record says so
        return False
    return any(echoes.comes_back(found) for echoes in list(watched))


class Echoes:
    """What was written lately to a stream without a descriptor; `lost` is told each line that another thread logs."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self.logged = False
        self._lost = lost
        self._recent: deque[str] = deque(maxlen=_RECENT)

    def write(self, stream: TextIO, lines: list[str]) -> bool:
        """Write lines; return False if the stream has logged them in place of writing them."""
        if self not in watched:
            watched.append(self)
        self.logged = False
        self._recent.extend(lines)
        _here.writing = self
        try:
            stream.write("".join(line + "\n" for line in lines))
            stream.flush()
        finally:
            _here.writing = None
        if self.logged:
            self._recent.clear()
        return not self.logged

    def comes_back(self, text: str) -> bool:
        """Tell whether a text has lines of ours in it, and tell `lost` of each, once."""
        found = [line for line in list(self._recent) if line and line in text]
        for line in found:
            try:
                self._recent.remove(line)
            except ValueError:  # another thread was quicker
                continue
            self._lost(line)
        return bool(found)

    def close(self) -> None:
        """Forget everything."""
        self._recent.clear()
        if self in watched:
            watched.remove(self)
