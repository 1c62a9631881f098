"""Where payloads go: the one door to the datadog client. State: the socket of an `AgentSender`."""

from __future__ import annotations

import os
import re
from socket import SO_ERROR, SOCK_STREAM, SOL_SOCKET
from struct import pack
from typing import Any, Final, Protocol

from ...config import Config
from ..notices import Outage, back, out
from .cleaning import clean_tag, unique_by_key
from .names import Names

#: Payload sizes that Datadog's own clients use, bytes.
UDP_PAYLOAD: Final = 1432
UDS_PAYLOAD: Final = 8192


class Sender(Protocol):
    """Where payloads go: an agent's socket, or a list in a test."""

    payload_limit: int
    tags: tuple[str, ...]
    suffix: str

    def send(self, payload: bytes) -> bool:
        """Send one payload (lines joined by newlines); return whether it went out."""

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Send one service check."""

    def close(self) -> None:
        """Close the socket."""


class NoSender:
    """Send nothing: metrics are switched off."""

    payload_limit = UDP_PAYLOAD
    tags: tuple[str, ...] = ()
    suffix = ""

    def send(self, payload: bytes) -> bool:
        """Take the payload and forget it."""
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Forget the service check."""

    def close(self) -> None:
        """Do nothing."""


class AgentSender:
    """Send payloads to an Agent through the `datadog` client's socket: UDP, unix datagram or unix stream.

    The client resolves addresses, reads DD_* variables and detects the container; its own buffering, sampling
    and aggregation are not used (they lose what is buffered at exit and cannot pack values).
    """

    def __init__(self, config: Config) -> None:
        from datadog.dogstatsd.base import DogStatsd

        self._config = config
        address = config.dogstatsd_address()
        unix = not address.startswith("udp://")
        host, _, port = address.removeprefix("udp://").rpartition(":")
        tags = [f"{key}:{value}" for key in ("env", "service", "version") if (value := getattr(config, key))]
        self._names = None if unix else Names(host.strip("[]"))
        self._client: Any = DogStatsd(
            host=None if unix else "127.0.0.1",  # the address is found apart from sending
            port=None if unix else int(port),
            socket_path=address if unix else None,
            constant_tags=[*tags, *config.tags],
            disable_telemetry=True,
            socket_timeout=0.5,
        )
        self.payload_limit = UDS_PAYLOAD if unix else UDP_PAYLOAD
        self.tags = unique_by_key([clean_tag(tag) for tag in self._client.constant_tags])
        self.suffix = self._origin()
        self._failures = 0

    def _origin(self) -> str:
        """The fields by which the Agent finds the container: `|c:`, `|e:` and `|card:`."""
        parts = ""
        for letter, value in (
            ("c", getattr(self._client, "_container_id", None)),
            ("e", os.environ.get("DD_EXTERNAL_ENV")),
            ("card", getattr(self._client, "cardinality", None)),
        ):
            if value and re.match(r"[\w\-,.:/]+\Z", value):
                parts += f"|{letter}:{value}"
        return parts

    def send(self, payload: bytes) -> bool:
        """Send one payload; a closed socket is opened again once. Never raises, never waits for a name."""
        if not self._addressed():
            return False
        for attempt in (1, 2):
            try:
                socket = self._client.get_socket()
                if socket.type == SOCK_STREAM:
                    socket.sendall(pack("<I", len(payload)) + payload)
                else:
                    socket.send(payload)
                    # On this host a datagram that nobody takes is refused at once, and only the next send would say so.
                    refused = socket.getsockopt(SOL_SOCKET, SO_ERROR)
                    if refused:
                        raise OSError(refused, os.strerror(refused))
            except Exception as error:  # noqa: BLE001 - the client's own, as well: the payload is not out, and is kept
                self._client.close_socket()
                if attempt == 2:
                    self._say(error)
                    if self._names is not None:
                        self._names.look_again()
            else:
                back("dogstatsd", self._is_back)
                return True
        return False

    def _addressed(self) -> bool:
        """Take over the Agent's address; return whether one is known."""
        if self._names is None:
            return True
        address = self._names.address()
        if address is None:
            self._say(self._names.error or f"the name {self._names.host!r} is not resolved yet")
            return False
        if address != self._client.host:
            self._client.close_socket()
            self._client.host = address
        return True

    def _is_back(self, outage: Outage) -> str:
        return f"metrics are taken again at {self._config.dogstatsd_address()} {outage.lasted}; counts were kept meanwhile."

    def _say(self, error: object) -> None:
        out(
            "dogstatsd",
            f"no Agent takes metrics at {self._config.dogstatsd_address()} ({error}); the application is not affected. "
            "Start one (`streaming-dd agent`), set DD_AGENT_HOST, or set STREAMING_METRICS_ENABLED=false.",
        )

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Send one service check. Not by the client's own call: it logs an Agent that is away each time."""
        parts = ["_sc", name, str(status)]
        if all_tags := [*(clean_tag(tag) for tag in tags), *self.tags]:
            parts.append(f"#{','.join(all_tags)}")
        if message:
            parts.append("m:" + message.replace("\n", "\\n").replace("m:", "m\\:"))
        self.send(("|".join(parts) + self.suffix).encode())

    def close(self) -> None:
        """Close the socket; the next send opens it again."""
        self._client.close_socket()
