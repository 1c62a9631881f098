"""Checks of dashboards: queries, variables, layout. No state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from ..dashboards.widgets import COLUMNS
from .queries import Finding, Known, check_queries, check_query, check_request, check_search

Json = dict[str, Any]


def check(document: Json, known: Known) -> Iterator[Finding]:
    """Check one dashboard that fits the schema."""
    declared = frozenset(variable["name"] for variable in document.get("template_variables") or ())
    for path, definition in widgets(document):
        yield from _widget(definition, path, known, declared)
    yield from _layout(document["widgets"], "widgets", document["layout_type"] == "ordered")
    text = json.dumps(document["widgets"])
    for name in sorted(declared):
        if not re.search(rf"\${re.escape(name)}(?!\w)", text):
            yield "template_variables", "unused-variable", f"${name} is declared and used nowhere"


def widgets(document: Json, path: str = "widgets") -> Iterator[tuple[str, Json]]:
    """Give every widget's definition with its path, those inside groups too."""
    for index, widget in enumerate(document.get("widgets", [])):
        definition = widget["definition"]
        place = f"{path}[{index}].definition"
        yield place, definition
        yield from widgets(definition, f"{place}.widgets")


def _widget(definition: Json, path: str, known: Known, declared: frozenset[str]) -> Iterator[Finding]:
    requests = definition.get("requests", [])
    for index, request in enumerate(requests if isinstance(requests, list) else requests.values()):
        place = f"{path}.requests[{index}]"
        yield from check_request(request, place, known, variables=declared)
        if isinstance(request.get("q"), str):
            yield from check_queries(request["q"], f"{place}.q", known, variables=declared)
        single = request.get("query")
        if not isinstance(single, dict):
            continue
        if single.get("data_source") == "metrics":
            yield from check_query(single["query"], f"{place}.query.query", known, variables=declared)
        elif single.get("data_source") in ("logs_stream", "trace_stream"):
            yield from check_search(
                single["query_string"], f"{place}.query.query_string", known, variables=declared
            )


def _columns(boxes: list[tuple[str, Json]]) -> list[list[tuple[str, Json]]]:
    """Part the widgets at column breaks: what follows one stands in a column of its own, from y = 0 again."""
    columns: list[list[tuple[str, Json]]] = [[]]
    for place, box in boxes:
        if box.get("is_column_break"):
            columns.append([])
        columns[-1].append((place, box))
    return columns


def _layout(placed: list[Json], path: str, ordered: bool) -> Iterator[Finding]:
    boxes = [
        (f"{path}[{index}]", widget["layout"]) for index, widget in enumerate(placed) if "layout" in widget
    ]
    for place, box in boxes:
        if ordered and box["x"] + box["width"] > COLUMNS:
            yield (
                f"{place}.layout",
                "layout",
                f"reaches to column {box['x'] + box['width']}, there are {COLUMNS}",
            )
        if box["width"] == 0 or box["height"] == 0:
            yield f"{place}.layout", "layout", "has no width or no height"
    for (one, a), (other, b) in (pair for column in _columns(boxes) for pair in combinations(column, 2)):
        across = a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
        down = a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]
        if across and down:
            yield f"{other}.layout", "layout", f"overlaps {one}"
    for index, widget in enumerate(placed):
        inner = widget["definition"].get("widgets")
        if inner:
            yield from _layout(inner, f"{path}[{index}].definition.widgets", True)
