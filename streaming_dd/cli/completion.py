"""`streaming-dd completion SHELL`: a completion script made from the command's own parser. No state.

What may follow is known by *path*: the commands so far, such as `monitors check`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_streaming_dd() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" path="" candidate at
  for ((at = 1; at < COMP_CWORD; at++)); do
    candidate="${{path:+$path }}${{COMP_WORDS[at]}}"
    case "$candidate" in
      {paths}) path="$candidate" ;;
    esac
  done
  case "$path" in
{cases}
  esac
}}
complete -o default -F _streaming_dd streaming-dd
"""
_FISH = """\
function __streaming_dd_at
    set -l path
    for word in (commandline -opc)[2..]
        set -l candidate (string join ' ' $path $word)
        contains -- $candidate {paths}; and set path $path $word
    end
    set -l at (string join ' ' $path)
    test "$at" = "$argv[1]"
end
complete -c streaming-dd -e
{lines}
"""


class Word(NamedTuple):
    """One thing that may be written at a path: an option, a nested command, or one of a fixed choice."""

    text: str
    help: str


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd completion`."""
    parser = subparsers.add_parser(
        "completion",
        help="print a shell completion script: eval it in your profile",
        epilog='examples: eval "$(streaming-dd completion bash)"; streaming-dd completion fish | source',
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(handler=_print_script)


def _print_script(options: argparse.Namespace) -> int:
    from . import build_parser

    words = dict(_words(build_parser()))
    sys.stdout.write(_fish(words) if options.shell == "fish" else _bash(words, options.shell))
    return 0


def _words(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, list[Word]]]:
    """Yield each path with what may be written there, the paths below it after it."""
    found: list[Word] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found += [Word(name, helps.get(name, "")) for name in action.choices]
            below.update(action.choices)
        elif action.help != argparse.SUPPRESS:
            texts = action.option_strings or [str(choice) for choice in action.choices or ()]
            found += [Word(text, action.help or "") for text in texts]
    yield path, found
    for name, subparser in below.items():
        yield from _words(subparser, f"{path} {name}".strip())


def _bash(words: dict[str, list[Word]], shell: str) -> str:
    cases = "\n".join(
        f'    "{path}") COMPREPLY=($(compgen -W "{" ".join(word.text for word in found)}" -- "$word")) ;;'
        for path, found in words.items()
    )
    paths = "|".join(f'"{path}"' for path in words if path)
    begin = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return begin + _BASH.format(paths=paths, cases=cases)


def _fish(words: dict[str, list[Word]]) -> str:
    lines = []
    for path, found in words.items():
        for text, help_text in found:
            kind = (
                f"-l {text[2:]}"
                if text.startswith("--")
                else f"-s {text[1:]}"
                if text[0] == "-"
                else f"-f -a {text}"
            )
            about = help_text.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%")
            lines.append(f"complete -c streaming-dd -n \"__streaming_dd_at '{path}'\" {kind} -d '{about}'")
    return _FISH.format(paths=" ".join(f"'{path}'" for path in words if path), lines="\n".join(lines))
