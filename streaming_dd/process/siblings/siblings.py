"""A worker among the others of its server: it joins, publishes, answers and asks. State: in each `Siblings`.

Nothing is ever shown that has not been published first. So what a worker has told is still there when it is stopped,
hangs, or is killed a moment later, and no total goes down. docs/decisions/0101.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

from ...config import Config
from ...output.notices import say
from ..private_folder import private_folder, safe_name
from .calls import CallError, Handler, Listener, ask
from .identity import alive, group, look, why_alone
from .shelf import SOCKET, Member, Shelf, clean_up

#: Seconds for which one that did not answer in time is not waited for again.
_PENANCE: Final = 2.0
#: How many recorders this process has had that joined: a name is never used twice.
_numbers: Final = count()


class Content(Protocol):
    """What a worker has to say of itself, in bytes that only the content's own module understands."""

    def state(self, *, last: bool) -> bytes:
        """Return what is to be known of this worker also when it cannot answer; with `last` it goes in order."""

    def merge(self, states: list[bytes]) -> bytes:
        """Add states of workers that have ended up to one."""

    def died(self, state: bytes, living: list[bytes]) -> None:
        """Learn that a worker is gone, what it had said last, and what those say that live."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A worker that lives and gave no answer: its slot, its pid, why, and what it had published last."""

    slot: str
    pid: int
    why: str
    state: bytes | None = None


@dataclass(slots=True)
class Answers:
    """What the other workers said: by slot, those that are silent, and the states of those that have ended."""

    by_slot: dict[str, bytes] = field(default_factory=dict)
    silent: list[Silent] = field(default_factory=list)
    ended: list[bytes] = field(default_factory=list)


