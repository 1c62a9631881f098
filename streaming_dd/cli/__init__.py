"""The command `streaming-dd`: one subcommand per module that offers `add_parser(subparsers)`. No state.

Each handler returns the exit code: 0 done, 1 something is wrong with what was looked at, 2 the command itself
could not be carried out. To add a subcommand, add its module to `_COMMANDS`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from .. import __version__, config
from ..config.masking import Redactor
from ..errors import StreamingDDError
from . import project

#: Subcommand -> module with its `add_parser`; imported only when the command line names it, or for --help.
_COMMANDS: dict[str, str] = {
    "config": "streaming_dd.cli",
    "agent": "streaming_dd.local_agent.command",
    "monitors": "streaming_dd.local_agent.monitors_command",
    "assets": "streaming_dd.assets.command",
    "demo": "streaming_dd.cli.demo",
    "capacity": "streaming_dd.cli.capacity.command",
    "completion": "streaming_dd.cli.completion",
    "doctor": "streaming_dd.cli.doctor",
}

#: Module that an extra brings -> the extra.
_EXTRAS: dict[str, str] = {
    "lark": "assets",
    "msgspec": "agent",
    "uvicorn": "agent",
    "yaml": "agent",
    "django": "django",
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
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(
            f"streaming-dd: {error.name} is not installed: pip install 'streaming-dd[{extra}]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


class Parser(argparse.ArgumentParser):
    """A parser that guesses what a misspelt command or option was to be; those of its subcommands do as well."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse here, by the usage of the subcommand itself, what it does not know."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            meant = self._option_meant(rest[0].partition("=")[0])
            what = f"unrecognized arguments: {' '.join(rest)}"
            self.error(f"{what}. Did you mean {meant}?" if meant else what)
        return found, rest

    def _option_meant(self, word: str) -> str:
        """Return the option that a word is nearly, or nearly the beginning of; "" if it is like none."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
        begun = {name[: len(word)]: name for name in reversed(known)}
        near = near or [begun[one] for one in difflib.get_close_matches(word, begun, n=1, cutoff=0.75)]
        return near[0] if near and word.startswith("--") else ""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the mistake, and exit with 2."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)$", message)
        near = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), n=1) if wrong else []
        super().error(f"{message}. Did you mean {near[0]}?" if near else message)


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser with the subcommand that `words` name, or with all of them."""
    parser = Parser(
        prog="streaming-dd",
        description="Datadog observability for Python apps that stream.",
        epilog="first: streaming-dd agent -- uvicorn app:app    then open http://127.0.0.1:8181",
    )
    parser.add_argument("--version", action="version", version=f"streaming-dd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), "")
    for name in [named] if named in _COMMANDS else _COMMANDS:
        import_module(_COMMANDS[name]).add_parser(subparsers)
    parser.set_defaults(mask=_redactor().masked)  # the local agent imports nothing of the emitting side
    return parser


def _redactor() -> Redactor:
    own = os.environ.get("STREAMING_LOG_REDACT", "").split(",")
    return Redactor(tuple(key for key in map(str.strip, own) if key))


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd config`."""
    parser = subparsers.add_parser(
        "config",
        help="print the effective settings and where each came from; secrets are masked",
        description="In a Django project's directory its settings are read, too.",
        epilog="example: DD_SERVICE=reports streaming-dd config --changed",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--changed", action="store_true", help="only those that differ from their default")
    parser.set_defaults(handler=_print_config)


def _print_config(options: argparse.Namespace) -> int:
    from ..output.misspelt import complaints

    project.enter()
    found = config.load(django=config.django_settings())
    for complaint in complaints(found, os.environ):
        print(f"warning: {complaint}", file=sys.stderr)
    rows = config.describe(found)
    if options.changed:
        rows = [row for row in rows if row[2] != "default"]
    if options.json:
        import json

        keys = ("setting", "value", "origin", "help")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return 0
    if not rows:
        print("Every setting has its default.")
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, origin, help_text in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin:<{widths[2]}}  {help_text}")
    return 0
