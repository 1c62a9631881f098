"""Write `schema.json` from Datadog's published API models: `python -m streaming_dd.assets.lint.update_schema`.

Needs `datadog-api-client`, a development dependency only (94 MB on disk). Its own check accepts unknown fields
and enum values, so the schema made here is strict: it knows every field and allows no other. No state.
"""

from __future__ import annotations

import inspect
import json
import sys
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

SCHEMA_PATH = Path(__file__).with_name("schema.json")
ROOTS = {
    "dashboard": "Dashboard",
    "monitor": "Monitor",
    "slo": "ServiceLevelObjectiveRequest",
}
SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string"},
    UUID: {"type": "string"},
    dict: {"type": "object"},
    list: {"type": "array"},
    date: {"type": "string"},
}
LIMITS = {
    "inclusive_minimum": "minimum",
    "inclusive_maximum": "maximum",
    "exclusive_maximum": "exclusiveMaximum",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
}


def build() -> dict[str, Any]:
    """Return the JSON Schema of dashboards, monitors and SLOs with all they refer to."""
    from datadog_api_client.v1 import models

    definitions: dict[str, Any] = {}
    pending = [getattr(models, name) for name in ROOTS.values()]
    while pending:
        model = pending.pop()
        if model.__name__ not in definitions:
            definitions[model.__name__] = _definition(model, pending)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Made by update_schema.py from datadog-api-client {version('datadog-api-client')} (Apache-2.0).",
        "properties": {root: {"$ref": f"#/$defs/{name}"} for root, name in ROOTS.items()},
        "$defs": dict(sorted(definitions.items())),
    }


def _definition(model: Any, pending: list[Any]) -> dict[str, Any]:
    from datadog_api_client.model_utils import ModelComposed, ModelNormal

    if issubclass(model, ModelComposed):
        composed = model._composed_schemas
        options = [option for key in ("oneOf", "anyOf") for option in composed.get(key, ())]
        return {"oneOf": [_type(option, pending) for option in options]}
    if issubclass(model, ModelNormal):
        return _object(model, pending)
    if model.allowed_values:
        return {"enum": sorted(model.allowed_values, key=str)}
    return _types(model.openapi_types["value"], pending)


def _object(model: Any, pending: list[Any]) -> dict[str, Any]:
    names = model.attribute_map
    types = {name: kinds for name, kinds in model.openapi_types.items() if name in names}
    properties = {names[name]: _types(kinds, pending) for name, kinds in types.items()}
    for name, limits in getattr(model, "validations", {}).items():
        properties[names[name]].update({LIMITS[key]: value for key, value in limits.items() if key in LIMITS})
    parameters = inspect.signature(model.__init__).parameters
    required = [
        names[name]
        for name, parameter in parameters.items()
        if name in names and parameter.default is inspect.Parameter.empty
    ]
    schema: dict[str, Any] = {"type": "object", "properties": dict(sorted(properties.items()))}
    if required:
        schema["required"] = sorted(required)
    schema["additionalProperties"] = _extra(model, pending)
    return schema


def _extra(model: Any, pending: list[Any]) -> Any:
    """Say what further fields may hold: nothing unless the model itself declares it."""
    if "additional_properties_type" not in vars(model):
        return False
    declared = model.__new__(model).additional_properties_type
    if not declared:
        return False
    return True if dict in declared and list in declared else _types(declared, pending)


def _types(kinds: tuple[Any, ...], pending: list[Any]) -> dict[str, Any]:
    """Translate a tuple of alternatives, as the models write it."""
    options = [_type(kind, pending) for kind in kinds]
    return options[0] if len(options) == 1 else {"oneOf": options}


def _type(kind: Any, pending: list[Any]) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"type": "array", "items": _type(kind[0], pending)}
    if isinstance(kind, dict):
        return {"type": "object", "additionalProperties": _types(kind[str], pending)}
    if kind is type(None):
        return {"type": "null"}
    if kind in SCALARS:
        return dict(SCALARS[kind])
    if isinstance(kind, tuple):
        return _types(kind, pending)
    pending.append(kind)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def text(schema: dict[str, Any]) -> str:
    """Write the schema compactly, one definition a line, so that a change can be read."""
    definitions = schema["$defs"]
    head = {key: value for key, value in schema.items() if key != "$defs"}
    lines = [
        f"{json.dumps(name)}:{json.dumps(body, separators=(',', ':'))}" for name, body in definitions.items()
    ]
    return json.dumps(head, separators=(",", ":"))[:-1] + ',"$defs":{\n' + ",\n".join(lines) + "\n}}\n"


def main() -> int:
    """Write the schema to its file."""
    SCHEMA_PATH.write_text(text(build()), encoding="utf-8")
    sys.stdout.write(f"wrote {SCHEMA_PATH.name}: {SCHEMA_PATH.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
