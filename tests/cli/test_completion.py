"""Completion, tried in the real shells, and the examples of every `--help`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from streaming_dd import cli

pytestmark = pytest.mark.process

ASKED = {
    "streaming-dd ": {"agent", "monitors", "assets", "doctor", "completion"},
    "streaming-dd monitors ": {"check", "list"},
    "streaming-dd monitors check --f": {"--for"},
    "streaming-dd assets lint --ru": {"--rules"},
    "streaming-dd completion ": {"bash", "zsh", "fish"},
    "streaming-dd config --ch": {"--changed"},
}
BASH = r"""
eval "$SCRIPT"
COMP_LINE="$LINE"
COMP_WORDS=($LINE)
[[ "$LINE" == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_streaming_dd
printf '%s\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "streaming_dd.cli", "completion", shell],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(*command: str, **environment: str) -> set[str]:
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.stderr == ""
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("line", ASKED)
def test_bash_completes_nested_commands_and_their_options(line: str) -> None:
    """Bash offers what may follow, at each level."""
    assert ASKED[line] <= run("bash", "-c", BASH, SCRIPT=script("bash"), LINE=line)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
@pytest.mark.parametrize("line", ASKED)
def test_fish_completes_nested_commands_and_their_options(line: str) -> None:
    """Fish offers the same, each with what it is for."""
    command = f"{script('fish')}\ncomplete -C '{line}'"
    assert ASKED[line] <= run("fish", "--no-config", "-c", command)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_takes_the_script() -> None:
    """Zsh evaluates its script and knows the function."""
    command = f"autoload -U +X compinit && compinit -u\n{script('zsh')}\nwhence -w _streaming_dd"
    assert "_streaming_dd: function" in run("zsh", "-f", "-c", command)


def parsers(parser: object = None, path: str = "") -> dict[str, object]:
    """Every command with its parser."""
    parser = parser or cli.build_parser()
    found = {path: parser}
    for action in parser._actions:
        for name, below in (getattr(action, "choices", None) or {}).items() if action.nargs == "A..." else ():
            found.update(parsers(below, f"{path} {name}".strip()))
    return found


@pytest.mark.parametrize("path", parsers())
def test_each_help_has_an_example_that_parses(path: str) -> None:
    """The last lines of every `--help` can be typed as they stand."""
    parser = parsers()[path]
    if path == "assets":  # its actions have theirs
        return
    assert parser.epilog, f"streaming-dd {path} --help has no example"
    for words in re.findall(r"streaming-dd ((?:[^;'\"$)|]|'[^']*')+)", parser.epilog):
        words = re.split(r"\s{3,}| then ", words)[0]
        cli.build_parser(words.split()).parse_args(words.replace("'", "").split())


@pytest.mark.parametrize(
    "words",
    [["--max-series", "-5"], ["--max-series", "many"], ["--trace-port", "70000"], ["--port-offset", "-1"]],
    ids=" ".join,
)
def test_numbers_out_of_bounds_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A number that cannot work is refused with what may be written, and exit code 2."""
    with pytest.raises(SystemExit) as refused:
        cli.main(["agent", *words])
    assert refused.value.code == 2
    assert "write a whole number from" in capsys.readouterr().err


def test_config_shows_what_was_changed_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config --changed` leaves the defaults out."""
    monkeypatch.setenv("DD_SERVICE", "reports")
    assert cli.main(["config", "--changed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["DD_SERVICE"]


def test_a_missing_extra_is_named() -> None:
    """A command whose library is not installed says which extra brings it."""
    script = "import sys; sys.modules['lark'] = None; from streaming_dd import cli; sys.exit(cli.main(['assets', 'lint']))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert "pip install 'streaming-dd[assets]'" in ended.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["agnt"], "agent"),
        (["docotr", "--json"], "doctor"),
        (["confg"], "config"),
        (["assets", "rendr"], "render"),
        (["assets", "lnt", "--rules"], "lint"),
        (["monitors", "chek"], "check"),
        (["completion", "bsh"], "bash"),
        (["agnt", "--", "python", "-m", "config"], "agent"),
    ],
    ids=" ".join,
)
def test_a_misspelt_command_is_guessed(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every command and every one below it, what was meant stands at the end of the error, with exit code 2."""
    with pytest.raises(SystemExit) as refused:
        cli.main(words)
    assert refused.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "usage", "meant"),
    [
        (["config", "--chnged"], "config", "--changed"),
        (["agent", "--prot", "3"], "agent", "--port-offset"),
        (["agent", "--kep", "--", "uvicorn", "app:app", "--reload"], "agent", "--keep"),
        (["assets", "lint", "--ruls"], "assets lint", "--rules"),
        (["config", "--xyzzy"], "config", ""),
        (["config", "changed"], "config", ""),
        (["--versoin"], "", "--version"),
    ],
    ids=str,
)
def test_a_misspelt_option_is_guessed(
    words: list[str], usage: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage of its own command and what was meant; what is like none is refused without a guess."""
    with pytest.raises(SystemExit) as refused:
        cli.main(words)
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"usage: streaming-dd {usage}".rstrip())
    assert "unrecognized arguments: " in told
    assert ("Did you mean" in told) == bool(meant)
    assert told.rstrip().endswith(f"Did you mean {meant}?" if meant else words[-1])


def test_a_command_that_is_like_none_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """No guess is better than a wrong one."""
    with pytest.raises(SystemExit):
        cli.main(["xyzzy"])
    assert "Did you mean" not in capsys.readouterr().err
