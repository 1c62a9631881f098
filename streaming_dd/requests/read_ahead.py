"""The receiving side of a request or WebSocket, and listening for the client's disconnect where the app does not.

State: one `Receiving` per connection, one `ReadAhead` per connection whose app does not listen. Messages are handed to
the app as they came, one by one, when it asks for them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final

from ..output.failure import shown
from ..output.notices import say
from .messages import Message, Receive
from .watch import Watch

#: Messages that are read before the application asks; with so many waiting, nobody listens any more.
_MESSAGES: Final = 16
_BYTES: Final = 65_536


class ReadAhead:
    """Receive in place of the application, as long as it does not."""

    __slots__ = ("_heard", "_inbox", "_receive", "_size", "_task", "_waiter")

    def __init__(self, receive: Receive, heard: Callable[[Message], bool]) -> None:
        self._receive = receive
        #: Told of each message at once; whether to go on listening.
        self._heard = heard
        self._inbox: deque[Message] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        # Without the context of the request: it would be kept as long as the server has something to say.
        self._task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            self._listen(), context=Context()
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting here, and nobody listens: the application may ask the server itself."""
        return not self._inbox and self._task.done()

    async def receive(self) -> Message:
        """Return the next message: one that has come, or the next that does. Adds no checkpoint of its own."""
        while not self._inbox:
            if self._task.done():
                return await self._receive()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._inbox.popleft()

    async def _listen(self) -> None:
        try:
            while len(self._inbox) < _MESSAGES and self._size < _BYTES:
                message = await self._receive()
                self._inbox.append(message)
                self._size += len(message.get("bytes") or message.get("text") or b"")
                again = self._heard(message)
                self._wake()
                if not again:
                    return
        except Exception as error:  # noqa: BLE001 - the app will meet the same error in its own receive()
            say("listen", f"waiting for a client's disconnect failed: {shown(error)}")
        finally:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def stop(self) -> None:
        """Listen no longer: the request is over."""
        self._task.cancel()


class Receiving:
    """What the app receives of one connection. Times are `time.perf_counter()` seconds."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_server_receive",
        "_watch",
        "closed",
        "gone",
        "receiving",
        "started",
    )

    _server_receive: Receive
    _watch: Watch
    _ahead: ReadAhead | None
    #: The app has received something since the last look.
    _asked: bool
    #: The client is known to be gone; the app waits in receive() now; the end was counted.
    gone: bool
    receiving: bool
    closed: bool
    started: float

    def begin(self, receive: Receive, watch: Watch) -> None:
        """Set what the fields are at first, and be looked at from here on."""
        self._server_receive = receive
        self._watch = watch
        self._ahead = None
        self._asked = self.gone = self.receiving = self.closed = False
        self.started = time.perf_counter()
        watch.add(self)

    async def receive(self) -> Message:
        """Pass the server's next message on, and note it. Adds no checkpoint of its own."""
        self.receiving = True
        try:
            ahead = self._ahead
            if ahead is None:
                message = await self._server_receive()
            else:
                message = await ahead.receive()
                if ahead.idle:
                    self._ahead = None
        finally:
            self.receiving = False
            if self._watch.settled:
                self._watch.renew(self)
        self._asked = True
        self.app_got(message)
        return message

    def look(self) -> bool:
        """Listen for the client's disconnect in place of an app that does not; True once somebody does."""
        if self.gone or self.receiving or self.closed or (self._ahead is not None and not self._ahead.idle):
            return True
        if self._asked:  # it receives now and then
            self._asked = False
            return False
        if not self.may_listen():
            return False
        self._ahead = ReadAhead(self._server_receive, self.heard)
        return True

    def stop_listening(self) -> None:
        """Leave the server's receive() alone: the app has returned."""
        if self._ahead is not None:
            self._ahead.stop()

    def app_got(self, message: Message) -> None:
        """Note a message that the app receives."""
        raise NotImplementedError

    def heard(self, message: Message) -> bool:
        """Note a message that waits for the app; whether to go on listening."""
        raise NotImplementedError

    def may_listen(self) -> bool:
        """Whether reading ahead of the app leaves what it receives as it is."""
        raise NotImplementedError

    def close(self, error: BaseException | None) -> None:
        """End it, unless it has ended."""
        raise NotImplementedError
