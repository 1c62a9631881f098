"""Monitors in the file format of Datadog's integrations: the definition, a title and a description around it. No state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..documents import Asset
from ..monitors import ABOUT

Json = dict[str, Any]
INTEGRATION = "integration:streaming-dd"
SINCE = "2026-11-29"
"""When the monitors were first published; the format wants a day, and the same rendering must give the same file."""


def wrapped(assets: Iterable[Asset]) -> Iterable[Asset]:
    """Give the assets with each monitor as integrations keep theirs; dashboards and SLOs stay as they are."""
    for asset in assets:
        if asset.kind != "monitor":
            yield asset
            continue
        document: Json = {
            "version": 2,
            "created_at": SINCE,
            "last_updated_at": SINCE,
            "title": asset.title.partition("] ")[2] or asset.title,
            "description": ABOUT[asset.name],
            "tags": [INTEGRATION],
            "definition": asset.document,
        }
        yield Asset(asset.kind, asset.name, document, asset.file)
