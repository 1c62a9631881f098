"""`streaming-dd doctor`. No state."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ... import recorder
from ...errors import StreamingDDError
from ...local_agent.command import port_offset
from .. import project
from . import application
from .elsewhere import LOOPBACK, Elsewhere
from .report import Finding

#: Whose the probes are where no service is set; ddtrace would make one that looks like the application's.
_SERVICE = "streaming-dd-doctor"


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="find out why nothing arrives: settings, Agent, and a probe metric, span and log line",
        description="Exit code: 0 nothing is wrong, 1 something is, 2 it could not be found out.",
        epilog="example: streaming-dd doctor --app app:app --strict",
    )
    add_arguments(parser)
    parser.set_defaults(handler=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, which Django's command shares."""
    parser.add_argument("--app", metavar="MODULE:APP", help="look at this ASGI application's layers too")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--no-probe", action="store_true", help="send nothing, only look")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")
    parser.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="wait so long for the probes to arrive (10)",
    )
    parser.add_argument(
        "--agent", metavar="HOST", help="ask a local agent on this host, wherever the settings lead"
    )
    parser.add_argument(
        "--port-offset",
        type=port_offset,
        metavar="N",
        help="ask the local agent whose ports were shifted by N",
    )


def run(options: argparse.Namespace, further: tuple[Finding, ...] = (), out: TextIO | None = None) -> int:
    """Diagnose, print the report with `further` findings, and return the exit code."""
    from . import diagnose

    with _own_output(out, bool(options.app)) as stream:
        project.enter()
        app, problems = None, list(further)
        if options.app:
            try:
                app = application.load(options.app)
            except Exception as error:  # noqa: BLE001 - the application's own code runs in there
                kind = (
                    ""
                    if isinstance(error, StreamingDDError)
                    else f"{options.app} fails: {type(error).__name__}: "
                )
                problems.append(Finding("application.import", "error", f"{kind}{error}"))
        send, agent = not options.no_probe, elsewhere(options)
        found = diagnose(app, send=send, timeout=options.timeout, agent=agent, service=_SERVICE)
        report = found.plus(problems)
        stream.write((json.dumps(report.as_dict(), indent=2) if options.json else report.text()) + "\n")
    return report.exit_code(strict=options.strict)


def elsewhere(options: argparse.Namespace) -> Elsewhere | None:
    """Return the local agent that the options name; None if they leave it to the settings."""
    if options.agent is None and options.port_offset is None:
        return None
    return Elsewhere(options.agent or LOOPBACK, options.port_offset or 0)


@contextmanager
def _own_output(out: TextIO | None, loads_application: bool) -> Iterator[TextIO]:
    """Keep standard output for the report: what a loaded application prints and logs goes to standard error."""
    if out is not None or not loads_application:
        yield out or sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as stream:
            yield stream
    finally:
        recorder.reset()  # its lines go where they went until now
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
