"""Datadog's widgets as plain dicts, with the few shapes that our dashboards use, and their places. No state.

A `Placed` widget knows its size on a grid of 12 columns; `rows` and `dashboard` put them side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
COLUMNS = 12


@dataclass(frozen=True)
class Placed:
    """A widget's definition with its width and height."""

    definition: Json
    width: int
    height: int


@dataclass(frozen=True)
class Line:
    """One formula with its legend. `formula` names queries; `better` colours it good or bad."""

    formula: str
    alias: str = ""
    palette: str = ""


def unit(name: str, per: str = "") -> Json:
    """Return a number format with Datadog's unit of that name."""
    found: Json = {"type": "canonical_unit", "unit_name": name}
    return {"unit": found | ({"per_unit_name": per} if per else {})}


def timeseries(
    title: str,
    queries: Mapping[str, str],
    lines: Sequence[Line] = (),
    *,
    display: str = "line",
    number_format: Json | None = None,
    markers: Sequence[tuple[str, str]] = (),
    size: tuple[int, int] = (4, 3),
) -> Placed:
    """Chart queries over time; without `lines`, each query is one. `markers` are (value, kind error|warning)."""
    definition: Json = {
        "type": "timeseries",
        "title": title,
        "show_legend": True,
        "legend_layout": "auto",
        "legend_columns": ["avg", "max", "value"],
        "requests": [
            {
                "response_format": "timeseries",
                "queries": [_query(name, query) for name, query in queries.items()],
                "formulas": _formulas(queries, lines, number_format),
                "display_type": display,
                "style": {"palette": "dog_classic", "line_type": "solid", "line_width": "normal"},
            }
        ],
        "yaxis": {"include_zero": True},
    }
    if markers:
        definition["markers"] = [
            {"value": f"y = {value}", "display_type": f"{kind} dashed", "label": f" {value} "}
            for value, kind in markers
        ]
    return Placed(definition, *size)


def value(
    title: str,
    queries: Mapping[str, str],
    formula: str,
    *,
    aggregator: str = "avg",
    number_format: Json | None = None,
    warn: float | None = None,
    alert: float | None = None,
    precision: int = 1,
    size: tuple[int, int] = (2, 2),
) -> Placed:
    """Show one number, tinted by thresholds above which it is bad."""
    request: Json = {
        "response_format": "scalar",
        "queries": [_query(name, query, aggregator) for name, query in queries.items()],
        "formulas": _formulas(queries, [Line(formula)], number_format),
    }
    if alert is not None:
        formats = [{"comparator": ">", "value": alert, "palette": "white_on_red"}]
        if warn is not None:
            formats.append({"comparator": ">", "value": warn, "palette": "white_on_yellow"})
        formats.append(
            {"comparator": "<=", "value": alert if warn is None else warn, "palette": "white_on_green"}
        )
        request["conditional_formats"] = formats
    definition: Json = {"type": "query_value", "title": title, "autoscale": True, "precision": precision}
    return Placed(definition | {"requests": [request], "timeseries_background": {"type": "area"}}, *size)


def toplist(
    title: str,
    queries: Mapping[str, str],
    formula: str,
    *,
    aggregator: str = "sum",
    number_format: Json | None = None,
    count: int = 10,
    size: tuple[int, int] = (4, 3),
) -> Placed:
    """Rank groups, greatest first."""
    formulas = _formulas(queries, [Line(formula)], number_format)
    formulas[0]["limit"] = {"count": count, "order": "desc"}
    request = {
        "response_format": "scalar",
        "queries": [_query(name, query, aggregator) for name, query in queries.items()],
        "formulas": formulas,
    }
    return Placed({"type": "toplist", "title": title, "requests": [request]}, *size)


def table(
    title: str,
    columns: Sequence[tuple[str, str, str, Json | None]],
    *,
    size: tuple[int, int] = (12, 4),
) -> Placed:
    """List groups with a column each; `columns` are (title, query, aggregator, number format), sorted by the first."""
    queries = [
        _query(f"query{i}", query, aggregator) for i, (_, query, aggregator, _) in enumerate(columns, 1)
    ]
    formulas: list[Json] = []
    for i, (alias, _, _, number_format) in enumerate(columns, 1):
        formula: Json = {
            "formula": f"query{i}",
            "alias": alias,
            "cell_display_mode": "bar" if i == 1 else "number",
        }
        formulas.append(formula | ({"number_format": number_format} if number_format else {}))
    formulas[0]["limit"] = {"count": 50, "order": "desc"}
    request = {"response_format": "scalar", "queries": queries, "formulas": formulas}
    return Placed(
        {"type": "query_table", "title": title, "has_search_bar": "auto", "requests": [request]}, *size
    )


def distribution(title: str, query: str, *, size: tuple[int, int] = (4, 3)) -> Placed:
    """Show how the values of a distribution metric are spread; `query` begins with `histogram:`."""
    request = {"request_type": "histogram", "query": _query("query1", query)}
    return Placed({"type": "distribution", "title": title, "requests": [request]}, *size)


