"""An answer of an endpoint, and how it goes over the wire. No state."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from ..output import redaction
from ..requests.messages import Send

JSON: Final = "application/json"
_DEPTH: Final = 12
_QUERY_LIMIT: Final = 1000
#: What is larger would be written with digits that readers of JSON refuse.
_NUMBER_LIMIT: Final = 1e300


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of a response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def pack(self) -> bytes:
        """Return the answer as bytes, for a sibling that passes it on."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        return json.dumps([self.status, self.content_type, headers]).encode() + b"\n" + self.body

    @classmethod
    def unpack(cls, data: bytes) -> Answer:
        """Return the answer that a sibling gave."""
        head, _, body = data.partition(b"\n")
        status, content_type, headers = json.loads(head)
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        return cls(status, body, content_type, pairs)

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


def asked(scope: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Return those of a request's query parameters that are known here."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1")[:_QUERY_LIMIT])
    return {name: value for name, value in query if name in known}


def encode(content: object) -> bytes:
    """Return JSON, whatever the content: what JSON has no word for becomes text, what is no finite number null.

    Secrets in texts are masked, whoever put them there: a task's id, an event's type, a tag, an exception's text.
    """
    return json.dumps(_plain(content, 0)).encode()


def _plain(content: Any, depth: int) -> object:
    if content is None or isinstance(content, bool):
        return content
    if isinstance(content, str):
        return redaction.mask(content)
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
        return redaction.mask(str(content))
    except Exception:  # noqa: BLE001 - a broken __str__ of the application's
        return f"<{type(content).__name__}>"
