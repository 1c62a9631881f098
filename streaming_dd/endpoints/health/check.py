"""What a health check is, and those that an application registers. State: `_registered`, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...errors import ConfigError

_NAME: Final = re.compile(r"[a-z][a-z0-9_.]{0,99}\Z")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Unhealthy(Exception):
    """Raised by a check to say what is wrong in words that strangers may read; of any other error they see the type."""


@dataclass(kw_only=True)
class Check:
    """Look whether something that the application needs works. Write a subclass whose `run()` raises if it does not.

    @dataclass
    class Queue(health.Check):
        url: str

        def run(self) -> None:
            if waiting_jobs(self.url) > 1000:
                raise health.Unhealthy("more than 1000 jobs wait")

    health.register(Queue("amqp://queue"))
    """

    #: In reports, settings and tags; the class' name in lower case (`queue_depth` for QueueDepth) unless given.
    name: str = ""
    #: Whether a failure makes the application unhealthy.
    required: bool = True
    #: Seconds that a run may take; None for the setting STREAMING_HEALTH_TIMEOUT.
    timeout: float | None = None

    def run(self) -> object:
        """Raise if the thing does not work; a text that is returned is shown with the details.

        Called in a thread of its own, so it may block. A coroutine function runs on the server's event loop.
        """
        raise NotImplementedError(f"{type(self).__name__}.run()")


#: The checks that the application registered, by name.
_registered: dict[str, Check] = {}


def register(check: Check) -> Check:
    """Have `check` run with the others from now on, and return it; one of the same name gives way.

    Raises ConfigError if it has no `run()`, or a name that is no lower-case word.
    """
    if isinstance(check, type) or not callable(getattr(check, "run", None)):
        raise ConfigError(
            "health.register", f"{check!r} is no health check.", "Pass an object with a run() method."
        )
    name = name_of(check)
    if not _NAME.match(name):
        raise ConfigError(
            "health.register", f"name {name!r}:", "write lower-case letters, digits, '_' and '.'."
        )
    _registered[name] = check
    return check


def unregister(name: str) -> None:
    """Forget the registered check of this name, if there is one."""
    _registered.pop(name, None)


def registered() -> dict[str, Check]:
    """Return the checks that the application registered, by name."""
    return dict(_registered)


def name_of(check: object) -> str:
    """Return a check's name: its own, or that of its class."""
    return getattr(check, "name", "") or _WORDS.sub("_", type(check).__name__).lower().removesuffix("_check")
