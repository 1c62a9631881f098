"""Answers piece by piece, in the form of the chat-completions API that language models are asked by.

Nothing is asked here: the words are always the same. What is real is the stream, and what is said of it.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import streaming_dd as dd

MODEL: Final = "reports-parrot"
WORDS: Final = tuple(
    f"{word} " for word in ("The", "north", "sold", "most", "of", "all", "regions", "in", "every", "month")
)
#: Seconds to the first token, and between two.
THINKS: Final = 0.25
PACE: Final = 0.05
HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def answer(request: Request) -> Response:
    """Answer a conversation: POST, JSON, `{"model": ..., "messages": [...], "stream": true, "max_tokens": 20}`."""
    try:
        asked: Any = json.loads(await request.body())
    except ValueError:
        raise HTTPException(400, "the body is no JSON") from None
    if not isinstance(asked, dict) or not asked.get("messages") or asked.get("stream") is not True:
        raise HTTPException(400, 'write {"messages": [...], "stream": true}')
    limit = asked.get("max_tokens", len(WORDS))
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise HTTPException(400, "max_tokens: write a whole number from 1 on")
    return StreamingResponse(_stream(limit), media_type="text/event-stream", headers=HEADERS)


async def _stream(limit: int) -> AsyncIterator[bytes]:
    """Yield who speaks, a chunk for each token, one that says why it ends, and `[DONE]`."""
    chunk, stream = _chunks(), dd.current_stream()
    await asyncio.sleep(THINKS)
    yield chunk({"role": "assistant", "content": ""})
    for word in WORDS[:limit]:
        yield chunk({"content": word})
        stream.count("tokens")
        await asyncio.sleep(PACE)
    reason = "length" if limit < len(WORDS) else "stop"
    stream.finish(reason)
    yield chunk({}, reason)
    yield b"data: [DONE]\n\n"


def _chunks() -> Callable[..., bytes]:
    """Return a function that encodes one chunk of an answer."""
    answer = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": MODEL,
    }

    def encode(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**answer, 'choices': [choice]})}\n\n".encode()

    return encode
