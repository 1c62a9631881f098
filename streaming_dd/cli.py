"""The command `streaming-dd`: one subcommand per module that offers `add_parser(subparsers)`. No state.

Each handler returns the exit code: 0 done, 1 something is wrong with what was looked at, 2 the command itself
could not be carried out. To add a subcommand, add its module to `_COMMANDS`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from . import __version__, config
from .errors import StreamingDDError

#: Subcommand -> module with its `add_parser`; imported only when the command line names it, or for --help.
_COMMANDS: dict[str, str] = {
    "config": "streaming_dd.cli",
    "agent": "streaming_dd.local_agent.command",
    "monitors": "streaming_dd.local_agent.monitors_command",
    "assets": "streaming_dd.assets.command",
    "capacity": "streaming_dd.capacity.command",
    "completion": "streaming_dd.completion",
    "doctor": "streaming_dd.doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser(words)
    options = parser.parse_args(words)
    if not hasattr(options, "handler"):
        parser.print_help()
        return 2
    try:
        code = int(options.handler(options) or 0)
        sys.stdout.flush()
        return code
    except StreamingDDError as error:
        print(f"streaming-dd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser with the subcommand that `words` name, or with all of them."""
    parser = argparse.ArgumentParser(
        prog="streaming-dd", description="Datadog observability for Python apps that stream."
    )
    parser.add_argument("--version", action="version", version=f"streaming-dd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    named = next((word for word in words if word in _COMMANDS), None)
    for name in [named] if named is not None else _COMMANDS:
        import_module(_COMMANDS[name]).add_parser(subparsers)
    return parser


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd config`."""
    parser = subparsers.add_parser(
        "config", help="print the effective settings and where each came from; secrets are masked"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=_print_config)


def _print_config(options: argparse.Namespace) -> int:
    rows = config.describe(config.load(django=config.django_settings()))
    if options.json:
        import json

        keys = ("setting", "value", "origin", "help")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, origin, help_text in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin:<{widths[2]}}  {help_text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
