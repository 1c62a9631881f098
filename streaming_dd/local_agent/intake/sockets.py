"""Sockets: binds what the agent listens on and hands bytes to the parsers. State: one object per listener.

Datagrams are read with `add_reader` and drained in one go: asyncio's own datagram transport lost 44 % of 120,000
datagrams a second where this lost 0.6 %.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from ...errors import LocalAgentError
from . import holders

RECEIVE_BUFFER = 4 * 1024 * 1024
DRAIN = 256
"""Datagrams read per wake-up, so that other work on the loop gets its turn under load."""
ROUNDS = 5
"""Rounds of the loop within which a connection that was accepted has its protocol; asyncio takes three."""
MAX_FRAME = 8192
TRUNCATED = b"...TRUNCATED..."
"""Stands where a line was cut."""
_METHOD = rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)"
_REQUEST = re.compile(_METHOD + rb" \S+ HTTP/\d(?:\.\d)?|" + _METHOD + rb" \S+" + re.escape(TRUNCATED))
"""The first line of an HTTP request, whole or cut."""
SOCKET_MODE = 0o722
"""As the Agent's own sockets: everybody may write."""


def bind_udp(host: str, port: int) -> socket.socket:
    """Bind a UDP socket with a large receive buffer; raise `LocalAgentError` if the port is taken."""
    sock = socket.socket(_family(host), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return _bind(sock, host, port, "DogStatsD", "udp")


def bind_tcp(host: str, port: int, purpose: str) -> socket.socket:
    """Bind and listen on a TCP port; raise `LocalAgentError` if it is taken."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms for an ACK.
    sock = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bind(sock, host, port, purpose, "tcp")


def bind_unix(path: str, kind: socket.SocketKind, purpose: str) -> socket.socket:
    """Bind a unix socket, in place of one that nobody listens on any more; raise `LocalAgentError` if it is in use."""
    file = Path(path)
    if file.exists():
        if not stat.S_ISSOCK(file.stat().st_mode):
            raise LocalAgentError(f"{purpose}: {path} exists and is no socket. Choose another path.")
        if _in_use(path, kind):
            holder = holders.of_unix_socket(path) or "another process"
            raise LocalAgentError(
                f"{purpose}: {holder} listens on {path}. Stop that process, or choose another path."
            )
        file.unlink()
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.setblocking(False)
    try:
        sock.bind(path)
        os.chmod(path, SOCKET_MODE)
        if kind == socket.SOCK_STREAM:
            sock.listen(128)
    except OSError as error:
        sock.close()
        raise LocalAgentError(
            f"{purpose}: cannot listen on {path}: {error.strerror or error}. Its directory must exist and be writable, "
            "and a unix socket's path has at most about 100 characters."
        ) from error
    return sock


def serve_datagrams(
    sock: socket.socket, feed: Callable[[bytes], None], drained: Callable[[], None]
) -> Callable[[], None]:
    """Read `sock` on the running loop: `feed` gets each datagram, `drained` follows each batch.

    Return what reads the next batch at once.
    """

    def drain() -> None:
        receive = sock.recv
        for _ in range(DRAIN):
            try:
                datagram = receive(65536)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue  # an ICMP answer to nothing we sent; the socket is still good
            feed(datagram)
        drained()

    asyncio.get_running_loop().add_reader(sock, drain)
    return drain


async def end_listening(*servers: asyncio.Server) -> None:
    """Close servers, but let whoever was accepted just now be connected: asyncio would leave such a socket open."""
    loop = asyncio.get_running_loop()
    for server in servers:
        for sock in server.sockets:
            loop.remove_reader(sock)
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    for server in servers:
        server.close()


class Connections:
    """The open connections of a listener: closing that alone would leave its clients talking to nobody."""

    def __init__(self) -> None:
        self.open: set[asyncio.BaseTransport] = set()

    async def close(self) -> None:
        """Close all of them."""
        for transport in list(self.open):
            transport.close()
        await asyncio.sleep(0)  # their protocols are told in the loop's next round


class _Connected(asyncio.Protocol):
    """One connection among `connections`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.open.discard(self._transport)


class FrameProtocol(_Connected):
    """DogStatsD over a unix stream: each payload after its length, 4 bytes, little-endian."""

    def __init__(
        self,
        connections: Connections,
        feed: Callable[[bytes], None],
        drained: Callable[[], None],
        refused: Callable[[int], None],
    ) -> None:
        super().__init__(connections)
        self._feed = feed
        self._drained = drained
        self._refused = refused
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            (length,) = struct.unpack_from("<I", buffer, start)
            if length > MAX_FRAME:
                # Like the Agent: a length over its buffer means the stream is out of step.
                self._refused(length)
                buffer.clear()
                if self._transport:
                    self._transport.close()
                return
            if len(buffer) - start - 4 < length:
                break
            self._feed(bytes(buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        del buffer[:start]
        self._drained()


class LineSplitter:
    """Cuts a byte stream into lines; one of more than `limit` bytes is several, marked where it was cut.

    As the Agent does (pkg/logs/internal/decoder/single_line_handler.go).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._rest = False
        """What is in the buffer goes on a line whose beginning is out."""
        self.cut = 0
        """Lines that were longer than the limit."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, without their line breaks, empty ones left out."""
        lines: list[bytes] = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._add(part, lines)
            lines += self.flush()
        self._add(rest, lines)
        return lines

    def flush(self) -> list[bytes]:
        """Return what is left of the last line: all of it, if the stream ended without a line break."""
        line = bytes(self._buffer).strip()
        rest, self._rest = self._rest, False
        self._buffer.clear()
        return [TRUNCATED + line if rest else line] if line else []

    def _add(self, part: bytes, lines: list[bytes]) -> None:
        buffer = self._buffer
        buffer += part
        start = 0
        while len(buffer) - start > self._limit:
            piece = bytes(buffer[start : start + self._limit])
            lines.append(TRUNCATED * self._rest + piece.strip() + TRUNCATED)
            self.cut += not self._rest
            self._rest = True
            start += self._limit
        del buffer[:start]


class LineProtocol(_Connected):
    """Logs over TCP: one line, one log. A connection that begins like an HTTP request is closed: a web page sent it."""

    def __init__(
        self,
        connections: Connections,
        splitter: LineSplitter,
        take: Callable[[list[bytes]], None],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connections)
        self._splitter = splitter
        self._take = take
        self._refused = refused
        self._begun = False
        self._closed = False

    def data_received(self, data: bytes) -> None:
        if self._closed or not (lines := self._splitter.feed(data)):
            return
        if not self._begun and (_REQUEST.fullmatch(lines[0])):
            self._closed = True
            self._splitter.flush()
            self._refused()
            if self._transport:
                self._transport.close()
            return
        self._begun = True
        self._take(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._closed and (lines := self._splitter.flush()):
            self._take(lines)


def _bind(sock: socket.socket, host: str, port: int, purpose: str, protocol: str) -> socket.socket:
    sock.setblocking(False)
    try:
        sock.bind((host, port))
        if protocol == "tcp":
            sock.listen(128)  # two may have bound before either listened
    except OverflowError:
        sock.close()
        raise LocalAgentError(f"{purpose}: there is no port {port}; write one from 0 to 65535.") from None
    except OSError as error:
        sock.close()
        raise LocalAgentError(_why_not(host, port, purpose, protocol, error)) from error
    return sock


def _why_not(host: str, port: int, purpose: str, protocol: str, error: OSError) -> str:
    where = f"{purpose}: cannot listen on {protocol} {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where}: the port is taken{_holder(port, protocol)}. "
            "Stop that process, or shift all ports with --port-offset 100."
        )
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need privileges. Shift all ports with --port-offset 10000."
    return f"{where}: {error.strerror or error}. Choose an address of this machine."


def _holder(port: int, protocol: str) -> str:
    """Return " by NAME (pid N)" if /proc tells, else a guess for Datadog's own ports."""
    if holder := holders.of_port(port, protocol):
        return f" by {holder}"
    if protocol == "tcp" and (holder := holders.of_connection(port)):
        return f" by a connection that {holder} has from it"
    if port in (8125, 8126, 5001):
        return ", probably by a Datadog Agent"
    return ""


def _in_use(path: str, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
