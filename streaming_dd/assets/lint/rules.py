"""What the API accepts and production suffers: checks over dashboards, monitors and SLOs. No state.

`RULES` names every check; `lint` runs them all. Each checker yields (path, rule, message) for one document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import AssetError
from ..documents import REFERENCE, Asset, Kind, resolved
from ..options import Options
from ..rendering import render
from . import dashboards as lint_dashboards
from . import monitors as lint_monitors
from . import queries as lint_queries
from .queries import Finding, Known
from .schema import note_of, violations

Json = dict[str, Any]

RULES: dict[str, str] = {
    "schema": "A field or value that Datadog's API models do not know, a missing field, a wrong type.",
    "unknown-field": "A field that Datadog's API models do not know, in a file of others: a note, since exports have some.",
    "unknown-kind": "A kind of widget or source that those models do not know, in a file of others: a note.",
    "loose-type": "A number written as text, or null for nothing, in a file of others: a note, since the API takes it.",
    "not-checked": "What Datadog answers and these checks do not read, such as a monitor of type rum alert: a note.",
    "query-syntax": "A query, formula or search that does not parse.",
    "unknown-metric": "A metric that nothing in the catalogue emits, or not under that name.",
    "wrong-kind": "A metric asked for in a way that its kind cannot answer: a percentile of a count, a bare timer.",
    "tag-not-emitted": "A filter or group by a tag that the metric does not carry.",
    "trace-tag": "A tag that Datadog does not put on trace metrics, however often spans carry it.",
    "unknown-function": "A function that Datadog does not have, or with too few or too many arguments.",
    "group-mismatch": "Arithmetic between queries that are grouped differently.",
    "undefined-query": "A formula that names a query that is not there.",
    "unused-query": "A query that no formula uses.",
    "undeclared-variable": "A template variable that the dashboard does not declare, or one in a monitor.",
    "unused-variable": "A template variable that is declared and used nowhere.",
    "as-count": "as_count with another aggregation than sum, or a monitor that adds up a count without it.",
    "threshold-mismatch": "A critical threshold that differs from the number in the query.",
    "threshold-order": "A warning on the wrong side of critical.",
    "recovery-side": "A recovery threshold on the wrong side of its threshold.",
    "missing-data": "Two policies for missing data at once, none, or one that the monitor's type does not know.",
    "check-window": "A service check monitor that looks at fewer runs than its threshold needs.",
    "unknown-check": "A service check that the catalogue does not have.",
    "unknown-operation": "A span operation that nothing emits.",
    "priority": "A priority outside 1 to 5.",
    "message": "A message with an unknown section, an unclosed one, or a tag that the monitor does not group by.",
    "reference": "A reference to a monitor or SLO that does not exist.",
    "duplicate": "Two assets, or two queries of a widget, with the same name.",
    "layout": "Widgets that overlap or leave the 12 columns.",
}


NOTES = frozenset(("unknown-field", "unknown-kind", "loose-type", "not-checked"))
"""Rules whose findings are no faults."""
UNTIDY = frozenset(("unused-query", "unused-variable", "missing-data", "layout"))
"""Rules whose findings in files of others are no faults: Datadog shows it all the same, and moves apart what overlaps."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, by which rule, and what to do about it. A `note` is none that must be mended."""

    file: str
    path: str
    rule: str
    message: str
    note: bool = False

    def __str__(self) -> str:
        place = f"{self.file}: {self.path}: " if self.path else f"{self.file}: "
        return f"{'note: ' if self.note else ''}{place}{self.message} [{self.rule}]"


def lint(assets: Iterable[Asset], options: Options | None = None, *, strict: bool = True) -> list[Problem]:
    """Check assets together. `strict` refuses metrics of others too, which our own assets never ask for."""
    assets = list(assets)
    known = Known(options or Options(), strict)
    names = {(asset.kind, asset.name) for asset in (assets if strict else [*assets, *render(options)])}
    problems = [
        Problem(asset.path, path, rule, message, rule in NOTES or (not strict and rule in UNTIDY))
        for asset in assets
        for path, rule, message in _asset(asset, names, known)
    ]
    return problems + list(_duplicates(assets))


