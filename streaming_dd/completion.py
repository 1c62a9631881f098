"""`streaming-dd completion SHELL`: a completion script made from the command's own parser. No state."""

from __future__ import annotations

import argparse
import sys
from typing import Any

_BASH = """\
_streaming_dd() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}"
  case "$COMP_CWORD:$command" in
    1:*) COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word")) ;;
{cases}
  esac
}}
complete -o default -F _streaming_dd streaming-dd
"""
_CASE = '    *:{name}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;'


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd completion`."""
    parser = subparsers.add_parser(
        "completion", help="print a shell completion script: eval it in your profile"
    )
    parser.add_argument("shell", choices=["bash", "zsh"])
    parser.set_defaults(handler=_print_script)


def _print_script(options: argparse.Namespace) -> int:
    from .cli import build_parser

    commands = _words(build_parser())
    cases = "\n".join(_CASE.format(name=name, words=" ".join(words)) for name, words in commands.items())
    script = _BASH.format(commands=" ".join(commands), cases=cases)
    if options.shell == "zsh":
        script = "autoload -U +X bashcompinit && bashcompinit\n" + script
    sys.stdout.write(script)
    return 0


def _words(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """The options and nested commands of every subcommand."""
    found: dict[str, list[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                words = [word for item in subparser._actions for word in item.option_strings]
                found[name] = words + list(_words(subparser))
    return found
