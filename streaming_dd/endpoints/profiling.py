"""A profile of the live process on demand: what its threads run, and where its tasks wait.

`take()` samples every thread's stack for some seconds, bounded in time, rate and size, and one at a time; the
result is a speedscope file (https://www.speedscope.app opens it in the browser) or a page of its own. Datadog's
continuous profiler is another thing, switched on by a setting (insight.py). State: the lock that keeps it to one.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from .. import recorder
from ..errors import ProfileBusyError, ProfileError
from ..output.redaction import mask
from ..tasks.measuring import waits
from ..tasks.measuring.stacks import Place, short_file, walk_frame
from ..tasks.measuring.steps import Meter

SECONDS_LIMIT: Final = 60.0
HZ_LIMIT: Final = 250.0
#: Stacks that one profile holds; equal ones in a row are one.
STACKS_LIMIT: Final = 50_000
_TASKS_LIMIT: Final = 200
#: Seconds between two looks at waiting tasks: they cost more than threads.
_TASKS_EVERY: Final = 0.1
_THREADS_LIMIT: Final = 64
#: Seconds that a running thread may keep the interpreter from the sampler. With Python's 5 ms the sampler would come
#: mostly where a thread gives way by itself: a busy event loop would seem to do nothing but select().
_SWITCHING: Final = 50e-6
_SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"

_taking: Final = threading.Lock()

Frame = tuple[str, str, int]


@dataclass(slots=True)
class Track:
    """The stacks of one thread, or of all waiting tasks: each with the seconds that it stood for."""

    name: str
    stacks: list[tuple[Frame, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, stack: tuple[Frame, ...], seconds: float) -> bool:
        """Add a stack, or its time to the last one; return whether the profile grew."""
        if self.stacks and self.stacks[-1] == stack:
            self.seconds[-1] += seconds
            return False
        self.stacks.append(stack)
        self.seconds.append(seconds)
        return True


@dataclass(slots=True)
class Profile:
    """What was sampled: a track per thread, and one for the waiting tasks."""

    name: str
    tracks: list[Track]
    samples: int
    #: Why it ended before its time, if it did.
    cut: str = ""

    def speedscope(self) -> bytes:
        """Return the profile as a speedscope file."""
        numbers: dict[Frame, int] = {}
        profiles = []
        for track in self.tracks:
            stacks = [[numbers.setdefault(frame, len(numbers)) for frame in stack] for stack in track.stacks]
            profiles.append(
                {
                    "type": "sampled",
                    "name": mask(track.name),
                    "unit": "seconds",
                    "startValue": 0,
                    "endValue": sum(track.seconds),
                    "samples": stacks,
                    "weights": track.seconds,
                }
            )
        return orjson.dumps(
            {
                "$schema": _SCHEMA,
                "name": f"{self.name} (cut: {self.cut})" if self.cut else self.name,
                "exporter": "streaming-dd",
                "activeProfileIndex": 0,
                "shared": {
                    "frames": [
                        {"name": mask(name), "file": file, "line": line} for name, file, line in numbers
                    ]
                },
                "profiles": profiles,
            }
        )

    def html(self) -> bytes:
        """Return the profile as a page of its own that loads nothing: a flame graph for each track."""
        tracks = "".join(
            f"<h2>{html.escape(mask(track.name))} <small>{sum(track.seconds):.2f} s</small></h2>{_flame(track)}"
            for track in self.tracks
        )
        cut = f"<p>Cut: {html.escape(self.cut)}</p>" if self.cut else ""
        title = html.escape(self.name)
        return (
            f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
            f"<h1>{title}</h1>{cut}{tracks}"
        ).encode()


def sample(seconds: float = 5.0, hz: float = 100.0, limit: int = STACKS_LIMIT) -> bytes:
    """Profile this process and return a speedscope file; see `take`."""
    return take(seconds, hz, limit).speedscope()


def take(seconds: float = 5.0, hz: float = 100.0, limit: int = STACKS_LIMIT) -> Profile:
    """Profile this process for `seconds` at `hz` samples a second; blocks, so call it in a thread.

    Raises ProfileError for numbers out of bounds, ProfileBusyError while another profile is being taken.
    """
    for name, value, most in (
        ("seconds", seconds, SECONDS_LIMIT),
        ("hz", hz, HZ_LIMIT),
        ("limit", limit, STACKS_LIMIT),
    ):
        if not 0 < value <= most:
            raise ProfileError(f"{name}: write a number above 0, at most {most:g}; {value!r} is not")
    if not _taking.acquire(blocking=False):
        raise ProfileBusyError("a profile is being taken already; ask again when it has ended")
    switching = sys.getswitchinterval()
    try:
        sys.setswitchinterval(_SWITCHING)
        return _Sampler(hz, limit).run(seconds)
    finally:
        sys.setswitchinterval(switching)
        _taking.release()


class _Sampler:
    """One taking of a profile."""

    def __init__(self, hz: float, limit: int) -> None:
        self._interval = 1 / hz
        self._room = limit
        self._threads: dict[int, Track] = {}
        self._waiting = Track("tasks: where they wait")
        self._tasks_at = 0.0

    def run(self, seconds: float) -> Profile:
        began = last = time.perf_counter()
        samples, cut = 0, ""
        while True:
            time.sleep(self._interval)
            now = time.perf_counter()
            passed, last = max(now - last, 0.0), now
            self._sample(passed)
            self._sample_tasks(now)
            samples += 1
            if self._room <= 0:
                cut = f"it held as many stacks as it may after {now - began:.1f} s"
                break
            if now - began >= seconds:
                break
            if (found := recorder.current) is not None and found.stopping:
                cut = "the process is shutting down"
                break
            # A sample of many threads may cost more than its share: a fifth of the time at most is ours.
            self._interval = max(self._interval, 4 * (time.perf_counter() - now))
        tracks = [track for track in (self._waiting, *self._threads.values()) if track.stacks]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        return Profile(
            f"{when} UTC, {samples} sample{'s' * (samples != 1)} in {now - began:.1f} s", tracks, samples, cut
        )

    def _sample(self, passed: float) -> None:
        own = threading.get_ident()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        tasks = _running_tasks()
        for thread, frame in sys._current_frames().items():
            if thread == own or (thread not in self._threads and len(self._threads) >= _THREADS_LIMIT):
                continue
            stack = tuple(_function(place) for place in walk_frame(frame))
            if thread in tasks:
                stack = ((tasks[thread], "", 0), *stack)
            track = self._threads.setdefault(thread, Track(f"thread {names.get(thread, thread)}"))
            self._room -= track.add(stack, passed)

    def _sample_tasks(self, now: float) -> None:
        passed = now - self._tasks_at
        if passed < _TASKS_EVERY:
            return
        first, self._tasks_at = not self._tasks_at, now
        found = recorder.current
        if first or found is None:
            return
        for run, _ in zip(found.tasks.live(), range(_TASKS_LIMIT), strict=False):
            places = waits.look(run.work, deep=False).awaits
            stack = ((f"task {run.kind.resource}", "", 0), *(_line(place) for place in places))
            self._room -= self._waiting.add(stack, passed)


def _running_tasks() -> dict[int, str]:
    """Which task's step holds the loop of which thread."""
    found: dict[int, str] = {}
    for meter in Meter.all():
        steps = meter.stepping
        kind: Any = getattr(steps.run, "kind", None) if steps is not None else None
        if kind is not None:
            found[meter.thread_id] = f"task {kind.resource}"
    return found


