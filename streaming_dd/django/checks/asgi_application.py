"""The project's ASGI application, for the system check that looks at its layers. No state."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, Final

from django.conf import settings

from ... import recorder
from ...output.redirect import Redirect

_NAMES: Final = ("application", "app")


def find() -> tuple[str, Any]:
    """Return the application's dotted name and itself; ("", None) where none is found.

    It is ASGI_APPLICATION, or `application` or `app` of the module `asgi` beside ROOT_URLCONF. Imports that module if
    nobody has, with this package switched off meanwhile. Raises whatever that import raises.
    """
    dotted = getattr(settings, "ASGI_APPLICATION", None)
    module_name, _, attribute = dotted.rpartition(".") if dotted else _guess()
    if not module_name:
        return "", None
    module = sys.modules.get(module_name) or _imported(module_name)
    for name in (attribute, *_NAMES) if attribute else _NAMES:
        if hasattr(module, name):
            return f"{module_name}.{name}", getattr(module, name)
    return "", None


def _guess() -> tuple[str, str, str]:
    package = (getattr(settings, "ROOT_URLCONF", None) or "").rpartition(".")[0]
    name = f"{package}.asgi" if package else "asgi"
    return (name, ".", "") if importlib.util.find_spec(name) is not None else ("", "", "")


def _imported(name: str) -> Any:
    """Import the module so that nothing is sent and no line is written for it."""
    before, redirect = recorder.current, recorder.redirect
    recorder.redirect = Redirect({"enabled": False})
    try:
        return importlib.import_module(name)
    finally:
        recorder.redirect = redirect
        if recorder.current is not before:
            recorder.reset()
