"""What this package has to say about itself: at most once a minute per subject, and of an outage its begin and its end.

Goes to the standard library's logger `streaming_dd`. State: when each subject was last said, and the outages that last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

logger: Final = logging.getLogger("streaming_dd")
_EVERY: Final = 60.0
_SUBJECTS_LIMIT: Final = 1000
_last_said: dict[str, float] = {}


@dataclass(slots=True)
class Outage:
    """Something that was there, or should be, and is away."""

    began: float
    told: bool
    #: What was lost by it.
    count: int

    @property
    def lasted(self) -> str:
        """How long it has lasted, for a sentence."""
        return f"after {time.monotonic() - self.began:.0f} s"


_outages: dict[str, Outage] = {}


def say(subject: str, message: str, *, level: int = logging.WARNING, exc_info: bool = False) -> bool:
    """Log `message` unless the same subject was said within the last minute; return whether it was said."""
    now = time.monotonic()
    last = _last_said.get(subject)
    if last is not None and now - last < _EVERY:
        return False
    if len(_last_said) >= _SUBJECTS_LIMIT:
        _last_said.clear()
    _last_said[subject] = now
    logger.disabled = False  # a dictConfig disables what was there before it, unless told otherwise
    logger.log(level, "%s", message, exc_info=exc_info)
    return True


def out(subject: str, message: str, count: int = 0) -> bool:
    """Log that something is away, once until `back` is called, and count what was lost by it; return whether it was said.

    One that begins within a minute of the last of its subject is not told, nor is its end.
    """
    outage = _outages.get(subject)
    if outage is not None:
        outage.count += count
        return False
    told = say(subject, message)
    _outages[subject] = Outage(time.monotonic(), told, count)
    return told


def back(subject: str, message: Callable[[Outage], str]) -> None:
    """Log that it is there again, if it was away and that was said. Costs a look into a dictionary otherwise."""
    outage = _outages.pop(subject, None) if _outages else None
    if outage is not None and outage.told:
        logger.info("%s", message(outage))


def reset() -> None:
    """Forget what was said (for tests)."""
    _last_said.clear()
    _outages.clear()
