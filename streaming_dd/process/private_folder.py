"""A folder that only this user can enter: worker slots and the sockets of siblings are in it. No state.

Every level is looked at without following links, because the folder above may be everybody's (`/tmp`): whoever lays a
link or a folder of our name there first gains nothing. Where something is wrong the next candidate is taken, the same
one by every worker. docs/decisions/0100.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
#: Names that are tried in a folder that everybody may write to.
_ATTEMPTS: Final = 5


def private_folder(*names: str) -> Path:
    """Return the folder `names` below this user's own, made if it is missing; raise OSError saying what is wrong."""
    problems = []
    for base in _candidates():
        try:
            return _entered(base, names)
        except OSError as error:
            problems.append(f"{base}: {error.strerror or error}")
    raise PermissionError("; ".join(problems))


def safe_name(text: str) -> str:
    """Return `text` as the name of a file."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:80]
    return name if name.strip(".") else "default"


def _candidates() -> Iterator[Path]:
    user = os.getuid() if hasattr(os, "getuid") else 0
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        yield Path(runtime) / "streaming-dd"
    base = Path(tempfile.gettempdir())
    yield base / f"streaming-dd-{user}"
    for number in range(2, _ATTEMPTS + 1):
        yield base / f"streaming-dd-{user}-{number}"


def _entered(base: Path, names: tuple[str, ...]) -> Path:
    _check_parent(base.parent)
    if not hasattr(os, "O_NOFOLLOW"):  # Windows: the temporary folder is the user's own
        folder = base.joinpath(*map(safe_name, names))
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    at = _open(os.fspath(base), None)
    try:
        for name in names:
            below = _open(safe_name(name), at)
            os.close(at)
            at = below
    finally:
        os.close(at)
    return base.joinpath(*map(safe_name, names))


def _check_parent(parent: Path) -> None:
    """What lies above is the system's or ours; where others may write, the sticky bit keeps them from renaming ours."""
    mode = os.stat(parent).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise PermissionError(f"{parent} may be written by everybody and is not sticky")


def _open(name: str, above: int | None) -> int:
    """Open one level, made if it is missing, and return its descriptor; raise where it is not ours alone."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass
    found = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        status = os.fstat(found)
        if status.st_uid != os.getuid():
            raise PermissionError(f"{name} belongs to another user ({status.st_uid})")
        if status.st_mode & _OTHERS_WRITE:
            raise PermissionError(f"{name} may be written by others (mode {stat.S_IMODE(status.st_mode):o})")
        if status.st_mode & _OTHERS:
            os.fchmod(found, 0o700)
    except OSError:
        os.close(found)
        raise
    return found
