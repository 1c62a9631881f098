"""The Django project that a command is run in: found as `manage.py` finds it. State: none but the process' environment."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Final

_VARIABLE: Final = "DJANGO_SETTINGS_MODULE"
_SETTINGS: Final = re.compile(rf"""["']{_VARIABLE}["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']""")
_LONGEST: Final = 100_000


def enter(folder: Path | None = None) -> str:
    """Have this process read the settings of the project in `folder` (here), if there is one; return their module or "".

    The variable DJANGO_SETTINGS_MODULE wins; else it is what `manage.py` sets. The folder becomes importable, as it is
    for `manage.py`. Without Django installed nothing happens.
    """
    folder = Path.cwd() if folder is None else folder
    module = os.environ.get(_VARIABLE) or _named_by(folder / "manage.py")
    if not module or importlib.util.find_spec("django") is None:
        return ""
    if str(folder) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(folder))
    os.environ[_VARIABLE] = module
    return module


def _named_by(script: Path) -> str:
    try:
        with script.open(encoding="utf-8", errors="replace") as file:
            found = _SETTINGS.search(file.read(_LONGEST))
    except OSError:
        return ""
    return found[1] if found else ""
