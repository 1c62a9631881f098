"""The floor plan holds: few rooms, none too large, each saying what it is for, and the page that shows the way is true."""

from __future__ import annotations

import ast
import re
import statistics
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "streaming_dd"
PAGE = ROOT / "docs/architecture.md"
#: Data in the form of a module: tables that grow with what they list.
DATA = {"catalog.py"}
#: Not rooms: the package itself, its mark for type checkers, and what Python leaves behind.
NO_ROOMS = {"__init__.py", "py.typed", "__pycache__"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES} | {PACKAGE / "local_agent/page"})
#: What pip installs beside the checkout's own files.
BUILT = {"shipped_json", "shipped_examples"}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_top_of_the_package_is_overseen_at_a_glance() -> None:
    """At most 18 entries at the top of the package."""
    rooms = {path.name for path in PACKAGE.iterdir()} - NO_ROOMS - BUILT
    assert len(rooms) <= 18, sorted(rooms)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_holds_a_handful_of_files(folder: Path) -> None:
    """At most 14 files in a folder."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert len(files) <= 14, files


def test_modules_and_classes_are_short() -> None:
    """No module over 350 lines, no class over 250, and half of the modules below 145."""
    sizes = {path: lines(path) for path in MODULES if path.name not in DATA}
    assert {str(path): size for path, size in sizes.items() if size > 350} == {}
    assert statistics.median(sizes.values()) <= 145
    classes = {
        f"{path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert {name: size for name, size in classes.items() if size > 250} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    """Every module that is not empty begins with a docstring."""
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring"


def test_every_path_that_the_page_names_exists() -> None:
    """docs/architecture.md leads nowhere that is not there."""
    named = re.findall(
        r"`((?:streaming_dd|benchmarks|tests|docs)/[\w./-]*)`", PAGE.read_text(encoding="utf-8")
    )
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_no_two_modules_of_tests_have_one_name() -> None:
    """pytest imports them by their name alone: two in one run are an error."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_page_names_every_room_at_the_top() -> None:
    """The package's top level and the page agree: whoever reads it has seen every door."""
    text = PAGE.read_text(encoding="utf-8")
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()} - {"__init__"} - NO_ROOMS - BUILT
    assert {room for room in rooms if not re.search(rf"\b{room}\b", text)} == set()