def _asset(asset: Asset, names: set[tuple[Kind, str]], known: Known) -> Iterator[Finding]:
    lost = [reference for reference in sorted(asset.references()) if reference not in names]
    for kind, name in lost:
        yield "", "reference", f"there is no {kind} {name!r} to refer to"
    wrong = list(violations(asset.kind, _with_ids(asset.document)))
    for path, message in wrong:
        yield path, ("" if known.strict else note_of(path, message)) or "schema", message
    if wrong and known.strict:  # the other checks rely on the shape
        return
    try:
        yield from _content(asset, known)
    except (KeyError, TypeError, AttributeError, ValueError):
        if not wrong:  # what is wrong with the shape was said
            raise


def _content(asset: Asset, known: Known) -> Iterator[Finding]:
    if asset.kind == "monitor":
        yield from lint_monitors.check(asset.document, known)
    elif asset.kind == "dashboard":
        yield from lint_dashboards.check(asset.document, known)
    else:
        yield from _slo(asset.document, known)


def _with_ids(document: Json) -> Json:
    """Put ids of the right form in the place of symbols."""
    symbols = REFERENCE.findall(json.dumps(document))
    return resolved(document, {(kind, name): 1 if kind == "monitor" else "0" * 32 for kind, name in symbols})


def _slo(document: Json, known: Known) -> Iterator[Finding]:
    """Check the queries of an SLO."""
    if document["type"] == "metric":
        if "query" not in document:
            yield "", "schema", "an SLO of type metric needs the field 'query'"
            return
        for part, text in document["query"].items():
            yield from lint_queries.check_query(text, f"query.{part}", known, must_count=True)
    elif document["type"] == "time_slice":
        spec = document.get("sli_specification", {}).get("time_slice")
        if spec is None:
            yield "", "schema", "an SLO of type time_slice needs 'sli_specification.time_slice'"
            return
        path = "sli_specification.time_slice.query"
        yield from lint_queries.check_request(spec["query"], path, known)
    elif not document.get("monitor_ids"):
        yield "", "schema", "an SLO of type monitor needs 'monitor_ids'"
    for index, threshold in enumerate(document["thresholds"]):
        if "warning" in threshold and threshold["warning"] <= threshold["target"]:
            message = f"the warning {threshold['warning']} must lie above the target {threshold['target']}"
            yield f"thresholds[{index}].warning", "threshold-order", message


def _duplicates(assets: list[Asset]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    for asset in assets:
        first = seen.setdefault((asset.kind, asset.title), asset.path)
        if first != asset.path:
            yield Problem(asset.path, "", "duplicate", f"{asset.title!r} is also the title of {first}")


# --- documents of others ------------------------------------------------------------------------------------------


def asset_of(name: str, text: str) -> Asset:
    """Read a JSON file of whatever kind. Raises AssetError with what is wrong."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise AssetError(
            f"{name}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from None
    if not isinstance(document, dict):
        raise AssetError(f"{name}: expected a JSON object")
    if isinstance(inner := document.get("definition"), dict) and "query" in inner:
        document = inner  # as Datadog's integrations ship their monitors
    stem = re.sub(r"[^a-z0-9-]+", "-", name.rpartition("/")[2].removesuffix(".json").lower())
    if "widgets" in document:
        return Asset("dashboard", stem, document, name)
    if ("thresholds" in document and "query" not in document) or isinstance(document.get("query"), dict):
        return Asset("slo", stem, document, name)
    if "query" in document:
        return Asset("monitor", stem, document, name)
    raise AssetError(
        f"{name}: neither a dashboard ('widgets'), nor a monitor ('query'), nor an SLO ('thresholds')"
    )