class Siblings:
    """The other workers of this process' server."""

    def __init__(self, config: Config, content: Content) -> None:
        self._config = config
        self._content = content
        self._handlers: dict[str, Handler] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._shelf: Shelf | None = None
        self._listener: Listener | None = None
        self._name = ""
        self._left = False
        self._published: bytes | None = None
        self._due = float("-inf")
        self._late: dict[str, float] = {}

    def handle(self, question: str, handler: Handler) -> None:
        """Answer this question of siblings by `handler`, called in a thread with the question's arguments."""
        self._handlers[question] = handler

    @property
    def joined(self) -> bool:
        """Whether this worker is one of several, or may become so."""
        return self._shelf is not None and self._pid == os.getpid()

    # --- coming and going -------------------------------------------------------------------------------------

    def join(self, slot: str) -> None:
        """Meet the other workers, if there is a server that has several; say so once where that cannot be."""
        if self._shelf is not None:
            return
        name = group(self._config)
        if name is None:
            why = why_alone(self._config)
            if why:
                self._say_alone(why, logging.INFO)
            return
        found = look(os.getpid())
        assert found is not None  # or there were no group
        service = safe_name(self._config.service or "default")
        self._name = f"{found.process}-{next(_numbers)}-{safe_name(slot)}"
        try:
            folder = private_folder(service, name)
            shelf = Shelf(folder)
            clean_up(folder.parent, folder)
            if name.startswith("named-"):
                shelf.forget()  # where nobody lives the server was started anew
            self._listener = Listener(folder / (self._name + SOCKET), self._handlers)
        except OSError as error:
            self._say_alone(str(error), logging.WARNING)
            return
        self._shelf = shelf
        self.publish()

    @staticmethod
    def _say_alone(why: str, level: int) -> None:
        say(
            "siblings",
            f"the workers of this server cannot meet ({why}): /metrics and /stats tell of one worker each",
            level=level,
        )

    def leave(self) -> None:
        """Publish for the last time, and answer no more: the process ends, or begins anew."""
        if not self.joined:
            return
        self._left = True
        self.publish()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def job(self, now: float) -> None:
        """Called by the recorder's thread: look for the dead, every flush interval."""
        if not self.joined or now < self._due:
            return
        self._due = now + self._config.flush_interval
        self.bury()

    def publish(self) -> bytes:
        """Publish this worker's state, and return it."""
        with self._lock:
            state = self._content.state(last=self._left)
            shelf = self._shelf
            if shelf is None or not self.joined:
                return state
            try:
                if state == self._published:
                    shelf.still(self._name)
                else:
                    shelf.put(self._name, state)
                    self._published = state
            except OSError as error:
                say(
                    "siblings:publish",
                    f"what this worker counts cannot be written for its siblings ({error}): if it dies, its totals go down",
                )
            return state

    def bury(self) -> None:
        """Keep what those have counted that have ended, and take their files away."""
        if self._shelf is None:
            return
        shelf = self._shelf
        try:
            buried = shelf.fold(self._content.merge)
            members = shelf.members()[0] if buried else []
            living = [state for one in members if (state := shelf.get(one)) is not None]
        except OSError as error:
            say("siblings:bury", f"workers that have ended cannot be added up ({error})")
            return
        for _, state in buried:
            self._content.died(state, living)

    # --- asking -----------------------------------------------------------------------------------------------

    def ask(
        self, question: str, limit: float, slot: str | None = None, *, fresh: float = -1, **arguments: Any
    ) -> Answers:
        """Ask every other worker, or the one of this slot; blocks for `limit` seconds at most.

        One that is stopped, or was late a moment ago, is not waited for. What one has published in the last `fresh` seconds
        is taken for its answer, and costs it nothing.
        """
        answers = Answers()
        shelf = self._shelf
        if shelf is None or not self.joined:
            return answers
        try:
            members, sockets = shelf.members()
            found = [one for one in members if one.name != self._name and slot in (None, one.slot)]
            living = self._ask_living(shelf, found, sockets, {"ask": question, **arguments}, limit, fresh)
            gone = {one.name: state for one in found if one not in living and (state := shelf.get(one))}
            ended = (
                shelf.ended()
            )  # after all others: whoever was moved there meanwhile is in it, and counts no more
        except OSError as error:
            say("siblings:ask", f"the folder of this server's workers cannot be read ({error})")
            return answers
        answers.ended = [state for name, state in gone.items() if name not in ended.names]
        if ended.body:
            answers.ended.append(ended.body)
        for one, result in living.items():
            if one.name in ended.names:
                continue
            if isinstance(result, Silent):
                answers.silent.append(result)
            else:
                answers.by_slot[_free(answers.by_slot, one.slot)] = result
        return answers

    def _ask_living(
        self,
        shelf: Shelf,
        members: list[Member],
        sockets: set[str],
        question: Mapping[str, Any],
        limit: float,
        fresh: float,
    ) -> dict[Member, bytes | Silent]:
        now = time.monotonic()
        looked = {one: seen for one in members if one.name in sockets and (seen := alive(one.process))}
        problems = {one: "is stopped" for one, seen in looked.items() if seen.stopped}
        for one in looked:
            if self._late.get(one.name, 0) > now:
                problems.setdefault(one, "did not answer a moment ago")
        asked = [one for one in looked if one not in problems]
        results: dict[str, bytes | CallError] = {
            one.name: data for one in asked if (data := shelf.fresh(one, fresh)) is not None
        }
        paths = {one.name: shelf.folder / (one.name + SOCKET) for one in asked if one.name not in results}
        results |= ask(paths, question, limit)
        living: dict[Member, bytes | Silent] = {}
        for one in looked:
            result = results.get(one.name, CallError(problems.get(one, "")))
            if isinstance(result, bytes):
                self._late.pop(one.name, None)
                living[one] = result
            elif str(result) != "is gone" and alive(one.process) is not None:
                if one not in problems:
                    self._late[one.name] = time.monotonic() + _PENANCE
                living[one] = Silent(one.slot, one.process.pid, str(result), shelf.get(one))
        return living


def _free(taken: Mapping[str, object], slot: str) -> str:
    """A name for a worker: several have one slot where a setting gives it to all of them."""
    name, number = slot, 2
    while name in taken:
        name, number = f"{slot}.{number}", number + 1
    return name
