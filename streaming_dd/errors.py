"""Every exception this package raises; all of them derive from `StreamingDDError`. No state."""

from __future__ import annotations


class StreamingDDError(Exception):
    """Base of every exception raised by streaming_dd."""


class ConfigError(StreamingDDError, ValueError):
    """A setting is unknown, has the wrong type or cannot work. Raised at start-up only.

    `setting` is the name the user wrote, so that tools can point at it.
    """

    def __init__(self, setting: str, problem: str, fix: str = "") -> None:
        self.setting = setting
        self.problem = problem
        self.fix = fix
        super().__init__(f"{setting}: {problem}" + (f" {fix}" if fix else ""))


class MetricError(StreamingDDError, ValueError):
    """A metric, tag key or service check is declared in a way that Datadog would mangle."""


class InstrumentError(StreamingDDError, TypeError):
    """An object cannot be instrumented: it lacks what the hooks need. Raised at instrument time."""


class QueryError(StreamingDDError, ValueError):
    """A Datadog query, monitor query or search does not parse.

    `text` is the query, `position` the 0-based offset of the offending character.
    """

    def __init__(self, message: str, text: str = "", position: int = 0) -> None:
        self.message = message
        self.text = text
        self.position = position
        pointer = f"\n  {text}\n  {' ' * position}^" if text else ""
        super().__init__(f"{message}{pointer}")


class ProfileError(StreamingDDError, ValueError):
    """A profile cannot be taken as asked for, or not now."""


class ProfileBusyError(ProfileError):
    """Another profile is being taken now."""


class CapacityError(StreamingDDError, ValueError):
    """How many servers are needed cannot be said: nobody answers, or there is too little data to go by."""


class AssetError(StreamingDDError, ValueError):
    """A dashboard, monitor or SLO file is not one that Datadog would accept."""


class LocalAgentError(StreamingDDError, RuntimeError):
    """The local agent cannot start: a port is taken, a socket path is unusable."""


class AccountError(StreamingDDError, RuntimeError):
    """Datadog's API refused a request or cannot be reached. `status` is its HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)
