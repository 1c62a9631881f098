"""Monitors and SLOs as files of JSON: read, and what cannot be read is said. No state."""

from __future__ import annotations

import json
from pathlib import Path

from ...assets.query_language import MonitorQuery, parse_monitor
from ...errors import QueryError
from .state import NUMBERS, Json, Monitor, plain_options


def read(name: str, document: Json) -> Monitor:
    """Return a monitor; one whose query cannot be read has a problem instead."""
    monitor = Monitor(name, document)
    try:
        monitor.query = read_query(document)
    except QueryError as error:
        monitor.problem = str(error)
    return monitor


def read_query(document: Json) -> MonitorQuery:
    """Parse a monitor's query. Raises QueryError."""
    query, type, options = document.get("query"), document.get("type"), document.get("options", {})
    if not isinstance(query, str) or not isinstance(type, str):
        raise QueryError("a monitor needs the texts 'type' and 'query'")
    if not isinstance(options, dict) or not isinstance(options.get("thresholds", {}), dict):
        raise QueryError("'options' and 'options.thresholds' must be JSON objects")
    options = plain_options(document)
    numbers = {name: options.get(name) for name in NUMBERS} | options.get("thresholds", {})
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise QueryError(f"{name!r} must be a number, not {value!r}")
    for name in ("notify_by", "renotify_statuses"):
        value = options.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        ):
            raise QueryError(f"{name!r} must be a list of texts, not {value!r}")
    return parse_monitor(query, type)


def read_folder(folder: Path) -> tuple[dict[str, Json], list[str]]:
    """Return the JSON objects of a folder by name, and what is wrong with the files that hold none."""
    found: dict[str, Json] = {}
    problems = []
    for file in sorted(folder.glob("*.json")):
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            problems.append(f"{file}: {error}")
            continue
        if isinstance(document, dict):
            found[file.stem] = document
        else:
            problems.append(f"{file}: expected a JSON object")
    return found, problems
