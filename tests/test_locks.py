"""The two locks agree, and the demo waits for its own alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: `name==version ; marker \` and the hashes below it.
PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)(.*?)\\\n((?: +--hash=\S+(?: \\)?\n)+)", re.MULTILINE)


def pinned(lock: str) -> dict[tuple[str, str], set[str]]:
    """(name, version) -> hashes."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {
        (name, version): set(re.findall(r"sha256:\w+", hashes))
        for name, version, _, hashes in PINNED.findall(text)
    }


def test_the_demos_lock_is_a_part_of_developments() -> None:
    """Same versions, same hashes: after `make demo`, `make test` adds to the environment and changes nothing in it."""
    demo, development = pinned("requirements-demo.txt"), pinned("requirements-dev.txt")
    assert demo
    assert {key: hashes for key, hashes in demo.items() if development.get(key) != hashes} == {}


def test_the_demos_lock_has_what_the_demo_needs_and_no_test_tools() -> None:
    """Every requirement of the package and of its extra `demo` is pinned; nothing that only tests need is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *extras["agent"],
        *extras["django"],
        *extras["prometheus"],
        *extras["demo"],
    ]
    names = {re.split(r"[\[<>=;, ]", requirement, maxsplit=1)[0] for requirement in needed} - {"streaming-dd"}
    locked = {name for name, _ in pinned("requirements-demo.txt")}
    assert names - locked == set()
    assert locked & {"pytest", "mypy", "playwright", "numpy", "grpcio"} == set()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_demo_waits_for_its_own_lock_alone() -> None:
    """In a fresh checkout `make demo` installs the demo's lock; `make test-fast` brings the rest."""

    def commands(target: str) -> str:
        return subprocess.run(
            ["make", "--dry-run", "VENV=/nonexistent/venv", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "--requirement requirements-demo.txt" in commands("demo")
    assert "requirements-dev.txt" not in commands("demo")
    assert "--requirement requirements-dev.txt" in commands("test-fast")