def heatmap(title: str, query: str, *, size: tuple[int, int] = (4, 3)) -> Placed:
    """Show many series as density over time."""
    request = {
        "response_format": "timeseries",
        "queries": [_query("query1", query)],
        "formulas": [{"formula": "query1"}],
        "style": {"palette": "dog_classic"},
    }
    return Placed({"type": "heatmap", "title": title, "requests": [request]}, *size)


def note(text: str, *, size: tuple[int, int] = (12, 1)) -> Placed:
    """Say something in Markdown."""
    definition: Json = {
        "type": "note",
        "content": text,
        "background_color": "transparent",
        "font_size": "14",
        "text_align": "left",
        "vertical_align": "center",
        "show_tick": False,
        "has_padding": False,
    }
    return Placed(definition, *size)


def slo(title: str, name: str, *, size: tuple[int, int] = (4, 3)) -> Placed:
    """Show an SLO by its asset's name; its id is filled in when it is pushed."""
    definition: Json = {
        "type": "slo",
        "title": title,
        "slo_id": f"${{slo:{name}}}",
        "view_type": "detail",
        "view_mode": "overall",
        "time_windows": ["7d", "30d"],
        "show_error_budget": True,
    }
    return Placed(definition, *size)


def monitor_graph(title: str, name: str, *, size: tuple[int, int] = (4, 3)) -> Placed:
    """Show a monitor's query with its threshold, by its asset's name."""
    definition: Json = {"type": "alert_graph", "title": title, "alert_id": f"${{monitor:{name}}}"}
    return Placed(definition | {"viz_type": "timeseries"}, *size)


def monitors(title: str, query: str, *, size: tuple[int, int] = (4, 4)) -> Placed:
    """Summarise monitors that a search finds."""
    definition: Json = {
        "type": "manage_status",
        "title": title,
        "query": query,
        "summary_type": "monitors",
        "display_format": "countsAndList",
        "color_preference": "text",
        "hide_zero_counts": False,
        "show_last_triggered": True,
        "sort": "status,asc",
    }
    return Placed(definition, *size)


def stream(
    title: str, source: str, query: str, fields: Sequence[str], *, size: tuple[int, int] = (12, 4)
) -> Placed:
    """List logs (`logs_stream`) or spans (`trace_stream`) that a search finds, newest first."""
    request = {
        "response_format": "event_list",
        "columns": [{"field": name, "width": "auto"} for name in fields],
        "query": {"data_source": source, "query_string": query, "indexes": []},
    }
    return Placed({"type": "list_stream", "title": title, "requests": [request]}, *size)


def group(title: str, *widgets: Placed) -> Placed:
    """Frame widgets under a heading."""
    placed, height = rows(widgets)
    definition = {
        "type": "group",
        "title": title,
        "layout_type": "ordered",
        "show_title": True,
        "widgets": placed,
    }
    return Placed(definition, COLUMNS, height + 1)


def rows(widgets: Sequence[Placed]) -> tuple[list[Json], int]:
    """Place widgets from left to right, a new row when one is full; return them and the height of all."""
    placed: list[Json] = []
    x = y = tallest = 0
    for widget in widgets:
        if x + widget.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        layout = {"x": x, "y": y, "width": widget.width, "height": widget.height}
        placed.append({"definition": widget.definition, "layout": layout})
        x, tallest = x + widget.width, max(tallest, widget.height)
    return placed, y + tallest


def dashboard(title: str, description: str, variables: Sequence[tuple[str, str]], *widgets: Placed) -> Json:
    """Put a dashboard together; `variables` are (tag key, default)."""
    placed, _ = rows(widgets)
    return {
        "title": title,
        "description": description,
        "layout_type": "ordered",
        "reflow_type": "fixed",
        "template_variables": [
            {"name": key, "prefix": key, "available_values": [], "defaults": [default]}
            for key, default in variables
        ],
        "widgets": placed,
    }


def _query(name: str, query: str, aggregator: str = "") -> Json:
    """Return a query; a percentile of a distribution is taken over the whole range, never averaged over points."""
    found: Json = {"data_source": "metrics", "name": name, "query": query}
    if aggregator and re.match(r"p\d", query):
        aggregator = "percentile"
    return found | ({"aggregator": aggregator} if aggregator else {})


def _formulas(queries: Mapping[str, str], lines: Sequence[Line], number_format: Json | None) -> list[Json]:
    formulas: list[Json] = []
    for line in lines or [Line(name) for name in queries]:
        formula: Json = {"formula": line.formula}
        if line.alias:
            formula["alias"] = line.alias
        if line.palette:
            formula["style"] = {"palette": line.palette}
        if number_format:
            formula["number_format"] = number_format
        formulas.append(formula)
    return formulas
