"""`make corpus CORPUS=PATH`: how much of what others wrote for Datadog is understood here. No state.

Looks at every dashboard, monitor and SLO in the JSON files below the given paths (checkouts of public repositories, such as
DataDog/integrations-extras) and prints which share of the queries parses, of the documents lints without an error, of the
monitors is read, of the widgets' requests is drawn, and what the rest fails on. Nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming_dd.assets.documents import Asset
from streaming_dd.assets.lint.rules import asset_of, lint
from streaming_dd.assets.query_language import (
    NotRead,
    parse_formula,
    parse_monitor,
    parse_queries,
    parse_search,
)
from streaming_dd.errors import AssetError, QueryError
from streaming_dd.local_agent.monitors.files import read
from streaming_dd.local_agent.queries import events, filters, widget_data
from streaming_dd.local_agent.store.records import Records
from streaming_dd.local_agent.store.series import Store

Json = dict[str, Any]
NOW = 1_800_000_000.0
DRAWN = {
    "timeseries": "chart", "query_value": "rows", "toplist": "rows", "query_table": "rows", "distribution": "rows",
    "sunburst": "rows", "treemap": "rows", "change": "rows", "heatmap": "chart", "geomap": "rows", "bar_chart": "rows",
}  # fmt: skip
"""The widgets whose requests are asked for values, and how; a list, a note or a group asks for none."""


@dataclass
class Share:
    """How many of some things were right, and what was wrong with the others."""

    name: str
    goal: float
    good: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)

    def note(self, reason: str, example: str = "") -> None:
        """Count one thing; `reason` says what is wrong with it, "" if nothing is."""
        if not reason:
            self.good += 1
            return
        reason = re.sub(r"'[^']*'|\d+", "…", reason)[:110]
        self.wrong[reason] += 1
        self.example.setdefault(reason, example)

    def __str__(self) -> str:
        total = self.good + sum(self.wrong.values())
        share = 100 * self.good / total if total else 100.0
        met = "met" if share >= self.goal else "not met"
        lines = [f"{self.name:<28} {self.good:>6} of {total:<6} {share:6.2f} %   goal {self.goal:g} %: {met}"]
        for reason, count in self.wrong.most_common(12):
            lines.append(f"    {count:>5}  {reason}")
            if example := self.example[reason]:
                lines.append(f"           {example[:150]}")
        return "\n".join(lines)


def documents(paths: list[str]) -> Iterator[Asset]:
    """Give the dashboards, monitors and SLOs below some paths; a monitor may lie in the `definition` of its file."""
    for path in paths:
        files = sorted(Path(path).rglob("*.json")) if Path(path).is_dir() else [Path(path)]
        for file in files:
            try:
                document = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            for each in document if isinstance(document, list) else [document]:
                inner = each.get("definition") if isinstance(each, dict) else None
                found = inner if isinstance(inner, dict) and "query" in inner else each
                if isinstance(found, dict) and _is_datadogs(found):
                    try:
                        yield asset_of(str(file), json.dumps(found))
                    except AssetError:
                        continue


def _is_datadogs(document: Json) -> bool:
    dashboard = isinstance(document.get("widgets"), list) and "layout_type" in document
    monitor = isinstance(document.get("query"), str) and isinstance(document.get("type"), str)
    return (
        dashboard or (monitor and "message" in document) or ("thresholds" in document and "type" in document)
    )


class Corpus:
    """What was found so far."""

    def __init__(self) -> None:
        self.queries = Share("queries that parse", 99.5)
        self.dashboards = Share("dashboards that lint clean", 95)
        self.monitors = Share("monitors that lint clean", 95)
        self.evaluated = Share("monitors that are evaluated", 90)
        self.requests = Share("widget requests drawn", 90)
        self.notes: Counter[str] = Counter()
        self._store, self._records = Store(clock=lambda: NOW), Records()

    def take(self, asset: Asset) -> None:
        """Look at one document."""
        problems = lint([asset], strict=False)
        self.notes.update(each.rule for each in problems if each.note)
        errors = [each for each in problems if not each.note]
        shown = f"{errors[0].rule}: {errors[0].message}" if errors else ""
        if asset.kind == "monitor":
            self.monitors.note(shown, asset.path)
            self._parse(parse_monitor, asset.document["query"], asset.document["type"])
            self.evaluated.note(read(asset.name, asset.document).problem, asset.document["query"])
        elif asset.kind == "dashboard":
            self.dashboards.note(shown, f"{asset.path}: {errors[0].path}" if errors else "")
            variables = filters.choices(asset.document.get("template_variables") or [], {})
            for definition in _widgets(asset.document):
                self._widget(definition, variables)

    def _widget(self, definition: Json, variables: filters.Choices) -> None:
        requests = definition.get("requests") or []
        for request in requests.values() if isinstance(requests, dict) else requests:
            if not isinstance(request, dict):
                continue
            self._texts(request)
            kind = definition.get("type", "")
            if not {"q", "queries", *events.LEGACY} & set(request):
                continue
            ask = getattr(widget_data, DRAWN.get(kind, "chart"))
            try:
                ask(request, self._store, NOW - 3600, NOW, variables, records=self._records)
            except QueryError as error:
                self.requests.note(
                    error.message, f"{kind}: {json.dumps(request.get('q') or request.get('queries'))}"
                )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.requests.note(f"{type(error).__name__}: {error}", f"{kind}: {json.dumps(request)}")
            else:
                self.requests.note("")

    def _texts(self, request: Json) -> None:
        if isinstance(request.get("q"), str):
            self._parse(parse_queries, request["q"])
        for query in request.get("queries") or []:
            if isinstance(query.get("query"), str):
                self._parse(parse_queries, query["query"])
            elif isinstance(search := query.get("search"), dict):
                self._parse(parse_search, str(search.get("query", "")))
        for formula in request.get("formulas") or []:
            self._parse(parse_formula, str(formula.get("formula")))

    def _parse(self, parse: Any, text: str, *more: str) -> None:
        try:
            parse(text, *more)
        except NotRead:
            self.queries.note("")  # no fault of the text
        except QueryError as error:
            self.queries.note(error.message, text)
        else:
            self.queries.note("")


def _widgets(document: Json) -> Iterator[Json]:
    for widget in document.get("widgets") or ():
        definition = widget.get("definition") or {}
        yield definition
        yield from _widgets(definition)


def main(arguments: list[str] | None = None) -> int:
    """Print the shares; 1 if nothing was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("path", nargs="+", help="a directory with JSON files, or one")
    corpus, found = Corpus(), Counter[str]()
    for asset in documents(parser.parse_args(arguments).path):
        found[asset.kind] += 1
        corpus.take(asset)
    sys.stdout.write(f"{', '.join(f'{count} {kind}s' for kind, count in found.items()) or 'nothing found'}\n")
    for share in (corpus.queries, corpus.dashboards, corpus.monitors, corpus.evaluated, corpus.requests):
        sys.stdout.write(f"{share}\n")
    sys.stdout.write(f"notes: {dict(corpus.notes)}\n")
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())
