"""A `View` as lines of text, drawn in place on a terminal or printed as a block every few seconds.

State: a `Screen` that has the terminal switched to its second page, until its block ends.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Self, TextIO

from .view import Failure, Node, TaskRow, View

_ESCAPE = re.compile(r"(\x1b\[[0-9;?]*[a-zA-Z])")
#: Everything that a terminal would act on; log messages and tags may hold whatever a client sent.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_OUTCOMES = {
    "completed": "green",
    "failed": "red",
    "error": "red",
    "cancelled": "yellow",
    "client_disconnect": "yellow",
}
#: Seconds between two blocks where the output is no terminal, and between two pictures where it is one.
BLOCK_EVERY, DRAW_EVERY = 5.0, 0.5
#: Characters of a span's resource that are shown; SQL can be long.
RESOURCE = 60


class Ink:
    """Colours, or none."""

    def __init__(self, colours: bool) -> None:
        self.colours = colours

    def __call__(self, text: object, *styles: str) -> str:
        """Return text in these styles, without its control characters."""
        clean = _CONTROL.sub("·", str(text))
        codes = ";".join(_STYLES[style] for style in styles if style)
        return f"\x1b[{codes}m{clean}\x1b[0m" if self.colours and codes else clean


def lines(view: View, ink: Ink, title: Sequence[str], height: int | None = None) -> list[str]:
    """Return the picture in at most `height` lines; where it is too small the traces give way."""
    head = [
        f"{ink(title[0], 'bold')}   {ink(f'{view.seconds:.0f} s', 'dim')}",
        *(ink(line, "dim") for line in title[1:]),
    ]
    received = " · ".join(f"{count} {what}" for what, count in view.received.items())
    traces = _traces(view.traces, ink)
    blocks = [
        head,
        _requests(view, ink),
        _tasks(view.tasks, ink),
        traces,
        _failure(view.failure, ink),
        [ink(f"received  {received}", "dim")],
    ]
    room = math.inf if height is None else height
    needed = sum(map(len, blocks))
    gap = [""] if needed + len(blocks) - 1 <= room else []
    if needed > room:
        del traces[max(1, int(len(traces) - (needed - room))) :]
    drawn = [line for block in blocks for line in (*block, *gap)]
    return drawn[: len(drawn) - len(gap)] if height is None else drawn[:height]


def _requests(view: View, ink: Ink) -> list[str]:
    share = ink(f"{view.error_share:.1%}", "bold", "red" if view.errors else "")
    closed = ", ".join(
        f"{ink(name, _OUTCOMES.get(name, ''))} {count}" for name, count in view.streams_closed.items()
    )
    clients = (
        f"{ink(view.clients, 'bold')} client{'s' * (view.clients != 1)} now, {view.clients_peak} seen at once"
    )
    slowest = ", ".join(f"{ink(route)} {_ms(p95)}" for route, p95 in view.slowest)
    return [
        f"requests  {ink(f'{view.per_second:.1f}/s', 'bold')}, {view.requests} so far, errors {share} ({view.errors})",
        f"          p95 to first byte {ink(_ms(view.ttfb_p95_ms), 'bold')}; slowest: {slowest or 'none yet'}",
        f"streams   {clients}; closed: {closed or 'none yet'}; {view.websockets} WebSocket{'s' * (view.websockets != 1)}",
    ]


def _tasks(rows: list[TaskRow], ink: Ink) -> list[str]:
    head = (
        f"{'tasks':<16}{'started':>9}{'completed':>11}{'failed':>8}{'cancelled':>11}{'active':>8}{'p95':>10}"
    )
    drawn = [ink(head, "dim")]
    for row in rows:
        drawn.append(
            f"{ink(f'{row.model[:15]:<16}')}{row.started:>9}"
            f"{ink(f'{row.completed:>11}', 'green' if row.completed else '')}"
            f"{ink(f'{row.failed:>8}', 'red' if row.failed else '')}"
            f"{ink(f'{row.cancelled:>11}', 'yellow' if row.cancelled else '')}"
            f"{ink(f'{row.active:>8}', 'bold' if row.active else '')}{_ms(row.p95_ms):>10}"
        )
    if rows:
        total = [
            sum(values) for values in zip(*(tuple(vars(row).values())[1:6] for row in rows), strict=True)
        ]
        drawn.append(f"{ink('all', 'bold'):<{len(ink('all', 'bold')) + 13}}" + "".join(
            f"{number:>{width}}" for number, width in zip(total, (9, 11, 8, 11, 8), strict=True)
        ))  # fmt: skip
    return drawn


def _traces(traces: list[Node], ink: Ink) -> list[str]:
    drawn = [ink("last traces" if traces else "last traces: none yet", "dim")]
    for tree in traces:
        drawn += _tree(tree, 0, ink)
    return drawn


def _tree(node: Node, depth: int, ink: Ink) -> Iterator[str]:
    indent = "  " + "   " * (depth - 1)
    yield f"{indent}{'⇢ ' if node.linked else '└ ' if depth else ''}{_span(node, depth == 0, ink)}"
    for child in node.children:
        yield from _tree(child, depth + 1, ink)
    if node.left_out:
        yield ink(f"{indent}{'   ' if depth else ''}└ and {node.left_out} more", "dim")


def _span(node: Node, root: bool, ink: Ink) -> str:
    span, meta = node.span, node.span.meta
    outcome = meta.get("task.status") or meta.get("stream.outcome") or meta.get("http.status_code") or ""
    style = "red" if span.error else _OUTCOMES.get(outcome, "")
    resource = span.resource if len(span.resource) <= RESOURCE else span.resource[: RESOURCE - 1] + "…"
    trace = f"  trace {span.trace_id[-8:]}" if root or node.linked else ""
    took = _ms(span.duration_ns / 1e6)
    return f"{ink(span.name, 'cyan')} {ink(resource)}  {took}  {ink(outcome, style)}{ink(trace, 'dim')}"


def _failure(failure: Failure | None, ink: Ink) -> list[str]:
    if failure is None:
        return [ink("last error: none yet", "dim")]
    drawn = [
        f"{ink('last error', 'dim')}  {ink(failure.kind.rpartition('.')[2], 'red', 'bold')}: {ink(failure.message)}",
        f"  {ink(f'trace {failure.trace_id}', 'dim')}",
    ]
    for log in failure.lines:
        level = str(log.get("status", "")).upper()
        style = "red" if level in ("ERROR", "CRITICAL") else ""
        moment = str(log.get("timestamp", ""))[11:23]
        drawn.append(f"  {ink(moment, 'dim')} {ink(f'{level:<8}', style)}{ink(log.get('message', ''))}")
    return drawn


def _ms(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "-"
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.1f} ms"


def clip(line: str, width: int) -> str:
    """Cut a line to so many characters; escape sequences take no room."""
    kept, room = [], width
    for part in _ESCAPE.split(line):
        if _ESCAPE.fullmatch(part):
            kept.append(part)
        else:
            kept.append(part[:room])
            room -= len(kept[-1])
    return "".join(kept)


class Screen:
    """Draws views: in place on a terminal, else as blocks."""

    def __init__(self, title: Sequence[str], out: TextIO = sys.stdout) -> None:
        self.title = title
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.ink = Ink(self.live and not os.environ.get("NO_COLOR"))
        self.every = DRAW_EVERY if self.live else BLOCK_EVERY

    def __enter__(self) -> Self:
        if self.live:
            self._write("\x1b[?1049h\x1b[?25l")  # second page, no cursor
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live:
            self._write("\x1b[?25h\x1b[?1049l")

    def draw(self, view: View) -> None:
        """Draw a view."""
        if not self.live:
            drawn = lines(view, self.ink, self.title)
            self._write("\n".join(["", *(line.rstrip() for line in drawn if line), ""]))
            return
        size = shutil.get_terminal_size((100, 40))
        shown = [clip(line, size.columns) for line in lines(view, self.ink, self.title, size.lines - 1)]
        self._write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
