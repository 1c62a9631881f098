"""From a request's scope to its route template, and how it is spelled. No state of its own."""

from .templates import (
    UNMATCHED,
    Routes,
    compile_pattern,
    in_colon_style,
    install_hooks,
    path_matcher,
    without_converters,
)
from .walk import routes_of

__all__ = [
    "UNMATCHED",
    "Routes",
    "compile_pattern",
    "in_colon_style",
    "install_hooks",
    "path_matcher",
    "routes_of",
    "without_converters",
]
