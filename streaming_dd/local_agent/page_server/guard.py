"""What stands before the page and its API: Host check, body limit, security headers. No state.

The page listens on this machine only, but any web page in the user's browser can send requests here: DNS rebinding is
stopped by the Host check, cross-site writes by demanding JSON (which needs a preflight that nobody answers), or the type
of an export where one is imported.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import export

MAX_BODY = 1024 * 1024
IMPORT = "/api/import"
LOCAL_HOSTS = frozenset(("127.0.0.1", "localhost", "[::1]"))
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware; `hosts` are allowed beside the names of this machine's loopback, "*" allows any."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = LOCAL_HOSTS | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = 0
        most = export.MAX_FILE if scope["path"] == IMPORT else MAX_BODY

        async def limited_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, f"the request's body is larger than {most} bytes")
            return message

        async def secured_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        app = PlainTextResponse(refusal, 400) if refusal else self.app
        await app(scope, limited_receive, secured_send)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        if name.lower() not in self.hosts and "*" not in self.hosts:
            return "unknown Host: open the page by the address that the agent printed"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "requests from other sites are refused"
        if scope["method"] in ("GET", "HEAD"):
            return ""
        wanted = export.MEDIA_TYPE if scope["path"] == IMPORT else "application/json"
        if headers.get("content-type", "").partition(";")[0] != wanted:
            return f"send it with Content-Type: {wanted}"
        return ""
