"""Whether a path is the application's own: then its answer passes, and ours is not served. docs/decisions/0062.

The application is asked itself, once for each path: a route table would not tell of mounted applications, and some
applications have none. State: the answers, in each `Ownership`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterator
from typing import Final

from ..middleware import SCOPE_KEY, App
from ..output import tracing
from ..output.notices import say
from ..requests.messages import Message, Scope

_NOT_FOUND: Final = 404
#: Seconds that the application may take to finish an answer whose status is known.
_GRACE: Final = 0.5


class Ownership:
    """What an application answers itself, path by path."""

    def __init__(self, app: App, timeout: float) -> None:
        self._app = app
        self._timeout = timeout
        self._known: dict[str, bool] = {}
        self._asking: dict[str, asyncio.Task[bool | None]] = {}

    async def is_the_apps(self, scope: Scope, path: str) -> bool:
        """Return whether the application has an answer of its own at `path`, which is one of ours."""
        known = self._known.get(path)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        asking = self._asking.get(path)
        if asking is None or asking.get_loop() is not loop:
            asking = self._asking[path] = loop.create_task(self._find_out(scope, path))
        found = await asyncio.shield(asking)
        self._asking.pop(path, None)
        if found is None:
            return False  # not known yet: ours is served, and the next request asks again
        self._known[path] = found
        return found

    async def _find_out(self, scope: Scope, path: str) -> bool | None:
        try:
            with tracing.dropped_spans("endpoints.ask"), _unlogged():
                async with asyncio.timeout(self._timeout):
                    owned = await self._is_owned(scope, path)
        except TimeoutError:
            say(f"asked:{path}", f"the application did not say within {self._timeout:g} s if it has {path}")
            return None
        if owned:
            say(
                f"owned:{path}",
                f"the application has {path} itself and keeps it; STREAMING_ENDPOINTS_REPLACE serves ours instead",
            )
        return owned

    async def _is_owned(self, scope: Scope, path: str) -> bool:
        status = await _Question(scope, path).ask(self._app)
        if status == _NOT_FOUND:
            return False
        # An application that answers everything alike (a login page, a page for all paths) owns nothing here.
        return status != await _Question(scope, f"{path}-{secrets.token_hex(8)}").ask(self._app)


class _Unseen:
    """Stands where the middleware looks for a request's exchange: a question is neither counted nor logged."""

    noted_route: str | None = None

    def foretell(self) -> None:
        """Do nothing: there is no span."""


class _NotOurs(logging.Filter):
    """Keeps the 404 of a question out of Django's log: an operator would look for whoever asked."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is of a real request."""
        scope = getattr(getattr(record, "request", None), "scope", None)
        return not (isinstance(scope, dict) and isinstance(scope.get(SCOPE_KEY), _Unseen))


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    logger, own = logging.getLogger("django.request"), _NotOurs()
    logger.addFilter(own)
    try:
        yield
    finally:
        logger.removeFilter(own)


class _Question:
    """One GET that nobody sent: all that counts is the status."""

    def __init__(self, scope: Scope, path: str) -> None:
        root_path = scope.get("root_path", "")
        full = root_path + path if root_path and scope["path"].startswith(root_path) else path
        self.scope = {
            **scope,
            "method": "GET",
            "path": full,
            "raw_path": full.encode(),
            "query_string": b"",
            SCOPE_KEY: _Unseen(),
        }
        self._status = 0
        self._told = False
        self._answered = asyncio.Event()

    async def ask(self, app: App) -> int:
        """Return the status of the answer; 500 if the application raises before it has one."""
        answer = asyncio.ensure_future(app(self.scope, self._receive, self._send))
        answer.add_done_callback(lambda _: self._answered.set())
        try:
            await self._answered.wait()
            await asyncio.wait({answer}, timeout=_GRACE)
        finally:
            answer.cancel()  # a stream goes on
        if answer.done() and not answer.cancelled():
            answer.exception()  # the application's own fault; looked at, so that asyncio does not report it
        return self._status or 500

    async def _receive(self) -> Message:
        if not self._told:
            self._told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._answered.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._answered.set()