def _function(place: Place) -> Frame:
    """A frame of a running thread: its function, whatever the line."""
    return place.function, short_file(place.file), place.first_line


def _line(place: Place) -> Frame:
    """A frame that waits: the line is what one wants to know."""
    return f"{place.function}:{place.line}", short_file(place.file), place.line


# --- a flame graph --------------------------------------------------------------------------------------------

_STYLE: Final = """
body{font:14px system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}
h2 small{font-weight:normal;color:#666}
.f{display:flex;align-items:flex-start;width:100%}
.f>div{min-width:0;flex:none}
.f span{display:block;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;font-size:11px;line-height:17px;
height:17px;padding:0 3px;margin:0 1px 1px 0;border-radius:2px;background:#f3c98b}
.f .own,.f .t>span{background:#b9d6ee}
.f span:hover{outline:1px solid #222}
"""
#: Share of a track below which a frame is not drawn, and the depth to which frames are.
_LEAST: Final = 0.002
_DEPTH_LIMIT: Final = 80


class _Node:
    __slots__ = ("children", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.children: dict[Frame, _Node] = {}


def _flame(track: Track) -> str:
    root = _Node()
    for stack, seconds in zip(track.stacks, track.seconds, strict=True):
        node = root
        node.seconds += seconds
        for frame in stack[:_DEPTH_LIMIT]:
            node = node.children.setdefault(frame, _Node())
            node.seconds += seconds
    return f'<div class="f">{"".join(_boxes(root, root.seconds))}</div>'


def _boxes(node: _Node, total: float) -> Iterable[str]:
    for (name, file, line), child in sorted(node.children.items(), key=lambda item: -item[1].seconds):
        if child.seconds < total * _LEAST:
            continue
        share = 100 * child.seconds / node.seconds
        name = mask(name)
        text = f"{name} ({file}:{line}) {child.seconds:.3f} s, {100 * child.seconds / total:.1f}%"
        kind = ' class="t"' if not file else ""
        yield f'<div{kind} style="width:{share:.3f}%"><span title="{html.escape(text)}">{html.escape(name)}</span>'
        yield f'<div class="f">{"".join(_boxes(child, total))}</div></div>'
