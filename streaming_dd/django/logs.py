"""A handler for LOGGING: records become this package's JSON lines, wherever those go. No state of its own.

With the middleware or `instrument()` it is not needed: the standard library's loggers are bridged then. It is for
processes that serve nothing, such as management commands, and for those who set STREAMING_LOG_BRIDGE to False.
"""

from __future__ import annotations

import logging
import threading

from .. import logs as logs_door
from .. import recorder
from ..output.logs.bridge import ACCESS_LOGGERS, BridgeHandler


class Handler(logging.Handler):
    """Write records as JSON lines: `"handlers": {"json": {"class": "streaming_dd.django.logs.Handler"}}`.

    A record that the bridge has written already is not written again.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._starting = threading.local()
        self._logs: logs_door.Logs | None = None
        self._inner: BridgeHandler | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write one record; what is logged while this package starts for it goes to the other handlers only."""
        logs = logs_door.current()
        if logs is None:
            if getattr(self._starting, "now", False):
                return False
            self._starting.now = True
            try:
                logs = recorder.get().logs
            finally:
                self._starting.now = False
        if logs is None or record.levelno < max(self.level, logs_door.LEVELS[logs.config.log_level]):
            return False
        if self._inner is None or logs is not self._logs:
            excluded = ACCESS_LOGGERS if logs.config.access_log else frozenset[str]()
            self._logs, self._inner = logs, BridgeHandler(logs.write_record, excluded, logging.NOTSET)
        return self._inner.handle(record)
