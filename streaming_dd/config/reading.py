"""Find each setting's value. Precedence: arguments of `configure()` > Django settings > environment > default. No state."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ..errors import ConfigError
from .datadog import READERS, UNIFIED
from .describing import without_secrets
from .settings import FIELDS, PREFIX, Config, names, setting_name

#: Settings of other tools that people bring along, and what to write instead.
_REPLACED: Final[dict[str, str]] = {
    "STREAMING_JAEGER_HOST": "Set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT in the environment instead.",
    "STREAMING_JAEGER_PORT": "Set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT in the environment instead.",
}

_DATADOG_NAMES: Final = frozenset(item.metadata["env"] for item in FIELDS.values() if item.metadata["env"])


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    django: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the Config in force, or raise ConfigError naming the setting and what to write.

    `django` maps names such as STREAMING_LOG_LEVEL to values; `environ` is os.environ unless given.
    """
    arguments = dict(arguments or {})
    environ = os.environ if environ is None else environ
    django = {} if django is None else django
    _refuse_unknown_arguments(arguments)
    _refuse_unknown_names([name for name in django if name.startswith(PREFIX)], "Django settings")
    _refuse_unknown_names([name for name in environ if name.startswith(PREFIX)], "environment")

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    complaints: list[str] = []
    for name, item in FIELDS.items():
        public = setting_name(name)
        if arguments.get(name) is not None:
            raw, origin, shown = arguments[name], "argument", name
        elif public in django or PREFIX + name.upper() in django:
            shown = public if public in django else PREFIX + name.upper()
            raw, origin = django[shown], "Django settings"
        elif environ.get(public) or environ.get(PREFIX + name.upper()):
            shown = public if environ.get(public) else PREFIX + name.upper()
            raw, origin = environ[shown], f"environment {shown}"
        else:
            values[name], origins[name] = item.default, "default"
            continue
        if origin.startswith("environment") and shown in READERS:
            values[name], wrong = READERS[shown](raw)
            origins[name] = origin
            complaints += (
                [f"{shown}={without_secrets(shown, raw)!r}: {without_secrets(shown, wrong)}."]
                if wrong
                else []
            )
            continue
        try:
            values[name] = item.metadata["parse"](raw)
        except ValueError as error:
            given = "***" if item.metadata["secret"] else repr(without_secrets(shown, raw))
            fix = without_secrets(shown, f"{error}.")
            raise ConfigError(shown, f"{given} (from {origin}) cannot be used:", fix) from None
        origins[name] = origin
    _move_unified_tags(values, origins)
    return Config(**values, origins=MappingProxyType(origins), complaints=tuple(complaints))


def _move_unified_tags(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Take `env:`, `service:` and `version:` out of DD_TAGS; they count where nothing else says them."""
    if not origins["tags"].startswith("environment"):
        return
    for name in UNIFIED:
        for tag in values["tags"]:
            if tag.startswith(f"{name}:") and not values[name]:
                values[name], origins[name] = tag.partition(":")[2], origins["tags"]
    unified = tuple(f"{name}:" for name in UNIFIED)
    values["tags"] = tuple(tag for tag in values["tags"] if not tag.startswith(unified))


def _refuse_unknown_arguments(arguments: Mapping[str, Any]) -> None:
    for name in arguments:
        if name not in FIELDS:
            own = {setting_name(field): field for field in FIELDS} | {PREFIX + f.upper(): f for f in FIELDS}
            if name in own:
                raise ConfigError(name, "no argument has this name.", f"As an argument write {own[name]}=...")
            close = difflib.get_close_matches(name, FIELDS, n=1)
            fix = f"Did you mean {close[0]!r}?" if close else "`streaming-dd config` lists the settings."
            raise ConfigError(name, "no such setting.", fix)


def _refuse_unknown_names(given: list[str], origin: str) -> None:
    """Refuse an unknown STREAMING_* name: a typing error there would silently keep the default."""
    known = {name: field_name for name, field_name in names().items() if name.startswith(PREFIX)}
    known.update({PREFIX + field_name.upper(): field_name for field_name in FIELDS})
    for name in given:
        if name in known:
            continue
        if name in _REPLACED:
            raise ConfigError(name, f"not a setting of streaming_dd (found in {origin}).", _REPLACED[name])
        words = {known_name.removeprefix(PREFIX): known_name for known_name in known}
        close = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1)
        fix = f"Did you mean {words[close[0]]}?" if close else "`streaming-dd config` lists the settings."
        raise ConfigError(name, f"no such setting (found in {origin}).", fix)


def django_settings() -> dict[str, Any]:
    """Return the Django settings that are ours, if this process has Django and its settings are configured."""
    module = sys.modules.get("django.conf")
    if module is None and os.environ.get("DJANGO_SETTINGS_MODULE") and importlib.util.find_spec("django"):
        module = importlib.import_module("django.conf")
    if module is None or not (module.settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")):
        return {}
    try:
        names = [name for name in dir(module.settings) if name.startswith(PREFIX) or name in _DATADOG_NAMES]
        return {name: getattr(module.settings, name) for name in names}
    except ImportError as error:
        fix = "Unset it, or run where that module can be imported."
        raise ConfigError(
            "DJANGO_SETTINGS_MODULE", f"Django's settings cannot be imported ({error}).", fix
        ) from error
