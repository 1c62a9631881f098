"""Where code stands: frames and chains of awaits as `file:line in function`. No state but caches of file names.

A place is shortened to the last parts of its path that tell files apart. "User code" is what is neither the
standard library nor an installed package nor this one: the line that a reader can change.
"""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, Final

_OWN: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_DEPTH_LIMIT: Final = 60
_CHILDREN_SHOWN: Final = 5
#: Awaitables that show what they wait for to the garbage collector only.
_OPAQUE: Final = frozenset(
    {
        "FutureIter",
        "TaskWakeupMethWrapper",
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """One line of code: where something waits, or what holds the event loop."""

    file: str
    line: int
    function: str
    #: Where the function begins.
    first_line: int = 0

    def __str__(self) -> str:
        return f"{short_file(self.file)}:{self.line} in {self.function}"

    @property
    def location(self) -> str:
        """`file.py:function`: bounded by the code's size, so fit for a metric's tag."""
        return f"{os.path.basename(self.file)}:{self.function}"

    @property
    def kind(self) -> str:
        """`user`, `library` or `own` (this package)."""
        return kind_of(self.file)


@lru_cache(maxsize=4096)
def kind_of(file: str) -> str:
    """Return whose code a file is: `user`, `library` or `own` (this package)."""
    path = os.path.abspath(file)
    if path.startswith(_OWN):
        return "own"
    if file.startswith("<") or f"{os.sep}site-packages{os.sep}" in path or "dist-packages" in path:
        return "library"
    return "library" if path.startswith(_library_folders()) else "user"


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}
    return tuple(os.path.abspath(path) + os.sep for path in paths if path)


@lru_cache(maxsize=4096)
def short_file(file: str) -> str:
    """Return a file's path below the folder it is imported from, such as `reports/models.py`."""
    path = os.path.abspath(file) if not file.startswith("<") else file
    best = ""
    for folder in (*sys.path, *_library_folders()):
        root = os.path.abspath(folder or ".") + os.sep
        if len(root) > max(len(best), 1) and path.startswith(root):
            best = root
    return path[len(best) :] if best else os.sep.join(path.split(os.sep)[-3:])


def place_of(frame: FrameType) -> Place:
    """Return the place where a frame stands."""
    code = frame.f_code
    first = code.co_firstlineno
    return Place(code.co_filename, frame.f_lineno or first, code.co_qualname, first)


def place_of_code(code: CodeType) -> Place:
    """Return the place where a function begins."""
    return Place(code.co_filename, code.co_firstlineno, code.co_qualname, code.co_firstlineno)


def walk_frame(frame: FrameType | None) -> list[Place]:
    """Return the places of a running thread's stack, the innermost last."""
    places: list[Place] = []
    while frame is not None and len(places) < _DEPTH_LIMIT:
        places.append(place_of(frame))
        frame = frame.f_back
    places.reverse()
    return places


def innermost(places: Iterable[Place]) -> Place | None:
    """Return the innermost place in user code, or the innermost outside of this package, or None."""
    fallback = None
    for place in reversed(list(places)):
        if place.kind == "user":
            return place
        if fallback is None and place.kind == "library":
            fallback = place
    return fallback


# --- chains of awaits ---------------------------------------------------------------------------------------


def await_chain(awaitable: Any) -> tuple[list[Place], Any]:
    """Return the places where a suspended coroutine and what it awaits stand, and the innermost awaitable.

    Follows coroutines, generators, async generators and tasks. May be called from another thread than the
    coroutine's: one that runs, ends or has ended meanwhile gives a shorter chain.
    """
    places: list[Place] = []
    for _ in range(_DEPTH_LIMIT):
        frame, following = _inside(awaitable)
        if frame is not None:
            places.append(place_of(frame))
        if following is None:
            break
        awaitable = following
    return places, awaitable


def _inside(awaitable: Any) -> tuple[FrameType | None, Any]:
    """The frame of an awaitable, and what it waits for."""
    awaitable = getattr(awaitable, "stepped", awaitable)
    for prefix, waits_for in (("cr", "await"), ("ag", "await"), ("gi", "yieldfrom")):
        if hasattr(awaitable, f"{prefix}_frame"):
            frame = getattr(awaitable, f"{prefix}_frame")
            return frame, getattr(awaitable, f"{prefix}_{waits_for}", None) if frame is not None else None
    if hasattr(awaitable, "get_coro"):  # a task
        return None, awaitable.get_coro() if not awaitable.done() else None
    if type(awaitable).__name__ in _OPAQUE:
        return None, next((item for item in gc.get_referents(awaitable) if _is_awaitable(item)), None)
    return None, None


def _is_awaitable(item: Any) -> bool:
    return hasattr(item, "__await__") or hasattr(item, "ag_frame") or hasattr(item, "gi_yieldfrom")


def describe_wait(awaitable: Any) -> str:
    """Say what the innermost awaitable of a chain is: a sleep, a gathering of tasks, a future."""
    children = getattr(awaitable, "_children", None)
    if children:
        pending = [child for child in list(children) if not child.done()]
        inner = [_short_chain(child) for child in pending[:_CHILDREN_SHOWN]]
        more = f" and {len(pending) - len(inner)} more" if len(pending) > len(inner) else ""
        return f"{len(pending)} of {len(children)} gathered: {', '.join(inner)}{more}"
    return ""


def _short_chain(task: Any) -> str:
    places, _ = await_chain(task)
    place = innermost(places)
    return str(place) if place is not None else "not started"
