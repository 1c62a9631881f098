"""What README and docs/ show works: Python runs, commands parse, JSON and YAML are read, links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from doc_blocks import PAGES, ROOT, Block, blocks, commands, links

from streaming_dd import cli, health, recorder, testing
from streaming_dd.output import notices

#: Pages whose every block is a program: run as it stands, in a process of its own.
WHOLE = ("frameworks.md", "first-steps.md")
PYTHON = blocks("python")
QUIET = {"DD_TRACE_ENABLED": "false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}


#: Blocks that need what a sandbox has not (a Django project, a fixture's content): compiled, and their names looked up.
LOOKED_AT = ("get_asgi_application", "agent.wait_for", "dd_logs.one(", "capture()")


class Names(dict[str, Any]):
    """The names of a block: what it does not define itself (the reader's app, rows, models) is stood in for."""

    def __missing__(self, name: str) -> Any:
        if name.startswith("__") or hasattr(builtins, name):
            raise KeyError(name)
        return MagicMock(name=name)


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    for name in health.registered():
        health.unregister(name)
    recorder.reset()
    notices.reset()


@pytest.mark.parametrize(
    "block", [each for each in PYTHON if each.page.name not in WHOLE], ids=lambda b: b.name
)
def test_python_runs_with_the_readers_own_names_stood_in_for(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is imported exists, decorators and calls of ours take what they are given; nothing leaves the process."""
    for module in _readers_modules(block.text):
        monkeypatch.setitem(sys.modules, module, MagicMock())
    names = Names(__name__=__name__)
    exec("import streaming_dd as dd\nfrom streaming_dd import catalog, health, logs, testing, timers", names)
    _look_up(block, names)
    code = compile(block.text, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if any(words in block.text for words in LOOKED_AT):
        return
    with testing.capture():
        result = eval(code, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)


def _look_up(block: Block, names: Names) -> None:
    """Check that what a block takes from this package is there."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streaming_dd"):
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"


def _readers_modules(text: str) -> list[str]:
    """Return the modules of the reader's that a block imports."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("shop", "reports")
        ):
            parts = node.module.split(".")
            found += [".".join(parts[: number + 1]) for number in range(len(parts))]
    return found


@pytest.mark.process
@pytest.mark.parametrize("block", [each for each in PYTHON if each.page.name in WHOLE], ids=lambda b: b.name)
def test_python_of_the_guides_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    """Each block of a guide is a program that ends well; a block with tests is run by pytest."""
    file = tmp_path / ("test_guide.py" if "def test_" in block.text else "guide.py")
    file.write_text(block.text)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if file.name.startswith("test_") else []
    ended = subprocess.run(
        [sys.executable, *command, file.name], cwd=tmp_path, env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


#: A path as a block of the guides writes it -> what is asked of it, and what the answer has in it.
ASKED = {
    "/exports/{rows}": ("POST", "/exports/3", "accepted"),
    "/numbers/{until}": ("GET", "/numbers/2", "event: number\ndata: 1"),
    "/echo": ("WS", "/echo", "hello"),
    "/internal": ("GET", "/internal/health", '"status"'),
    "/items/{id:int}": ("GET", "/shop/items/4", "4"),
    "/shop": ("GET", "/shop/items/4", "4"),
    "rooms/<int:room>/": ("WS", "/rooms/3/", "hello"),
    "/exports/{number}": ("GET", "/exports/7", "event: end\ndata: 7"),
}
_PATH = re.compile(r"""(?:@app\.\w+|[Rr]oute|Mount|app\.mount|\bpath)\("([^"]+)\"""")
_ASK = """
import sys, guide
from starlette.testclient import TestClient
method, path, expected = sys.argv[1:]
with TestClient(getattr(guide, "app", None) or guide.application) as client:
    if method == "WS":
        with client.websocket_connect(path) as socket:
            socket.send_text("hello")
            found = socket.receive_text()
    else:
        answer = client.request(method, path)
        assert answer.status_code == 200, answer
        found = answer.text
assert expected in found, found
"""
OFFERED = [
    (block, path)
    for block in PYTHON
    if block.page.name in WHOLE and "def test_" not in block.text
    for path in _PATH.findall(block.text)
]


@pytest.mark.process
@pytest.mark.parametrize(("block", "path"), OFFERED, ids=lambda each: getattr(each, "name", each))
def test_what_the_guides_offer_answers(block: Block, path: str, tmp_path: Path) -> None:
    """Each path of a block is asked for, and answers with what it is there for."""
    (tmp_path / "guide.py").write_text(block.text)
    ended = subprocess.run(
        [sys.executable, "-c", _ASK, *ASKED[path]], cwd=tmp_path, env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_paths_of_the_guides_are_found() -> None:
    """As many as the test above has answers for."""
    assert {path for _, path in OFFERED} == set(ASKED)


OURS = sorted(
    {(where, text) for where, text in commands() if re.match(r"(\w+=\S+ )*streaming-dd( |$)", text)}
)


@pytest.mark.parametrize(("where", "text"), OURS, ids=[where for where, _ in OURS])
def test_commands_are_understood(where: str, text: str) -> None:
    """Each `streaming-dd ...` is what the real parser takes: subcommands, options, values."""
    words = [word for word in shlex.split(text.replace("[", "").replace("]", "")) if word != "..."]
    words = words[words.index("streaming-dd") + 1 :]
    if not words or words[0].isupper():
        return
    parser = cli.build_parser(words)
    if {"--help", "--version"} & set(words):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(words)
        assert ended.value.code == 0, where
    else:
        parser.parse_args(words)


TARGETS = sorted(
    {(where, found[1]) for where, text in commands() if (found := re.match(r"make ([a-z][a-z-]*)", text))}
)


@pytest.mark.parametrize(("where", "target"), TARGETS, ids=[f"{where}-{target}" for where, target in TARGETS])
def test_make_has_what_is_named(where: str, target: str) -> None:
    """Each `make ...` is a target."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), where


@pytest.mark.parametrize("block", blocks("json"), ids=lambda b: b.name)
def test_json_is_json(block: Block) -> None:
    """One value, or one a line."""
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda b: b.name)
def test_yaml_is_yaml(block: Block) -> None:
    """It is read without an error."""
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    """Relative links name what is there, and README leads to every page."""
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    """Nobody has to list the folder to learn what is written."""
    linked = set(links(ROOT / "README.md"))
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in linked] == []
