"""What every answer of the page's API has in common: JSON, a range, a limit, a search, shortened texts.

State: one `Lately` per agent.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...assets.query_language import Search, parse_search
from ..holdings import Holdings

MAX_MESSAGE = 4_000
"""Characters of a message and of an attribute in lists; `/api/logs/{id}` has the whole."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class JSON(Response):
    """A JSON answer that no cache keeps."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """`content` is what to encode, or bytes that are JSON already."""
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        super().__init__(body, status_code, {"Cache-Control": "no-store", **(headers or {})})


class Lately:
    """Answers that took long, given again to whoever asks the same: readers get a tenth of the loop's time, however many.

    State: the last `MOST_ANSWERS` of them. An answer is good for `TIMES` the seconds of processor that it took, `LONGEST` at
    most; one that was quick is made anew.
    """

    TIMES, LONGEST, QUICK, MOST_ANSWERS = 10, 5.0, 0.02, 20

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cost: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock, self._cost = clock, cost
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()

    def answer(self, key: Hashable, make: Callable[[], Any]) -> bytes:
        """Return what was made for the key lately, or make it."""
        until, body = self._kept.get(key, (0.0, b""))
        if self._clock() < until:
            return body
        began = self._cost()
        body = msgspec.json.encode(make())
        if (took := self._cost() - began) > self.QUICK:
            self._kept[key] = self._clock() + min(self.LONGEST, self.TIMES * took), body
            self._kept.move_to_end(key)
            if len(self._kept) > self.MOST_ANSWERS:
                self._kept.popitem(last=False)
        return body


def time_range(held: Holdings, request: Request) -> tuple[float, float]:
    """Return the range that a request asks for, at most 24 h; 400 for what is none."""
    query, now = request.query_params, held.clock()
    try:
        end = float(query["end"]) if "end" in query else now + 1  # what carries this very moment is in
        if "start" in query:
            start = float(query["start"])
        else:
            found = re.fullmatch(r"(\d{1,6})([smhd])", query.get("range", "15m"))
            if found is None:
                raise ValueError
            start = end - int(found[1]) * UNITS[found[2]]
    except ValueError:
        raise HTTPException(400, "write a range as range=15m, or start= and end= in epoch seconds") from None
    if not start < end or not abs(start) + abs(end) < 1e11:
        raise HTTPException(400, "the range's start must lie before its end")
    return max(start, end - 86_400), end


def limit(request: Request, default: int, most: int) -> int:
    """Return the `limit` that a request asks for, at most `most`; 400 for what is none."""
    return min(integer(request, "limit") or default, most)


def integer(request: Request, name: str) -> int | None:
    """Return a parameter that is a whole number, None if it is not given."""
    text = request.query_params.get(name, "")
    if text and not re.fullmatch(r"\d{1,18}", text):
        raise HTTPException(400, f"{name} must be a whole number")
    return int(text) if text else None


def search_of(request: Request) -> Search | None:
    """Return the parsed `query`; `QueryError` (answered as 400 with the position) for what is none."""
    text = request.query_params.get("query", "").strip()
    if len(text) > 2_000:
        raise HTTPException(400, "the query is longer than 2000 characters")
    return parse_search(text) if text else None


def short_log(log: dict[str, Any]) -> dict[str, Any]:
    """Return a log for a list; `cut` is the length of a message that was shortened."""
    message = log["message"]
    short = {**log, "message": message[:MAX_MESSAGE], "attributes": shortened(log["attributes"])}
    if len(message) > MAX_MESSAGE:
        short["cut"] = len(message)
    return short


def shortened(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes for a list: the first 256, long values cut."""
    return {key: _short(value) for key, value in list(attributes.items())[:256]}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_MESSAGE]
    if isinstance(value, Sequence | dict) and len(text := msgspec.json.encode(value)) > MAX_MESSAGE:
        return text[:MAX_MESSAGE].decode("utf-8", "replace")
    return value
