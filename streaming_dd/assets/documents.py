"""What an asset is: a document for Datadog under a name, with symbols for the ids that only an account knows. No state.

References between assets (`${monitor:health}`, `${slo:task-success}`) stay symbols in the files; `resolved` fills them in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["monitor", "slo", "dashboard"]
MANAGED = "managed-by:streaming-dd"
FOLDERS: dict[Kind, str] = {"monitor": "monitors", "slo": "slos", "dashboard": "dashboards"}
REFERENCE = re.compile(r"\$\{(monitor|slo):([a-z0-9-]+)\}")


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


def dumps(document: Any) -> str:
    """Write JSON as we commit it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
