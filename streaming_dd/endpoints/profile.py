"""/stats/profile: a profile of the live process, for who may read /stats. State: the thread that takes one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from .. import profiling
from ..errors import ProfileBusyError, ProfileError
from ..off_loop import OffLoop
from .answers import Answer, answer

_SECONDS: Final = 5.0
_HZ: Final = 100.0
_FORMATS: Final = ("speedscope", "html")
#: The page has styles of its own and nothing else: no script, nothing from elsewhere.
_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'"


class Profiles:
    """Take one profile at a time, off the event loop."""

    def __init__(self) -> None:
        self._thread = OffLoop("streaming-dd-profile")

    async def answer(self, scope: Mapping[str, Any]) -> Answer:
        """Answer `?seconds=5&hz=100&format=speedscope` (or `html`) when the profile has been taken."""
        try:
            seconds, hz, form = _asked(scope)
            future = self._thread.start(profiling.take, seconds, hz)
            if future is None:
                raise ProfileBusyError("a profile is being taken already; ask again when it has ended")
            profile = await asyncio.wrap_future(future)
        except ProfileBusyError as error:
            return answer(409, {"error": str(error)})
        except ProfileError as error:
            return answer(400, {"error": str(error)})
        if form == "html":
            return Answer(
                200, profile.html(), "text/html; charset=utf-8", ((b"content-security-policy", _POLICY),)
            )
        name = b'attachment; filename="profile.speedscope.json"'
        return Answer(200, profile.speedscope(), headers=((b"content-disposition", name),))


def _asked(scope: Mapping[str, Any]) -> tuple[float, float, str]:
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")[:1000]))
    unknown = query.keys() - {"seconds", "hz", "format"}
    if unknown:
        raise ProfileError(f"there is no {sorted(unknown)[0]!r}: write seconds=, hz= and format=")
    form = query.get("format", _FORMATS[0])
    if form not in _FORMATS:
        raise ProfileError(f"format: write {' or '.join(_FORMATS)}; {form!r} is none")
    return _number(query, "seconds", _SECONDS), _number(query, "hz", _HZ), form


def _number(query: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(query.get(name, default))
    except ValueError:
        raise ProfileError(f"{name}: write a number; {query[name]!r} is none") from None
