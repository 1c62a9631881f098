"""One rule for ends, of requests, streams and WebSockets: who ended it decides, whatever it shows by. No state."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..catalog import StreamOutcome

#: Classes by which frameworks and servers say that the client has gone (Starlette, uvicorn, websockets;
#: gunicorn over HTTP/2, where the connection breaks within a send).
_LEFT: Final = frozenset(
    {"ClientDisconnect", "WebSocketDisconnect", "ClientDisconnected", "HTTP2ConnectionError"}
)
_CANCELLED: Final = frozenset({"CancelledError", "GeneratorExit", "Cancelled"})
#: How deep into the causes of an exception is looked.
_CAUSES: Final = 5


def of_error(
    error: BaseException, *, stopping: bool, by_send: Callable[[BaseException], bool]
) -> StreamOutcome:
    """Return the outcome of what ended by an exception.

    `by_send` tells whether an exception came out of the server's send(): the client is gone then. Of a group, a single
    failure makes an error.
    """
    outcomes = {_of_one(leaf, stopping, by_send) for leaf in leaves(error)}
    if "error" in outcomes:
        return "error"
    return "client_disconnect" if "client_disconnect" in outcomes else "server_shutdown"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group, however deep, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _of_one(error: BaseException, stopping: bool, by_send: Callable[[BaseException], bool]) -> StreamOutcome:
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            break
        if says_left(type(cause)) or by_send(cause):
            return "client_disconnect"
        cause = cause.__cause__
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "server_shutdown" if stopping else "client_disconnect"
    return "error"


def of_name(name: str, *, stopping: bool) -> StreamOutcome:
    """Return the outcome of what ended by an exception of which only the qualified name is known."""
    name = name.rpartition(".")[2]
    if name in _LEFT:
        return "client_disconnect"
    if name in _CANCELLED:
        return "server_shutdown" if stopping else "client_disconnect"
    return "error"


def says_left(kind: type[BaseException]) -> bool:
    """Return whether exceptions of this class say that the client has gone."""
    return any(base.__name__ in _LEFT for base in kind.__mro__)


def raised_by(send: Any, error: BaseException) -> bool:
    """Return whether an OSError came out of the server's send(), as ASGI 2.4 has it, not out of the app's own work."""
    code = getattr(send, "__code__", None)
    if code is None or not isinstance(error, OSError):
        return False
    last = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        last = frame.f_code
        if last is code:
            return True
    return last is not None and last.co_filename == code.co_filename
