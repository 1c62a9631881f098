"""Questions between workers over unix sockets: one thread that answers, and asking many at once within a limit.

A frame is a magic word with the version, a length, and JSON (a question) or a status and bytes (an answer). Whoever asks and
whoever answers makes sure that the other one is of the same user. State: the listening socket of a `Listener`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from ...output.failure import shown
from ...output.notices import say
from ..off_loop import OffLoop

#: Two workers that speak another version of this do not understand each other.
MAGIC: Final = b"SDD1"
_HEAD: Final = struct.Struct("<4sI")
_CREDENTIALS: Final = struct.Struct("3i")
_QUESTION_LIMIT: Final = 65_536
_ANSWER_LIMIT: Final = 256_000_000
#: Seconds that one who has connected may take to ask, and to take the answer.
_PATIENCE: Final = 2.0
#: Questions that are answered at a time in threads of their own.
_AT_ONCE: Final = 8
_OK, _FAILED = b"\0", b"\1"

Handler = Callable[[Mapping[str, Any]], bytes]


class CallError(Exception):
    """Why a worker gave no answer, in words for whoever asked."""


class Listener:
    """Answer the questions of siblings. `handlers` maps what is asked to a function of the arguments."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._threads = OffLoop("streaming-dd-sibling", _AT_ONCE)
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            with _short(path) as name:
                self._socket.bind(name)
            self._socket.listen(64)
        except OSError:
            self._socket.close()
            raise
        threading.Thread(target=self._accept, name="streaming-dd-siblings", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # A thread for each: a profile takes seconds, and health is asked meanwhile.
            if not _same_user(connection) or self._threads.start(self._serve, connection) is None:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(_PATIENCE)
                magic, size = _HEAD.unpack(_read(connection, _HEAD.size))
                if magic != MAGIC or size > _QUESTION_LIMIT:
                    return  # the one who asked sees by our silence that this is another version
                question = orjson.loads(_read(connection, size))
                status, answer = self._answer(question)
                connection.sendall(_HEAD.pack(MAGIC, 1 + len(answer)) + status + answer)
            except (OSError, ValueError, struct.error):
                return  # it gave up waiting

    def _answer(self, question: dict[str, Any]) -> tuple[bytes, bytes]:
        handler = self._handlers.get(question.pop("ask"))
        if handler is None:
            return _FAILED, b"it does not know the question"
        try:
            return _OK, handler(question)
        except Exception as error:  # noqa: BLE001 - the fault is said here, whoever asked gets its name
            say("siblings:answer", f"a sibling's question was not answered: {shown(error)}", exc_info=True)
            return _FAILED, f"it failed: {type(error).__name__}".encode()


class _Call:
    """One question on its way."""

    def __init__(self, path: Path, frame: bytes) -> None:
        self.result: bytes | CallError | None = None
        self._rest = frame
        self._got = bytearray()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        try:
            with _short(path) as name:
                self.socket.connect(name)
        except BlockingIOError:
            self._fail("does not answer")  # so many wait for it already
        except OSError:
            self._fail("is gone")
        else:
            if not _same_user(self.socket):
                self._fail("is another user's")

    def _fail(self, problem: str) -> None:
        self.result = CallError(problem)

    def write(self) -> bool:
        """Send what can be sent; return whether it was the last of it."""
        try:
            self._rest = self._rest[self.socket.send(self._rest) :]
        except OSError:
            self._fail("hung up")
        return not self._rest

    def read(self) -> None:
        """Take what has come."""
        ended = False
        try:
            while data := self.socket.recv(1 << 20):
                self._got += data
        except BlockingIOError:
            pass
        except OSError:
            self._fail("hung up")
            return
        else:
            if not self._got:
                self._fail("hung up")
                return
            if len(self._got) < _HEAD.size or self._got[:4] != MAGIC:
                self._fail("speaks another version")
                return
            ended = True
        if len(self._got) >= _HEAD.size:
            self._take()
        if ended and self.result is None:  # in the middle of its answer
            self._fail("hung up")

    def _take(self) -> None:
        magic, size = _HEAD.unpack_from(self._got)
        if magic != MAGIC or size > _ANSWER_LIMIT:
            self._fail("speaks another version")
        elif len(self._got) >= _HEAD.size + size:
            body = bytes(self._got[_HEAD.size : _HEAD.size + size])
            if body[:1] == _OK:
                self.result = body[1:]
            else:
                self._fail(body[1:].decode(errors="replace"))


def ask(paths: Mapping[str, Path], question: Mapping[str, Any], limit: float) -> dict[str, bytes | CallError]:
    """Ask everyone behind these sockets at once; whoever has not answered within `limit` seconds is a CallError."""
    text = orjson.dumps(question)
    frame = _HEAD.pack(MAGIC, len(text)) + text
    calls = {name: _Call(path, frame) for name, path in paths.items()}
    deadline = time.monotonic() + limit
    with selectors.DefaultSelector() as selector:
        for call in calls.values():
            if call.result is None:
                selector.register(call.socket, selectors.EVENT_WRITE, call)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, events in selector.select(left):
                call = key.data
                if events & selectors.EVENT_WRITE:
                    if call.write():
                        selector.modify(call.socket, selectors.EVENT_READ, call)
                else:
                    call.read()
                if call.result is not None:
                    selector.unregister(call.socket)
    for call in calls.values():
        call.socket.close()
    late = CallError(f"did not answer within {limit:g} s")
    return {name: late if call.result is None else call.result for name, call in calls.items()}


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError("the connection ended")
        data += more
    return bytes(data)


def _same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is of this user; the folder keeps everybody else but root out anyway."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(data)[1] == os.getuid())


@contextlib.contextmanager
def _short(path: Path) -> Any:
    """A name for a socket's path that fits into the 107 bytes of an address."""
    if len(os.fsencode(path)) <= 107:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
