"""Log lines in memory, as they would have been written. State: a `LogCapture` per capture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import orjson

from .. import recorder
from ..output.logs.destinations import Destination

_SHOWN: Final = 60


class LogCapture:
    """The JSON lines written since the test began: of loguru, of the standard library's loggers and our own."""

    def __init__(self) -> None:
        self.destination = _Memory()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return every line as a dict, oldest first; the access lines of requests that have ended included."""
        if recorder.current is not None:
            recorder.current.catch_up()
        return [orjson.loads(line) for line in self.destination.written]

    def find(
        self,
        message: str | None = None,
        *,
        status: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the lines whose message contains `message` and whose fields are as given.

        `status` is Datadog's (`debug`, `info`, `ok`, `warning`, `error`, `critical`).
        """
        wanted = {**(fields or {}), **({"status": status} if status else {})}
        return [
            line
            for line in self.lines
            if (message is None or message in str(line.get("message", "")))
            and all(key in line and line[key] == value for key, value in wanted.items())
        ]

    def one(self, message: str | None = None, **criteria: Any) -> dict[str, Any]:
        """Return the one line that matches, as `find` does; fail if there is none, or more than one."""
        found = self.find(message, **criteria)
        if len(found) != 1:
            self._fail(f"{len(found)} lines match {_described(message, criteria)}, not 1.")
        return found[0]

    def assert_none(self, message: str | None = None, **criteria: Any) -> None:
        """Fail if a line matches, as `find` does."""
        found = self.find(message, **criteria)
        if found:
            self._fail(f"{len(found)} lines match {_described(message, criteria)}, where none should.")

    def clear(self) -> None:
        """Forget what was written so far."""
        self.lines  # noqa: B018 - what is still to be written comes first
        self.destination.written.clear()

    def _fail(self, problem: str) -> NoReturn:
        written = [line.decode() for line in self.destination.written]
        shown = [f"  {line}" if len(line) < 1000 else f"  {line[:1000]}..." for line in written[-_SHOWN:]]
        left_out = [f"  {len(written) - _SHOWN} lines before"] if len(written) > _SHOWN else []
        lines = "\n".join([*left_out, *shown]) or "  none"
        raise AssertionError(f"{problem}\nCaptured log lines:\n{lines}")


class _Memory(Destination):
    """A destination that has what it is given at once: no queue, no thread."""

    def __init__(self) -> None:
        super().__init__("a test's memory", limit=0)
        self.written: list[bytes] = []

    def _start(self) -> None:
        """Need no thread."""

    def put(self, line: bytes, urgent: bool = False) -> None:
        self.written.append(line)

    def put_many(self, lines: list[bytes]) -> None:
        self.written.extend(lines)

    def after_fork_in_child(self) -> None:
        self.written = []


def _described(message: str | None, criteria: Mapping[str, object]) -> str:
    parts = [f"{key}={value!r}" for key, value in criteria.items()]
    return ", ".join([*([repr(message)] if message is not None else []), *parts]) or "(any line)"
