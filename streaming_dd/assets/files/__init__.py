"""Generated files on disk: compare, and replace all or none. No state."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from ...errors import AssetError
from ..documents import FOLDERS


def stale(texts: Mapping[str, str], directory: Path) -> Iterator[tuple[str, str]]:
    """Give (path, what is wrong) for each file that is missing, differs, or is generated no more."""
    for path, text in texts.items():
        file = directory / path
        if not file.is_file():
            yield path, "is missing"
        elif file.read_text(encoding="utf-8", errors="replace") != text:
            yield path, "differs"
    for path in abandoned(texts, directory):
        yield path, "is generated no more"


def abandoned(texts: Mapping[str, str], directory: Path) -> list[str]:
    """List the JSON files in our folders that nothing generates."""
    found = [file for folder in FOLDERS.values() for file in (directory / folder).glob("*.json")]
    names = [file.relative_to(directory).as_posix() for file in found]
    return sorted(name for name in names if name not in texts)


def unified(path: str, text: str, directory: Path) -> str:
    """Return the difference between a file and its new text."""
    file = directory / path
    old = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    lines = difflib.unified_diff(
        old, text.splitlines(), f"{path} (file)", f"{path} (rendered)", lineterm="", n=2
    )
    return "\n".join(lines)


def write(texts: Mapping[str, str], directory: Path) -> list[str]:
    """Write all files, or none if one cannot be written; return the paths that changed. Raises AssetError."""
    changed = [path for path, what in stale(texts, directory) if what != "is generated no more"]
    staged: list[tuple[str, Path]] = []
    try:
        for path in changed:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(
                "w", encoding="utf-8", dir=target.parent, delete=False, newline="\n"
            ) as file:
                staged.append((file.name, target))
                file.write(texts[path])
            os.chmod(file.name, 0o644)
        for name, target in staged:
            os.replace(name, target)
    except OSError as error:
        for name, _ in staged:
            Path(name).unlink(missing_ok=True)
        raise AssetError(f"cannot write {error.filename or directory}: {error.strerror}") from None
    return changed
