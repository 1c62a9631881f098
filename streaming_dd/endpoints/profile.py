"""/stats/profile: a profile of the live process, for who may read /stats. State: the thread that takes one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from ..errors import ProfileBusyError, ProfileError
from ..process.off_loop import OffLoop
from . import profiling
from .answers import Answer, answer
from .workers import Workers, no_worker

_SECONDS: Final = 5.0
_HZ: Final = 100.0
#: Seconds that a sibling may take beyond the profile itself.
_GRACE: Final = 10.0
_FORMATS: Final = ("speedscope", "html")
#: The page has styles of its own and nothing else: no script, nothing from elsewhere.
_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'"


class Profiles:
    """Take one profile at a time, off the event loop; of this worker, or of a sibling."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._thread = OffLoop("streaming-dd-profile")
        workers.siblings.handle("profile", lambda question: _taken(**question).pack())

    async def answer(self, scope: Mapping[str, Any]) -> Answer:
        """Answer `?seconds=5&hz=100&format=speedscope` (or `html`, `worker=2`) when the profile has been taken."""
        try:
            query = _asked(scope)
            worker = query.pop("worker", self._workers.slot)
            seconds, hz = _number(query, "seconds", _SECONDS), _number(query, "hz", _HZ)
            form = query.get("format", _FORMATS[0])
            future = self._thread.start(self._take, seconds, hz, form, worker)
            if future is None:
                raise ProfileBusyError("a profile is being taken already; ask again when it has ended")
            return await asyncio.wrap_future(future)
        except ProfileBusyError as error:
            return answer(409, {"error": str(error)})
        except ProfileError as error:
            return answer(400, {"error": str(error)})

    def _take(self, seconds: float, hz: float, form: str, worker: str) -> Answer:
        if worker == self._workers.slot or not 0 < seconds <= profiling.SECONDS_LIMIT:
            return _taken(seconds, hz, form)  # which says what is wrong with the seconds
        limit = seconds + _GRACE
        answers = self._workers.siblings.ask("profile", limit, worker, seconds=seconds, hz=hz, form=form)
        for data in answers.by_slot.values():
            return Answer.unpack(data)
        return no_worker(worker, answers.silent)


def _taken(seconds: float, hz: float, form: str) -> Answer:
    """Take a profile of this worker; blocks."""
    try:
        profile = profiling.take(seconds, hz)
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


def _asked(scope: Mapping[str, Any]) -> dict[str, str]:
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")[:1000]))
    unknown = query.keys() - {"seconds", "hz", "format", "worker"}
    if unknown:
        raise ProfileError(f"there is no {sorted(unknown)[0]!r}: write seconds=, hz=, format= and worker=")
    form = query.get("format", _FORMATS[0])
    if form not in _FORMATS:
        raise ProfileError(f"format: write {' or '.join(_FORMATS)}; {form!r} is none")
    return query


def _number(query: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(query.get(name, default))
    except ValueError:
        raise ProfileError(f"{name}: write a number; {query[name]!r} is none") from None
