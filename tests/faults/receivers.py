"""An Agent of the tests that can be away, be stuck, be slow or refuse, and that keeps exact counts of what it took."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from free_ports import free_port

_LINE = re.compile(r"([A-Za-z][\w.]*):([^|]+)\|(\w+)([^\n]*)")
_RATE = re.compile(r"\|@([\d.e-]+)")
#: By what a receiver learns that nothing is on its way to it any more.
_LAST = b"settled"
#: Linux' SO_RCVBUFFORCE, which Python does not name.
_RCVBUFFORCE = 33
#: Seconds that a slow receiver takes for each thing it is given.
_SLOWLY = 0.1


def end(one: socket.socket) -> None:
    """Close a socket, and wake whoever waits for something from it."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class Receiver:
    """What is common: the fault in force, and the threads that serve."""

    def __init__(self) -> None:
        self.fault = ""
        self.mended = threading.Event()
        self.mended.set()
        self._threads: list[threading.Thread] = []

    def begin(self, fault: str) -> None:
        """Be faulty from now on."""
        self.mended.clear()
        self.fault = fault
        if fault == "away":
            self.go()

    def mend(self) -> None:
        """Be well again."""
        if self.fault == "away":
            self.come()
        self.fault = ""
        self.mended.set()

    def settle(self) -> None:
        """Wait for what is on its way from a process that has ended, unless a fault is in force: it is for good."""

    def arrived(self) -> int:
        """Return of how much that the load has made everything is here."""
        raise NotImplementedError

    def await_all(self, made: int, patience: float) -> None:
        """Wait until so much of the load has arrived."""
        deadline = time.monotonic() + patience
        while self.arrived() < made:
            assert time.monotonic() < deadline, f"{type(self).__name__}: {self.arrived()} of {made}"
            time.sleep(0.01)

    def close(self) -> None:
        """Leave nothing behind."""
        self.mended.set()
        self.go()
        for thread in self._threads:
            thread.join(60)

    def go(self) -> None:
        """Go away: nobody listens at the address any more."""
        raise NotImplementedError

    def come(self) -> None:
        """Come back, at the same address."""
        raise NotImplementedError

    def hold(self) -> None:
        """Take as long as the fault in force makes it take."""
        if self.fault == "stuck":
            self.mended.wait(60)
        elif self.fault == "slow":
            self.mended.wait(_SLOWLY)

    def _spawn(self, run: Any, *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


class Statsd(Receiver):
    """DogStatsD by UDP, unix datagram or unix stream: what each metric's samples come to, rates counted in."""

    def __init__(self, transport: str, folder: Path) -> None:
        super().__init__()
        self.transport = transport
        self.path = str(folder / "dsd.socket")
        self.port = free_port()  # for every time that it comes
        self.totals: Counter[str] = Counter()
        self._readers: list[threading.Thread] = []
        self._settled = threading.Event()
        self.come()

    @property
    def address(self) -> str:
        scheme = {"udp": "udp", "unix datagram": "unixgram", "unix stream": "unixstream"}[self.transport]
        return f"udp://127.0.0.1:{self.port}" if scheme == "udp" else f"{scheme}://{self.path}"

    def come(self) -> None:
        if self.transport == "udp":
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._make_room()
            self._socket.bind(("127.0.0.1", self.port))
            self.port = self._socket.getsockname()[1]
        else:
            stream = self.transport == "unix stream"
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
            with contextlib.suppress(FileNotFoundError):
                Path(self.path).unlink()
            self._socket.bind(self.path)
            if stream:
                self._socket.listen()
        self._taken: list[socket.socket] = []
        self._first = self._spawn(
            self._accept if self.transport == "unix stream" else self._receive, self._socket
        )

    def go(self) -> None:
        end(self._socket)
        self._first.join(60)  # it may just have taken one more
        for one in self._taken:
            end(one)

    def _make_room(self) -> None:
        """Have the kernel keep all of an outage, however slow the machine: what it throws away nobody hears of."""
        for option in (socket.SO_RCVBUF, _RCVBUFFORCE):
            with contextlib.suppress(OSError):  # the larger one needs a privilege
                self._socket.setsockopt(socket.SOL_SOCKET, option, 8 << 20)

    def arrived(self) -> int:
        return min(self.totals["load.rows"], self.totals["load.render"])

    def settle(self) -> None:
        if self.fault:
            return
        if self.transport == "unix stream":
            with socket.socket(socket.AF_UNIX) as last:  # taken after all others
                last.connect(self.path)
                last.sendall(len(_LAST).to_bytes(4, "little") + _LAST)
        else:
            with socket.socket(self._socket.family, socket.SOCK_DGRAM) as last:
                last.sendto(_LAST, self._socket.getsockname())
        assert self._settled.wait(60)
        for thread in self._readers:
            thread.join(60)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken = listening.accept()[0]
                self._taken.append(taken)
                self._readers.append(self._spawn(self._read, taken))

    def _read(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError), taken.makefile("rb") as file:
            while head := file.read(4):
                self.take(file.read(int.from_bytes(head, "little")))
                self.hold()

    def _receive(self, bound: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := bound.recv(65536):
                self.take(data)
                self.hold()

    def take(self, data: bytes) -> None:
        if data == _LAST:
            self._settled.set()
            return
        for name, values, kind, rest in _LINE.findall(data.decode()):
            numbers = [float(value) for value in values.split(":")]
            rate = _RATE.search(rest)
            if kind == "c":
                self.totals[name] += int(sum(numbers))
            elif kind in ("d", "ms", "h"):
                self.totals[name] += round(len(numbers) / (float(rate[1]) if rate else 1.0))


class Traces(Receiver):
    """The trace intake, at a port or at a unix socket: how many spans of each operation it took."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.spans: Counter[str] = Counter()
        self.path = path
        self.port = free_port()  # for every time that it comes
        self.taken: list[socket.socket] = []
        self._bodies: set[bytes] = set()
        self.come()

    def come(self) -> None:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                receiver.hold()
                if receiver.fault == "stuck":
                    return  # it is taken away as it is
                code = int(receiver.fault) if receiver.fault.isdigit() else 200
                if code == 200 and self.path.endswith("/traces"):
                    receiver.take(body)
                answer = json.dumps({}).encode()
                with contextlib.suppress(OSError):  # it had no patience
                    self.send_response(code)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_POST = do_PUT

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                taken, address = super().get_request()
                receiver.taken.append(taken)
                return taken, address

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client has left

        class UnixServer(Server):
            address_family = socket.AF_UNIX

            def server_bind(self) -> None:  # which looks for the name of a host
                self.socket.bind(self.server_address)

        if self.path is None:
            self._server: Server = Server(("127.0.0.1", self.port), Handler)
            self.port = self._server.server_port
        else:
            self._server = UnixServer(str(self.path), Handler)  # type: ignore[arg-type]
        self._spawn(self._server.serve_forever, 0.05)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}" if self.path is None else f"unix://{self.path}"

    def go(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self.taken:  # or clients go on by those that they keep alive
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.taken.clear()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def arrived(self) -> int:
        return self.spans["task.run"]

    def take(self, body: bytes) -> None:
        if body in self._bodies:  # posted again, since the answer came too late
            return
        self._bodies.add(body)
        for trace in msgspec.msgpack.decode(body, strict=False):
            self.spans.update(span["name"] for span in trace)


class Lines(Receiver):
    """The log intake: the complete lines that it took."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: Counter[int] = Counter()
        self._readers: list[threading.Thread] = []
        self._settled = threading.Event()
        self.port = free_port()  # for every time that it comes
        self.come()

    def come(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.port = self._socket.getsockname()[1]
        self._taken: list[socket.socket] = []
        self._first = self._spawn(self._accept, self._socket)

    def go(self) -> None:
        end(self._socket)
        self._first.join(60)  # it may just have taken one more
        for one in self._taken:
            end(one)

    def arrived(self) -> int:
        return len(self.numbers)

    def settle(self) -> None:
        if self.fault:
            return
        with socket.create_connection(("127.0.0.1", self.port)) as last:  # taken after all others
            last.sendall(_LAST + b"\n")
        assert self._settled.wait(60)
        for thread in self._readers:
            thread.join(60)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken = listening.accept()[0]
                self._taken.append(taken)
                self._readers.append(self._spawn(self._read, taken))

    def _read(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError), taken, taken.makefile("rb") as file:
            for line in file:
                if line.strip() == _LAST:
                    self._settled.set()
                elif line.endswith(b"\n"):
                    found = json.loads(line)
                    if "number" in found:
                        self.numbers[found["number"]] += 1
                if self.fault == "resets":
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return  # both ends of the file and the socket close: a reset
                if self.fault == "stuck":
                    self.hold()
                elif self.fault == "slow":
                    self.mended.wait(_SLOWLY / 20)
