"""Asking the agent's API, and keeping an answer small enough for a model's window. No state beside the address."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError

from ...errors import LocalAgentError

MAX_ANSWER = 24_000
"""Characters of one answer; lists are cut from their end until it fits, and `left_out` says by how much."""
MAX_TEXT = 2_000
"""Characters of one value; of a stack the last ones, where the exception is."""
TIMEOUT = 10.0

Answer = dict[str, Any]
Mask = Callable[[str, str], str]
"""Returns a text, given the key that it stands under, as it may be shown to a model."""
_DIRECT = urllib.request.build_opener(
    urllib.request.ProxyHandler({})
)  # the agent is here, whatever the proxy


class Agent:
    """An agent's HTTP API at `address` (`http://127.0.0.1:8181`)."""

    def __init__(self, address: str, mask: Mask = lambda key, text: text) -> None:
        self.address = address
        self.mask = mask

    async def get(self, path: str, **parameters: Any) -> Answer:
        """Return the answer of `/api/<path>`; `ToolError`, which the client reads, if the agent refuses."""
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        asked = f"{path}?{urllib.parse.urlencode(given)}" if given else path
        try:
            return await asyncio.to_thread(self.get_now, asked)
        except LocalAgentError as error:
            raise ToolError(str(error)) from None

    def get_now(self, path: str, timeout: float = TIMEOUT) -> Answer:
        """Do the same, and wait for it; raises `LocalAgentError`."""
        try:
            with _DIRECT.open(f"{self.address}/api/{path}", timeout=timeout) as answer:
                found: Answer = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise LocalAgentError(_reason(error)) from None
        except (OSError, ValueError) as error:
            raise LocalAgentError(f"no agent answers at {self.address}: {error}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        told = json.load(error)
    except ValueError:
        return f"the agent answered with status {error.code}"
    at = f" (at character {told['position']})" if told.get("position") else ""
    return f"{told.get('error', error.code)}{at}"


def bounded(answer: Answer, mask: Mask) -> Answer:
    """Return an answer of at most `MAX_ANSWER` characters, masked: long values cut, then the longest lists halved."""
    short: Answer = _cut(answer, mask)
    left_out: dict[str, int] = {}
    while len(json.dumps(short)) > MAX_ANSWER:
        lists = [found for found in _lists(short, "") if len(found[1]) > 1]
        if not lists:
            return {"error": "one entry is too large: ask for less", "left_out": left_out}
        name, longest = max(lists, key=lambda found: len(json.dumps(found[1])))
        keep = len(longest) // 2
        left_out[name] = left_out.get(name, 0) + len(longest) - keep
        del longest[keep:]
    return {**short, "left_out": left_out} if left_out else short


def _cut(value: Any, mask: Mask, key: str = "") -> Any:
    """Return a value with its texts masked and cut; a copy, lists and objects included."""
    if isinstance(value, dict):
        return {name: _cut(inner, mask, str(name)) for name, inner in list(value.items())[:200]}
    if isinstance(value, list | tuple):
        return [_cut(inner, mask, key) for inner in value]
    if isinstance(value, str):
        value = mask(key, value)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        if "stack" in key:
            return f"({len(value) - MAX_TEXT} characters before) {value[-MAX_TEXT:]}"
        return f"{value[:MAX_TEXT]} ({len(value) - MAX_TEXT} characters more)"
    return value


def _lists(value: Any, name: str) -> Iterator[tuple[str, list[Any]]]:
    if isinstance(value, list):
        yield name, value
        for inner in value:
            yield from _lists(inner, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _lists(inner, f"{name}.{key}".lstrip("."))
