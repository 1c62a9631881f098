"""Where a task waits now: the chain of its awaits, those of the asyncio tasks it started, and its threads. No state.

Everything here may be called from any thread while the task runs, ends or has ended; it touches no event loop.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Final

from .stacks import Place, await_chain, describe_wait, innermost, walk_frame
from .work import Stepping, Work

_CHILDREN_LIMIT: Final = 5
_THREADS_LIMIT: Final = 3


@dataclass(slots=True)
class Wait:
    """Where one run stands: outermost place first; this package's own frames are left out."""

    awaits: list[Place] = field(default_factory=list)
    #: What the innermost await waits for, where it can be told.
    target: str = ""
    #: The chains of the asyncio tasks that the run started, a few of them, and how many there are.
    children: list[list[Place]] = field(default_factory=list)
    children_count: int = 0
    #: The stacks of the executor threads that work for the run.
    threads: list[list[Place]] = field(default_factory=list)
    running: bool = False

    @property
    def at(self) -> str:
        """The place to look at, in one line: the innermost line of user code, and what that is waiting in."""
        text = _spot(self.awaits)
        if self.running:
            text = f"running {text}" if text else "running"
        for stack in self.threads[:1]:
            text += f"; its thread is at {_spot(stack)}"
        if not self.threads and self.children:
            ours = (
                "one task of its own"
                if self.children_count == 1
                else f"{self.children_count} tasks of its own"
            )
            text += f"; {ours} at {_spot(self.children[0])}"
        return text or "not started"

    def lines(self) -> list[str]:
        """Return the whole chain, a place a line, the innermost last; children and threads below it."""
        lines = [str(place) for place in self.awaits]
        if self.target:
            lines.append(self.target)
        for number, chain in enumerate(self.children, 1):
            lines += [f"task {number} of {self.children_count}: {place}" for place in chain]
        for stack in self.threads:
            lines += [f"thread: {place}" for place in stack]
        return lines


def look(work: Work, *, deep: bool = True) -> Wait:
    """Return where a run stands now; with `deep`, its child tasks and threads as well."""
    wait = Wait()
    main = work.main
    if main is None:
        return wait
    places, awaited = await_chain(main)
    wait.awaits = _visible(places)
    thread = main.holds()
    wait.running = thread is not None
    if thread is not None:
        wait.awaits = _running(thread) or wait.awaits
    wait.target = describe_wait(awaited)
    if deep:
        _look_deeper(work, wait)
    return wait


def _look_deeper(work: Work, wait: Wait) -> None:
    started = work.children.copy() if work.children is not None else ()
    children = [steps for ref in started if (steps := ref()) is not None and _is_live(steps)]
    wait.children_count = len(children)
    wait.children = [_visible(await_chain(child)[0]) for child in children[:_CHILDREN_LIMIT]]
    if work.threads:
        frames = sys._current_frames()
        for thread in list(work.threads)[:_THREADS_LIMIT]:
            frame = frames.get(thread)
            if frame is not None:
                places = _visible(walk_frame(frame))
                start = next((at for at, place in enumerate(places) if place.kind == "user"), 0)
                wait.threads.append(places[start:])


def _running(thread: int) -> list[Place]:
    """The stack of the step that holds the loop in this thread, from the task's own code inwards."""
    places = walk_frame(sys._current_frames().get(thread))
    outer = [at for at, place in enumerate(places) if place.kind == "own"]
    return places[outer[-1] + 1 :] if outer else []


def _is_live(steps: Stepping) -> bool:
    return getattr(steps, "cr_frame", None) is not None


def _visible(places: list[Place]) -> list[Place]:
    return [place for place in places if place.kind != "own"]


def _spot(places: list[Place]) -> str:
    place = innermost(places)
    if place is None:
        return ""
    last = places[-1]
    return str(place) if last is place else f"{place}, waiting in {last}"
