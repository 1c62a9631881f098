"""An answer of an endpoint, and how it goes over the wire. No state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..http_exchange import Send

JSON: Final = "application/json"
_DEPTH: Final = 12
#: What is larger would be written with digits that readers of JSON refuse.
_NUMBER_LIMIT: Final = 1e300


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of a response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send, *, head: bool) -> None:
        """Send it; for HEAD without its body."""
        headers = [
            (b"content-type", self.content_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def answer(status: int, content: Mapping[str, object], *headers: tuple[bytes, bytes]) -> Answer:
    """Return an answer with JSON."""
    return Answer(status, encode(content), headers=headers)


def encode(content: object) -> bytes:
    """Return JSON, whatever the content: what JSON has no word for becomes text, what is no finite number null."""
    try:
        return json.dumps(content, allow_nan=False, default=str).encode()
    except Exception:  # noqa: BLE001 - the application's values may raise anything while they are read
        return json.dumps(_plain(content, 0)).encode()


def _plain(content: Any, depth: int) -> object:
    if content is None or isinstance(content, bool | str):
        return content
    if isinstance(content, int | float):
        return content if abs(content) < _NUMBER_LIMIT else None  # NaN is not
    if depth >= _DEPTH:  # or it contains itself
        return "..."
    if isinstance(content, Mapping):
        return {_text(key): _plain(value, depth + 1) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in content]
    return _text(content)


def _text(content: object) -> str:
    try:
        return str(content)
    except Exception:  # noqa: BLE001 - a broken __str__ of the application's
        return f"<{type(content).__name__}>"
