"""The fault matrix: every way out of a process, broken in every way, with what was lost, said, waited.

`PYTHONPATH=tests python tests/faults/matrix.py docs/faults.md` measures and writes it. State: none; a cell is a
process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receivers import Lines, Receiver, Statsd, Traces

PROGRAM = Path(__file__).parent / "steady_load.py"
METRICS = ("UDP", "unix datagram", "unix stream")
TRACES = ("traces", "traces, unix socket")
#: Seconds that STREAMING_SHUTDOWN_TIMEOUT gives the end.
LIMIT = 2.0
#: Seconds for what takes no time but on a busy machine.
PATIENCE = 60.0
#: Cells that are measured at a time: most of their time they wait.
AT_ONCE = 6
#: What is kept of each kind in an outage that is longer than there is room: timings, lines, and a hundredth of the bytes.
ROOM = 60


@dataclass(frozen=True)
class Cell:
    """One way out (or all, or none), one fault: `for good` is one that nobody mends."""

    outlet: str
    fault: str
    room: int = 0
    mended: bool = True

    def __str__(self) -> str:
        return f"{self.outlet}: {self.fault}{', no room' if self.room else ''}{'' if self.mended else ', for good'}"


@dataclass
class Outcome:
    """What a cell came to, by kind: counts, timings, spans, lines."""

    made: int
    lost: dict[str, int]
    #: Reason -> how many; those of lines apart.
    said: dict[str, int]
    lines_said: dict[str, int]
    lag: float
    exit: float
    doubled: int = 0
    output: str = field(default="", repr=False)


def _cells() -> Iterable[Cell]:
    yield Cell("none", "well")
    for outlet in (*METRICS, *TRACES, "logs"):
        for fault in ("away", "stuck", "slow"):
            yield Cell(outlet, fault)
        yield Cell(outlet, "away", room=ROOM)
        yield Cell(outlet, "away", mended=False)
        yield Cell(outlet, "stuck", mended=False)
    for status in ("413", "429", "500", "503"):
        yield Cell("traces", status)
        yield Cell("traces", status, mended=False)
    yield Cell("logs", "resets")
    for fault in ("away", "stuck", "slow"):
        yield Cell("all", fault)
    yield Cell("all", "away", room=ROOM)
    yield Cell("all", "away", mended=False)
    yield Cell("all", "stuck", mended=False)


CELLS = tuple(_cells())


def measure(cell: Cell) -> Outcome:
    """Run the program, break what the cell says, mend it, and compare what was made with what arrived."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        statsd = Statsd(cell.outlet.replace("UDP", "udp") if cell.outlet in METRICS else "udp", Path(folder))
        traces = Traces(Path(folder) / "apm.socket" if cell.outlet == TRACES[1] else None)
        lines = Lines()
        broken: list[Receiver] = {
            "none": [],
            "all": [statsd, traces, lines],
            **{outlet: [traces] for outlet in TRACES},
            "logs": [lines],
        }.get(cell.outlet, [statsd])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DD_", "STREAMING_", "OTEL_"))}
        env = {
            **kept,
            "TMPDIR": folder,
            "DD_SERVICE": "load",
            "DD_DOGSTATSD_URL": statsd.address,
            "DD_TRACE_AGENT_URL": traces.address,
            "DD_TRACE_API_VERSION": "v0.4",
            "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "STREAMING_FLUSH_INTERVAL": "0.2",
            "STREAMING_LOG_AGENT": f"127.0.0.1:{lines.port}",
            "STREAMING_LOG_STDOUT": "false",
            # Who has mended what was broken waits for nobody at the end, but for a busy machine.
            "STREAMING_SHUTDOWN_TIMEOUT": str(LIMIT if broken and not cell.mended else PATIENCE),
            **({"ROOM": str(cell.room), "STREAMING_LOG_QUEUE": str(cell.room)} if cell.room else {}),
        }
        program = subprocess.Popen(
            [sys.executable, str(PROGRAM)], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said: list[str] = []
        try:
            made = _until(program, "break", said)
            for receiver in (statsd, traces) if cell.room else (statsd, traces, lines):
                receiver.await_all(made, PATIENCE)
            if cell.room:  # of its lines some are lost, and it is not known how many
                time.sleep(0.8)
            for receiver in broken:  # while nothing is made: what was just sent would be lost unseen
                receiver.begin(cell.fault)
            _go_on(program)
            _until(program, "mend", said)
            if cell.mended:
                for receiver in broken:
                    receiver.mend()
            _go_on(program)
            _until(program, "end", said)
            ended = time.monotonic()
            rest = _rest(program)
            took = time.monotonic() - ended
            for receiver in (statsd, lines):
                receiver.settle()
        finally:
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                assert pipe is not None
                pipe.close()
            for receiver in (statsd, traces, lines):
                receiver.close()
        output = "".join(said) + rest
        found: dict[str, Any] = next(
            (json.loads(line) for line in output.splitlines() if line.startswith('{"made"')), {}
        )
        assert found, (program.returncode, output)
        made: int = found["made"]
        return Outcome(
            made=made,
            lost={
                "counts": made - statsd.totals["load.rows"],
                "timings": made - statsd.totals["load.render"],
                "spans": made - traces.spans["task.run"],
                "lines": made - len(lines.numbers),
            },
            said=found["dropped"],
            lines_said=found["lines"],
            lag=found["lag"],
            exit=took,
            doubled=sum(lines.numbers.values()) - len(lines.numbers),
            output=output,
        )


def _until(program: subprocess.Popen[str], word: str, said: list[str]) -> int:
    """Read what the program says up to this word; return how much it has made."""
    assert program.stdout is not None
    for line in program.stdout:
        first, _, made = line.strip().partition(" ")
        if first == word:
            return int(made or 0)
        said.append(line)
    raise AssertionError(f"it ended before {word!r}: {''.join(said)}")


def _rest(program: subprocess.Popen[str]) -> str:
    """Read up to the program's end; `communicate()` would miss what has been read with a line before."""
    assert program.stdout is not None
    late = threading.Timer(90, program.kill)
    late.start()
    try:
        return program.stdout.read()
    finally:
        late.cancel()
        program.wait()


def _go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def table(outcomes: dict[Cell, Outcome]) -> str:
    """Return the matrix in Markdown."""
    rows = [
        "| way out | fault | lost | said | worst lag of the loop, ms | exit, s |",
        "|---|---|---|---|---|---|",
    ]
    for cell, outcome in outcomes.items():
        lost = ", ".join(f"{count} {kind}" for kind, count in outcome.lost.items() if count) or "nothing"
        reasons = {**outcome.said, **{f"lines {reason}": n for reason, n in outcome.lines_said.items()}}
        said = ", ".join(f"`{reason}` {count}" for reason, count in reasons.items() if count) or "-"
        fault = str(cell).partition(": ")[2]
        rows.append(
            f"| {cell.outlet} | {fault} | {lost} | {said} | {outcome.lag * 1000:.0f} | {outcome.exit:.1f} |"
        )
    return "\n".join(rows) + "\n"


def main(path: str) -> None:
    """Measure every cell and put the table between the marks of the document."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(CELLS, pool.map(measure, CELLS), strict=True))
    document = Path(path)
    before, begin, rest = document.read_text().partition("<!-- matrix -->\n")
    _, end, after = rest.partition("<!-- end -->")
    document.write_text(before + begin + table(outcomes) + end + after)


if __name__ == "__main__":
    main(sys.argv[1])
