"""From options to assets, and from assets to files. No state.

References between assets (`${monitor:health}`, `${slo:task-success}`) stay symbols in the files: only an account
knows the ids. `resolved` fills them in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import monitors, slos
from .dashboards import apm, capacity, overview, streams, tasks
from .metadata import metadata_csv, service_checks
from .options import Options
from .terraform import terraform_files

Json = dict[str, Any]
Kind = Literal["monitor", "slo", "dashboard"]
MANAGED = "managed-by:streaming-dd"
FOLDERS: dict[Kind, str] = {"monitor": "monitors", "slo": "slos", "dashboard": "dashboards"}
REFERENCE = re.compile(r"\$\{(monitor|slo):([a-z0-9-]+)\}")
DASHBOARDS = {"overview": overview, "tasks": tasks, "streams": streams, "capacity": capacity, "apm": apm}


@dataclass(frozen=True)
class Asset:
    """A dashboard, monitor or SLO: its name here and its document for Datadog. `file`: where it was read from."""

    kind: Kind
    name: str
    document: Json
    file: str = ""

    @property
    def path(self) -> str:
        """Where it lies: below `dd-agent/` unless it was read from elsewhere."""
        return self.file or f"{FOLDERS[self.kind]}/{self.name}.json"

    @property
    def title(self) -> str:
        """What Datadog shows."""
        return str(self.document.get("title") or self.document.get("name"))

    def references(self) -> set[tuple[str, str]]:
        """Return (kind, name) of the assets that this one needs the ids of."""
        return set(REFERENCE.findall(json.dumps(self.document)))


def render(options: Options | None = None) -> list[Asset]:
    """Return all assets: monitors, then SLOs, then dashboards."""
    options = options or Options()
    found = [Asset("monitor", name, document) for name, document in monitors.build(options).items()]
    found += [Asset("slo", name, document) for name, document in slos.build(options).items()]
    found += [Asset("dashboard", name, module.build(options)) for name, module in DASHBOARDS.items()]
    return [_marked(asset, options) for asset in found]


def _marked(asset: Asset, options: Options) -> Asset:
    """Write into the document what tells `push` that it is ours, and which one."""
    identity = options.identity(asset.name)
    if asset.kind == "dashboard":  # the tags of a dashboard can only name teams
        text = f"{asset.document['description']}\n\n{marker(identity)}"
        return Asset(asset.kind, asset.name, asset.document | {"description": text})
    own = [MANAGED, f"streaming-dd:{identity}"]
    scope = [f"{key}:{value}" for key, value in (("env", options.env), ("service", options.service)) if value]
    return Asset(
        asset.kind, asset.name, asset.document | {"tags": sorted({*asset.document["tags"], *own, *scope})}
    )


def marker(identity: str) -> str:
    """Return the line in a dashboard's description by which it is found again."""
    return f"[{MANAGED} streaming-dd:{identity}]"


def resolved(document: Json, ids: Mapping[tuple[str, str], int | str]) -> Json:
    """Fill in ids for the symbols; `ids` maps (kind, name). Raises KeyError for one that is not there."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [int(fill(item)) if _is_monitor(item) else fill(item) for item in value]
        if isinstance(value, str):
            return REFERENCE.sub(lambda found: str(ids[found[1], found[2]]), value)
        return value

    filled: Json = fill(document)
    return filled


def _is_monitor(value: Any) -> bool:
    found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found is not None and found[1] == "monitor"


# --- files -----------------------------------------------------------------------------------------------------


def rendered_files(options: Options | None = None) -> dict[str, str]:
    """Return the text of every generated file by its path below `dd-agent/`."""
    options = options or Options()
    assets = render(options)
    texts = {asset.path: dumps(asset.document) for asset in assets}
    texts["metadata.csv"] = metadata_csv(options)
    texts["service_checks.json"] = dumps(service_checks(options))
    texts |= terraform_files(assets)
    return texts


def dumps(document: Any) -> str:
    """Write JSON as we commit it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
