"""The code blocks, commands and links of README and docs/, found. No state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    """A fenced block: where it stands, its language ("" if none is named) and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    """Return the fenced blocks, of one language if that is given."""
    return [each for page in PAGES for each in _blocks(page) if language in (None, each.language)]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, match.start()) + 2, match[2], match[3])


def commands() -> list[tuple[str, str]]:
    """Return (place, command line) of what is to be typed: in blocks after `$` or in `sh`, and in inline code."""
    found = []
    for block in blocks():
        for number, line in enumerate(block.text.splitlines()):
            typed = line.removeprefix("$ ") if line.startswith("$ ") or block.language == "sh" else ""
            found += [
                (f"{block.page.name}:{block.line + number}", part) for part in typed.split("#")[0].split("; ")
            ]
    for page in PAGES:
        text = page.read_text()
        plain = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
        found += [
            (f"{page.name}:{plain.count(chr(10), 0, match.start()) + 1}", match[1])
            for match in _CODE.finditer(plain)
        ]
    return found


def links(page: Path) -> list[str]:
    """Return the relative links of a page."""
    plain = _FENCE.sub("", page.read_text())
    return [target for target in _LINK.findall(plain) if "://" not in target]
