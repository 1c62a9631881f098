"""The Agent's TCP log intake as a destination. State: the connection, and until when connecting is known to take long."""

from __future__ import annotations

import errno
import socket
import time
from typing import Final

from ..notices import Outage, back, out
from .destinations import Destination


class AgentTcp(Destination):
    """The Agent's TCP log intake. Lines wait in the queue while it is away, as many as the queue holds."""

    CONNECT_TIMEOUT: Final = 1.0
    SEND_TIMEOUT: Final = 0.2
    REFUSED_WITHIN: Final = 0.1
    LONGEST_RETRY: Final = 2.0

    def __init__(self, address: str, limit: int) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host.strip("[]"), int(port))
        self._socket: socket.socket | None = None
        self._failures = 0
        self._slow_until = 0.0
        #: Lines that were dropped since it was last connected.
        self._lost = 0
        self._subject = f"logs.unreachable.{self.address[0]}:{self.address[1]}"
        super().__init__(f"agent {address}", limit)

    def drop(self, count: int, reason: str) -> None:
        """Count lines that are lost; while the intake is away that is said when it is back."""
        if reason != "disconnected" or self._stopped:
            super().drop(count, reason)
            return
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
            self._lost += count

    def _is_back(self, outage: Outage) -> str:
        host, port = self.address
        return f"The Agent's log intake at {host}:{port} answers again {outage.lasted}: {self._lost} lines were dropped."

    def full_reason(self) -> str:
        return "queue_full" if self._socket is not None else "disconnected"

    def retry_delay(self) -> float:
        return float(min(self.LONGEST_RETRY, 0.1 * 2 ** min(self._failures, 10)))

    def send(self, lines: list[bytes]) -> int:
        connection = self._connect()
        if connection is None:
            return 0
        data = b"\n".join(lines) + b"\n"
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[connection.send(view) :]
                except TimeoutError:  # it does not read: the queue fills meanwhile, and drops
                    if self._leave.is_set():
                        break
        except OSError:
            self.close()
        return bytes(data[: len(data) - len(view)]).count(b"\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket | None:
        if self._socket is not None and self._alive(self._socket):
            return self._socket
        self.close()
        if self._last_chance and self._slow_until > time.monotonic():
            return None
        began = time.monotonic()
        try:
            self._socket = socket.create_connection(self.address, timeout=self.CONNECT_TIMEOUT)
        except OSError as error:
            self._failures += 1
            now = time.monotonic()
            # A refusal costs nothing, so that whoever waits may ask again at once: it may just have come back.
            self._slow_until = now + 5.0 if now - began > self.REFUSED_WITHIN else 0.0
            host, port = self.address
            message = (
                f"The Agent's log intake at {host}:{port} cannot be reached ({error.strerror or error}): "
                f"up to {self._limit} lines are kept until it answers."
            )
            self._echo(out(self._subject, message), message)
            return None
        back(self._subject, self._is_back)
        self._lost = 0
        self._failures = 0
        self._socket.settimeout(self.SEND_TIMEOUT)
        return self._socket

    @staticmethod
    def _alive(connection: socket.socket) -> bool:
        """Tell whether the peer has closed: it never sends anything, so end of file is all there is to read."""
        connection.setblocking(False)
        try:
            return connection.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError as error:
            return error.errno == errno.EINTR
        finally:
            connection.settimeout(AgentTcp.SEND_TIMEOUT)
