"""A name for a service that nobody has named: from Django's settings module, the application that is served, or the script.

No state. A name of this kind is the same on metrics, spans and lines; DD_SERVICE is better.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from .settings import Config

#: Names that say nothing of what is served: the folder around them says more.
_PLAIN: Final = frozenset(
    {"__main__", "api", "app", "application", "asgi", "config", "core", "main", "manage", "project", "server", "settings",
     "site", "src", "web", "wsgi"}
)  # fmt: skip
_MODULE_AND_NAME: Final = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(\(\))?")
#: Programs that start or look at applications of others.
_RUNNERS: Final = ("uvicorn", "gunicorn", "hypercorn", "granian", "daphne", "streaming-dd")


def named(config: Config) -> Config:
    """Return `config` with a service name, an inferred one where none was set: the empty service never leaves."""
    if config.service:
        return config
    origins = MappingProxyType({**config.origins, "service": "inferred"})
    return dataclasses.replace(config, service=inferred_service(), origins=origins)


def inferred_service(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Return a name such as `reports`, of lower-case letters, digits, `-` and `_`; never an empty one."""
    arguments = sys.argv if arguments is None else arguments
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    for dotted in _candidates(arguments, environ):
        for part in dotted.split("."):
            if part and part not in _PLAIN:
                return _clean(part)
    return _clean(folder.name) or "python"


def _candidates(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    served = [match[1] for word in arguments[1:] if (match := _MODULE_AND_NAME.fullmatch(word))]
    program = Path(arguments[0]).stem if arguments and arguments[0] not in ("", "-c", "-m") else ""
    by_server = program in _RUNNERS or program == "__main__"
    return [environ.get("DJANGO_SETTINGS_MODULE", ""), *served, *([] if by_server else [program])]


def _clean(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:100]
