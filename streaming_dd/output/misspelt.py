"""DD_* variables that nobody reads although they are nearly ones that somebody does. No state.

A STREAMING_* name of that kind is refused when the settings are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from ..config import Config, names
from .notices import say
from .tracing import known_variables

#: Read by Datadog's Agent, its command line or its serverless parts, not by the tracing library.
_OF_OTHERS: Final = frozenset(
    {"DD_API_KEY", "DD_APP_KEY", "DD_SITE", "DD_HOSTNAME", "DD_CARDINALITY", "DD_EXTERNAL_ENV"}
)
_OF_OTHERS_BY_PREFIX: Final = (
    "DD_APM_",
    "DD_LOGS_",
    "DD_DOGSTATSD_",
    "DD_LAMBDA_",
    "DD_SERVERLESS_",
    "DD_CONTAINER_",
)
_CLOSE: Final = 0.85


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (name, what was meant). Imports ddtrace, which has the list of what it reads, if there is a name to look up."""
    own = set(names())
    strange = [
        name
        for name in environ
        if name.startswith("DD_")
        and name not in own
        and name not in _OF_OTHERS
        and not name.startswith(_OF_OTHERS_BY_PREFIX)
    ]
    theirs = known_variables() if strange else frozenset()
    for name in strange if theirs else ():
        near = get_close_matches(name, theirs | own, n=1, cutoff=_CLOSE) if name not in theirs else []
        if near:
            yield name, near[0]


def complaints(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable of Datadog's that is not read, or not as it was written."""
    yield from config.complaints
    for name, meant in misspelt(environ):
        yield f"Nobody reads the variable {name}: did you mean {meant}?"


def tell_complaints(config: Config, environ: Mapping[str, str]) -> None:
    """Log them, at the start of a process."""
    for complaint in complaints(config, environ):
        say(f"config.{complaint}", complaint)
