"""What this package has to say about itself, said at most once a minute per subject.

Goes to the standard library's logger `streaming_dd`. State: when each subject was last said.
"""

from __future__ import annotations

import logging
import time
from typing import Final

logger: Final = logging.getLogger("streaming_dd")
_EVERY: Final = 60.0
_SUBJECTS_LIMIT: Final = 1000
_last_said: dict[str, float] = {}


def say(subject: str, message: str, *, level: int = logging.WARNING, exc_info: bool = False) -> bool:
    """Log `message` unless the same subject was said within the last minute; return whether it was said."""
    now = time.monotonic()
    last = _last_said.get(subject)
    if last is not None and now - last < _EVERY:
        return False
    if len(_last_said) >= _SUBJECTS_LIMIT:
        _last_said.clear()
    _last_said[subject] = now
    logger.log(level, "%s", message, exc_info=exc_info)
    return True


def reset() -> None:
    """Forget what was said (for tests)."""
    _last_said.clear()
