"""The Agent's address by its name, found in a thread of its own: a name server that does not answer keeps nobody waiting.

State: in each `Names`, the last address that was found.
"""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from typing import Final

#: Seconds for which the first sender waits for the first answer, once.
_FIRST_ANSWER: Final = 1.0
#: Seconds after which a name is looked up again: an Agent may have moved.
_LOOK_AGAIN: Final = 60.0
#: The same when nothing was found, or the address does not take what is sent.
_LOOK_SOON: Final = 5.0


class Names:
    """One host's address: the last known one, at once."""

    def __init__(self, host: str) -> None:
        self.host = host
        #: Why there is no address.
        self.error: Exception | None = None
        self._address: str | None = None
        self._due = float("-inf")
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._waited = False
        try:
            self._address = str(ip_address(host))
        except ValueError:
            pass
        else:
            self._due = float("inf")

    def address(self) -> str | None:
        """Return the last known address; None before the first answer, for which one second is waited once."""
        if time.monotonic() >= self._due:
            self._look()
        if self._address is None and not self._waited:
            self._waited = True
            self._answered.wait(_FIRST_ANSWER)
        return self._address

    def look_again(self) -> None:
        """Look the name up again soon: its address takes nothing."""
        self._due = min(self._due, time.monotonic() + _LOOK_SOON) if self._due != float("inf") else self._due

    def _look(self) -> None:
        thread = self._thread
        if thread is not None and thread.is_alive():  # in a forked child it is not
            return
        self._due = time.monotonic() + _LOOK_AGAIN
        self._answered.clear()
        self._thread = threading.Thread(target=self._resolve, name="streaming-dd-name", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._resolve()

    def _resolve(self) -> None:
        try:
            found = socket.getaddrinfo(self.host, None, 0, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            self.error = error
            self._due = time.monotonic() + _LOOK_SOON
        else:
            # As Datadog's client does: a service that listens on v4 alone is reached on a host that has both.
            found.sort(key=lambda one: one[0] != socket.AF_INET)
            self._address, self.error = str(found[0][4][0]), None
        finally:
            self._answered.set()
